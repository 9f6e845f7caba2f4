// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A ring as the kernel has it: a control page, and a data area that is mapped twice in a row.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use vmbus_wire::ring::{self, RingMemory};

/// See the module. The mapping is private to the process and stays until it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MappedRing {
    base: NonNull<u8>,
    bytes: u32,
}

impl MappedRing {
    /// Maps a ring with a data area of `bytes` bytes.
    pub(crate) fn new(bytes: u32) -> Self {
        let data = bytes as usize;
        let total = ring::DATA_OFFSET + 2 * data;
        // SAFETY: No pointers are passed but a literal; the result is checked.
        let file = unsafe { libc::memfd_create(c"ring".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(file >= 0, "memfd_create failed");
        // SAFETY: `file` is the descriptor from above.
        let sized = unsafe { libc::ftruncate(file, (ring::DATA_OFFSET + data) as libc::off_t) };
        assert_eq!(sized, 0, "ftruncate failed");
        let map = |at: *mut libc::c_void, length, offset: usize, fixed| {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: Either the kernel chooses the address, or it lies in the range that the
            // first call reserved and nothing else uses.
            let place = unsafe {
                libc::mmap(
                    at,
                    length,
                    protection,
                    libc::MAP_SHARED | libc::MAP_POPULATE | fixed,
                    file,
                    offset as libc::off_t,
                )
            };
            assert_ne!(place, libc::MAP_FAILED, "mmap failed");
            place.cast::<u8>()
        };
        // Reserves the whole range, its last part beyond the end of the file, which the second
        // mapping of the data area then replaces.
        // SAFETY: An anonymous mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                total,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED, "mmap failed");
        map(base, ring::DATA_OFFSET + data, 0, libc::MAP_FIXED);
        // SAFETY: Stays within the reserved range.
        let second = unsafe { base.cast::<u8>().add(ring::DATA_OFFSET + data) };
        map(second.cast(), data, ring::DATA_OFFSET, libc::MAP_FIXED);
        Self {
            base: NonNull::new(base.cast()).expect("mmap gave page 0"),
            bytes,
        }
    }

    /// A word of the control page.
    #[inline(always)]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: The control page is mapped, the constants of `ring` are aligned offsets in it,
        // and all access to it is atomic.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// The data area.
    #[inline(always)]
    pub(crate) fn data(&self) -> *mut u8 {
        // SAFETY: The data area starts behind the control page in the same mapping.
        unsafe { self.base.as_ptr().add(ring::DATA_OFFSET) }
    }
}

impl RingMemory for MappedRing {
    #[inline(always)]
    fn len(&self) -> u32 {
        self.bytes
    }

    #[inline(always)]
    fn copy_in(&self, offset: u32, to: &mut [u8]) {
        // SAFETY: `offset` is below and the length at most `bytes`, which are mapped twice.
        unsafe {
            ptr::copy_nonoverlapping(self.data().add(offset as usize), to.as_mut_ptr(), to.len())
        }
    }

    #[inline(always)]
    fn copy_out(&self, offset: u32, from: &[u8]) {
        // SAFETY: As in `copy_in`.
        unsafe {
            ptr::copy_nonoverlapping(from.as_ptr(), self.data().add(offset as usize), from.len())
        }
    }

    #[inline(always)]
    fn load_read_index(&self) -> u32 {
        self.word(ring::READ_INDEX_OFFSET).load(Ordering::Acquire)
    }
    #[inline(always)]
    fn store_read_index(&self, index: u32) {
        self.word(ring::READ_INDEX_OFFSET)
            .store(index, Ordering::Release)
    }
    #[inline(always)]
    fn load_write_index(&self) -> u32 {
        self.word(ring::WRITE_INDEX_OFFSET).load(Ordering::Acquire)
    }
    #[inline(always)]
    fn store_write_index(&self, index: u32) {
        self.word(ring::WRITE_INDEX_OFFSET)
            .store(index, Ordering::Release)
    }
    #[inline(always)]
    fn load_interrupt_mask(&self) -> u32 {
        self.word(ring::INTERRUPT_MASK_OFFSET)
            .load(Ordering::Acquire)
    }
    #[inline(always)]
    fn store_interrupt_mask(&self, mask: u32) {
        self.word(ring::INTERRUPT_MASK_OFFSET)
            .store(mask, Ordering::Release)
    }
    #[inline(always)]
    fn load_pending_send_size(&self) -> u32 {
        self.word(ring::PENDING_SEND_SIZE_OFFSET)
            .load(Ordering::Acquire)
    }
    #[inline(always)]
    fn store_pending_send_size(&self, bytes: u32) {
        self.word(ring::PENDING_SEND_SIZE_OFFSET)
            .store(bytes, Ordering::Release)
    }
    #[inline(always)]
    fn load_feature_bits(&self) -> u32 {
        self.word(ring::FEATURE_BITS_OFFSET).load(Ordering::Acquire)
    }
    #[inline(always)]
    fn store_feature_bits(&self, bits: u32) {
        self.word(ring::FEATURE_BITS_OFFSET)
            .store(bits, Ordering::Release)
    }
    #[inline(always)]
    fn full_barrier(&self) {
        // What `virt_mb` of the kernel is on this architecture; cheaper than the fence instruction
        // that a compiler may choose.
        #[cfg(target_arch = "x86_64")]
        // SAFETY: Adds nothing to a word of the own stack.
        unsafe {
            std::arch::asm!("lock add dword ptr [rsp - 4], 0");
        }
        #[cfg(not(target_arch = "x86_64"))]
        std::sync::atomic::fence(Ordering::SeqCst);
    }
}
