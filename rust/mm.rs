// SPDX-License-Identifier: GPL-2.0

//! What a balloon driver does with memory: counts, hot-add, and in `balloon` taking pages away.
//!
//! Unit of all numbers: pages of 4 KiB, as on the wire; the kernel's own pages are of that size on
//! this architecture.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/memory_hotplug.h`](srctree/include/linux/memory_hotplug.h).

use kernel::{
    error::to_result,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    types::NotThreadSafe, //
};

mod balloon;

pub use self::balloon::{
    Balloon,
    Block,
    MAX_ORDER, //
};

const _: () = assert!(PAGE_SIZE == 4096);

/// The memory that the kernel manages, without what is ballooned out.
pub fn total_pages() -> u64 {
    // SAFETY: Reads a counter.
    unsafe { hv_bindings::totalram_pages() as u64 }
}

/// An estimate of what programs could still get without swapping.
pub fn available_pages() -> u64 {
    // SAFETY: Reads counters.
    let pages = unsafe { hv_bindings::si_mem_available() };
    u64::try_from(pages).unwrap_or(0)
}

/// What all programs have been promised, whether they use it or not.
pub fn committed_pages() -> u64 {
    // SAFETY: Reads counters.
    unsafe { hv_bindings::vm_memory_committed() as u64 }
}

/// The unit in which memory is added, in pages.
pub fn hot_add_unit() -> u64 {
    // SAFETY: Reads a variable that is set during boot.
    unsafe { hv_bindings::memory_block_size_bytes() as u64 >> PAGE_SHIFT }
}

/// Adds memory of the host that the kernel doesn't know yet. Whether it is used at once is the
/// system's policy (`/sys/devices/system/memory/auto_online_blocks`); a
/// [`MemoryNotifier`](crate::notifier::MemoryNotifier) sees it.
///
/// Only whole units that are backed by the host from end to end: a part of a unit can't be added.
/// Process context, takes the hot-plug locks, may take long.
///
/// # Errors
///
/// `EINVAL` if the range is empty, isn't made of whole units, or doesn't fit an address; `EEXIST`
/// if the kernel has something there already, which no other try will change; else what the
/// kernel's `add_memory` says.
pub fn hot_add(first_pfn: u64, count: u64) -> Result {
    let unit = hot_add_unit();
    let whole = |pages: u64| pages.checked_rem(unit) == Some(0);
    if count == 0 || !whole(first_pfn) || !whole(count) {
        return Err(EINVAL);
    }
    let address = |pages: u64| pages.checked_mul(PAGE_SIZE as u64).ok_or(EINVAL);
    let start = address(first_pfn)?;
    let size = address(count)?;
    start.checked_add(size).ok_or(EINVAL)?;
    // SAFETY: A look-up, for any address.
    let node = unsafe { hv_bindings::memory_add_physaddr_to_nid(start) };
    // SAFETY: The range is made of whole units; that it is free and addressable is checked by the
    // function, and that it is backed is the host's word, without which no guest works.
    to_result(unsafe {
        hv_bindings::add_memory(node, start, size, hv_bindings::MHP_MERGE_RESOURCE)
    })
}

/// While this lives, memory that the thread asks for isn't made by writing to disks: for who repairs a
/// disk.
///
/// # Invariants
///
/// `before` is what `memalloc_noio_save()` returned on the current thread.
pub struct NoIo {
    before: u32,
    _thread: NotThreadSafe,
}

impl NoIo {
    /// From now on; nests.
    pub fn new() -> Self {
        // INVARIANT: On this thread, which the value doesn't leave.
        Self {
            // SAFETY: Changes a flag of the current thread.
            before: unsafe { hv_bindings::memalloc_noio_save() },
            _thread: NotThreadSafe,
        }
    }
}

impl Default for NoIo {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::memalloc_noio_restore(self.before) };
    }
}
