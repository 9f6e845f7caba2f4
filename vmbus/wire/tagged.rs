// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests whose place in the table their sender chooses.
//!
//! A block layer numbers its requests itself: while one is under way, nobody else has its number.
//! Then a table needs no lock and no list of free places, only a word for each that says whether a
//! request is under way, which one, and on which channel. What travels is an id made of the number
//! and of a generation that counts the requests the place has had, so that an answer which comes
//! twice, late, out of thin air or on another channel is told from a good one.
//!
//! This module has the rules and no storage: [`TagWord`] is a value, and whoever keeps the words
//! changes them by compare and exchange.

use core::fmt;

/// Lower half of ids that name no place of a table: for requests outside of it.
pub const NO_PLACE: u32 = 0;

/// Whether an id names no place of a table though it isn't 0: what else is asked may use such ids.
pub const fn has_no_place(id: u64) -> bool {
    id != 0 && id as u32 == NO_PLACE
}

/// Why an answer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagError {
    /// No request ever had this id.
    Unknown {
        /// The id.
        id: u64,
    },
    /// The request isn't under way: it was answered before, or never sent.
    NotUnderWay {
        /// The id.
        id: u64,
    },
    /// The request was sent on another channel.
    WrongChannel {
        /// The id.
        id: u64,
        /// The channel it was sent on, as its sender numbers them.
        sent_on: u16,
    },
}

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { id } => write!(f, "no request has id {id:#x}"),
            Self::NotUnderWay { id } => write!(f, "request {id:#x} isn't under way"),
            Self::WrongChannel { id, sent_on } => {
                write!(f, "request {id:#x} was sent on channel {sent_on}, not here")
            }
        }
    }
}

impl core::error::Error for TagError {}

/// What a place of the table holds.
///
/// A number of 64 bits: the generation in the upper half, below it the channel (16 bits), and in the
/// lowest bit whether a request is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TagWord(u64);

impl TagWord {
    /// A place that has had no request yet.
    pub const NEW: Self = Self(0);

    const UNDER_WAY: u64 = 1;

    /// The number, for an atomic variable.
    pub const fn to_raw(self) -> u64 {
        self.0
    }

    /// From [`TagWord::to_raw`]. Any number is a word.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Whether a request is under way.
    pub const fn is_under_way(self) -> bool {
        self.0 & Self::UNDER_WAY != 0
    }

    /// The channel of the request that is or was under way.
    pub const fn channel(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// How many requests the place has had, modulo 2^32.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The word for a request that is about to be sent on a channel; `None` while one is under way.
    #[inline]
    pub const fn begin(self, channel: u16) -> Option<Self> {
        if self.is_under_way() {
            return None;
        }
        let generation = self.generation().wrapping_add(1) as u64;
        Some(Self(
            generation << 32 | (channel as u64) << 16 | Self::UNDER_WAY,
        ))
    }

    /// The id under which the request in place `index` travels; never 0. `None` for a place beyond
    /// `u32::MAX - 1`.
    #[inline]
    pub const fn id(self, index: usize) -> Option<u64> {
        if index >= u32::MAX as usize {
            return None;
        }
        Some((self.generation() as u64) << 32 | (index as u64 + 1))
    }

    /// The word after an answer with this id came in on this channel.
    ///
    /// # Errors
    ///
    /// [`TagError`]; the word stays as it is.
    #[inline]
    pub const fn end(self, id: u64, channel: u16) -> Result<Self, TagError> {
        if !self.is_under_way() || self.generation() != (id >> 32) as u32 {
            return Err(TagError::NotUnderWay { id });
        }
        if self.channel() != channel {
            return Err(TagError::WrongChannel {
                id,
                sent_on: self.channel(),
            });
        }
        Ok(self.end_any())
    }

    /// The word after the request was ended without an answer.
    #[inline]
    pub const fn end_any(self) -> Self {
        Self(self.0 & !Self::UNDER_WAY)
    }
}

impl fmt::Debug for TagWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagWord")
            .field("generation", &self.generation())
            .field("channel", &self.channel())
            .field("under_way", &self.is_under_way())
            .finish()
    }
}

/// The place that an id names in a table of `places`.
///
/// # Errors
///
/// [`TagError::Unknown`].
#[inline]
pub const fn place(id: u64, places: usize) -> Result<usize, TagError> {
    let lower = id as u32;
    if lower == NO_PLACE || lower as usize > places {
        return Err(TagError::Unknown { id });
    }
    Ok(lower as usize - 1)
}
