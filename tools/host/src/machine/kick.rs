// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Getting a processor's thread out of the guest.
//!
//! The signal is blocked in the thread except while KVM runs the guest (KVM_SET_SIGNAL_MASK): a
//! kick that comes in between stays pending and ends the next run before it begins, so none is
//! ever lost and there is no handler.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use kvm_bindings::{kvm_signal_mask, KVMIO};
use parking_lot::Mutex;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

/// Bytes of the kernel's own `sigset_t`.
const SIGSET_BYTES: usize = 8;

ioctl_iow_nr!(SET_SIGNAL_MASK, KVMIO, 0x8b, kvm_signal_mask);

/// `struct kvm_signal_mask` with its mask.
#[repr(C)]
struct Mask {
    head: kvm_signal_mask,
    mask: [u8; SIGSET_BYTES],
}

/// One processor's thread, as others see it.
#[derive(Debug, Default)]
pub(super) struct Kicker {
    /// The thread's id while it runs the processor.
    thread: Mutex<Option<libc::pid_t>>,
    /// A signal is on its way.
    kicked: AtomicBool,
}

/// Ends the thread's registration when it goes.
pub(super) struct Registration<'a>(&'a Kicker);

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        *self.0.thread.lock() = None;
    }
}

fn signal() -> libc::c_int {
    libc::SIGRTMIN()
}

fn this_thread() -> libc::pid_t {
    // SAFETY: takes nothing and always works.
    unsafe { libc::gettid() }
}

/// A set with just the signal in it.
fn signal_set() -> libc::sigset_t {
    // SAFETY: a `sigset_t` is plain data, made valid by `sigemptyset`; the signal's number is one.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal());
        set
    }
}

impl Kicker {
    /// Makes this thread the one that runs `vcpu`.
    ///
    /// # Errors
    ///
    /// When KVM refuses.
    pub(super) fn register(&self, vcpu: &impl AsRawFd) -> io::Result<Registration<'_>> {
        let set = signal_set();
        // What the rest of the program blocks (to wait for it elsewhere) stays blocked in the
        // guest, too: only this one signal gets through.
        // SAFETY: both sets are valid, a `sigset_t` of zeros is one.
        let inside = unsafe {
            let mut inside: libc::sigset_t = std::mem::zeroed();
            let error = libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut inside);
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            libc::sigdelset(&mut inside, signal());
            inside
        };
        let mut mask = Mask {
            head: kvm_signal_mask {
                len: SIGSET_BYTES as u32,
                ..Default::default()
            },
            mask: [0; SIGSET_BYTES],
        };
        // SAFETY: the library's set begins with the kernel's, as the system call takes it.
        unsafe {
            std::ptr::copy_nonoverlapping(
                std::ptr::from_ref(&inside).cast::<u8>(),
                mask.mask.as_mut_ptr(),
                SIGSET_BYTES,
            );
        }
        // SAFETY: KVM reads `len` bytes behind the head, which are there.
        if unsafe { ioctl_with_ref(vcpu, SET_SIGNAL_MASK(), &mask) } != 0 {
            return Err(io::Error::last_os_error());
        }
        *self.thread.lock() = Some(this_thread());
        Ok(Registration(self))
    }

    /// Has the thread leave the guest; a thread that is here anyway looks at its work before it
    /// goes back.
    pub(super) fn kick(&self) {
        let thread = self.thread.lock();
        let Some(thread_id) = *thread else { return };
        if thread_id == this_thread() || self.kicked.swap(true, Ordering::SeqCst) {
            return;
        }
        // SAFETY: the thread exists: it takes itself out under the lock before it ends. It has
        // the signal blocked.
        let answer =
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread_id, signal()) };
        if answer != 0 {
            // The queue of signals is full: there is one for this thread already.
            tracing::debug!("kick: {}", io::Error::last_os_error());
        }
    }

    /// On the processor's thread, after the guest was left by a signal, before its work is looked
    /// at.
    pub(super) fn taken(&self) {
        let set = signal_set();
        let none = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        loop {
            // SAFETY: all pointers are valid; without a signal it returns at once.
            let got = unsafe { libc::sigtimedwait(&set, std::ptr::null_mut(), &none) };
            if got < 0 {
                break;
            }
        }
        self.kicked.store(false, Ordering::SeqCst);
    }
}
