// SPDX-License-Identifier: GPL-2.0

//! The kernel's hooks for VMBus clients: interrupt, kexec and crash.
//!
//! The kernel has one of each. A registration takes it, and gives it back when it is dropped; the
//! C driver takes them without asking, therefore [`c_driver_present`] comes first.
//!
//! [`c_driver_present`]: super::c_driver_present

use core::marker::PhantomData;

use crate::atomic::{Acquire, Atomic, Release};
use kernel::prelude::*;

use super::Hypervisor;

/// A hook of which there is one in the kernel.
struct Hook {
    taken: Atomic<bool>,
}

impl Hook {
    const fn new() -> Self {
        Self {
            taken: Atomic::new(false),
        }
    }

    fn take(&self) -> Result {
        match self.taken.cmpxchg(false, true, Acquire) {
            Ok(_) => Ok(()),
            Err(_) => Err(EBUSY),
        }
    }

    fn give_back(&self) {
        self.taken.store(false, Release);
    }
}

static ISR: Hook = Hook::new();
static KEXEC: Hook = Hook::new();
static CRASH: Hook = Hook::new();

/// What handles the hypervisor's interrupt.
pub trait Isr {
    /// Runs in hard interrupt context, with interrupts off, on the CPU whose SynIC raised it.
    fn isr();
}

/// The interrupt handler while this lives.
#[must_use = "the handler is removed when this is dropped"]
pub struct IsrRegistration(PhantomData<()>);

impl IsrRegistration {
    /// Makes `T` the handler of the hypervisor's interrupt on all CPUs.
    ///
    /// # Errors
    ///
    /// `EBUSY` if this crate has a handler already.
    pub fn new<T: Isr>(_hv: Hypervisor) -> Result<Self> {
        /// Called by `sysvec_hyperv_callback`.
        extern "C" fn trampoline<T: Isr>() {
            T::isr();
        }

        ISR.take()?;
        // SAFETY: The function stays until `drop` has removed it and waited.
        unsafe { hv_bindings::hv_setup_vmbus_handler(Some(trampoline::<T>)) };
        Ok(Self(PhantomData))
    }
}

impl Drop for IsrRegistration {
    /// Waits until no CPU is in the handler any more. May sleep.
    fn drop(&mut self) {
        // SAFETY: The handler is ours. An interrupt is a read-side section of RCU, so that after
        // `synchronize_rcu` no CPU runs a handler that it found before.
        unsafe {
            hv_bindings::hv_remove_vmbus_handler();
            hv_bindings::synchronize_rcu();
        }
        ISR.give_back();
    }
}

/// What is told that another kernel is about to be started.
pub trait Kexec {
    /// Runs in process context, other CPUs still up, devices already shut down. May sleep.
    fn kexec();
}

/// The kexec handler while this lives.
#[must_use = "the handler is removed when this is dropped"]
pub struct KexecHandler(PhantomData<()>);

impl KexecHandler {
    /// Makes `T` the handler.
    ///
    /// # Errors
    ///
    /// `EBUSY` if this crate has a handler already.
    pub fn new<T: Kexec>(_hv: Hypervisor) -> Result<Self> {
        /// Called by `hv_machine_shutdown`.
        extern "C" fn trampoline<T: Kexec>() {
            T::kexec();
        }

        KEXEC.take()?;
        // SAFETY: The function stays until `drop` has removed it.
        unsafe { hv_bindings::hv_setup_kexec_handler(Some(trampoline::<T>)) };
        Ok(Self(PhantomData))
    }
}

impl Drop for KexecHandler {
    /// Waits for a reboot or suspend in progress. May sleep; not to be called from the handler.
    fn drop(&mut self) {
        // SAFETY: The handler is ours. A reboot holds the lock that `lock_system_sleep` takes, so
        // that nobody is in the handler when it is removed.
        unsafe {
            let flags = hv_bindings::lock_system_sleep();
            hv_bindings::hv_remove_kexec_handler();
            hv_bindings::unlock_system_sleep(flags);
        }
        KEXEC.give_back();
    }
}

/// What is told that this kernel crashed and a crash kernel is about to be started.
pub trait Crash {
    /// Runs on the crashed CPU in any context, interrupts off. Mustn't sleep, take locks or
    /// allocate; other CPUs may still run.
    fn crash();
}

/// The crash handler while this lives.
#[must_use = "the handler is removed when this is dropped"]
pub struct CrashHandler(PhantomData<()>);

impl CrashHandler {
    /// Makes `T` the handler.
    ///
    /// # Errors
    ///
    /// `EBUSY` if this crate has a handler already.
    pub fn new<T: Crash>(_hv: Hypervisor) -> Result<Self> {
        /// Called by `hv_guest_crash_shutdown`.
        extern "C" fn trampoline<T: Crash>(_regs: *mut hv_bindings::pt_regs) {
            T::crash();
        }

        CRASH.take()?;
        // SAFETY: The function stays until `drop` has removed it; a crash is the last thing that
        // this kernel does, so that no handler found before is still to be run after.
        unsafe { hv_bindings::hv_setup_crash_handler(Some(trampoline::<T>)) };
        Ok(Self(PhantomData))
    }
}

impl Drop for CrashHandler {
    fn drop(&mut self) {
        // SAFETY: The handler is ours.
        unsafe { hv_bindings::hv_remove_crash_handler() };
        CRASH.give_back();
    }
}
