// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ranges that heads of packets list.

use super::GpaRangeHead;
use crate::gpadl::pages_spanned;
use crate::HV_PAGE_SIZE;
use core::ops::Range;
use zerocopy::little_endian::{U32, U64};
use zerocopy::FromBytes;
use zerocopy_derive::*;

/// A part of a buffer that both sides know (`struct vmtransfer_page_range`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct XferRange {
    /// Its bytes.
    pub byte_count: U32,
    /// Where it starts in the buffer, in bytes.
    pub byte_offset: U32,
}

impl XferRange {
    /// The range as indices into a buffer of `buffer_bytes` bytes; `None` where it doesn't lie
    /// inside. The only way a range should ever be used.
    pub fn within(&self, buffer_bytes: usize) -> Option<Range<usize>> {
        let start = usize::try_from(self.byte_offset.get()).ok()?;
        let end = start.checked_add(usize::try_from(self.byte_count.get()).ok()?)?;
        (end <= buffer_bytes).then_some(start..end)
    }
}

/// A range of guest memory inside one page (`struct hv_page_buffer`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct PageBuffer {
    /// Its bytes.
    pub byte_count: U32,
    /// Bytes from the start of the page to its first byte.
    pub byte_offset: U32,
    /// The page, as hypervisor page frame number.
    pub pfn: U64,
}

impl PageBuffer {
    /// A range of `byte_count` bytes; `None` where it is empty or leaves its page, which hosts
    /// refuse.
    pub fn new(pfn: u64, byte_offset: u32, byte_count: u32) -> Option<Self> {
        let end = byte_offset.checked_add(byte_count)?;
        (byte_count != 0 && end <= HV_PAGE_SIZE).then_some(Self {
            byte_count: U32::new(byte_count),
            byte_offset: U32::new(byte_offset),
            pfn: U64::new(pfn),
        })
    }
}

/// One range of guest pages of a packet that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpaView<'a> {
    /// Bytes from the start of the first page to the first byte; less than a page.
    pub byte_offset: u32,
    /// Bytes of the range; not 0.
    pub byte_count: u32,
    /// As many pages as the range touches.
    pub pfns: &'a [U64],
}

/// The ranges of guest pages in the head of a packet. Yields `None` after the last, and early
/// where the bytes don't hold what the count promises; [`RawPacket::parse`](super::RawPacket)
/// has checked that before it hands one out.
#[derive(Clone, Debug)]
pub struct GpaRanges<'a> {
    left: u32,
    bytes: &'a [u8],
}

impl<'a> GpaRanges<'a> {
    pub(crate) fn new(count: u32, bytes: &'a [u8]) -> Self {
        Self { left: count, bytes }
    }

    /// Ranges still to come.
    pub(crate) fn left(&self) -> u32 {
        self.left
    }
}

impl<'a> Iterator for GpaRanges<'a> {
    type Item = GpaView<'a>;

    fn next(&mut self) -> Option<GpaView<'a>> {
        // Ends after at most `bytes.len() / 8` turns: each takes a range's eight bytes or fails.
        let left = self.left.checked_sub(1)?;
        let (range, rest) = GpaRangeHead::ref_from_prefix(self.bytes).ok()?;
        let byte_offset = range.byte_offset.get();
        let byte_count = range.byte_count.get();
        if byte_offset >= HV_PAGE_SIZE || byte_count == 0 {
            return None;
        }
        let pages = usize::try_from(pages_spanned(byte_offset, byte_count)).ok()?;
        let (pfns, rest) = <[U64]>::ref_from_prefix_with_elems(rest, pages).ok()?;
        self.left = left;
        self.bytes = rest;
        Some(GpaView {
            byte_offset,
            byte_count,
            pfns,
        })
    }
}
