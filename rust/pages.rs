// SPDX-License-Identifier: GPL-2.0

//! Memory that is shared with the host: pages, their mappings, and access without references.
//!
//! A host can write to a shared page at any time. No Rust reference to its content ever exists;
//! everything goes through a [`Window`], whose accesses are bounded, and either atomic or copies
//! made out of the compiler's sight. Whatever a copy brings in may be torn or hostile and is to be
//! validated from the private copy.
//!
//! Every buffer is a list of single pages, so that no allocation depends on unfragmented memory,
//! and has two exits: it is freed when its owner drops it, or [`PageList::leak`] abandons it on
//! purpose, because the host hasn't confirmed that it forgot the pages.

use core::ptr::NonNull;

use crate::atomic::{Atomic, Relaxed};
use kernel::{page::PAGE_SIZE, prelude::*};

mod map;
mod window;

pub use self::{
    map::{
        RingMap,
        SharedBuffer, //
    },
    window::{
        OutOfBounds,
        Window, //
    },
};

/// Pages abandoned on purpose since this module was loaded.
static LEAKED: Atomic<u64> = Atomic::new(0);

/// How many pages were abandoned on purpose since this module was loaded.
///
/// See [`PageList::leak`].
pub fn leaked_pages() -> u64 {
    LEAKED.load(Relaxed)
}

/// Counts pages that somebody else in this crate abandoned.
pub(crate) fn count_leaked(pages: u64) {
    LEAKED.fetch_add(pages, Relaxed);
}

/// One zeroed page of the kernel's direct map, meant to be shared with the host.
///
/// # Invariants
///
/// `page` is an order-0 page that this value owns; it is in the direct map and no Rust reference
/// to its content exists.
pub struct SharedPage {
    page: NonNull<hv_bindings::page>,
}

// SAFETY: A page belongs to no thread; its content is reached through `Window` only, whose accesses
// are atomic or opaque copies.
unsafe impl Send for SharedPage {}
// SAFETY: As above.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    /// Allocates a zeroed page, near `node` if one is given. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub fn new(node: Option<i32>) -> Result<Self> {
        let nid = node.unwrap_or(hv_bindings::NUMA_NO_NODE);
        // SAFETY: An allocation has no preconditions; an impossible node is the caller's only way
        // to do harm, and node numbers come from the kernel or are `NUMA_NO_NODE`.
        let page = unsafe { hv_bindings::alloc_zeroed_page(nid) };
        // INVARIANT: The page was just allocated with order 0 and without `__GFP_HIGHMEM`.
        Ok(Self {
            page: NonNull::new(page).ok_or(ENOMEM)?,
        })
    }

    /// The guest page frame number, in units of 4 KiB.
    #[inline]
    pub fn pfn(&self) -> u64 {
        // SAFETY: By the type invariant the page is valid.
        unsafe { hv_bindings::page_to_pfn(self.page.as_ptr()) as u64 }
    }

    /// Access to the page's content.
    #[inline]
    pub fn window(&self) -> Window<'_> {
        // SAFETY: By the type invariant the page is valid and in the direct map.
        let base = unsafe { hv_bindings::page_address(self.page.as_ptr()) };
        // SAFETY: The direct map of an owned page covers `PAGE_SIZE` bytes, stays while `self` is
        // borrowed, and by the type invariant no reference to the content exists.
        unsafe { Window::new(base.cast(), PAGE_SIZE) }
    }

    /// The page itself, for abstractions of what pages are given to. Whoever takes a reference to it may
    /// read it as long as the host may write to it, and keeps it from being freed.
    #[inline]
    pub fn as_raw(&self) -> *mut hv_bindings::page {
        self.page.as_ptr()
    }

    /// Whether somebody else has a reference to the page. A moment's answer, but that nobody has stays so
    /// unless the page is given away again.
    #[inline]
    pub fn is_lent(&self) -> bool {
        // SAFETY: By the type invariant the page is valid.
        unsafe { hv_bindings::page_is_lent(self.page.as_ptr()) }
    }

    /// Abandons the page: it is never freed, and counted in [`leaked_pages`].
    pub fn leak(self) {
        LEAKED.fetch_add(1, Relaxed);
        core::mem::forget(self);
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this is an order-0 page of ours; with references of others it is
        // freed when the last of them is given back.
        unsafe { hv_bindings::__free_pages(self.page.as_ptr(), 0) };
    }
}

/// A list of zeroed pages in the order in which the host sees them.
///
/// Dropping it frees the pages, unless [`PageList::leak`] was called before.
pub struct PageList {
    pages: KVVec<SharedPage>,
    leaked: Atomic<bool>,
}

impl PageList {
    /// Allocates `count` zeroed pages from any node. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory, `EINVAL` if `count` is 0.
    pub fn new(count: usize) -> Result<Self> {
        Self::new_on_node(count, None)
    }

    /// Allocates `count` zeroed pages, near `node` if one is given. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory, `EINVAL` if `count` is 0.
    pub fn new_on_node(count: usize, node: Option<i32>) -> Result<Self> {
        if count == 0 {
            return Err(EINVAL);
        }
        let mut pages = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            pages.push(SharedPage::new(node)?, GFP_KERNEL)?;
        }
        Ok(Self {
            pages,
            leaked: Atomic::new(false),
        })
    }

    /// The number of pages; never 0.
    #[inline]
    pub fn count(&self) -> usize {
        self.pages.len()
    }

    /// The size in bytes.
    #[inline]
    pub fn size(&self) -> usize {
        self.pages.len() * PAGE_SIZE
    }

    /// The guest page frame numbers in order, in units of 4 KiB.
    pub fn pfns(&self) -> impl ExactSizeIterator<Item = u64> + Clone + '_ {
        self.pages.iter().map(SharedPage::pfn)
    }

    /// Page `index`, counted from 0.
    pub fn page(&self, index: usize) -> Option<&SharedPage> {
        self.pages.get(index)
    }

    /// Gives the pages up: whoever drops the list doesn't free them.
    ///
    /// For pages that the host may still write to, because it hasn't confirmed the teardown. They
    /// count in [`leaked_pages`], once however often this is called.
    pub fn leak(&self) {
        if !self.leaked.xchg(true, Relaxed) {
            LEAKED.fetch_add(self.pages.len() as u64, Relaxed);
        }
    }

    /// Whether [`PageList::leak`] was called.
    pub fn is_leaked(&self) -> bool {
        self.leaked.load(Relaxed)
    }
}

impl Drop for PageList {
    fn drop(&mut self) {
        if self.is_leaked() {
            // The list's own memory is private and goes; only the shared pages stay.
            for page in core::mem::take(&mut self.pages) {
                core::mem::forget(page);
            }
        }
    }
}
