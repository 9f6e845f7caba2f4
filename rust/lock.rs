// SPDX-License-Identifier: GPL-2.0

//! Locks that the `kernel` crate lacks.
//!
//! [`IrqLock`] is a `raw_spinlock_t` taken with interrupts off, for data that a hard interrupt handler
//! shares with everybody else. [`TryCell`] is not a lock one waits for: it hands its contents to one
//! owner at a time and tells everybody else to come back later.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use core::{
    cell::UnsafeCell,
    ops::{Deref, DerefMut},
};

use crate::atomic::{Acquire, Atomic, Release};
use kernel::{
    ffi,
    sync::lock::{Backend, Guard, Lock},
};

/// A spinlock that keeps interrupts off on this CPU while it is held.
///
/// May be taken in any context, hard interrupts included. Created with [`new_irq_lock!`].
///
/// [`new_irq_lock!`]: crate::new_irq_lock
pub type IrqLock<T> = Lock<T, IrqBackend>;

/// The guard of an [`IrqLock`]; interrupts are restored when it is dropped.
pub type IrqGuard<'a, T> = Guard<'a, T, IrqBackend>;

/// `raw_spin_lock_irqsave()` and `raw_spin_unlock_irqrestore()` as a lock backend: raw, because on a
/// real-time kernel a `spinlock_t` sleeps, which a hard interrupt handler mustn't.
pub struct IrqBackend;

/// Makes an initialiser of an [`IrqLock`](crate::lock::IrqLock) with a lock class of its own.
#[macro_export]
macro_rules! new_irq_lock {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::lock::IrqLock::new(
            $inner,
            ::kernel::optional_name!($($name)?),
            ::kernel::static_lock_class!(),
        )
    };
}

// SAFETY: `raw_spinlock_t` ensures mutual exclusion. The state kept between `lock` and `unlock` is the
// saved interrupt flag; `relock` is the default one, which locks the same way.
unsafe impl Backend for IrqBackend {
    type State = kernel::bindings::raw_spinlock_t;
    type GuardState = ffi::c_ulong;

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const ffi::c_char,
        key: *mut kernel::bindings::lock_class_key,
    ) {
        // SAFETY: The caller guarantees that `ptr` is valid for writes and that `name` and `key`
        // live for ever.
        unsafe { hv_bindings::raw_spin_lock_init(ptr.cast(), name, key.cast()) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The caller guarantees that `ptr` was initialised by `init`.
        unsafe { hv_bindings::raw_spin_lock_irqsave(ptr.cast()) }
    }

    #[inline]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        let mut flags = 0;
        // SAFETY: The caller guarantees that `ptr` was initialised by `init`; `flags` is valid for
        // the write.
        (unsafe { hv_bindings::raw_spin_trylock_irqsave(ptr.cast(), &mut flags) } != 0)
            .then_some(flags)
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, flags: &Self::GuardState) {
        // SAFETY: The caller owns the lock, and `flags` is what taking it returned.
        unsafe { hv_bindings::raw_spin_unlock_irqrestore(ptr.cast(), *flags) }
    }

    #[inline]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The caller guarantees that `ptr` was initialised by `init`.
        #[cfg(CONFIG_LOCKDEP)]
        unsafe {
            hv_bindings::raw_spin_assert_is_held(ptr.cast())
        }
        #[cfg(not(CONFIG_LOCKDEP))]
        let _ = ptr;
    }
}

/// A value with one user at a time, who never waits.
///
/// # Invariants
///
/// At most one [`TryGuard`] of a cell exists; it exists if and only if `taken` is 1.
pub struct TryCell<T> {
    taken: Atomic<u32>,
    value: UnsafeCell<T>,
}

// SAFETY: The value moves with the cell.
unsafe impl<T: Send> Send for TryCell<T> {}

// SAFETY: By the type invariant at most one thread reaches the value at a time, so sharing the cell
// only moves access to the value between threads.
unsafe impl<T: Send> Sync for TryCell<T> {}

impl<T> TryCell<T> {
    /// Puts `value` into a cell that nobody has taken yet.
    pub const fn new(value: T) -> Self {
        // INVARIANT: No guard exists.
        Self {
            taken: Atomic::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the value; `None` while somebody else has it. Any context.
    #[inline]
    pub fn try_take(&self) -> Option<TryGuard<'_, T>> {
        // INVARIANT: Only one caller changes `taken` from 0 to 1 until a guard is dropped.
        self.taken
            .cmpxchg(0, 1, Acquire)
            .ok()
            .map(|_| TryGuard { cell: self })
    }
}

/// The right to use the value of a [`TryCell`]; given back when dropped.
pub struct TryGuard<'a, T> {
    cell: &'a TryCell<T>,
}

impl<T> Deref for TryGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariant of `TryCell`, this guard is the only one.
        unsafe { &*self.cell.value.get() }
    }
}

impl<T> DerefMut for TryGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariant of `TryCell`, this guard is the only one, and it is
        // borrowed mutably.
        unsafe { &mut *self.cell.value.get() }
    }
}

impl<T> Drop for TryGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // INVARIANT: This was the only guard.
        self.cell.taken.store(0, Release);
    }
}
