// SPDX-License-Identifier: GPL-2.0

//! A place for one pointer-like value, given and taken without a lock.

use crate::atomic::{Atomic, Full};
use core::{
    ffi::c_void,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};

/// A value that is one pointer and can be made of it again.
///
/// # Safety
///
/// `from_raw` of what `into_raw` returned gives the same value back, on any thread.
pub unsafe trait Pointer: Send + Sized {
    /// Turns the value into its pointer.
    fn into_raw(self) -> NonNull<c_void>;

    /// Turns the pointer into its value again.
    ///
    /// # Safety
    ///
    /// `raw` comes from [`Pointer::into_raw`], and this is the only use of it.
    unsafe fn from_raw(raw: NonNull<c_void>) -> Self;
}

/// Holds one value or none. Any context, never waits.
///
/// # Invariants
///
/// `raw` is null or comes from [`Pointer::into_raw`] of a value that the slot owns.
pub struct PointerSlot<P: Pointer> {
    raw: Atomic<*mut c_void>,
    _owner: PhantomData<P>,
}

// SAFETY: The slot only moves values between threads, which `Pointer` allows.
unsafe impl<P: Pointer> Send for PointerSlot<P> {}
// SAFETY: As above; the pointer is exchanged atomically.
unsafe impl<P: Pointer> Sync for PointerSlot<P> {}

impl<P: Pointer> PointerSlot<P> {
    /// An empty slot.
    pub const fn new() -> Self {
        // INVARIANT: Null.
        Self {
            raw: Atomic::new(ptr::null_mut()),
            _owner: PhantomData,
        }
    }

    fn exchange(&self, raw: *mut c_void) -> Option<P> {
        let old = NonNull::new(self.raw.xchg(raw, Full))?;
        // SAFETY: By the type invariant it comes from `into_raw`; it has just left the slot, so no
        // one else gets it.
        Some(unsafe { P::from_raw(old) })
    }

    /// Puts a value in and takes out what was there.
    #[inline]
    pub fn put(&self, value: P) -> Option<P> {
        // INVARIANT: From `into_raw`, and the slot's from now on.
        self.exchange(value.into_raw().as_ptr())
    }

    /// Takes the value out.
    #[inline]
    pub fn take(&self) -> Option<P> {
        self.exchange(ptr::null_mut())
    }
}

impl<P: Pointer> Default for PointerSlot<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Pointer> Drop for PointerSlot<P> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
