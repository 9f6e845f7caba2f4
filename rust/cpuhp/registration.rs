// SPDX-License-Identifier: GPL-2.0

//! Callbacks for CPUs that come and go.

use core::ptr::NonNull;

use crate::atomic::{Atomic, Relaxed};
use kernel::{error::to_result, ffi, prelude::*};

use super::CpusRead;

/// How many calls of [`Registration`] are in progress in which the kernel doesn't bear a "down"
/// that fails. Changed with the hot-plug lock held for reading, when no CPU is on its way down, so
/// that it never concerns a CPU that really goes.
static MUST_SUCCEED: Atomic<i32> = Atomic::new(0);

/// Hot-plug callbacks of a driver, in the kernel's dynamic on-line states.
///
/// Dropping it runs "down" on each CPU for which "up" ran. The callbacks run in process context in
/// a thread that is bound to the CPU, with the hot-plug lock held; they may sleep.
#[must_use = "the callbacks are removed when this is dropped"]
pub struct Registration {
    state: hv_bindings::cpuhp_state,
}

/// Makes a value of a zero-sized type that has been seen before.
fn conjure<F: Copy + 'static>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "callbacks are functions, or closures that capture nothing"
        )
    };
    // SAFETY: A zero-sized value can be copied from any aligned address. That one may exist is
    // known since `Registration::new` was given one; being `Copy` it's no token that may exist only
    // once.
    unsafe { *NonNull::<F>::dangling().as_ptr() }
}

extern "C" fn up<U: Fn(u32) -> Result + Copy + 'static>(cpu: ffi::c_uint) -> ffi::c_int {
    match conjure::<U>()(cpu) {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

extern "C" fn down<D: Fn(u32) -> Result + Copy + 'static>(cpu: ffi::c_uint) -> ffi::c_int {
    match conjure::<D>()(cpu) {
        Ok(()) => 0,
        Err(_) if MUST_SUCCEED.load(Relaxed) > 0 => 0,
        Err(e) => e.to_errno(),
    }
}

impl Registration {
    /// Runs `up` on each on-line CPU one by one, and from now on for each that comes; `down` for
    /// each that goes, which may refuse. May sleep; not with the hot-plug lock held.
    ///
    /// If `up` fails on a CPU, `down` runs on those before it. In that case, and when the
    /// registration is dropped, an error of `down` is ignored: the kernel can't bear it.
    ///
    /// # Errors
    ///
    /// What `up` returned, or `ENOSPC` if the kernel's dynamic states are used up.
    pub fn new<U, D>(name: &'static CStr, _up: U, _down: D) -> Result<Self>
    where
        U: Fn(u32) -> Result + Copy + 'static,
        D: Fn(u32) -> Result + Copy + 'static,
    {
        let _cpus = CpusRead::lock();
        MUST_SUCCEED.add(1, Relaxed);
        // SAFETY: The hot-plug lock is held, the name is static, and the functions stay until
        // `drop` has removed them.
        let state = unsafe {
            hv_bindings::__cpuhp_setup_state_cpuslocked(
                hv_bindings::CPUHP_AP_ONLINE_DYN,
                name.as_char_ptr(),
                true,
                Some(up::<U>),
                Some(down::<D>),
                false,
            )
        };
        MUST_SUCCEED.add(-1, Relaxed);
        if state < 0 {
            to_result(state)?;
        }
        Ok(Self {
            state: state as hv_bindings::cpuhp_state,
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _cpus = CpusRead::lock();
        MUST_SUCCEED.add(1, Relaxed);
        // SAFETY: The hot-plug lock is held and the state is ours.
        unsafe { hv_bindings::__cpuhp_remove_state_cpuslocked(self.state, true) };
        MUST_SUCCEED.add(-1, Relaxed);
    }
}
