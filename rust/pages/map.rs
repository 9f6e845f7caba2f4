// SPDX-License-Identifier: GPL-2.0

//! Page lists mapped into the kernel's address space.
//!
//! Mapping and unmapping may sleep: a [`RingMap`] or [`SharedBuffer`] is made and dropped in
//! process context. Access is possible in any context.

use core::ops::Range;

use crate::atomic::Atomic;
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Arc, //
    },
};

use super::{
    OutOfBounds,
    PageList,
    Window, //
};

/// A virtually contiguous mapping of pages.
///
/// # Invariants
///
/// `base` is the start of a live mapping of `len` bytes made by `vmap`; the mapped pages are kept
/// by whoever owns this value, for longer than this value lives.
struct Mapping {
    base: *mut u8,
    len: usize,
}

// SAFETY: A mapping belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: The mapping itself never changes; access to its content goes through `Window`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the pages of `pages` that `order` names, in that order; a page may come twice.
    ///
    /// # Errors
    ///
    /// `EINVAL` if an index is outside of the list, `ENOMEM` if there is no memory or address
    /// space.
    ///
    /// # Safety
    ///
    /// The caller must keep `pages` for longer than the mapping.
    unsafe fn new(pages: &PageList, order: impl ExactSizeIterator<Item = usize>) -> Result<Self> {
        let count = order.len();
        let len = count.checked_mul(PAGE_SIZE).ok_or(EINVAL)?;
        let mut raw = KVVec::with_capacity(count, GFP_KERNEL)?;
        for index in order {
            let page = pages.page(index).ok_or(EINVAL)?;
            raw.push(page.page.as_ptr(), GFP_KERNEL)?;
        }
        let count = u32::try_from(count)?;
        // SAFETY: `raw` holds `count` pointers to valid pages; `vmap` only reads the array.
        let base = unsafe { hv_bindings::vmap_kernel(raw.as_mut_ptr(), count) };
        if base.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: `vmap` made this mapping of `count` pages; the caller keeps the pages.
        Ok(Self {
            base: base.cast(),
            len,
        })
    }

    #[inline]
    fn window(&self) -> Window<'_> {
        // SAFETY: By the type invariant the range is mapped, readable, writable and page-aligned
        // while `self` lives. The pages' content is never given out by reference: `SharedPage` and
        // this type are the only ways to it, and both give out windows only.
        unsafe { Window::new(self.base, self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this is the start of a mapping made by `vmap`. No window on
        // it is left, since windows borrow the mapping.
        unsafe { hv_bindings::vunmap(self.base.cast()) };
    }
}

/// Some pages of a list, mapped once, in order.
pub struct SharedBuffer {
    // Dropped in this order: first the mapping, then the pages.
    map: Mapping,
    pages: Arc<PageList>,
}

impl SharedBuffer {
    /// Maps all pages. Process context only, here and when it is dropped.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory or address space.
    pub fn new(pages: PageList) -> Result<Self> {
        let count = pages.count();
        Self::map(Arc::new(pages, GFP_KERNEL)?, 0..count)
    }

    /// Maps the pages `range` of a list that others may use as well.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the range is empty or outside of the list, `ENOMEM` if there is no memory or
    /// address space.
    pub fn map(pages: Arc<PageList>, range: Range<usize>) -> Result<Self> {
        if range.is_empty() {
            return Err(EINVAL);
        }
        // SAFETY: `Self` keeps `pages` and drops the mapping first.
        let map = unsafe { Mapping::new(&pages, range)? };
        Ok(Self { map, pages })
    }

    /// The size in bytes.
    #[inline]
    pub fn size(&self) -> usize {
        self.map.len
    }

    /// The pages behind it, in whole, also if only some are mapped.
    pub fn pages(&self) -> &Arc<PageList> {
        &self.pages
    }

    /// Access to the content.
    #[inline]
    pub fn window(&self) -> Window<'_> {
        self.map.window()
    }

    /// Copies bytes out; see [`Window::read`].
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if they aren't all inside.
    #[inline]
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<(), OutOfBounds> {
        self.window().read(offset, to)
    }

    /// Copies bytes in; see [`Window::write`].
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if they don't all fit.
    #[inline]
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), OutOfBounds> {
        self.window().write(offset, from)
    }
}

/// One direction of a channel's ring: a control page, and data pages mapped twice in a row.
///
/// Thanks to the second mapping a packet that wraps around the end of the ring is contiguous: a
/// copy of up to [`RingMap::data_size`] bytes may start at every offset below that size.
///
/// # Invariants
///
/// `map` covers the control page and then the data pages twice; `data_size` is the size of the
/// data pages, once.
pub struct RingMap {
    // Dropped in this order: first the mapping, then the pages.
    map: Mapping,
    pages: Arc<PageList>,
    data_size: usize,
}

impl RingMap {
    /// Maps a whole list: the first page is the control page, the others are data. Process context
    /// only, here and when it is dropped.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are fewer than two pages, `ENOMEM` if there is no memory or address space.
    pub fn new(pages: PageList) -> Result<Self> {
        let count = pages.count();
        Self::map(Arc::new(pages, GFP_KERNEL)?, 0..count)
    }

    /// Maps the pages `range` of a list as a ring: both rings of a channel are usually one list.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the range has fewer than two pages or is outside of the list, `ENOMEM` if there
    /// is no memory or address space.
    pub fn map(pages: Arc<PageList>, range: Range<usize>) -> Result<Self> {
        if range.len() < 2 {
            return Err(EINVAL);
        }
        let data = range.len() - 1;
        let total = data.checked_mul(2).and_then(|n| n.checked_add(1));
        let total = u32::try_from(total.ok_or(EINVAL)?)? as usize;
        let first = range.start;
        let order = (0..total).map(|i| match i {
            i if i <= data => first + i,
            i => first + (i - data),
        });
        // SAFETY: `Self` keeps `pages` and drops the mapping first.
        let map = unsafe { Mapping::new(&pages, order)? };
        // INVARIANT: `order` is the control page, the data pages, and the data pages again.
        Ok(Self {
            map,
            pages,
            data_size: data * PAGE_SIZE,
        })
    }

    /// The pages behind it, in whole, also if only some are this ring's.
    pub fn pages(&self) -> &Arc<PageList> {
        &self.pages
    }

    /// The size of the data area in bytes, counted once.
    #[inline]
    pub fn data_size(&self) -> usize {
        self.data_size
    }

    /// Access to the control page.
    #[inline]
    pub fn ctrl(&self) -> Window<'_> {
        // SAFETY: By the type invariant the mapping starts with the control page, and as a
        // `Mapping` it is live, writable and free of references while `self` is borrowed.
        unsafe { Window::new(self.map.base, PAGE_SIZE) }
    }

    /// Access to the data area, which shows all bytes twice in a row.
    #[inline]
    pub fn data(&self) -> Window<'_> {
        // SAFETY: By the type invariant the two data areas follow the control page; the rest as in
        // `ctrl`.
        unsafe { Window::new(self.map.base.add(PAGE_SIZE), self.map.len - PAGE_SIZE) }
    }

    /// The 32-bit word number `word` of the control page, counted modulo the 1024 words that a page
    /// has, so that there is always one.
    #[inline]
    pub fn ctrl_u32(&self, word: usize) -> &Atomic<u32> {
        let offset = (word % (PAGE_SIZE / 4)) * 4;
        // SAFETY: The word is inside of the control page and aligned; by the type invariant it is
        // mapped while `self` is borrowed, and accessed as an atomic only.
        unsafe { Atomic::from_ptr(self.map.base.add(offset).cast()) }
    }

    /// Copies bytes of the data area out, around the end if need be.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if `offset` isn't below [`RingMap::data_size`], or there are more bytes than
    /// that.
    #[inline]
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<(), OutOfBounds> {
        self.check(offset, to.len())?;
        self.data().read(offset, to)
    }

    /// Copies bytes into the data area, around the end if need be.
    ///
    /// # Errors
    ///
    /// As [`RingMap::read`].
    #[inline]
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), OutOfBounds> {
        self.check(offset, from.len())?;
        self.data().write(offset, from)
    }

    #[inline]
    fn check(&self, offset: usize, len: usize) -> Result<(), OutOfBounds> {
        if offset >= self.data_size || len > self.data_size {
            return Err(OutOfBounds { offset, len });
        }
        Ok(())
    }
}
