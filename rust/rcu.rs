// SPDX-License-Identifier: GPL-2.0

//! A shared pointer that is read without locks and replaced while it is read.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h).

use core::{
    marker::PhantomData,
    ptr, //
};

use crate::atomic::{Acquire, Atomic, Full};
use kernel::{
    prelude::*,
    sync::{
        rcu::Guard,
        Arc,
        ArcBorrow, //
    },
};

/// Waits until every reader that began before has ended: those with a [`Guard`], with preemption
/// off, and interrupt handlers. May sleep.
pub fn synchronize() {
    // SAFETY: Process context as documented.
    unsafe { hv_bindings::synchronize_rcu() };
}

/// Holds an `Arc` or nothing.
///
/// Reading takes no lock and works in any context. Who replaces the value keeps the old one from
/// being freed until its readers have ended, see [`Retired`].
///
/// # Invariants
///
/// `value` is null or comes from [`Arc::into_raw`], and the slot owns that reference. A reference
/// that left the slot is given up only after a grace period of RCU.
pub struct RcuSlot<T> {
    value: Atomic<*mut T>,
    _owner: PhantomData<Arc<T>>,
}

// SAFETY: The slot owns an `Arc<T>`, and gives out `Arc<T>` and `&T` on whichever thread it is;
// both is right if `T` is `Send` and `Sync`.
unsafe impl<T: Send + Sync> Send for RcuSlot<T> {}
// SAFETY: As above; the pointer itself is changed atomically.
unsafe impl<T: Send + Sync> Sync for RcuSlot<T> {}

fn into_raw<T>(value: Option<Arc<T>>) -> *mut T {
    value.map_or(ptr::null_mut(), |arc| Arc::into_raw(arc).cast_mut())
}

/// # Safety
///
/// `raw` must come from [`into_raw`], whose reference the caller owns and gives up.
unsafe fn from_raw<T>(raw: *mut T) -> Option<Arc<T>> {
    // SAFETY: The caller's promise.
    (!raw.is_null()).then(|| unsafe { Arc::from_raw(raw) })
}

impl<T> RcuSlot<T> {
    /// A slot that holds `value`.
    pub fn new(value: Option<Arc<T>>) -> Self {
        // INVARIANT: The reference goes into the slot.
        Self {
            value: Atomic::new(into_raw(value)),
            _owner: PhantomData,
        }
    }

    /// An empty slot, for statics.
    pub const fn empty() -> Self {
        // INVARIANT: Null.
        Self {
            value: Atomic::new(ptr::null_mut()),
            _owner: PhantomData,
        }
    }

    /// The value, for as long as the guard lives.
    #[inline]
    pub fn read<'g>(&'g self, _guard: &'g Guard) -> Option<ArcBorrow<'g, T>> {
        let raw = self.value.load(Acquire);
        if raw.is_null() {
            return None;
        }
        // SAFETY: By the type invariant `raw` comes from `Arc::into_raw`, and the reference that
        // belongs to it is given up only after a grace period, which can't end before the guard
        // does if the slot was replaced meanwhile; nor can the slot be dropped, being borrowed.
        Some(unsafe { ArcBorrow::from_raw(raw) })
    }

    /// A reference to the value of its own.
    #[inline]
    pub fn get(&self) -> Option<Arc<T>> {
        let guard = Guard::new();
        self.read(&guard).map(Into::into)
    }

    /// Whether it holds nothing; stale as soon as it's known.
    pub fn is_empty(&self) -> bool {
        self.value.load(Acquire).is_null()
    }

    /// Puts `value` in and takes the old one out. Any context; the result is another matter, see
    /// [`Retired`].
    pub fn replace(&self, value: Option<Arc<T>>) -> Retired<T> {
        let old = self.value.xchg(into_raw(value), Full);
        // SAFETY: The reference was the slot's and has just left it.
        let old = unsafe { from_raw(old) };
        // INVARIANT: It just left the slot.
        Retired { value: old }
    }
}

impl<T> RcuSlot<T> {
    /// Puts `value` in if the slot is empty. Any context.
    ///
    /// # Errors
    ///
    /// Gives `value` back if the slot isn't empty.
    pub fn fill(&self, value: Arc<T>) -> Result<(), Arc<T>> {
        let raw = into_raw(Some(value));
        // INVARIANT: The reference goes into the slot, or stays the caller's.
        match self.value.cmpxchg(ptr::null_mut(), raw, Full) {
            Ok(_) => Ok(()),
            // SAFETY: `raw` was made above and has gone nowhere.
            Err(_) => Err(unsafe { Arc::from_raw(raw) }),
        }
    }
}

/// Empties all of `slots` and waits for the readers once, instead of once a slot. May sleep.
pub fn clear<'a, T: 'a>(slots: impl Iterator<Item = &'a RcuSlot<T>> + Clone) {
    let full = slots.clone().filter(|slot| !slot.is_empty()).count();
    let mut retired = KVVec::new();
    // Without memory each slot waits for itself.
    let _ = retired.reserve(full, GFP_KERNEL);
    for slot in slots.filter(|slot| !slot.is_empty()) {
        let _ = retired.push_within_capacity(slot.replace(None));
    }
    if retired.is_empty() {
        return;
    }
    synchronize();
    for mut one in retired {
        // INVARIANT: The grace period has passed.
        drop(one.value.take());
    }
}

impl<T> Drop for RcuSlot<T> {
    fn drop(&mut self) {
        // There are no readers: they borrow the slot.
        let raw = self.value.xchg(ptr::null_mut(), Full);
        // SAFETY: By the type invariant the reference is the slot's.
        drop(unsafe { from_raw(raw) });
    }
}

/// What left an [`RcuSlot`] and may still be read.
///
/// Dropping it waits until the readers have ended and then gives the reference up; that **may
/// sleep**, unless the slot was empty. In atomic context it has to be kept for later.
///
/// # Invariants
///
/// A grace period may still have to pass before the reference is given up.
#[must_use = "dropping it may sleep, so do it deliberately"]
pub struct Retired<T> {
    value: Option<Arc<T>>,
}

impl<T> Retired<T> {
    /// Whether there is nothing to wait for.
    pub fn is_none(&self) -> bool {
        self.value.is_none()
    }

    /// The old value, which readers may still look at as well.
    pub fn get(&self) -> Option<ArcBorrow<'_, T>> {
        self.value.as_ref().map(Arc::as_arc_borrow)
    }

    /// Waits until the readers have ended and gives the old value back. May sleep.
    pub fn wait(mut self) -> Option<Arc<T>> {
        let value = self.value.take()?;
        synchronize();
        Some(value)
    }
}

impl<T> Drop for Retired<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            synchronize();
            drop(value);
        }
    }
}
