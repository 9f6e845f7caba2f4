// SPDX-License-Identifier: GPL-2.0

//! Hosts, and what a driver of one does.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
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
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        Arc,
        ArcBorrow, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    types::Opaque,
};
use kernel_ext::atomic::{Acquire, Atomic, Release};

use super::{
    callbacks,
    command::{
        Command,
        Info,
        Rejected, //
    },
    device::{
        DeviceRef,
        NewDevice, //
    },
    Address,
};

/// What to do with a command that took longer than its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedOut {
    /// It gets as much time again.
    Wait,
    /// It is given up: the error handler gets it, which resets the host when no other command is
    /// under way any more.
    GiveUp,
}

/// Made-up geometry of a disk, for programs that still ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Heads, 1 to 255.
    pub heads: u8,
    /// Sectors of a track, 1 to 63.
    pub sectors: u8,
}

/// A driver of SCSI hosts; the implementing type is what it keeps for one host.
pub trait HostDriver: Sized + Send + Sync + 'static {
    /// The host's name in sysfs (`proc_name`).
    const NAME: &'static CStr;

    /// What programs are told of a disk's geometry.
    const GEOMETRY: Geometry = Geometry {
        heads: 255,
        sectors: 63,
    };

    /// What it keeps for each device.
    type DeviceData: Send + Sync + 'static;

    /// Sends a command. Any context that doesn't sleep, several at a time.
    ///
    /// Unless `last`, more commands of the same hardware queue follow at once, or a call of
    /// [`HostDriver::commit`]; the hardware need not be told before.
    ///
    /// # Errors
    ///
    /// [`Rejected`]: not now.
    fn queue(&self, command: Command<Self>, last: bool)
        -> core::result::Result<(), Rejected<Self>>;

    /// The batch that was sent with [`HostDriver::queue`] ends early.
    fn commit(&self, queue: u16);

    /// A device may be at this address: called before it is asked who it is. Process context.
    ///
    /// # Errors
    ///
    /// Fails the scan of this address.
    fn init_device(&self, device: &mut NewDevice<'_>) -> Result<Arc<Self::DeviceData>>;

    /// The device has answered and is about to be used. Process context.
    ///
    /// # Errors
    ///
    /// The device stays off line.
    fn configure_device(&self, device: &mut NewDevice<'_>) -> Result;

    /// No command of the device will come any more; there may have been none at all.
    fn destroy_device(&self, data: Arc<Self::DeviceData>);

    /// A command took longer than its time. Process or softirq context.
    fn timed_out(&self, command: &Info<Self>) -> TimedOut;

    /// Resets the host, and ends all commands that are under way. Process context; commands may be
    /// waiting for it, so it takes a bounded time. False: in vain, the devices go off line.
    fn reset(this: ArcBorrow<'_, Self>) -> bool;
}

/// A host driver as the mid-layer sees it: one static a driver.
///
/// # Invariants
///
/// `template` is written only by whoever has brought `state` from [`NEW`] to [`BUSY`], and never
/// after it has become [`READY`].
pub struct Template<T: HostDriver> {
    template: UnsafeCell<hv_bindings::scsi_host_template>,
    state: Atomic<u32>,
    _driver: PhantomData<fn() -> T>,
}

const NEW: u32 = 0;
const BUSY: u32 = 1;
const READY: u32 = 2;

// SAFETY: By the type invariant it is written once, before anybody else reads it.
unsafe impl<T: HostDriver> Sync for Template<T> {}

impl<T: HostDriver> Template<T> {
    /// The template of a driver; filled when the first host is registered.
    pub const fn new() -> Self {
        Self {
            // SAFETY: Zero is a valid value of every field of the C struct.
            template: UnsafeCell::new(unsafe { core::mem::zeroed() }),
            // INVARIANT: Not written yet.
            state: Atomic::new(NEW),
            _driver: PhantomData,
        }
    }

    /// The template, filled. `module` keeps the devices' users from unloading the driver. May sleep.
    fn get(&'static self, module: *mut bindings::module) -> *const hv_bindings::scsi_host_template {
        let template = self.template.get();
        if self.state.cmpxchg(NEW, BUSY, Acquire).is_ok() {
            // SAFETY: By the type invariant nobody else reads or writes it now.
            unsafe {
                callbacks::fill::<T>(template);
                (*template).module = module.cast();
                (*template).name = T::NAME.as_char_ptr();
                (*template).proc_name = T::NAME.as_char_ptr();
                (*template).this_id = -1;
                hv_bindings::scsi_template_track_depth(template);
            }
            self.state.store(READY, Release);
        }
        // Somebody else fills it at this moment.
        while self.state.load(Acquire) != READY {
            fsleep(Delta::from_millis(1));
        }
        template
    }
}

impl<T: HostDriver> Default for Template<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a host can do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Hardware queues; at most the number of CPUs is used.
    pub queues: u16,
    /// Commands of a hardware queue at a time.
    pub queue_depth: u16,
    /// Commands of a device at a time.
    pub device_depth: u16,
    /// Buses, targets of a bus, units of a target.
    pub channels: u16,
    /// See `channels`.
    pub targets: u16,
    /// See `channels`.
    pub luns: u16,
    /// Bytes of the longest command descriptor block.
    pub cdb_bytes: u8,
    /// Bytes of the largest transfer; a multiple of 512.
    pub transfer_bytes: u32,
    /// A power of two; 0: no limit. The data of a command are a list of pages of this size, of which
    /// only the first and the last may be partial.
    pub page_boundary: u32,
}

/// A host of the mid-layer, for looking for devices.
///
/// # Invariants
///
/// A valid `struct Scsi_Host` whose reference count isn't zero.
#[repr(transparent)]
pub struct Host(Opaque<hv_bindings::Scsi_Host>);

// SAFETY: Hosts may be used and given back on any thread.
unsafe impl Send for Host {}
// SAFETY: The mid-layer locks its hosts.
unsafe impl Sync for Host {}

// SAFETY: The reference count is that of the host's device.
unsafe impl AlwaysRefCounted for Host {
    fn inc_ref(&self) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::scsi_host_get_device(self.0.get()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference.
        unsafe { hv_bindings::scsi_host_put(obj.cast().as_ptr()) };
    }
}

impl Host {
    /// The host's number: N of `hostN`.
    pub fn number(&self) -> u32 {
        // SAFETY: By the type invariant; the number never changes.
        unsafe { (*self.0.get()).host_no }
    }

    /// Looks for devices at all addresses. Process context; waits for devices.
    pub fn scan(&self) {
        // SAFETY: By the type invariant; a host that is being removed isn't scanned.
        unsafe { hv_bindings::scsi_scan_host(self.0.get()) };
    }

    /// Looks for a device at one address. Process context.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none.
    pub fn add_device(&self, address: Address) -> Result {
        // SAFETY: As for `scan`.
        to_result(unsafe {
            hv_bindings::scsi_add_device(self.0.get(), address.channel, address.target, address.lun)
        })
    }

    /// The device at an address, unless it is being removed.
    pub fn device(&self, address: Address) -> Option<DeviceRef> {
        // SAFETY: By the type invariant; the device comes with a reference.
        unsafe {
            DeviceRef::from_raw(hv_bindings::scsi_device_lookup(
                self.0.get(),
                address.channel,
                address.target,
                address.lun,
            ))
        }
    }

    /// Calls `f` for every device. Process context.
    pub fn for_each_device(&self, mut f: impl FnMut(&DeviceRef)) {
        let mut at: Option<DeviceRef> = None;
        loop {
            let before = at.take().map_or(ptr::null_mut(), DeviceRef::into_raw);
            // SAFETY: By the type invariant; this gives up the reference to `before` and returns
            // the next device with one.
            at = unsafe {
                DeviceRef::from_raw(hv_bindings::__scsi_iterate_devices(self.0.get(), before))
            };
            match &at {
                Some(device) => f(device),
                None => return,
            }
        }
    }
}

/// A registered host. Dropping it removes its devices, which flushes their caches, and waits for
/// their commands.
///
/// # Invariants
///
/// `scsi_add_host_with_dma` of the host has succeeded. Its private data holds a pointer to the content
/// of an `Arc<T>`, valid until it is replaced by null, which happens after the host was removed, and a
/// grace period of RCU after that.
pub struct Registration<T: HostDriver> {
    host: ARef<Host>,
    data: Arc<T>,
}

impl<T: HostDriver> Registration<T> {
    /// Makes a host as a child of `parent`, whose driver's module is kept while devices are in use.
    /// It has no devices before it is [scanned](Host::scan).
    ///
    /// # Errors
    ///
    /// `EINVAL` for limits that make no sense, `ENOMEM`, `ENODEV` if `parent` has no driver.
    pub fn new(
        template: &'static Template<T>,
        parent: &device::Device<Bound>,
        limits: &Limits,
        data: Arc<T>,
    ) -> Result<Self> {
        let pages = limits
            .transfer_bytes
            .checked_div(limits.page_boundary.max(512))
            .ok_or(EINVAL)?;
        let segments = u16::try_from(pages.saturating_add(1)).unwrap_or(u16::MAX);
        let depth = i16::try_from(limits.device_depth.max(1)).unwrap_or(i16::MAX);
        if limits.queue_depth == 0
            || limits.transfer_bytes < 512
            || !(limits.page_boundary == 0 || limits.page_boundary.is_power_of_two())
        {
            return Err(EINVAL);
        }
        let parent: *mut bindings::device = ptr::from_ref(parent).cast_mut().cast();
        // SAFETY: A bound device has a driver, which stays while it is bound.
        let module = unsafe {
            let driver = (*parent).driver;
            if driver.is_null() {
                return Err(ENODEV);
            }
            (*driver).owner
        };
        // SAFETY: The template is static; room for one pointer is asked for.
        let raw = unsafe {
            hv_bindings::scsi_host_alloc(template.get(module), size_of::<*const T>() as i32)
        };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        // SAFETY: Just made; the reference is passed on.
        let host = unsafe { ARef::<Host>::from_raw(raw.cast()) };
        // SAFETY: Nobody else knows the host yet. The private data has room for a pointer; the
        // pointer stays valid as long as `data` or what it becomes in `this` lives.
        unsafe {
            let shost = raw.as_ptr();
            *hv_bindings::shost_priv(shost) = Arc::as_ptr(&data).cast_mut().cast();
            (*shost).nr_hw_queues = u32::from(limits.queues.max(1));
            (*shost).can_queue = i32::from(limits.queue_depth);
            (*shost).cmd_per_lun = depth;
            (*shost).max_channel = u32::from(limits.channels.saturating_sub(1));
            (*shost).max_id = u32::from(limits.targets);
            (*shost).max_lun = u64::from(limits.luns);
            (*shost).max_cmd_len = u16::from(limits.cdb_bytes);
            (*shost).max_sectors = limits.transfer_bytes / 512;
            (*shost).sg_tablesize = segments;
            if limits.page_boundary != 0 {
                (*shost).virt_boundary_mask = (limits.page_boundary as usize) - 1;
                // Lists of pages know no longest segment.
                (*shost).max_segment_size = u32::MAX;
                hv_bindings::dma_set_min_align_mask(parent.cast(), limits.page_boundary - 1);
            }
        }
        // SAFETY: The host is set up, `parent` is bound, and a child of it in sysfs from now on.
        to_result(unsafe {
            hv_bindings::scsi_add_host_with_dma(raw.as_ptr(), parent.cast(), parent.cast())
        })?;
        // INVARIANT: Just added; `data` is kept below.
        Ok(Self { host, data })
    }

    /// The host.
    pub fn host(&self) -> &ARef<Host> {
        &self.host
    }

    /// What the driver keeps for it.
    pub fn data(&self) -> &Arc<T> {
        &self.data
    }
}

impl<T: HostDriver> Drop for Registration<T> {
    fn drop(&mut self) {
        let shost = self.host.0.get();
        // SAFETY: By the type invariant it was added, and only this removes it. It returns when
        // every request queue of its devices is gone. After it only a reset may still be asked
        // for, by who has a device open (`SG_SCSI_RESET`).
        unsafe { hv_bindings::scsi_remove_host(shost) };
        // INVARIANT: Nobody gets to the driver's data any more ...
        //
        // SAFETY: The host is valid, and its private data is one pointer.
        unsafe { callbacks::private(shost) }.store(ptr::null_mut(), Release);
        // ... nor is anybody about to take a reference to it.
        kernel_ext::rcu::synchronize();
    }
}
