// SPDX-License-Identifier: GPL-2.0

//! Being told of a panic, a reboot, or memory that comes and goes.
//!
//! C header: [`include/linux/notifier.h`](srctree/include/linux/notifier.h).

use core::mem::offset_of;

use kernel::{
    error::to_result,
    ffi,
    prelude::*,
    types::Opaque, //
};

/// A priority that is served after all others.
pub const LAST: i32 = i32::MIN;

/// A C notifier block with what it is for.
///
/// # Invariants
///
/// While it is in a chain it doesn't move, and `T::call` works with the events of that chain.
#[repr(C)]
struct Block<T> {
    raw: Opaque<hv_bindings::notifier_block>,
    handler: T,
}

// SAFETY: The C part belongs to its chain, which locks itself; the handler is `Send`.
unsafe impl<T: Send> Send for Block<T> {}
// SAFETY: As above; all that a shared block gives out is the handler, which is `Sync`.
unsafe impl<T: Sync> Sync for Block<T> {}

/// What a chain calls.
trait Call: Send + Sync + 'static {
    /// # Safety
    ///
    /// `data` must be what the chain passes with this event.
    unsafe fn call(&self, event: usize, data: *mut ffi::c_void);
}

impl<T: Call> Block<T> {
    fn new(handler: T, priority: i32) -> Result<Pin<KBox<Self>>> {
        let raw = hv_bindings::notifier_block {
            notifier_call: Some(Self::trampoline),
            next: core::ptr::null_mut(),
            priority,
        };
        Ok(KBox::pin(
            Self {
                raw: Opaque::new(raw),
                handler,
            },
            GFP_KERNEL,
        )?)
    }

    fn raw(&self) -> *mut hv_bindings::notifier_block {
        self.raw.get()
    }

    /// # Safety
    ///
    /// Only for the chain that the block is in.
    unsafe extern "C" fn trampoline(
        block: *mut hv_bindings::notifier_block,
        event: usize,
        data: *mut ffi::c_void,
    ) -> ffi::c_int {
        const { assert!(offset_of!(Block<()>, raw) == 0) };
        // SAFETY: The block is the first field of a `Block<T>`, which is in a chain and hence
        // alive; it's only looked at.
        let this = unsafe { &*block.cast::<Self>().cast_const() };
        // SAFETY: The chain passes what belongs to the event.
        unsafe { this.handler.call(event, data) };
        hv_bindings::NOTIFY_DONE
    }
}

/// What to do in a panic.
pub trait Panic: Send + Sync + 'static {
    /// Runs on the CPU that panicked, others stopped, interrupts off. Mustn't sleep, nor wait for a
    /// lock that anybody may hold.
    fn panic(&self);
}

struct PanicCall<T>(T);

impl<T: Panic> Call for PanicCall<T> {
    unsafe fn call(&self, _event: usize, _data: *mut ffi::c_void) {
        self.0.panic();
    }
}

/// A panic handler while this lives.
///
/// # Invariants
///
/// The block is in the panic chain.
#[must_use = "the handler is removed when this is dropped"]
pub struct PanicNotifier<T: Panic>(Pin<KBox<Block<PanicCall<T>>>>);

impl<T: Panic> PanicNotifier<T> {
    /// Registers a handler; higher priorities run first, see [`LAST`].
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub fn new(handler: T, priority: i32) -> Result<Self> {
        let block = Block::new(PanicCall(handler), priority)?;
        // SAFETY: The block is pinned, stays until `drop` takes it out, and its handler is for this
        // chain.
        to_result(unsafe {
            hv_bindings::atomic_notifier_chain_register(
                &raw mut hv_bindings::panic_notifier_list,
                block.raw(),
            )
        })?;
        Ok(Self(block))
    }
}

impl<T: Panic> Drop for PanicNotifier<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the block is in the chain. Nobody runs it when this
        // returns: the function waits for RCU.
        unsafe {
            hv_bindings::atomic_notifier_chain_unregister(
                &raw mut hv_bindings::panic_notifier_list,
                self.0.raw(),
            );
        }
    }
}

/// How the system goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It starts again.
    Restart,
    /// It stops.
    Halt,
    /// It is switched off.
    PowerOff,
}

/// What to do before the system goes down.
pub trait Reboot: Send + Sync + 'static {
    /// Runs in process context before the devices are shut down. May sleep.
    fn reboot(&self, how: Shutdown);
}

struct RebootCall<T>(T);

impl<T: Reboot> Call for RebootCall<T> {
    unsafe fn call(&self, event: usize, _data: *mut ffi::c_void) {
        // SYS_RESTART (also SYS_DOWN), SYS_HALT, SYS_POWER_OFF of include/linux/reboot.h.
        self.0.reboot(match event {
            1 => Shutdown::Restart,
            2 => Shutdown::Halt,
            _ => Shutdown::PowerOff,
        });
    }
}

/// A reboot handler while this lives.
///
/// # Invariants
///
/// The block is in the reboot chain.
#[must_use = "the handler is removed when this is dropped"]
pub struct RebootNotifier<T: Reboot>(Pin<KBox<Block<RebootCall<T>>>>);

impl<T: Reboot> RebootNotifier<T> {
    /// Registers a handler; higher priorities run first.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub fn new(handler: T, priority: i32) -> Result<Self> {
        let block = Block::new(RebootCall(handler), priority)?;
        // SAFETY: As in `PanicNotifier::new`.
        to_result(unsafe { hv_bindings::register_reboot_notifier(block.raw()) })?;
        Ok(Self(block))
    }
}

impl<T: Reboot> Drop for RebootNotifier<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the block is in the chain; the chain's lock keeps this from
        // returning while somebody runs it.
        unsafe { hv_bindings::unregister_reboot_notifier(self.0.raw()) };
    }
}

/// What happened to a range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryEvent {
    /// It is in use now.
    Online,
    /// It was added, but didn't get into use.
    CancelOnline,
    /// It isn't in use any more.
    Offline,
}

/// What to do when memory comes or goes.
pub trait Memory: Send + Sync + 'static {
    /// Runs in process context with the memory hot-plug lock held: mustn't add memory, nor wait for
    /// anybody who does. The range is in pages.
    fn memory(&self, event: MemoryEvent, first_pfn: u64, count: u64);
}

struct MemoryCall<T>(T);

impl<T: Memory> Call for MemoryCall<T> {
    unsafe fn call(&self, event: usize, data: *mut ffi::c_void) {
        let event = match event as u64 {
            hv_bindings::MEM_ONLINE => MemoryEvent::Online,
            hv_bindings::MEM_CANCEL_ONLINE => MemoryEvent::CancelOnline,
            hv_bindings::MEM_OFFLINE => MemoryEvent::Offline,
            _ => return,
        };
        // SAFETY: By the caller's promise this is what the memory chain passes with these events.
        let range = unsafe { &*data.cast::<hv_bindings::memory_notify>() };
        self.0
            .memory(event, range.start_pfn as u64, range.nr_pages as u64);
    }
}

/// A handler of memory hot-plug while this lives.
///
/// # Invariants
///
/// The block is in the memory chain.
#[must_use = "the handler is removed when this is dropped"]
pub struct MemoryNotifier<T: Memory>(Pin<KBox<Block<MemoryCall<T>>>>);

impl<T: Memory> MemoryNotifier<T> {
    /// Registers a handler; higher priorities run first.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub fn new(handler: T, priority: i32) -> Result<Self> {
        let block = Block::new(MemoryCall(handler), priority)?;
        // SAFETY: As in `PanicNotifier::new`.
        to_result(unsafe { hv_bindings::register_memory_notifier(block.raw()) })?;
        Ok(Self(block))
    }
}

impl<T: Memory> Drop for MemoryNotifier<T> {
    fn drop(&mut self) {
        // SAFETY: As in `RebootNotifier::drop`.
        unsafe { hv_bindings::unregister_memory_notifier(self.0.raw()) };
    }
}
