// SPDX-License-Identifier: GPL-2.0

//! Work queues of our own, and what the kernel crate's can't do: pick a CPU, cancel, flush.
//!
//! Work items are those of [`kernel::workqueue`]: a `Work` or `DelayedWork` field in a type that
//! lives in an [`Arc`], declared by `impl_has_work!` or `impl_has_delayed_work!`.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h).

use core::{
    ops::{
        BitOr,
        Deref, //
    },
    ptr::NonNull,
};

use kernel::{
    container_of,
    prelude::*,
    str::CStrExt,
    sync::Arc,
    workqueue::{
        HasDelayedWork,
        HasWork,
        RawDelayedWorkItem,
        RawWorkItem,
        Work,
        WorkItem, //
    },
};

/// How a queue's work is run; combine with `|`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// On the CPU that queues it.
    pub const PER_CPU: Self = Self(hv_bindings::WQ_PERCPU);
    /// On any CPU.
    pub const UNBOUND: Self = Self(hv_bindings::WQ_UNBOUND);
    /// By threads of high priority.
    pub const HIGHPRI: Self = Self(hv_bindings::WQ_HIGHPRI);
    /// Also when memory is so short that no new thread can be made. For all work that memory may be
    /// waiting for.
    pub const MEM_RECLAIM: Self = Self(hv_bindings::WQ_MEM_RECLAIM);
    /// Not while the system is suspended.
    pub const FREEZABLE: Self = Self(hv_bindings::WQ_FREEZABLE);
    /// None of the above; [`Flags::PER_CPU`] then.
    pub const NONE: Self = Self(0);
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A work queue of our own.
///
/// It dereferences to the kernel crate's queue, whose `enqueue` and `enqueue_delayed` work on it.
/// Dropping it runs the work that is queued to its end; delayed work whose time hasn't come must be
/// cancelled before.
///
/// # Invariants
///
/// `queue` is a live work queue that this value owns.
pub struct Queue {
    queue: NonNull<hv_bindings::workqueue_struct>,
}

// SAFETY: Work queues may be used from any thread.
unsafe impl Send for Queue {}
// SAFETY: Work queues lock themselves.
unsafe impl Sync for Queue {}

impl Queue {
    /// Makes a queue that runs up to `max_active` items at a time (on each CPU if it's per CPU); 0
    /// is the kernel's default. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory, `EINVAL` if `max_active` is beyond all reason.
    pub fn new(name: &CStr, flags: Flags, max_active: u32) -> Result<Self> {
        let mut flags = flags.0;
        // The kernel wants to be told one of both, and only one.
        if flags & hv_bindings::WQ_UNBOUND == 0 {
            flags |= hv_bindings::WQ_PERCPU;
        } else {
            flags &= !hv_bindings::WQ_PERCPU;
        }
        let max_active = i32::try_from(max_active)?;
        // SAFETY: The name is copied.
        let queue = unsafe { hv_bindings::alloc_workqueue(name.as_char_ptr(), flags, max_active) };
        Self::from_c(queue)
    }

    /// Makes a queue that runs one item after the other, in the order in which they were queued.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub fn new_ordered(name: &CStr, flags: Flags) -> Result<Self> {
        let flags = flags.0 & !(hv_bindings::WQ_PERCPU | hv_bindings::WQ_UNBOUND);
        // SAFETY: The name is copied.
        let queue = unsafe { hv_bindings::alloc_ordered_workqueue(name.as_char_ptr(), flags) };
        Self::from_c(queue)
    }

    fn from_c(queue: *mut hv_bindings::workqueue_struct) -> Result<Self> {
        // INVARIANT: The queue was just made and is nobody else's.
        Ok(Self {
            queue: NonNull::new(queue).ok_or(ENOMEM)?,
        })
    }

    /// Queues an item to be run on `cpu`, or on any CPU if that one isn't on-line.
    ///
    /// If the CPU goes off-line before it's run, it runs on another; a CPU hot-plug callback is the
    /// place to cope with that. Any context.
    pub fn enqueue_on<W, const ID: u64>(&self, cpu: u32, item: W) -> W::EnqueueOutput
    where
        W: RawWorkItem<ID> + Send + 'static,
    {
        let cpu = cpu_or_any(cpu);
        // SAFETY: The closure returns false only if the item is queued already; `W` is `Send` and
        // static. `__enqueue` promises a valid pointer for the call and, if that returns true,
        // until the item's function is called.
        unsafe {
            item.__enqueue(|work| hv_bindings::queue_work_on(cpu, self.queue.as_ptr(), work.cast()))
        }
    }

    /// Queues an item in `ms` milliseconds, rounded up to a tick. Any context.
    pub fn enqueue_delayed_ms<W, const ID: u64>(&self, item: W, ms: u32) -> W::EnqueueOutput
    where
        W: RawDelayedWorkItem<ID> + Send + 'static,
    {
        // SAFETY: A pure conversion.
        let delay = unsafe { hv_bindings::msecs_to_jiffies(ms) };
        // SAFETY: As in `enqueue_on`; that the item is the `work` field of a `delayed_work` under
        // the same promises is what `RawDelayedWorkItem` is for.
        unsafe {
            item.__enqueue(|work| {
                hv_bindings::queue_delayed_work_on(
                    hv_bindings::WORK_CPU_UNBOUND,
                    self.queue.as_ptr(),
                    delayed_of(work.cast()),
                    delay,
                )
            })
        }
    }

    /// Waits until everything queued so far has run. May sleep; not from an item of this queue.
    pub fn flush(&self) {
        // SAFETY: By the type invariant the queue is live.
        unsafe { hv_bindings::__flush_workqueue(self.queue.as_ptr()) };
    }

    /// Waits until the queue is empty, also of what running items queue. May sleep; meanwhile
    /// nobody else may queue anything.
    pub fn drain(&self) {
        // SAFETY: By the type invariant the queue is live.
        unsafe { hv_bindings::drain_workqueue(self.queue.as_ptr()) };
    }
}

impl Deref for Queue {
    type Target = kernel::workqueue::Queue;

    fn deref(&self) -> &Self::Target {
        // SAFETY: By the type invariant the queue lives as long as `self`; both bindings mean the
        // same C type.
        unsafe { kernel::workqueue::Queue::from_raw(self.queue.as_ptr().cast()) }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the queue is ours; it's drained first.
        unsafe { hv_bindings::destroy_workqueue(self.queue.as_ptr()) };
    }
}

/// The kernel accepts any CPU that was on-line once; others would keep the work for ever.
fn cpu_or_any(cpu: u32) -> i32 {
    match i32::try_from(cpu) {
        Ok(number) if crate::cpuhp::is_online(cpu) => number,
        _ => hv_bindings::WORK_CPU_UNBOUND,
    }
}

/// # Safety
///
/// `work` must point to the `work` field of a `delayed_work`.
unsafe fn delayed_of(work: *mut hv_bindings::work_struct) -> *mut hv_bindings::delayed_work {
    // SAFETY: The caller's promise.
    unsafe { container_of!(work, hv_bindings::delayed_work, work) }
}

/// The C side of an item's work field.
fn work_of<T, const ID: u64>(item: &Arc<T>) -> *mut hv_bindings::work_struct
where
    T: HasWork<T, ID>,
{
    // SAFETY: An `Arc` points to a valid value.
    let work = unsafe { T::raw_get_work(Arc::as_ptr(item).cast_mut()) };
    // SAFETY: `raw_get_work` returns a pointer to a valid field.
    unsafe { Work::raw_get(work) }.cast()
}

/// Gives up the reference that a queued item holds.
///
/// # Safety
///
/// The item was queued, which took a reference of the `Arc`, and has just been taken from the queue
/// without having been run.
unsafe fn release_queued<T>(item: &Arc<T>) {
    // SAFETY: Queueing an `Arc` turns it into its raw pointer, and the caller promises that this is
    // the time to turn it back.
    drop(unsafe { Arc::from_raw(Arc::as_ptr(item)) });
}

/// Takes an item from its queue if it waits there, and waits until it isn't run any more. Says
/// whether it waited there. May sleep; not from the item itself.
///
/// Afterwards the item isn't queued, unless somebody queued it again.
pub fn cancel_sync<T, const ID: u64>(item: &Arc<T>) -> bool
where
    T: HasWork<T, ID> + WorkItem<ID, Pointer = Arc<T>>,
{
    // SAFETY: The field is an initialised work item, kept by `item`.
    let cancelled = unsafe { hv_bindings::cancel_work_sync(work_of::<T, ID>(item)) };
    if cancelled {
        // SAFETY: It was queued as `Arc<T>`, the only pointer that `WorkItem` allows, and
        // cancelled.
        unsafe { release_queued(item) };
    }
    cancelled
}

/// [`cancel_sync`] for an item with a delay: stops its timer as well.
pub fn cancel_delayed_sync<T, const ID: u64>(item: &Arc<T>) -> bool
where
    T: HasDelayedWork<T, ID> + WorkItem<ID, Pointer = Arc<T>>,
{
    // SAFETY: The field is an initialised delayed work item (`HasDelayedWork`), kept by `item`.
    let cancelled =
        unsafe { hv_bindings::cancel_delayed_work_sync(delayed_of(work_of::<T, ID>(item))) };
    if cancelled {
        // SAFETY: As in `cancel_sync`.
        unsafe { release_queued(item) };
    }
    cancelled
}

/// Waits until an item has run, if it is queued or running. May sleep; not from the item itself.
/// A delay isn't cut short: an item whose time hasn't come is not waited for.
pub fn flush<T, const ID: u64>(item: &Arc<T>)
where
    T: HasWork<T, ID> + WorkItem<ID, Pointer = Arc<T>>,
{
    // SAFETY: The field is an initialised work item, kept by `item`.
    unsafe { hv_bindings::flush_work(work_of::<T, ID>(item)) };
}
