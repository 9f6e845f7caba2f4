// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Per-packet info: what goes with a frame.
//!
//! Each piece is a head of 12 bytes (`struct rndis_per_packet_info`) and a value, mostly a
//! `u32`. What the value means may depend on the direction: [`SendInfo`] is what goes with a
//! frame that a guest sends, [`ReceiveInfo`] what goes with one that it gets.

use crate::layout::{named_numbers, wire};
use core::fmt;
use zerocopy::little_endian::U32;
use zerocopy::FromBytes;
use zerocopy_derive::*;

mod collected;
mod records;

pub use collected::{ReceiveInfo, SendInfo, MAX_HEAD_BYTES};
pub use records::{HashInfo, LargeSend, PacketId, ReceiveChecksum, SendChecksum, Verdict, Vlan};

named_numbers! {
    /// Kind of a piece (`enum ndis_per_pkt_info_type`, and from there on NDIS 6's
    /// `NDIS_NET_BUFFER_LIST_INFO`).
    pub struct PpiType("{}");
    /// Checksums: [`SendChecksum`], [`ReceiveChecksum`].
    CHECKSUM = 0;
    /// IPsec offload.
    IPSEC = 1;
    /// [`LargeSend`].
    LARGE_SEND = 2;
    /// Handle of a classification.
    CLASSIFICATION = 3;
    /// Scatter-gather list.
    SG_LIST = 5;
    /// [`Vlan`].
    VLAN = 6;
    /// The packet that this one was made from.
    ORIGINAL_PACKET = 7;
    /// Hash over the flow, a `u32` (`NBL_HASH_VALUE`).
    HASH_VALUE = 8;
    /// [`HashInfo`]: what the hash was made of.
    HASH_INFO = 9;
    /// Padding of short frames.
    SHORT_PACKET_PADDING = 11;
}

impl PpiType {
    /// Kind of an internal piece: [`PacketId`] (`RNDIS_PKTINFO_ID`).
    pub const INTERNAL_PACKET_ID: Self = Self(1);
}

wire! {
    /// `struct rndis_per_packet_info`.
    struct WireHead { size: U32, kind: U32, offset: U32, } = 12;
}

/// Bytes of the head of a piece.
pub const PPI_HEAD_BYTES: usize = size_of::<WireHead>();

/// The bit that tells internal pieces, whose kinds are numbered on their own.
const INTERNAL: u32 = 0x8000_0000;

/// Why pieces were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PpiError {
    /// Fewer bytes left than a head has.
    NoHead {
        /// Bytes left.
        left: usize,
    },
    /// A piece that is shorter than its head, or longer than what is left.
    BadSize {
        /// What it says.
        size: u32,
        /// Bytes left.
        left: usize,
    },
    /// The value isn't inside of the piece.
    BadOffset {
        /// Where it should start.
        offset: u32,
        /// Bytes of the piece.
        size: u32,
    },
    /// A value that is too short for its kind.
    TooShort {
        /// Its kind.
        kind: PpiType,
        /// Bytes it has.
        got: usize,
        /// Bytes it needs.
        want: usize,
    },
}

impl fmt::Display for PpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHead { left } => write!(f, "{left} bytes are no per-packet info"),
            Self::BadSize { size, left } => {
                write!(f, "per-packet info of {size} bytes, with {left} left")
            }
            Self::BadOffset { offset, size } => {
                write!(
                    f,
                    "per-packet info of {size} bytes has its value at {offset}"
                )
            }
            Self::TooShort { kind, got, want } => {
                write!(f, "per-packet info {kind} has {got} bytes, not {want}")
            }
        }
    }
}

impl core::error::Error for PpiError {}

/// One piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ppi<'a> {
    /// Its kind.
    pub kind: PpiType,
    /// Whether it is numbered among the internal ones.
    pub internal: bool,
    /// The value, and what may follow it.
    pub value: &'a [u8],
}

impl Ppi<'_> {
    fn word(&self) -> Result<u32, PpiError> {
        match U32::read_from_prefix(self.value) {
            Ok((word, _)) => Ok(word.get()),
            Err(_) => Err(PpiError::TooShort {
                kind: self.kind,
                got: self.value.len(),
                want: 4,
            }),
        }
    }
}

/// The pieces of a packet, in their order. Ends after the first error.
#[derive(Clone, Debug, Default)]
pub struct Ppis<'a> {
    bytes: &'a [u8],
}

impl<'a> Ppis<'a> {
    /// The pieces that lie one after the other in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// What is left of the bytes.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for Ppis<'a> {
    type Item = Result<Ppi<'a>, PpiError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        // Nothing is left after an error, and a piece has at least its head: this ends after
        // `bytes.len() / 12 + 1` turns.
        let all = core::mem::take(&mut self.bytes);
        Some(piece(all).map(|(ppi, rest)| {
            self.bytes = rest;
            ppi
        }))
    }
}

fn piece(all: &[u8]) -> Result<(Ppi<'_>, &[u8]), PpiError> {
    let left = all.len();
    let Ok((head, _)) = WireHead::read_from_prefix(all) else {
        return Err(PpiError::NoHead { left });
    };
    let size = head.size.get();
    let bad_size = PpiError::BadSize { size, left };
    let bytes = usize::try_from(size).map_err(|_| bad_size)?;
    if bytes < PPI_HEAD_BYTES {
        return Err(bad_size);
    }
    let (piece, rest) = all.split_at_checked(bytes).ok_or(bad_size)?;
    let offset = head.offset.get();
    let value = usize::try_from(offset)
        .ok()
        .filter(|&at| at >= PPI_HEAD_BYTES)
        .and_then(|at| piece.get(at..))
        .ok_or(PpiError::BadOffset { offset, size })?;
    let kind = head.kind.get();
    let ppi = Ppi {
        kind: PpiType(kind & !INTERNAL),
        internal: kind & INTERNAL != 0,
        value,
    };
    Ok((ppi, rest))
}
