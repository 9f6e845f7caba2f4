// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a ring needs from the memory it lies in.

/// Access to one ring: its data area and the words of its control page.
///
/// The other side writes to all of it at any time. An implementation therefore copies and loads
/// through raw pointers or atomics and never makes a reference to the memory.
///
/// The rings call the copying functions with `offset < len()`, `offset` and the length of the
/// slice multiples of what the caller wrote (no alignment is promised), and never more than
/// `len()` bytes; the copy wraps at the end of the data area. Where the area is mapped twice in a
/// row that is one plain copy. Small slices often have a length known at compile time, so mark
/// the functions `#[inline]`.
///
/// Words are loaded with acquire and stored with release ordering unless noted.
pub trait RingMemory {
    /// Bytes of the data area, a multiple of the page size. The same at each call.
    fn len(&self) -> u32;

    /// Copies from the ring to private memory.
    fn copy_in(&self, offset: u32, to: &mut [u8]);

    /// Copies from private memory to the ring.
    fn copy_out(&self, offset: u32, from: &[u8]);

    /// Loads the read index.
    fn load_read_index(&self) -> u32;
    /// Stores the read index; reads of the data area before it are finished.
    fn store_read_index(&self, index: u32);

    /// Loads the write index; reads of the data area after it see what was written before it.
    fn load_write_index(&self) -> u32;
    /// Stores the write index; writes to the data area before it are seen by who loads it.
    fn store_write_index(&self, index: u32);

    /// Loads the reader's interrupt mask.
    fn load_interrupt_mask(&self) -> u32;
    /// Stores the reader's interrupt mask.
    fn store_interrupt_mask(&self, mask: u32);

    /// Loads the number of bytes a blocked writer waits for.
    fn load_pending_send_size(&self) -> u32;
    /// Stores the number of bytes a blocked writer waits for.
    fn store_pending_send_size(&self, bytes: u32);

    /// Loads the feature bits.
    fn load_feature_bits(&self) -> u32;
    /// Stores the feature bits.
    fn store_feature_bits(&self, bits: u32);

    /// Orders all stores before it against all loads after it (`virt_mb`).
    fn full_barrier(&self);

    /// True where there is no data area, which the rings refuse.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<M: RingMemory + ?Sized> RingMemory for &M {
    #[inline]
    fn len(&self) -> u32 {
        (**self).len()
    }
    #[inline]
    fn copy_in(&self, offset: u32, to: &mut [u8]) {
        (**self).copy_in(offset, to)
    }
    #[inline]
    fn copy_out(&self, offset: u32, from: &[u8]) {
        (**self).copy_out(offset, from)
    }
    #[inline]
    fn load_read_index(&self) -> u32 {
        (**self).load_read_index()
    }
    #[inline]
    fn store_read_index(&self, index: u32) {
        (**self).store_read_index(index)
    }
    #[inline]
    fn load_write_index(&self) -> u32 {
        (**self).load_write_index()
    }
    #[inline]
    fn store_write_index(&self, index: u32) {
        (**self).store_write_index(index)
    }
    #[inline]
    fn load_interrupt_mask(&self) -> u32 {
        (**self).load_interrupt_mask()
    }
    #[inline]
    fn store_interrupt_mask(&self, mask: u32) {
        (**self).store_interrupt_mask(mask)
    }
    #[inline]
    fn load_pending_send_size(&self) -> u32 {
        (**self).load_pending_send_size()
    }
    #[inline]
    fn store_pending_send_size(&self, bytes: u32) {
        (**self).store_pending_send_size(bytes)
    }
    #[inline]
    fn load_feature_bits(&self) -> u32 {
        (**self).load_feature_bits()
    }
    #[inline]
    fn store_feature_bits(&self, bits: u32) {
        (**self).store_feature_bits(bits)
    }
    #[inline]
    fn full_barrier(&self) {
        (**self).full_barrier()
    }
}
