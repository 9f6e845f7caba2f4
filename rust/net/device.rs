// SPDX-License-Identifier: GPL-2.0

//! Devices, and what a driver of one does.

use core::{
    ops::{
        BitOr,
        Deref, //
    },
    ptr::NonNull, //
};

use kernel::{
    bindings,
    device::{
        self,
        Bound, //
    },
    error::to_result,
    prelude::*,
    str::CStrExt,
    sync::Arc,
    types::Opaque,
};

use super::{
    callbacks,
    driver::NicDriver,
    skb::SkBuff, //
};

/// What a device can take off the stack's hands (`NETIF_F_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u64);

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $bit:ident;)*) => {
        impl Features {
            /// Nothing.
            pub const NONE: Self = Self(0);
            $($(#[$doc])* pub const $name: Self = Self(1 << hv_bindings::$bit as u64);)*

            /// Whether all of `other` is in it.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }
        }
    };
}

features! {
    /// Frames in several pieces of memory.
    SCATTER_GATHER = NETIF_F_SG_BIT;
    /// Frames in memory of any address.
    HIGH_DMA = NETIF_F_HIGHDMA_BIT;
    /// Checksums of TCP and UDP over IPv4.
    IP4_CHECKSUM = NETIF_F_IP_CSUM_BIT;
    /// Checksums of TCP and UDP over IPv6.
    IP6_CHECKSUM = NETIF_F_IPV6_CSUM_BIT;
    /// Cutting of TCP segments over IPv4.
    TSO4 = NETIF_F_TSO_BIT;
    /// Cutting of TCP segments over IPv6.
    TSO6 = NETIF_F_TSO6_BIT;
    /// Checksums of received frames.
    RECEIVE_CHECKSUM = NETIF_F_RXCSUM_BIT;
    /// Hashes of received frames.
    RECEIVE_HASH = NETIF_F_RXHASH_BIT;
    /// Segments of TCP put together, which keeps no frame as it was.
    LARGE_RECEIVE = NETIF_F_LRO_BIT;
    /// VLAN tags of frames to send.
    VLAN_INSERT = NETIF_F_HW_VLAN_CTAG_TX_BIT;
    /// VLAN tags of received frames.
    VLAN_STRIP = NETIF_F_HW_VLAN_CTAG_RX_BIT;
}

impl Features {
    pub(super) const fn from_raw(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn to_raw(self) -> u64 {
        self.0
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A device as callbacks see it.
///
/// # Invariants
///
/// A valid `struct net_device`.
#[repr(transparent)]
pub struct Dev(Opaque<hv_bindings::net_device>);

// SAFETY: What can be done with it is allowed on any thread.
unsafe impl Send for Dev {}
// SAFETY: As above.
unsafe impl Sync for Dev {}

impl Dev {
    /// # Safety
    ///
    /// `raw` is a valid device for the lifetime of the reference.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(raw: *mut hv_bindings::net_device) -> &'a Self {
        // SAFETY: The caller's promise; the type is a transparent wrapper.
        unsafe { &*raw.cast() }
    }

    #[inline]
    pub(super) fn raw(&self) -> *mut hv_bindings::net_device {
        self.0.get()
    }

    /// The name, for messages. It may change, which at worst shows a mixture.
    pub fn name(&self) -> &CStr {
        // SAFETY: By the type invariant; the array always ends with a zero.
        unsafe { CStr::from_char_ptr((*self.raw()).name.as_ptr().cast()) }
    }

    /// The MTU in force.
    pub fn mtu(&self) -> u32 {
        // SAFETY: By the type invariant; written under RTNL, read whole.
        unsafe { core::ptr::read_volatile(&raw const (*self.raw()).mtu) }
    }

    /// What of the device's features is in use.
    #[inline]
    pub fn features(&self) -> Features {
        // SAFETY: By the type invariant; as for the MTU.
        Features(unsafe { hv_bindings::netdev_features(self.raw()) })
    }

    /// Whether somebody has set the table that spreads flows: it isn't the default one.
    pub fn spread_is_chosen(&self) -> bool {
        // SAFETY: By the type invariant; changed under RTNL, read whole.
        unsafe { hv_bindings::netif_is_rxfh_configured(self.raw()) }
    }

    /// Whether the stack has it: between [`Registration::new`] and the end of that.
    pub fn is_registered(&self) -> bool {
        // SAFETY: By the type invariant; a moment's state.
        unsafe { hv_bindings::netdev_is_registered(self.raw()) }
    }

    /// Receive queues in use.
    pub fn receive_queues(&self) -> u32 {
        // SAFETY: By the type invariant; changed under RTNL, read whole.
        unsafe { core::ptr::read_volatile(&raw const (*self.raw()).real_num_rx_queues) }
    }

    /// Transmit queues in use.
    #[inline]
    pub(super) fn transmit_queues(&self) -> u32 {
        // SAFETY: As for the receive queues.
        unsafe { core::ptr::read_volatile(&raw const (*self.raw()).real_num_tx_queues) }
    }

    /// So many queues are in use each way, of those there are. Process context, under RTNL.
    ///
    /// # Errors
    ///
    /// `ENOMEM` and the like; some stay in use.
    pub fn use_queues(&self, count: u16) -> Result {
        // SAFETY: By the type invariant; more than there are is refused.
        to_result(unsafe {
            let count = u32::from(count.max(1));
            hv_bindings::netif_set_real_num_queues(self.raw(), count, count)
        })
    }

    /// The link came up or went down. Process context.
    pub fn set_carrier(&self, up: bool) {
        // SAFETY: By the type invariant.
        unsafe {
            if up {
                hv_bindings::netif_carrier_on(self.raw());
            } else {
                hv_bindings::netif_carrier_off(self.raw());
            }
        }
    }

    /// Lets frames come on all queues. Process context.
    pub fn start_queues(&self) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::netdev_start_queues(self.raw()) };
    }

    /// Stops all queues, and waits until nobody sends. Process context.
    pub fn disable_queues(&self) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::netdev_disable_queues(self.raw()) };
    }

    /// Stops a queue: no frame comes until it is woken.
    #[inline]
    pub fn stop_queue(&self, queue: u16) {
        // SAFETY: By the type invariant; the callee refuses no number below the device's.
        unsafe { hv_bindings::netdev_stop_queue(self.raw(), queue) };
    }

    /// Whether a queue is stopped.
    #[inline]
    pub fn queue_stopped(&self, queue: u16) -> bool {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::netdev_queue_stopped(self.raw(), queue) }
    }

    /// Lets frames come again.
    #[inline]
    pub fn wake_queue(&self, queue: u16) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::netdev_wake_queue(self.raw(), queue) };
    }

    /// Sends frames that aren't the stack's on a queue, with [`NicDriver::transmit`], as long as `frames` has
    /// one and says whether others follow. What the queue can't take now is lost. Soft interrupts are off, and
    /// this thread doesn't hold the queue.
    pub(super) fn send_frames<T: NicDriver>(
        &self,
        driver: &T,
        queue: u16,
        frames: &mut dyn FnMut() -> Option<(SkBuff, bool)>,
    ) {
        // SAFETY: By the type invariant; the queue is below the device's number.
        let open = unsafe { hv_bindings::tx_lock(self.raw(), queue) };
        while let Some((mut frame, more)) = frames() {
            frame.set_queue(queue);
            if open {
                // One that comes back is lost: nobody else keeps it.
                drop(driver.transmit(self, frame, more));
            }
        }
        // SAFETY: Locked above.
        unsafe { hv_bindings::tx_unlock(self.raw(), queue) };
    }

    /// Whether a program sees received frames.
    #[inline]
    pub fn has_program(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::xdp_is_on(self.raw()) }
    }

    /// Bytes are on their way (byte queue limits). From [`NicDriver::transmit`] of the queue.
    #[inline]
    pub fn queue_sent(&self, queue: u16, bytes: u32) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::netdev_sent(self.raw(), queue, bytes) };
    }

    /// They have arrived. One caller at a time for each queue.
    #[inline]
    pub fn queue_completed(&self, queue: u16, frames: u32, bytes: u32) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::netdev_completed(self.raw(), queue, frames, bytes) };
    }

    /// Nothing is on its way. While the queue is disabled and not polled.
    pub fn queue_reset(&self, queue: u16) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::netdev_reset_queue(self.raw(), queue) };
    }
}

/// Calls `with` under RTNL. Process context, not under RTNL.
pub fn with_rtnl<R>(with: impl FnOnce() -> R) -> R {
    // SAFETY: No requirements; the lock is given back by the thread that took it.
    unsafe { hv_bindings::rtnl_lock() };
    let result = with();
    // SAFETY: As above.
    unsafe { hv_bindings::rtnl_unlock() };
    result
}

/// A device's memory, registered or not.
///
/// # Invariants
///
/// `raw` comes from `alloc_etherdev_mqs` with room for a `struct hv_net_private`, and isn't registered any more when
/// this is dropped.
pub struct Device {
    raw: NonNull<hv_bindings::net_device>,
    queues: u16,
}

// SAFETY: See `Dev`.
unsafe impl Send for Device {}
// SAFETY: See `Dev`.
unsafe impl Sync for Device {}

impl Device {
    /// A device with so many queues each way, as a child of `parent`. Without a link.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(parent: &device::Device<Bound>, queues: u16) -> Result<Arc<Self>> {
        let count = u32::from(queues.max(1));
        // SAFETY: Plain numbers.
        let raw = unsafe {
            let private = hv_bindings::net_private_bytes();
            hv_bindings::alloc_etherdev_mqs(private as i32, count, count)
        };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        // INVARIANT: As said.
        let this = Arc::new(
            Self {
                raw,
                queues: queues.max(1),
            },
            GFP_KERNEL,
        )?;
        let parent: *mut bindings::device = core::ptr::from_ref(parent).cast_mut().cast();
        // SAFETY: Both are valid; the parent outlives the registration, which needs it bound.
        unsafe { hv_bindings::netdev_set_parent(raw.as_ptr(), parent.cast()) };
        this.set_carrier(false);
        Ok(this)
    }

    #[inline]
    pub(super) fn raw(&self) -> *mut hv_bindings::net_device {
        self.raw.as_ptr()
    }

    /// Most queues.
    pub fn queues(&self) -> u16 {
        self.queues
    }
}

impl Deref for Device {
    type Target = Dev;

    fn deref(&self) -> &Dev {
        // SAFETY: By the type invariant.
        unsafe { Dev::from_raw(self.raw()) }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::free_netdev(self.raw()) };
    }
}

/// How a device presents itself; see [`Registration::new`].
#[derive(Clone, Copy, Debug)]
pub struct Presence<'a> {
    /// Its address.
    pub address: [u8; 6],
    /// What people call it beside its name (`ip link`: alias), at most 255 bytes; empty: nothing.
    pub alias: &'a str,
    /// The MTU to begin with.
    pub mtu: u32,
    /// The least MTU.
    pub min_mtu: u32,
    /// The largest MTU.
    pub max_mtu: u32,
    /// What it can take off the stack's hands.
    pub features: Features,
    /// What of it can't be switched off.
    pub fixed: Features,
    /// Bytes before frames that the driver will [prepend](super::SkBuff::prepend).
    pub headroom: u16,
    /// Bytes of the largest segment that it cuts.
    pub largest_segment: u32,
}

/// A registered device. Dropping it brings it down and takes it from the stack.
///
/// # Invariants
///
/// `register_netdev` of the device has succeeded; its private word is the pointer of `data`, which this
/// keeps until after `unregister_netdev`.
pub struct Registration<T: NicDriver> {
    device: Arc<Device>,
    data: Arc<T>,
}

impl<T: NicDriver> Registration<T> {
    /// Gives a device to the stack. Process context.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an address that is none, and those of registering.
    pub fn new(device: Arc<Device>, presence: &Presence<'_>, data: Arc<T>) -> Result<Self> {
        let raw = device.raw();
        // SAFETY: By the invariant of `Device`; nobody else uses it before it is registered. The
        // tables are static.
        unsafe {
            *hv_bindings::net_private(raw) = Arc::as_ptr(&data).cast_mut().cast();
            (*raw).netdev_ops = callbacks::operations::<T>();
            (*raw).ethtool_ops = callbacks::ethtool_operations::<T>();
            (*raw).stat_ops = callbacks::statistics_operations::<T>();
            hv_bindings::netdev_set_address(raw, presence.address.as_ptr());
            (*raw).mtu = presence.mtu;
            (*raw).min_mtu = presence.min_mtu;
            (*raw).max_mtu = presence.max_mtu;
            (*raw).hw_features = presence.features.0;
            hv_bindings::netdev_set_features(raw, presence.features.0 | presence.fixed.0);
            (*raw).vlan_features = presence.features.0;
            (*raw).needed_headroom = presence.headroom;
            (*raw).watchdog_timeo = 15 * hv_bindings::HZ_VALUE as i32;
            hv_bindings::netif_set_tso_max_size(raw, presence.largest_segment);
            hv_bindings::xdp_announce(raw);
            hv_bindings::netdev_allow_live_address(raw);
        }
        let alias = presence.alias;
        // SAFETY: It has its tables, at which this looks; so many bytes are read, and copied.
        let set = unsafe { hv_bindings::dev_set_alias(raw, alias.as_ptr().cast(), alias.len()) };
        to_result(set.min(0))?;
        // SAFETY: It is set up, and not registered yet.
        to_result(unsafe { hv_bindings::register_netdev(raw) })?;
        // INVARIANT: Just registered.
        Ok(Self { device, data })
    }

    /// The device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// What the driver keeps for it.
    pub fn data(&self) -> &Arc<T> {
        &self.data
    }
}

impl<T: NicDriver> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. It returns when nobody calls the driver any more.
        unsafe { hv_bindings::unregister_netdev(self.device.raw()) };
    }
}
