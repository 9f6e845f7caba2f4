// SPDX-License-Identifier: GPL-2.0

//! What the stack calls, turned into calls of a [`NicDriver`].

use core::{
    ffi::c_void,
    mem::MaybeUninit,
    ptr::NonNull, //
};

use kernel::{
    error::{
        code::EINVAL,
        from_result, //
    },
    ffi,
    sync::ArcBorrow, //
};

use super::{
    device::{
        Dev,
        Features, //
    },
    driver::{
        Filter,
        NicDriver, //
    },
    skb::SkBuff,
};

/// A table of callbacks. Null are those that aren't named, and those whose condition doesn't hold.
macro_rules! table {
    ($type:ident { $($field:ident: $function:expr $(, if $has:expr)?;)* }) => {
        hv_bindings::$type {
            $($field: table!(@entry $function $(, $has)?),)*
            // SAFETY: Zero is null for a pointer, and off for a flag.
            ..unsafe { MaybeUninit::zeroed().assume_init() }
        }
    };
    (@entry $function:expr) => { Some($function) };
    (@entry $function:expr, $has:expr) => { if $has { Some($function) } else { None } };
}

mod ethtool;
mod statistics;
mod xdp;

pub(super) use self::{
    ethtool::operations as ethtool_operations,
    statistics::operations as statistics_operations, //
};

struct Tables<T>(T);

impl<T: NicDriver> Tables<T> {
    const DEVICE: hv_bindings::net_device_ops = table!(net_device_ops {
        ndo_open: open::<T>;
        ndo_stop: stop::<T>;
        ndo_start_xmit: start_xmit::<T>;
        ndo_select_queue: select_queue::<T>, if T::HAS_CHOOSE_QUEUE;
        ndo_get_stats64: get_stats64::<T>;
        ndo_change_mtu: change_mtu::<T>;
        ndo_bpf: xdp::setup;
        ndo_xdp_xmit: xdp::send::<T>;
        ndo_fix_features: fix_features;
        ndo_set_features: set_features::<T>, if T::HAS_CHANGE_FEATURES;
        ndo_set_mac_address: set_mac_address::<T>;
        ndo_validate_addr: hv_bindings::eth_validate_addr;
        ndo_set_rx_mode: set_rx_mode::<T>;
        ndo_tx_timeout: tx_timeout::<T>;
    });
}

/// The table of a driver.
pub(super) fn operations<T: NicDriver>() -> &'static hv_bindings::net_device_ops {
    &Tables::<T>::DEVICE
}

/// The driver's data of a device.
///
/// # Safety
///
/// `raw` is a device of the driver `T`, in a callback of the stack.
#[inline]
unsafe fn driver<'a, T: NicDriver>(
    raw: *mut hv_bindings::net_device,
) -> (ArcBorrow<'a, T>, &'a Dev) {
    // SAFETY: By the invariant of `Registration` the private word is the pointer of an `Arc`, kept while
    // there are callbacks.
    unsafe {
        let data: *mut c_void = *hv_bindings::net_private(raw);
        (ArcBorrow::from_raw(data.cast()), Dev::from_raw(raw))
    }
}

extern "C" fn open<T: NicDriver>(raw: *mut hv_bindings::net_device) -> ffi::c_int {
    // SAFETY: The stack calls with a device of this driver.
    let (driver, dev) = unsafe { driver::<T>(raw) };
    from_result(|| T::open(driver, dev).map(|()| 0))
}

extern "C" fn stop<T: NicDriver>(raw: *mut hv_bindings::net_device) -> ffi::c_int {
    // SAFETY: As for `open`.
    let (driver, dev) = unsafe { driver::<T>(raw) };
    T::stop(driver, dev);
    0
}

extern "C" fn start_xmit<T: NicDriver>(
    skb: *mut hv_bindings::sk_buff,
    raw: *mut hv_bindings::net_device,
) -> hv_bindings::netdev_tx_t {
    // SAFETY: As for `open`; the buffer is given away.
    let (driver, dev, frame, more) = unsafe {
        let (driver, dev) = driver::<T>(raw);
        let frame = SkBuff::from_stack(NonNull::new_unchecked(skb));
        (driver, dev, frame, hv_bindings::skb_xmit_more())
    };
    match driver.transmit(dev, frame, more) {
        Ok(()) => hv_bindings::netdev_tx_NETDEV_TX_OK,
        Err(frame) => {
            // The stack still has it.
            let _ = frame.into_stack();
            hv_bindings::netdev_tx_NETDEV_TX_BUSY
        }
    }
}

extern "C" fn select_queue<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    skb: *mut hv_bindings::sk_buff,
    above: *mut hv_bindings::net_device,
) -> u16 {
    // SAFETY: As for `open`; the buffer is the caller's, and stays so.
    unsafe {
        if let Ok(kept) = u16::try_from(hv_bindings::skb_kept_queue(raw, skb)) {
            return kept;
        }
        let (driver, dev) = driver::<T>(raw);
        match driver.choose_queue(hv_bindings::skb_flow_hash(skb)) {
            Some(queue) if u32::from(queue) < dev.transmit_queues() => {
                hv_bindings::skb_keep_queue(skb, queue.into());
                queue
            }
            _ => hv_bindings::netdev_pick_tx(raw, skb, above),
        }
    }
}

extern "C" fn get_stats64<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    out: *mut hv_bindings::rtnl_link_stats64,
) {
    // SAFETY: As for `open`; `out` is valid and all zero.
    let (driver, out) = unsafe { (driver::<T>(raw).0, &mut *out) };
    let statistics = driver.statistics();
    out.rx_packets = statistics.rx_packets;
    out.rx_bytes = statistics.rx_bytes;
    out.rx_dropped = statistics.rx_dropped;
    out.rx_errors = statistics.rx_errors;
    out.multicast = statistics.multicast;
    out.tx_packets = statistics.tx_packets;
    out.tx_bytes = statistics.tx_bytes;
    out.tx_dropped = statistics.tx_dropped;
}

extern "C" fn change_mtu<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    mtu: ffi::c_int,
) -> ffi::c_int {
    // SAFETY: As for `open`.
    let (driver, dev) = unsafe { driver::<T>(raw) };
    from_result(|| {
        let mtu = u32::try_from(mtu)?;
        // SAFETY: A plain number.
        if dev.has_program() && !unsafe { hv_bindings::xdp_takes_mtu(mtu) } {
            return Err(EINVAL);
        }
        T::change_mtu(driver, dev, mtu)?;
        // SAFETY: The stack leaves it to the driver to write it, under RTNL.
        unsafe { core::ptr::write_volatile(&raw mut (*raw).mtu, mtu) };
        Ok(0)
    })
}

extern "C" fn fix_features(
    raw: *mut hv_bindings::net_device,
    features: hv_bindings::netdev_features_t,
) -> hv_bindings::netdev_features_t {
    // SAFETY: As for `open`.
    let dev = unsafe { Dev::from_raw(raw) };
    if dev.has_program() {
        // A program sees frames as they were on the wire.
        return features & !Features::LARGE_RECEIVE.to_raw();
    }
    features
}

extern "C" fn set_features<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    features: hv_bindings::netdev_features_t,
) -> ffi::c_int {
    // SAFETY: As for `open`.
    let (driver, dev) = unsafe { driver::<T>(raw) };
    from_result(|| T::change_features(driver, dev, Features::from_raw(features)).map(|()| 0))
}

extern "C" fn set_mac_address<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    address: *mut c_void,
) -> ffi::c_int {
    // SAFETY: As for `open`; the address is a `struct sockaddr` with six bytes.
    let (driver, bytes) = unsafe {
        let address = address.cast::<hv_bindings::sockaddr>();
        let bytes: [u8; 6] = (&raw const (*address).sa_data).cast::<[u8; 6]>().read();
        (driver::<T>(raw).0, bytes)
    };
    from_result(|| {
        // SAFETY: As above; asks only.
        let refused = unsafe { hv_bindings::eth_prepare_mac_addr_change(raw, address) };
        kernel::error::to_result(refused)?;
        T::change_address(driver, bytes)?;
        // SAFETY: As above.
        unsafe { hv_bindings::eth_commit_mac_addr_change(raw, address) };
        Ok(0)
    })
}

extern "C" fn set_rx_mode<T: NicDriver>(raw: *mut hv_bindings::net_device) {
    // SAFETY: As for `open`; the flags are locked by the stack.
    let (driver, flags, groups) = unsafe { (driver::<T>(raw).0, (*raw).flags, (*raw).mc.count) };
    let filter = Filter {
        promiscuous: flags & hv_bindings::net_device_flags_IFF_PROMISC != 0,
        all_multicast: flags & hv_bindings::net_device_flags_IFF_ALLMULTI != 0,
        multicast: groups != 0,
    };
    T::change_filter(driver, filter);
}

extern "C" fn tx_timeout<T: NicDriver>(raw: *mut hv_bindings::net_device, queue: ffi::c_uint) {
    // SAFETY: As for `open`.
    let (driver, dev) = unsafe { driver::<T>(raw) };
    T::timed_out(driver, dev, queue as u16);
}
