// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a command has a back end do, and how a file does it: one system call after the other,
//! whoever makes the calls.

use std::ops::Range;

use super::buffer::DataBuffer;
use crate::memory::{IoVec, MemoryError};

/// What a back end is to do; places and lengths in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Read to the guest.
    Read {
        /// From where on.
        offset: u64,
        /// How much.
        bytes: u64,
    },
    /// Write what the guest has.
    Write {
        /// To where.
        offset: u64,
        /// How much.
        bytes: u64,
        /// Done only when it is on the medium.
        durable: bool,
    },
    /// Bring everything to the medium.
    Flush,
    /// Forget these bytes: they read as zeroes from then on.
    Discard(Vec<Range<u64>>),
    /// Write a pattern again and again.
    Fill {
        /// To where.
        offset: u64,
        /// How much: a multiple of the pattern's length.
        bytes: u64,
        /// The pattern: one block.
        pattern: Vec<u8>,
    },
}

/// Most pieces that one call to the system takes (`UIO_MAXIOV`).
const MAX_PIECES: usize = 1024;
/// A pattern is repeated to about this length before it is written.
const PATTERN_BYTES: usize = 64 << 10;
/// How often in a row a call is made again that the system didn't want to make now.
const MAX_RETRIES: u32 = 100;

/// The next call to make.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// Read to these pieces; at least one, not empty.
    Read {
        /// The pieces.
        pieces: &'a [IoVec],
        /// From where on.
        offset: u64,
    },
    /// Write these pieces; at least one, not empty.
    Write {
        /// The pieces.
        pieces: &'a [IoVec],
        /// To where.
        offset: u64,
        /// Done only when it is on the medium.
        durable: bool,
    },
    /// Bring everything to the medium.
    Flush,
    /// Make a hole.
    Punch {
        /// Where.
        offset: u64,
        /// How long.
        bytes: u64,
    },
}

#[derive(Debug)]
enum Kind {
    Read,
    Write {
        durable: bool,
    },
    Flush {
        done: bool,
    },
    Discard {
        ranges: Vec<Range<u64>>,
        next: usize,
    },
}

/// Work on a file, as far as it got.
#[derive(Debug)]
pub(super) struct Job {
    kind: Kind,
    /// Pieces to move; those before `first` are done. They lie in the pages of the request's
    /// buffer or in `pattern`, whichever of them they were made of; both live as long as this.
    pieces: Vec<IoVec>,
    first: usize,
    /// Where the next piece goes.
    offset: u64,
    retries: u32,
    /// What a fill writes.
    _pattern: Vec<u8>,
}

impl Job {
    /// Prepares work on a file.
    ///
    /// # Errors
    ///
    /// When the data is shorter than the work.
    pub(super) fn new(work: Work, buffer: &DataBuffer) -> Result<Self, MemoryError> {
        let mut pieces = Vec::new();
        let (kind, offset, pattern) = match work {
            Work::Read { offset, bytes } => {
                buffer.iovecs(0, bytes, &mut pieces)?;
                (Kind::Read, offset, Vec::new())
            }
            Work::Write {
                offset,
                bytes,
                durable,
            } => {
                buffer.iovecs(0, bytes, &mut pieces)?;
                (Kind::Write { durable }, offset, Vec::new())
            }
            Work::Flush => (Kind::Flush { done: false }, 0, Vec::new()),
            Work::Discard(ranges) => (Kind::Discard { ranges, next: 0 }, 0, Vec::new()),
            Work::Fill {
                offset,
                bytes,
                pattern,
            } => {
                let pattern = repeated(pattern, bytes);
                let mut left = bytes;
                while left > 0 && !pattern.is_empty() {
                    let here = left.min(pattern.len() as u64);
                    pieces.push(IoVec(libc::iovec {
                        iov_base: pattern.as_ptr().cast_mut().cast(),
                        iov_len: here as usize,
                    }));
                    left -= here;
                }
                (Kind::Write { durable: false }, offset, pattern)
            }
        };
        Ok(Self {
            kind,
            pieces,
            first: 0,
            offset,
            retries: 0,
            _pattern: pattern,
        })
    }

    /// The next call; none: the work is done.
    pub(super) fn step(&self) -> Option<Step<'_>> {
        match &self.kind {
            Kind::Read | Kind::Write { .. } => {
                let rest = self.pieces.get(self.first..).unwrap_or_default();
                let pieces = rest.get(..MAX_PIECES).unwrap_or(rest);
                if pieces.is_empty() {
                    return None;
                }
                Some(match self.kind {
                    Kind::Write { durable } => Step::Write {
                        pieces,
                        offset: self.offset,
                        durable,
                    },
                    _ => Step::Read {
                        pieces,
                        offset: self.offset,
                    },
                })
            }
            Kind::Flush { done } => (!done).then_some(Step::Flush),
            Kind::Discard { ranges, next } => ranges.get(*next).map(|range| Step::Punch {
                offset: range.start,
                bytes: range.end.saturating_sub(range.start),
            }),
        }
    }

    /// What the last call answered: a count, or an error number as a negative one.
    ///
    /// # Errors
    ///
    /// The error number that ends the work.
    pub(super) fn advance(&mut self, answer: i32) -> Result<(), i32> {
        if answer < 0 {
            let errno = answer.checked_neg().unwrap_or(libc::EIO);
            let again = matches!(errno, libc::EAGAIN | libc::EINTR);
            if again && self.retries < MAX_RETRIES {
                self.retries += 1;
                return Ok(());
            }
            return Err(errno);
        }
        self.retries = 0;
        match &mut self.kind {
            Kind::Flush { done } => *done = true,
            Kind::Discard { next, .. } => *next += 1,
            // The file ends before the unit does: somebody cut it.
            Kind::Read | Kind::Write { .. } if answer == 0 => return Err(libc::EIO),
            Kind::Read | Kind::Write { .. } => {
                let mut moved = answer as usize;
                self.offset = self.offset.saturating_add(moved as u64);
                while let Some(piece) = self.pieces.get_mut(self.first) {
                    if moved < piece.0.iov_len {
                        piece.0.iov_base = piece.0.iov_base.wrapping_byte_add(moved);
                        piece.0.iov_len -= moved;
                        break;
                    }
                    moved -= piece.0.iov_len;
                    self.first += 1;
                }
            }
        }
        Ok(())
    }
}

/// The pattern as often as it fits in what is wanted and in [`PATTERN_BYTES`], at least once.
fn repeated(pattern: Vec<u8>, wanted: u64) -> Vec<u8> {
    let most = usize::try_from(wanted)
        .unwrap_or(usize::MAX)
        .min(PATTERN_BYTES);
    match most.checked_div(pattern.len()) {
        Some(times) if times > 1 => pattern.repeat(times),
        _ => pattern,
    }
}
