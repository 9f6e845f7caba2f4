// SPDX-License-Identifier: GPL-2.0

//! The two rings of a channel: their memory, and how the wire crate's ring code reaches it.
//!
//! Outgoing and incoming ring lie in one page list, so that one GPADL shares both. Each is a
//! control page and data pages that are mapped twice in a row, so that a packet which wraps around
//! the end is contiguous. Every page is allocated by itself: no ring needs contiguous memory.

use kernel::{page::PAGE_SIZE, prelude::*, sync::Arc};
use kernel_ext::{
    atomic::{Acquire, Release},
    pages::{PageList, RingMap},
};
use vmbus_wire::ring::{
    RingMemory, FEATURE_BITS_OFFSET, INTERRUPT_MASK_OFFSET, PENDING_SEND_SIZE_OFFSET,
    READ_INDEX_OFFSET, WRITE_INDEX_OFFSET,
};

/// How large the rings of a channel are.
#[derive(Clone, Copy, Debug)]
pub struct RingSizes {
    /// Bytes of the outgoing ring, control page included; a multiple of the page size, at least two
    /// pages.
    pub out_bytes: usize,
    /// Bytes of the incoming ring, likewise.
    pub in_bytes: usize,
}

impl RingSizes {
    /// Both rings of the same size.
    pub const fn both(bytes: usize) -> Self {
        Self {
            out_bytes: bytes,
            in_bytes: bytes,
        }
    }

    /// The sizes in pages.
    fn pages(self) -> Result<(usize, usize)> {
        let pages = |bytes: usize| {
            if bytes % PAGE_SIZE != 0 || bytes < 2 * PAGE_SIZE {
                return Err(EINVAL);
            }
            Ok(bytes / PAGE_SIZE)
        };
        Ok((pages(self.out_bytes)?, pages(self.in_bytes)?))
    }
}

/// Memory of one ring.
pub(crate) struct Memory(RingMap);

impl Memory {
    #[inline]
    fn word(&self, offset: usize) -> u32 {
        self.0.ctrl_u32(offset / size_of::<u32>()).load(Acquire)
    }

    #[inline]
    fn set_word(&self, offset: usize, value: u32) {
        self.0
            .ctrl_u32(offset / size_of::<u32>())
            .store(value, Release)
    }
}

/// Allocates and maps the rings of a channel: the pages of both, the outgoing and the incoming
/// ring, and the page at which the incoming one starts.
///
/// # Errors
///
/// `EINVAL` for sizes that aren't whole pages, `ENOMEM`.
pub(crate) fn allocate(sizes: RingSizes) -> Result<(Arc<PageList>, Memory, Memory, u32)> {
    let (out_pages, in_pages) = sizes.pages()?;
    let total = out_pages.checked_add(in_pages).ok_or(EINVAL)?;
    let pages = Arc::new(PageList::new(total)?, GFP_KERNEL)?;
    let out = RingMap::map(pages.clone(), 0..out_pages)?;
    let input = RingMap::map(pages.clone(), out_pages..total)?;
    Ok((pages, Memory(out), Memory(input), u32::try_from(out_pages)?))
}

impl RingMemory for Memory {
    #[inline]
    fn len(&self) -> u32 {
        self.0.data_size() as u32
    }

    #[inline]
    fn copy_in(&self, offset: u32, to: &mut [u8]) {
        // The ring code stays inside; if it ever didn't, the packet would be zeros.
        if self.0.read(offset as usize, to).is_err() {
            to.fill(0);
        }
    }

    #[inline]
    fn copy_out(&self, offset: u32, from: &[u8]) {
        let copied = self.0.write(offset as usize, from);
        debug_assert!(copied.is_ok());
    }

    #[inline]
    fn load_read_index(&self) -> u32 {
        self.word(READ_INDEX_OFFSET)
    }

    #[inline]
    fn store_read_index(&self, index: u32) {
        self.set_word(READ_INDEX_OFFSET, index)
    }

    #[inline]
    fn load_write_index(&self) -> u32 {
        self.word(WRITE_INDEX_OFFSET)
    }

    #[inline]
    fn store_write_index(&self, index: u32) {
        self.set_word(WRITE_INDEX_OFFSET, index)
    }

    #[inline]
    fn load_interrupt_mask(&self) -> u32 {
        self.word(INTERRUPT_MASK_OFFSET)
    }

    #[inline]
    fn store_interrupt_mask(&self, mask: u32) {
        self.set_word(INTERRUPT_MASK_OFFSET, mask)
    }

    #[inline]
    fn load_pending_send_size(&self) -> u32 {
        self.word(PENDING_SEND_SIZE_OFFSET)
    }

    #[inline]
    fn store_pending_send_size(&self, bytes: u32) {
        self.set_word(PENDING_SEND_SIZE_OFFSET, bytes)
    }

    #[inline]
    fn load_feature_bits(&self) -> u32 {
        self.word(FEATURE_BITS_OFFSET)
    }

    #[inline]
    fn store_feature_bits(&self, bits: u32) {
        self.set_word(FEATURE_BITS_OFFSET, bits)
    }

    #[inline]
    fn full_barrier(&self) {
        kernel_ext::barrier::virt_mb()
    }
}
