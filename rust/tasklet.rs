// SPDX-License-Identifier: GPL-2.0

//! Tasklets: functions that are called in a soft interrupt, soon after somebody has asked for it, one call
//! at a time.
//!
//! A work item of a queue of soft interrupts does the same; a tasklet does it with a fraction of the
//! instructions, for what happens with each packet.
//!
//! C header: [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h)

use core::{marker::PhantomData, mem};

use crate::atomic::{Atomic, Full, Relaxed};
use kernel::{
    prelude::*,
    sync::{rcu, Arc, ArcBorrow},
    types::Opaque,
};

/// Nobody has asked yet.
const NEW: u32 = 0;
/// Somebody has, and the tasklet has a reference of its value.
const HELD: u32 = 1;
/// It isn't called any more.
const DEAD: u32 = 2;

/// A tasklet inside of a value that lives in an [`Arc`]; see [`impl_has_tasklet`](crate::impl_has_tasklet).
#[pin_data]
pub struct Tasklet<T> {
    #[pin]
    raw: Opaque<hv_bindings::tasklet_struct>,
    state: Atomic<u32>,
    _of: PhantomData<fn(T)>,
}

// SAFETY: Tasklets lock themselves.
unsafe impl<T> Send for Tasklet<T> {}
// SAFETY: As above.
unsafe impl<T> Sync for Tasklet<T> {}

/// A value with a tasklet.
///
/// # Safety
///
/// `tasklet` returns the field at `OFFSET` bytes. `impl_has_tasklet!` sees to it.
pub unsafe trait HasTasklet: Send + Sync + Sized + 'static {
    /// Where the field is.
    const OFFSET: usize;

    /// The field.
    fn tasklet(&self) -> &Tasklet<Self>;
}

/// What a tasklet does.
pub trait SoftItem: HasTasklet {
    /// Called in a soft interrupt.
    fn run(this: ArcBorrow<'_, Self>);
}

/// Says which field of a type is its tasklet.
#[macro_export]
macro_rules! impl_has_tasklet {
    (impl HasTasklet for $type:ty { self.$field:ident }) => {
        // SAFETY: It is that field.
        unsafe impl $crate::tasklet::HasTasklet for $type {
            const OFFSET: usize = ::core::mem::offset_of!($type, $field);

            #[inline]
            fn tasklet(&self) -> &$crate::tasklet::Tasklet<Self> {
                &self.$field
            }
        }
    };
}

impl<T: SoftItem> Tasklet<T> {
    /// A tasklet that nobody has asked for.
    #[allow(clippy::new_ret_no_self, reason = "pinned in place")]
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            raw <- Opaque::ffi_init(|slot| {
                // SAFETY: There is room for it; it stays where it is.
                unsafe { hv_bindings::tasklet_setup(slot, Some(call::<T>)) }
            }),
            state: Atomic::new(NEW),
            _of: PhantomData,
        })
    }
}

/// Has the tasklet called on this CPU, unless it is about to be. Any context; under RCU, so that whoever
/// cancels waits for it.
#[inline]
pub fn schedule<T: SoftItem>(this: ArcBorrow<'_, T>, _guard: &rcu::Guard) {
    let tasklet = this.tasklet();
    if tasklet.state.load(Relaxed) != HELD {
        match tasklet.state.cmpxchg(NEW, HELD, Full) {
            Ok(_) => mem::forget(Arc::from(this)),
            Err(HELD) => {}
            Err(_) => return,
        }
    }
    // SAFETY: It was set up, and the value outlives it: `cancel_sync`.
    unsafe { hv_bindings::tasklet_schedule(tasklet.raw.get()) };
}

/// Waits until a tasklet that was asked for has been called; it is called once more afterwards. May sleep; not
/// from the tasklet itself, nor beside [`cancel_sync`].
pub fn flush<T: SoftItem>(this: &Arc<T>) {
    // SAFETY: It was set up, and the caller keeps its value.
    unsafe { hv_bindings::tasklet_kill(this.tasklet().raw.get()) };
    // Whoever has asked meanwhile found that it was asked for.
    schedule(this.as_arc_borrow(), &rcu::read_lock());
}

/// Waits until the tasklet isn't called any more, and ever. May sleep; not from the tasklet itself.
///
/// A value whose tasklet was asked for and isn't cancelled is never dropped.
pub fn cancel_sync<T: SoftItem>(this: &Arc<T>) {
    let tasklet = this.tasklet();
    if tasklet.state.xchg(DEAD, Full) != HELD {
        // Nobody has asked for it, and nobody can any more.
        return;
    }
    crate::rcu::synchronize();
    // SAFETY: It was set up; nobody asks for it any more.
    unsafe { hv_bindings::tasklet_kill(tasklet.raw.get()) };
    // SAFETY: `schedule` kept a reference when the state became `HELD`; it was just taken from it.
    drop(unsafe { Arc::from_raw(Arc::as_ptr(this)) });
}

/// # Safety
///
/// `raw` is the tasklet of a `T` that lives in an [`Arc`], and is kept until after the call.
unsafe extern "C" fn call<T: SoftItem>(raw: *mut hv_bindings::tasklet_struct) {
    // SAFETY: The caller's promise; `HasTasklet` knows where the tasklet is.
    unsafe {
        let tasklet = kernel::container_of!(Opaque::cast_from(raw), Tasklet<T>, raw);
        let value = tasklet.byte_sub(T::OFFSET).cast::<T>();
        T::run(ArcBorrow::from_raw(value));
    }
}
