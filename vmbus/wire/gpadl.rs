// SPDX-License-Identifier: GPL-2.0 OR MIT

//! GPADLs: lists of guest pages that the host may use until they are torn down.
//!
//! A list travels as one GPADL_HEADER and as many GPADL_BODY messages as it takes. After their
//! fixed parts both carry a stream of 64-bit words: for each range its byte count (low half) and
//! byte offset (high half), then its page frame numbers (`struct gpa_range`). A header has room
//! for 27 words, that is one range and 26 pages; a body for 28.

use crate::message::layout::{self, Header};
use crate::message::{MessageType, OutMessage, Relid};
use crate::{HV_PAGE_SIZE, MAX_MESSAGE_BYTES};
use core::fmt;
use core::iter;
use zerocopy::little_endian::{U16, U32};

/// Bytes of a word of the stream.
const WORD_BYTES: usize = 8;
/// Words that fit in a header message.
pub const HEADER_WORDS: usize = (MAX_MESSAGE_BYTES - size_of::<layout::GpadlHeader>()) / WORD_BYTES;
/// Words that fit in a body message.
pub const BODY_WORDS: usize = (MAX_MESSAGE_BYTES - size_of::<layout::GpadlBody>()) / WORD_BYTES;
/// Pages that fit in the header message of a list with a single range.
pub const HEADER_PFNS: usize = HEADER_WORDS - 1;
/// Most words a list can have: its header counts their bytes in 16 bits (`range_buflen`).
pub const MAX_WORDS: usize = u16::MAX as usize / WORD_BYTES;
/// Most pages a list with a single range can have: 8190, a little less than 32 MiB.
pub const MAX_PFNS: usize = MAX_WORDS - 1;

/// Why a list can't be sent, or why its parts don't make a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpadlError {
    /// A range without bytes, or a list without ranges.
    Empty,
    /// More pages than the header can count.
    TooLong {
        /// Words the list would have.
        words: u64,
    },
    /// A range must start in its first page.
    BadOffset {
        /// Bytes from the start of the first page.
        byte_offset: u32,
    },
    /// The caller gave fewer pages than the ranges span.
    MissingPages {
        /// Words that were still to come.
        words: u32,
    },
    /// A range spans more or fewer pages than were given for it.
    WrongPageCount {
        /// Pages the range spans.
        want: u64,
        /// Pages given.
        got: u64,
    },
}

impl fmt::Display for GpadlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("page list without bytes"),
            Self::TooLong { words } => {
                write!(f, "page list of {words} words is longer than {MAX_WORDS}")
            }
            Self::BadOffset { byte_offset } => {
                write!(f, "range starts {byte_offset} bytes into its first page")
            }
            Self::MissingPages { words } => write!(f, "page list ends {words} words early"),
            Self::WrongPageCount { want, got } => {
                write!(f, "range spans {want} pages, {got} given")
            }
        }
    }
}

impl core::error::Error for GpadlError {}

/// Pages that a range of bytes touches.
pub const fn pages_spanned(byte_offset: u32, byte_count: u32) -> u64 {
    (byte_offset as u64 + byte_count as u64).div_ceil(HV_PAGE_SIZE as u64)
}

/// Messages that a list with a single range of `pages` pages takes.
pub const fn messages_needed(pages: usize) -> usize {
    1 + pages.saturating_sub(HEADER_PFNS).div_ceil(BODY_WORDS)
}

/// One range of a list with several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpaRange<'a> {
    /// Bytes from the start of the first page to the first byte of the range.
    pub byte_offset: u32,
    /// Bytes of the range.
    pub byte_count: u32,
    /// The pages it touches, as hypervisor page frame numbers.
    pub pfns: &'a [u64],
}

/// First word of a range.
fn range_word(byte_offset: u32, byte_count: u32) -> u64 {
    (u64::from(byte_offset) << 32) | u64::from(byte_count)
}

fn check_range(byte_offset: u32, byte_count: u32) -> Result<u64, GpadlError> {
    if byte_count == 0 {
        return Err(GpadlError::Empty);
    }
    if byte_offset >= HV_PAGE_SIZE {
        return Err(GpadlError::BadOffset { byte_offset });
    }
    Ok(pages_spanned(byte_offset, byte_count))
}

/// The messages of one page list, in the order to post them: the header first.
///
/// Iterate until `None`. An `Err` ends the iteration; what was posted by then must be torn down.
#[derive(Clone, Debug)]
pub struct GpadlMessages<I> {
    relid: Relid,
    gpadl: u32,
    range_count: u16,
    /// `Some` until the header has been made.
    header_bytes: Option<u16>,
    words_left: u32,
    words: I,
}

/// Begins a list with one range, the only kind that some hosts take (QEMU wants `byte_offset` 0
/// as well). `pfns` gives the [`pages_spanned`] page frame numbers; more are not looked at.
///
/// # Errors
///
/// [`GpadlError::Empty`], [`GpadlError::BadOffset`], [`GpadlError::TooLong`].
pub fn single_range<I>(
    relid: Relid,
    gpadl: u32,
    byte_offset: u32,
    byte_count: u32,
    pfns: I,
) -> Result<GpadlMessages<impl Iterator<Item = u64>>, GpadlError>
where
    I: IntoIterator<Item = u64>,
{
    let pages = check_range(byte_offset, byte_count)?;
    let words = iter::once(range_word(byte_offset, byte_count)).chain(pfns);
    GpadlMessages::new(relid, gpadl, 1, pages.saturating_add(1), words)
}

/// Begins a list with several ranges.
///
/// # Errors
///
/// As [`single_range`], and [`GpadlError::WrongPageCount`].
pub fn ranges<'a>(
    relid: Relid,
    gpadl: u32,
    ranges: &'a [GpaRange<'a>],
) -> Result<GpadlMessages<impl Iterator<Item = u64> + 'a>, GpadlError> {
    let mut total = 0u64;
    for range in ranges {
        let want = check_range(range.byte_offset, range.byte_count)?;
        let got = range.pfns.len() as u64;
        if want != got {
            return Err(GpadlError::WrongPageCount { want, got });
        }
        total = total.saturating_add(want).saturating_add(1);
    }
    let count = u16::try_from(ranges.len()).map_err(|_| GpadlError::TooLong { words: total })?;
    let words = ranges.iter().flat_map(|range| {
        iter::once(range_word(range.byte_offset, range.byte_count))
            .chain(range.pfns.iter().copied())
    });
    GpadlMessages::new(relid, gpadl, count, total, words)
}

impl<I: Iterator<Item = u64>> GpadlMessages<I> {
    fn new(
        relid: Relid,
        gpadl: u32,
        range_count: u16,
        total: u64,
        words: I,
    ) -> Result<Self, GpadlError> {
        if range_count == 0 {
            return Err(GpadlError::Empty);
        }
        let too_long = GpadlError::TooLong { words: total };
        let words_left = u32::try_from(total).map_err(|_| too_long)?;
        let bytes = total.saturating_mul(WORD_BYTES as u64);
        let bytes = u16::try_from(bytes).map_err(|_| too_long)?;
        Ok(Self {
            relid,
            gpadl,
            range_count,
            header_bytes: Some(bytes),
            words_left,
            words,
        })
    }

    fn fill(&mut self, message: &mut OutMessage, room: usize) -> Result<(), GpadlError> {
        for _ in 0..room {
            if self.words_left == 0 {
                break;
            }
            let Some(word) = self.words.next() else {
                let words = self.words_left;
                self.words_left = 0;
                return Err(GpadlError::MissingPages { words });
            };
            message.append(&word.to_le_bytes());
            self.words_left -= 1;
        }
        Ok(())
    }
}

impl<I: Iterator<Item = u64>> Iterator for GpadlMessages<I> {
    type Item = Result<OutMessage, GpadlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut message, room) = if let Some(range_bytes) = self.header_bytes.take() {
            let header = layout::GpadlHeader {
                header: Header::new(MessageType::GPADL_HEADER),
                relid: U32::new(self.relid.get()),
                gpadl: U32::new(self.gpadl),
                range_bytes: U16::new(range_bytes),
                range_count: U16::new(self.range_count),
            };
            (OutMessage::of(&header), HEADER_WORDS)
        } else if self.words_left != 0 {
            let body = layout::GpadlBody {
                header: Header::new(MessageType::GPADL_BODY),
                // Linux has never filled the number in, and hosts don't look at it: messages of
                // one connection arrive in order.
                message_number: U32::ZERO,
                gpadl: U32::new(self.gpadl),
            };
            (OutMessage::of(&body), BODY_WORDS)
        } else {
            return None;
        };
        Some(self.fill(&mut message, room).map(|()| message))
    }
}
