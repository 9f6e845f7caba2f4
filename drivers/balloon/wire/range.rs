// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Ranges of guest pages.

use core::fmt;
use zerocopy::little_endian::U64;

/// Bits of a page number on the wire.
const START_BITS: u32 = 40;
/// Page numbers end here: 40 bits of them.
pub const MAX_PAGE: u64 = 1 << START_BITS;
/// Most pages in one range: 24 bits of them.
pub const MAX_COUNT: u32 = (1 << 24) - 1;

/// One or more pages in a row, all of them with numbers below [`MAX_PAGE`]
/// (`union dm_mem_page_range`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageRange {
    // Invariant: 1 <= count <= MAX_COUNT, start + count <= MAX_PAGE.
    start: u64,
    count: u32,
}

impl PageRange {
    /// `count` pages from page number `start` on; `None` for what the wire has no bits for, and
    /// for an empty range.
    pub const fn new(start: u64, count: u32) -> Option<Self> {
        if count == 0 || count > MAX_COUNT || start >= MAX_PAGE {
            return None;
        }
        // Neither overflows: both are far below 64 bits.
        if MAX_PAGE - start < count as u64 {
            return None;
        }
        Some(Self { start, count })
    }

    /// Takes a range from the wire; `None` for an empty one or one that leaves the page numbers.
    pub const fn from_wire(value: u64) -> Option<Self> {
        // 24 bits are left: the cast loses nothing.
        Self::new(value & (MAX_PAGE - 1), (value >> START_BITS) as u32)
    }

    /// The range on the wire.
    pub const fn to_wire(self) -> u64 {
        self.start | ((self.count as u64) << START_BITS)
    }

    /// Number of the first page.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// Number of pages, at least 1.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// Number of the page after the last.
    pub const fn end(self) -> u64 {
        self.start + self.count as u64
    }

    /// Both ranges as one; `None` unless `next` starts where this one ends and they fit in one.
    pub const fn join(self, next: Self) -> Option<Self> {
        if self.end() != next.start {
            return None;
        }
        // At most twice MAX_COUNT: no overflow.
        Self::new(self.start, self.count + next.count)
    }

    /// The pages both have; `None` if there are none.
    pub fn overlap(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let count = self.end().min(other.end()).checked_sub(start)?;
        Self::new(start, u32::try_from(count).ok()?)
    }

    /// The largest part that starts and ends on multiples of `unit` pages, a power of two; `None`
    /// if there is no whole unit.
    pub fn whole_units(self, unit: u32) -> Option<Self> {
        let mask = u64::from(unit.checked_sub(1)?);
        if !unit.is_power_of_two() {
            return None;
        }
        let start = self.start.checked_add(mask)? & !mask;
        let count = (self.end() & !mask).checked_sub(start)?;
        Self::new(start, u32::try_from(count).ok()?)
    }
}

impl fmt::Display for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages from {:#x}", self.count, self.start)
    }
}

impl fmt::Debug for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Ranges as a message lists them. Yields each once: an error, with the bits as they came, for
/// one that is empty or leaves the page numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges<'m> {
    left: &'m [U64],
}

impl<'m> Ranges<'m> {
    pub(crate) const fn new(left: &'m [U64]) -> Self {
        Self { left }
    }
}

impl Iterator for Ranges<'_> {
    type Item = Result<PageRange, u64>;

    fn next(&mut self) -> Option<Self::Item> {
        let (first, left) = self.left.split_first()?;
        self.left = left;
        let wire = first.get();
        Some(PageRange::from_wire(wire).ok_or(wire))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.len(), Some(self.left.len()))
    }
}

impl ExactSizeIterator for Ranges<'_> {}
