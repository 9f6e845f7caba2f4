// SPDX-License-Identifier: GPL-2.0

//! What programs (XDP) call: set-up, and frames that were redirected here.

use core::{
    ptr::NonNull,
    slice, //
};

use kernel::{
    error::code::EINVAL,
    ffi, //
};

use super::{
    super::{
        driver::NicDriver,
        skb::SkBuff, //
    },
    driver, //
};

pub(super) extern "C" fn setup(
    raw: *mut hv_bindings::net_device,
    what: *mut hv_bindings::netdev_bpf,
) -> ffi::c_int {
    // SAFETY: The stack calls with a device of ours, and what is wanted, under RTNL.
    unsafe { hv_bindings::xdp_setup(raw, what) }
}

/// Frames that programs of other devices send here. Returns how many of them are used up.
pub(super) extern "C" fn send<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    count: ffi::c_int,
    frames: *mut *mut hv_bindings::xdp_frame,
    flags: u32,
) -> ffi::c_int {
    if flags & !hv_bindings::XDP_XMIT_FLAGS_MASK != 0 {
        return EINVAL.to_errno();
    }
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: The stack calls with a device of this driver, and so many frames.
    let (driver, dev, frames, queue) = unsafe {
        let (driver, dev) = driver::<T>(raw);
        let queue = hv_bindings::tx_queue_here(raw);
        (driver, dev, slice::from_raw_parts(frames, count), queue)
    };
    let mut used = 0;
    let mut make = || {
        let frame = *frames.get(used)?;
        // SAFETY: A frame of the stack's; it is used up if a buffer comes of it.
        let skb = NonNull::new(unsafe { hv_bindings::xdp_buffer(raw, frame) })?;
        used += 1;
        // SAFETY: Just made.
        Some(unsafe { SkBuff::from_stack(skb) })
    };
    // One ahead: the host is told of all at once, when there really is no other.
    let mut ahead = make();
    let mut next = || {
        let frame = ahead.take()?;
        ahead = make();
        Some((frame, ahead.is_some()))
    };
    dev.send_frames(&*driver, queue, &mut next);
    used as ffi::c_int
}
