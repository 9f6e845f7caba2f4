// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages to the host.
//!
//! Most are a struct with the layout of the wire, made by its constructor and sent as its
//! [`IntoBytes::as_bytes`]; the balloon response, which can be a page long, is built in a buffer
//! of the caller's by [`BalloonResponse`].

use crate::message::{Header, MessageType, HEADER_BYTES};
use crate::{PageRange, Version, MAX_MESSAGE_BYTES};
use core::mem::size_of;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::FromBytes;
use zerocopy_derive::*;

pub use zerocopy::IntoBytes;

/// Header of a message of type `T`, all of which are shorter than 64 KiB.
const fn header<T>(kind: MessageType, transaction: u32) -> Header {
    Header {
        kind: U16::new(kind.to_wire()),
        size: U16::new(size_of::<T>() as u16),
        transaction: U32::new(transaction),
    }
}

/// Asks for a version (`struct dm_version_request`).
#[derive(Clone, Copy, Debug, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub struct VersionRequest {
    header: Header,
    version: U32,
    flags: U32,
}

impl VersionRequest {
    const LAST_ATTEMPT: u32 = 1;

    /// Asks for `version`; `last` says that the guest won't ask for another.
    pub const fn new(transaction: u32, version: Version, last: bool) -> Self {
        Self {
            header: header::<Self>(MessageType::VERSION_REQUEST, transaction),
            version: U32::new(version.to_wire()),
            flags: U32::new(if last { Self::LAST_ATTEMPT } else { 0 }),
        }
    }
}

/// What a guest can do (`union dm_caps`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    const BALLOON: u64 = 1 << 0;
    const HOT_ADD: u64 = 1 << 1;
    const ALIGNMENT_SHIFT: u32 = 2;
    const ALIGNMENT_MAX: u32 = 15;

    /// Balloons, and takes hot-added memory in units of `hot_add_pages` pages.
    ///
    /// The wire can say any power of two from 1 MiB to 32 GiB; other units are rounded up to one,
    /// or down to 32 GiB.
    pub const fn new(hot_add_pages: u64) -> Self {
        const PAGES_PER_MIB: u64 = 256;
        let mut alignment = 0;
        while alignment < Self::ALIGNMENT_MAX && (PAGES_PER_MIB << alignment) < hot_add_pages {
            alignment += 1;
        }
        Self(Self::BALLOON | Self::HOT_ADD | ((alignment as u64) << Self::ALIGNMENT_SHIFT))
    }

    /// The bits on the wire.
    pub const fn to_wire(self) -> u64 {
        self.0
    }
}

/// Tells the host what the guest can do (`struct dm_capabilities`).
#[derive(Clone, Copy, Debug, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub struct CapabilitiesReport {
    header: Header,
    capabilities: U64,
    min_pages: U64,
    max_page_number: U64,
}

impl CapabilitiesReport {
    /// Any number of pages anywhere, as the C driver has it: hosts look at neither.
    pub const fn new(transaction: u32, capabilities: Capabilities) -> Self {
        Self {
            header: header::<Self>(MessageType::CAPABILITIES_REPORT, transaction),
            capabilities: U64::new(capabilities.to_wire()),
            min_pages: U64::new(0),
            max_page_number: U64::new(u64::MAX),
        }
    }
}

/// Tells the host how much memory the guest needs (`struct dm_status`).
#[derive(Clone, Copy, Debug, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub struct StatusReport {
    header: Header,
    available: U64,
    committed: U64,
    page_file_pages: U64,
    zero_free_pages: U64,
    page_file_writes: U32,
    io_diff: U32,
}

impl StatusReport {
    /// `available` pages could be used without swapping, `committed` have been promised to
    /// someone. The other figures of the message describe a Windows guest; they are 0.
    pub const fn new(transaction: u32, available: u64, committed: u64) -> Self {
        Self {
            header: header::<Self>(MessageType::STATUS_REPORT, transaction),
            available: U64::new(available),
            committed: U64::new(committed),
            page_file_pages: U64::new(0),
            zero_free_pages: U64::new(0),
            page_file_writes: U32::new(0),
            io_diff: U32::new(0),
        }
    }
}

/// The pages of an un-balloon request have been taken (`struct dm_unballoon_response`).
#[derive(Clone, Copy, Debug, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub struct UnballoonResponse {
    header: Header,
}

impl UnballoonResponse {
    /// Answers the last message of an un-balloon transaction.
    pub const fn new(transaction: u32) -> Self {
        Self {
            header: header::<Self>(MessageType::UNBALLOON_RESPONSE, transaction),
        }
    }
}

/// What became of a hot-add request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotAddResult {
    /// That many pages were added, at least one. Fewer than the host has offered tells it that
    /// the guest has reached its end.
    Added(u32),
    /// Not now: the host may try again.
    TryLater,
    /// Never: the host won't try again.
    Never,
}

/// Answers a hot-add request (`struct dm_hot_add_response`).
#[derive(Clone, Copy, Debug, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub struct HotAddResponse {
    header: Header,
    pages: U32,
    result: U32,
}

impl HotAddResponse {
    /// Answers the request. Success with no pages is how the protocol says never.
    pub const fn new(transaction: u32, result: HotAddResult) -> Self {
        let (pages, result) = match result {
            HotAddResult::Added(pages) => (pages, 1),
            HotAddResult::TryLater => (0, 0),
            HotAddResult::Never => (0, 1),
        };
        Self {
            header: header::<Self>(MessageType::HOT_ADD_RESPONSE, transaction),
            pages: U32::new(pages),
            result: U32::new(result),
        }
    }
}

/// `struct dm_balloon_response`, without ranges.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BalloonHead {
    header: Header,
    reserved: U32,
    /// Bit 0: more messages follow; the rest: number of ranges.
    flags: U32,
}

const BALLOON_HEAD_BYTES: usize = size_of::<BalloonHead>();
const RANGE_BYTES: usize = size_of::<U64>();

/// Most ranges in one balloon response.
pub const MAX_BALLOON_RANGES: usize = (MAX_MESSAGE_BYTES - BALLOON_HEAD_BYTES) / RANGE_BYTES;

/// A balloon response in the making: the pages that the host gets.
pub struct BalloonResponse<'b> {
    // Invariant: at most MAX_MESSAGE_BYTES long, at least BALLOON_HEAD_BYTES.
    buffer: &'b mut [u8],
    ranges: usize,
    pages: u64,
    last: Option<PageRange>,
}

impl<'b> BalloonResponse<'b> {
    /// Starts one in `buffer`, which should be [`MAX_MESSAGE_BYTES`] long; `None` if it is too
    /// short for a single range.
    pub fn new(buffer: &'b mut [u8]) -> Option<Self> {
        let bytes = buffer.len().min(MAX_MESSAGE_BYTES);
        let buffer = buffer.get_mut(..bytes)?;
        (bytes >= BALLOON_HEAD_BYTES + RANGE_BYTES).then_some(Self {
            buffer,
            ranges: 0,
            pages: 0,
            last: None,
        })
    }

    /// Adds a range; false when there is no room for it. A range that continues the last one
    /// takes none.
    #[must_use]
    pub fn push(&mut self, range: PageRange) -> bool {
        let joined = self.last.and_then(|last| last.join(range));
        let (at, merged) = match joined {
            Some(joined) => (self.ranges.saturating_sub(1), joined),
            None => (self.ranges, range),
        };
        let start = BALLOON_HEAD_BYTES.saturating_add(at.saturating_mul(RANGE_BYTES));
        let Some(place) = self
            .buffer
            .get_mut(start..)
            .and_then(|b| b.get_mut(..RANGE_BYTES))
        else {
            return false;
        };
        place.copy_from_slice(&merged.to_wire().to_le_bytes());
        self.ranges = at.saturating_add(1);
        self.pages = self.pages.saturating_add(range.count().into());
        self.last = Some(merged);
        true
    }

    /// Whether a range may not find room.
    pub fn is_full(&self) -> bool {
        let end = BALLOON_HEAD_BYTES.saturating_add(self.ranges.saturating_mul(RANGE_BYTES));
        self.buffer.len().saturating_sub(end) < RANGE_BYTES
    }

    /// Whether there is no range in it.
    pub const fn is_empty(&self) -> bool {
        self.ranges == 0
    }

    /// Pages in all its ranges.
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// The bytes to send. `more` says that another response of this transaction follows; the last
    /// one may be empty, one before must not be (hosts take an empty response for the last).
    pub fn finish(self, transaction: u32, more: bool) -> &'b [u8] {
        let bytes = BALLOON_HEAD_BYTES.saturating_add(self.ranges.saturating_mul(RANGE_BYTES));
        let head = BalloonHead {
            header: Header {
                kind: U16::new(MessageType::BALLOON_RESPONSE.to_wire()),
                // At most MAX_MESSAGE_BYTES and MAX_BALLOON_RANGES: the casts lose nothing.
                size: U16::new(bytes as u16),
                transaction: U32::new(transaction),
            },
            reserved: U32::new(0),
            flags: U32::new(u32::from(more) | ((self.ranges as u32) << 1)),
        };
        if let Ok((place, _)) = BalloonHead::mut_from_prefix(self.buffer) {
            *place = head;
        }
        self.buffer.get(..bytes).unwrap_or_default()
    }
}

/// The ranges of a balloon response that [`BalloonResponse::finish`] has made, for the case that it
/// couldn't be sent.
pub fn balloon_ranges(message: &[u8]) -> impl Iterator<Item = PageRange> + '_ {
    message
        .get(BALLOON_HEAD_BYTES..)
        .unwrap_or_default()
        .chunks_exact(RANGE_BYTES)
        .filter_map(|bytes| U64::read_from_bytes(bytes).ok())
        .filter_map(|wire| PageRange::from_wire(wire.get()))
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);
const _: () = assert!(size_of::<VersionRequest>() == 16);
const _: () = assert!(size_of::<CapabilitiesReport>() == 32);
const _: () = assert!(size_of::<StatusReport>() == 48);
const _: () = assert!(size_of::<HotAddResponse>() == 16);
const _: () = assert!(BALLOON_HEAD_BYTES == 16);
