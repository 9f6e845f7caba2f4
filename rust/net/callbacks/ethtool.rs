// SPDX-License-Identifier: GPL-2.0

//! What `ethtool` calls.

use core::{
    mem::MaybeUninit,
    slice, //
};

use kernel::{
    error::from_result,
    ffi,
    fmt::Write,
    prelude::*, //
};

use super::{
    super::{
        driver::NicDriver,
        ethtool::{
            Above,
            FlowKind,
            HashFields, //
        }, //
    },
    driver, //
};

struct Tables<T>(T);

impl<T: NicDriver> Tables<T> {
    const ETHTOOL: hv_bindings::ethtool_ops = table!(ethtool_ops {
        get_drvinfo: get_drvinfo::<T>;
        get_link: hv_bindings::ethtool_op_get_link;
        get_link_ksettings: get_link_ksettings::<T>;
        get_ts_info: hv_bindings::ethtool_op_get_ts_info;
        get_channels: get_channels::<T>;
        set_channels: set_channels::<T>, if T::HAS_CHANGE_CHANNELS;
        get_ringparam: get_ringparam::<T>, if T::HAS_RINGS;
        set_ringparam: set_ringparam::<T>, if T::HAS_CHANGE_RINGS;
        get_rx_ring_count: get_rx_ring_count::<T>;
        get_rxfh_key_size: get_rxfh_key_size::<T>, if T::HAS_SPREAD;
        get_rxfh_indir_size: get_rxfh_indir_size::<T>, if T::HAS_SPREAD;
        get_rxfh: get_rxfh::<T>, if T::HAS_SPREAD;
        set_rxfh: set_rxfh::<T>, if T::HAS_CHANGE_SPREAD;
        get_rxfh_fields: get_rxfh_fields::<T>, if T::HAS_HASH_FIELDS;
        set_rxfh_fields: set_rxfh_fields::<T>, if T::HAS_CHANGE_HASH_FIELDS;
        get_sset_count: get_sset_count::<T>;
        get_strings: get_strings::<T>;
        get_ethtool_stats: get_ethtool_stats::<T>;
    });
}

/// The table of a driver.
pub(in super::super) fn operations<T: NicDriver>() -> &'static hv_bindings::ethtool_ops {
    &Tables::<T>::ETHTOOL
}

extern "C" fn get_drvinfo<T: NicDriver>(
    _raw: *mut hv_bindings::net_device,
    out: *mut hv_bindings::ethtool_drvinfo,
) {
    // SAFETY: The caller's, all zero.
    let out = unsafe { &mut *out };
    let name = T::NAME.to_bytes();
    let last = out.driver.len() - 1;
    for (to, from) in out.driver[..last].iter_mut().zip(name) {
        *to = *from;
    }
}

extern "C" fn get_link_ksettings<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    out: *mut hv_bindings::ethtool_link_ksettings,
) -> ffi::c_int {
    // SAFETY: As for `open`; `out` is valid.
    let (driver, out) = unsafe { (driver::<T>(raw).0, &mut *out) };
    let link = driver.link();
    out.base.speed = link.megabits.unwrap_or(u32::MAX);
    out.base.duplex = if link.megabits.is_some() {
        hv_bindings::DUPLEX_FULL as u8
    } else {
        hv_bindings::DUPLEX_UNKNOWN as u8
    };
    out.base.port = hv_bindings::PORT_OTHER as u8;
    0
}

extern "C" fn get_channels<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    out: *mut hv_bindings::ethtool_channels,
) {
    // SAFETY: As for `get_link_ksettings`.
    let (driver, out) = unsafe { (driver::<T>(raw).0, &mut *out) };
    let channels = driver.channels();
    out.max_combined = channels.most;
    out.combined_count = channels.used;
}

extern "C" fn set_channels<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    wanted: *mut hv_bindings::ethtool_channels,
) -> ffi::c_int {
    // SAFETY: As for `get_link_ksettings`.
    let (driver, dev, wanted) = unsafe {
        let (driver, dev) = driver::<T>(raw);
        (driver, dev, &*wanted)
    };
    from_result(|| {
        // Every channel has a queue each way.
        if wanted.combined_count == 0 || wanted.rx_count != 0 || wanted.tx_count != 0 {
            return Err(EINVAL);
        }
        T::change_channels(driver, dev, wanted.combined_count).map(|()| 0)
    })
}

extern "C" fn get_ringparam<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    out: *mut hv_bindings::ethtool_ringparam,
    _more: *mut hv_bindings::kernel_ethtool_ringparam,
    _why: *mut hv_bindings::netlink_ext_ack,
) {
    // SAFETY: As for `get_link_ksettings`.
    let (driver, out) = unsafe { (driver::<T>(raw).0, &mut *out) };
    let rings = driver.rings();
    out.rx_max_pending = rings.most_receive;
    out.rx_pending = rings.receive;
    out.tx_max_pending = rings.most_send;
    out.tx_pending = rings.send;
}

extern "C" fn set_ringparam<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    wanted: *mut hv_bindings::ethtool_ringparam,
    _more: *mut hv_bindings::kernel_ethtool_ringparam,
    _why: *mut hv_bindings::netlink_ext_ack,
) -> ffi::c_int {
    // SAFETY: As for `get_link_ksettings`.
    let (driver, dev, wanted) = unsafe {
        let (driver, dev) = driver::<T>(raw);
        (driver, dev, &*wanted)
    };
    from_result(|| T::change_rings(driver, dev, wanted.rx_pending, wanted.tx_pending).map(|()| 0))
}

extern "C" fn get_rx_ring_count<T: NicDriver>(raw: *mut hv_bindings::net_device) -> u32 {
    // SAFETY: The stack calls with a device of this driver.
    unsafe { driver::<T>(raw).1 }.receive_queues()
}

extern "C" fn get_rxfh_key_size<T: NicDriver>(raw: *mut hv_bindings::net_device) -> u32 {
    // SAFETY: As for `get_rx_ring_count`.
    unsafe { driver::<T>(raw).0 }.spread_size().key
}

extern "C" fn get_rxfh_indir_size<T: NicDriver>(raw: *mut hv_bindings::net_device) -> u32 {
    // SAFETY: As for `get_rx_ring_count`.
    unsafe { driver::<T>(raw).0 }.spread_size().entries
}

extern "C" fn get_rxfh<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    out: *mut hv_bindings::ethtool_rxfh_param,
) -> ffi::c_int {
    // SAFETY: As for `get_link_ksettings`.
    let (driver, out) = unsafe { (driver::<T>(raw).0, &mut *out) };
    // Not the driver's sizes of now: these are those of what was allocated.
    // SAFETY: Each is null, or has as many places as is said.
    let (table, key) = unsafe {
        (
            places(out.indir, out.indir_size),
            places(out.key, out.key_size), //
        )
    };
    driver.spread(table, key);
    out.hfunc = hv_bindings::HASH_TOEPLITZ;
    0
}

extern "C" fn set_rxfh<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    wanted: *mut hv_bindings::ethtool_rxfh_param,
    _why: *mut hv_bindings::netlink_ext_ack,
) -> ffi::c_int {
    // SAFETY: As for `get_link_ksettings`.
    let (driver, dev, wanted) = unsafe {
        let (driver, dev) = driver::<T>(raw);
        (driver, dev, &*wanted)
    };
    from_result(|| {
        let function = wanted.hfunc;
        if function != hv_bindings::HASH_NO_CHANGE && function != hv_bindings::HASH_TOEPLITZ {
            return Err(EOPNOTSUPP);
        }
        // SAFETY: Each is null, or has as many places as is said.
        let (table, key) = unsafe {
            (
                places(wanted.indir, wanted.indir_size),
                places(wanted.key, wanted.key_size),
            )
        };
        let table = (!table.is_empty()).then_some(&*table);
        let key = (!key.is_empty()).then_some(&*key);
        T::change_spread(driver, dev, table, key).map(|()| 0)
    })
}

/// Which packets a request is about.
fn flow_kind(request: &hv_bindings::ethtool_rxfh_fields) -> Result<FlowKind> {
    let (v6, above) = match request.flow_type {
        hv_bindings::FLOW_TCP_V4 => (false, Above::Tcp),
        hv_bindings::FLOW_TCP_V6 => (true, Above::Tcp),
        hv_bindings::FLOW_UDP_V4 => (false, Above::Udp),
        hv_bindings::FLOW_UDP_V6 => (true, Above::Udp),
        hv_bindings::FLOW_IP_V4 => (false, Above::Anything),
        hv_bindings::FLOW_IP_V6 => (true, Above::Anything),
        _ => return Err(EOPNOTSUPP),
    };
    Ok(FlowKind { v6, above })
}

extern "C" fn get_rxfh_fields<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    request: *mut hv_bindings::ethtool_rxfh_fields,
) -> ffi::c_int {
    // SAFETY: As for `get_link_ksettings`.
    let (driver, request) = unsafe { (driver::<T>(raw).0, &mut *request) };
    from_result(|| {
        request.data = match driver.hash_fields(flow_kind(request)?) {
            HashFields::Nothing => 0,
            HashFields::Addresses => hv_bindings::HASH_ADDRESSES,
            HashFields::AddressesAndPorts => hv_bindings::HASH_ADDRESSES | hv_bindings::HASH_PORTS,
        };
        Ok(0)
    })
}

extern "C" fn set_rxfh_fields<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    request: *const hv_bindings::ethtool_rxfh_fields,
    _why: *mut hv_bindings::netlink_ext_ack,
) -> ffi::c_int {
    // SAFETY: As for `get_link_ksettings`.
    let (driver, request) = unsafe { (driver::<T>(raw).0, &*request) };
    from_result(|| {
        let kind = flow_kind(request)?;
        let (addresses, ports) = (hv_bindings::HASH_ADDRESSES, hv_bindings::HASH_PORTS);
        let fields = match request.data {
            0 => HashFields::Nothing,
            data if data == addresses => HashFields::Addresses,
            data if data == addresses | ports => HashFields::AddressesAndPorts,
            _ => return Err(EOPNOTSUPP),
        };
        T::change_hash_fields(driver, kind, fields).map(|()| 0)
    })
}

/// The places at a pointer that may be null.
///
/// # Safety
///
/// It is null, or valid for so many that nobody else uses during `'a`.
unsafe fn places<'a, V>(pointer: *mut V, count: u32) -> &'a mut [V] {
    if pointer.is_null() || count == hv_bindings::INDIR_NO_CHANGE {
        return &mut [];
    }
    // SAFETY: The caller's promise.
    unsafe { slice::from_raw_parts_mut(pointer, count as usize) }
}

extern "C" fn get_sset_count<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    set: ffi::c_int,
) -> ffi::c_int {
    if set != hv_bindings::ethtool_stringset_ETH_SS_STATS as i32 {
        return EOPNOTSUPP.to_errno();
    }
    let mut count = 0;
    // SAFETY: As for `get_rx_ring_count`.
    unsafe { driver::<T>(raw).0 }.counters(&mut |_, _| count += 1);
    count
}

/// A name of a counter, always with a zero at the end.
struct Name<'a> {
    bytes: &'a mut [u8],
    length: usize,
}

impl Write for Name<'_> {
    fn write_str(&mut self, part: &str) -> kernel::fmt::Result {
        for byte in part.bytes() {
            if self.length + 1 < self.bytes.len() {
                self.bytes[self.length] = byte;
                self.length += 1;
            }
        }
        Ok(())
    }
}

extern "C" fn get_strings<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    set: ffi::c_uint,
    out: *mut u8,
) {
    const LENGTH: usize = hv_bindings::ETH_GSTRING_LEN as usize;
    if set != hv_bindings::ethtool_stringset_ETH_SS_STATS {
        return;
    }
    let mut at = out;
    // SAFETY: As for `get_rx_ring_count`.
    unsafe { driver::<T>(raw).0 }.counters(&mut |name, _| {
        // SAFETY: There is room for as many names as `get_sset_count` counted, all zero.
        let bytes = unsafe { slice::from_raw_parts_mut(at, LENGTH) };
        // It doesn't fail: what doesn't fit is left out.
        let _ = Name { bytes, length: 0 }.write_fmt(name);
        at = at.wrapping_add(LENGTH);
    });
}

extern "C" fn get_ethtool_stats<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    _head: *mut hv_bindings::ethtool_stats,
    out: *mut u64,
) {
    let mut at = out;
    // SAFETY: As for `get_rx_ring_count`.
    unsafe { driver::<T>(raw).0 }.counters(&mut |_, value| {
        // SAFETY: There is room for as many as `get_sset_count` counted.
        unsafe { at.write(value) };
        at = at.wrapping_add(1);
    });
}
