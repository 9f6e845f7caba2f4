// SPDX-License-Identifier: GPL-2.0

//! Pages that the guest can't use because the host has them.

use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
};

/// The highest order of a block that [`Balloon::inflate`] takes: 2 MiB.
pub const MAX_ORDER: u32 = 9;

/// Pages in a chunk of the book-keeping: a block of the highest order.
const CHUNK: u64 = 1 << MAX_ORDER;

/// Some contiguous pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The first page's number.
    pub first_pfn: u64,
    /// How many there are.
    pub count: u64,
}

/// Which pages of a chunk are in the balloon, one bit each.
struct Chunk([u64; CHUNK as usize / 64]);

impl Chunk {
    const fn new() -> Self {
        Self([0; CHUNK as usize / 64])
    }

    /// The word and the bit of page `index`, modulo the chunk's size.
    fn place(index: u64) -> (usize, u64) {
        let index = index % CHUNK;
        ((index / 64) as usize, 1 << (index % 64))
    }

    fn insert(&mut self, index: u64) {
        let (word, bit) = Self::place(index);
        self.0[word] |= bit;
    }

    /// Says whether it was in.
    fn remove(&mut self, index: u64) -> bool {
        let (word, bit) = Self::place(index);
        let was = self.0[word] & bit != 0;
        self.0[word] &= !bit;
        was
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// The pages that were taken from the guest.
///
/// It knows each of them, so that a host which gives back a page that it never got does no harm.
/// Dropping it gives all pages back to the guest; a driver that goes without having told the host
/// uses [`Balloon::leak`].
///
/// # Invariants
///
/// A page is in `chunks` (its number split into chunk and bit) exactly while this value owns it as
/// a single page, marked off-line and taken out of the kernel's count; `count` is their number.
pub struct Balloon {
    chunks: RBTree<u64, Chunk>,
    count: u64,
}

impl Balloon {
    /// An empty balloon.
    pub fn new() -> Self {
        Self {
            chunks: RBTree::new(),
            count: 0,
        }
    }

    /// How many pages are in it.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes a block of `1 << order` pages from the guest, without trying hard. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no such block to spare; `EINVAL` if `order` is above [`MAX_ORDER`].
    pub fn inflate(&mut self, order: u32) -> Result<Block> {
        if order > MAX_ORDER {
            return Err(EINVAL);
        }
        // SAFETY: An allocation has no preconditions.
        let page = unsafe { hv_bindings::alloc_balloon_pages(order) };
        if page.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: The page is valid.
        let first_pfn = unsafe { hv_bindings::page_to_pfn(page) } as u64;
        let count = 1 << order;

        // A block is aligned to its size, and so never crosses a chunk's border.
        let key = first_pfn / CHUNK;
        if self.chunks.get(&key).is_none() {
            match RBTreeNode::new(key, Chunk::new(), GFP_KERNEL) {
                Ok(node) => drop(self.chunks.insert(node)),
                Err(e) => {
                    for pfn in first_pfn..first_pfn + count {
                        // SAFETY: Nobody else knows the pages yet, and each is a single one.
                        unsafe { hv_bindings::__free_pages(page_of(pfn), 0) };
                    }
                    return Err(e);
                }
            }
        }
        let chunk = self.chunks.get_mut(&key).ok_or(ENOMEM)?;
        for pfn in first_pfn..first_pfn + count {
            // INVARIANT: The page is single, since the block was split; it's marked and counted
            // out.
            chunk.insert(pfn);
            // SAFETY: The page is ours, and in use by nobody.
            unsafe { hv_bindings::balloon_page_out(page_of(pfn)) };
        }
        self.count += count;
        Ok(Block { first_pfn, count })
    }

    /// Gives the pages of a range back to the guest, as far as they are in the balloon, and returns
    /// how many that were. Less than asked for means that the host is wrong.
    ///
    /// Time goes with the pages that are in the balloon, not with the range that the host names.
    pub fn deflate(&mut self, range: Block) -> u64 {
        let end = range.first_pfn.saturating_add(range.count);
        let mut from = range.first_pfn;
        let mut freed = 0;
        while from < end {
            let Some(mut cursor) = self.chunks.cursor_lower_bound_mut(&(from / CHUNK)) else {
                break;
            };
            let (key, chunk) = cursor.current_mut();
            let base = *key * CHUNK;
            if base >= end {
                break;
            }
            let chunk_end = base + CHUNK;
            for pfn in from.max(base)..end.min(chunk_end) {
                if chunk.remove(pfn) {
                    // SAFETY: By the type invariant the page is ours, single, marked and counted
                    // out; it was just forgotten.
                    unsafe { hv_bindings::balloon_page_in(page_of(pfn)) };
                    freed += 1;
                }
            }
            if chunk.is_empty() {
                cursor.remove_current();
            }
            from = chunk_end;
        }
        self.count -= freed;
        freed
    }

    /// Forgets all pages without giving them back, and returns how many there were. They stay lost
    /// to the guest until it is started again, and count in
    /// [`leaked_pages`](crate::pages::leaked_pages).
    pub fn leak(&mut self) -> u64 {
        let count = self.chunks.values().map(Chunk::count).sum();
        self.chunks = RBTree::new();
        self.count = 0;
        crate::pages::count_leaked(count);
        count
    }
}

/// The kernel's descriptor of a page whose number came from such a descriptor.
fn page_of(pfn: u64) -> *mut hv_bindings::page {
    // SAFETY: Address arithmetic.
    unsafe { hv_bindings::pfn_to_page(pfn as usize) }
}

impl Default for Balloon {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Balloon {
    fn drop(&mut self) {
        self.deflate(Block {
            first_pfn: 0,
            count: u64::MAX,
        });
    }
}
