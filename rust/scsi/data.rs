// SPDX-License-Identifier: GPL-2.0

//! Where a command's data lie.

use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull,
    slice, //
};

/// Bytes of the pages that are counted here, whatever the kernel's own page size is.
const PAGE_BYTES: u32 = 4096;

/// The pages of a command's data, of 4 KiB each, as the device addresses them.
///
/// Complete and in the right order for hosts whose [`Limits`](super::Limits::page_boundary) ask for
/// lists of which only the first and the last page are partial.
///
/// # Invariants
///
/// `sgl` is a scatter list with `entries` mapped entries, valid for `'a`.
#[derive(Clone, Copy, Debug)]
pub struct Pages<'a> {
    sgl: NonNull<hv_bindings::scatterlist>,
    entries: u32,
    bytes: u32,
    _command: PhantomData<&'a ()>,
}

impl Pages<'_> {
    /// # Safety
    ///
    /// `sgl` has `entries` mapped entries with `bytes` bytes, and stays so for the lifetime.
    pub(super) unsafe fn new(
        sgl: NonNull<hv_bindings::scatterlist>,
        entries: u32,
        bytes: u32,
    ) -> Self {
        // INVARIANT: The caller's promise.
        Self {
            sgl,
            entries,
            bytes,
            _command: PhantomData,
        }
    }

    /// Bytes from the start of the first page to the first byte.
    #[inline]
    pub fn offset(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::sg_dma_offset(self.sgl.as_ptr()) }
    }

    /// Bytes of data.
    #[inline]
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// How many pages the bytes touch.
    #[inline]
    pub fn count(&self) -> usize {
        let end = u64::from(self.offset()) + u64::from(self.bytes);
        end.div_ceil(u64::from(PAGE_BYTES)) as usize
    }

    /// The frame numbers of all pages, if there is room for them.
    #[inline]
    pub fn few<'r>(&self, room: &'r mut [MaybeUninit<u64>]) -> Option<&'r mut [u64]> {
        // So many bytes touch as many pages at least: no walk in vain.
        if self.bytes.div_ceil(PAGE_BYTES) as usize > room.len() {
            return None;
        }
        let mut walk = self.walk();
        // SAFETY: As in `for_each`.
        let count =
            unsafe { hv_bindings::sg_walk_pfns(&mut walk, room.as_mut_ptr().cast(), room.len()) };
        if walk.left != 0 || walk.pfns != 0 {
            return None;
        }
        let pfns = room.get_mut(..count)?;
        // SAFETY: The function has written so many.
        Some(unsafe { slice::from_raw_parts_mut(pfns.as_mut_ptr().cast(), count) })
    }

    /// A walk along the list, at its beginning.
    #[inline]
    fn walk(&self) -> hv_bindings::hv_sg_walk {
        hv_bindings::hv_sg_walk {
            next: self.sgl.as_ptr(),
            left: self.entries,
            pfn: 0,
            pfns: 0,
        }
    }

    /// Passes the frame numbers of all pages on, in order and at most 32 at a time.
    #[inline]
    pub fn for_each(&self, mut emit: impl FnMut(&mut [u64])) {
        let mut walk = self.walk();
        let mut pfns = [const { MaybeUninit::<u64>::uninit() }; 32];
        while walk.left != 0 || walk.pfns != 0 {
            // SAFETY: By the type invariant the list has so many entries, of which the walk has only
            // gone along; `pfns` has room for as many as is said.
            let count = unsafe {
                hv_bindings::sg_walk_pfns(&mut walk, pfns.as_mut_ptr().cast(), pfns.len())
            };
            if count == 0 || count > pfns.len() {
                return;
            }
            // SAFETY: The function has written so many, and the array has them.
            emit(unsafe { slice::from_raw_parts_mut(pfns.as_mut_ptr().cast(), count) });
        }
    }
}
