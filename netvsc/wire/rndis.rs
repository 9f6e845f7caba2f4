// SPDX-License-Identifier: GPL-2.0 OR MIT

//! RNDIS messages: frames, and everything that isn't NVSP.
//!
//! A message is a header of type and length ([`Header`]) and a body. Frames are of type PACKET
//! ([`packet`]) and travel in packets of channel type data, several one after the other
//! ([`messages`]); everything else is of channel type control: [`GuestControl`] is what a guest
//! sends, [`HostControl`] what a host sends.
//!
//! **Offsets** inside of a body count from the start of the body, which is
//! [`HEADER_BYTES`] behind the start of the message (`include/linux/rndis.h`,
//! `drivers/net/hyperv/hyperv_net.h`). Values of this crate count from the start of the message.

use crate::layout::{named_numbers, wire};
use core::fmt;
use zerocopy::little_endian::U32;
use zerocopy::FromBytes;
use zerocopy_derive::*;

mod guest;
mod host;
pub mod packet;
mod status;

pub use guest::{GuestControl, Initialize, Query, Set};
pub use host::{
    HostControl, Indication, InitializeComplete, QueryComplete, SetComplete, SetExComplete,
};
pub use packet::{Packet, PacketHead};
pub use status::Status;

/// Bytes of a header: what offsets inside of a body don't count.
pub const HEADER_BYTES: u32 = 8;
/// The only version of RNDIS (`RNDIS_MAJOR_VERSION`, `RNDIS_MINOR_VERSION`).
pub const VERSION: (u32, u32) = (1, 0);
/// Longest message that Linux asks for in INITIALIZE (`rndis_filter_init_device`).
pub const MAX_TRANSFER_BYTES: u32 = 0x4000;

named_numbers! {
    /// Kind of a message (`RNDIS_MSG_*`).
    pub struct MessageType("{:#x}");
    /// A frame.
    PACKET = 0x0000_0001;
    /// Starts the conversation.
    INITIALIZE = 0x0000_0002;
    /// Ends it; not answered.
    HALT = 0x0000_0003;
    /// Asks for an object.
    QUERY = 0x0000_0004;
    /// Changes an object.
    SET = 0x0000_0005;
    /// Resets the NIC.
    RESET = 0x0000_0006;
    /// Something happened.
    INDICATE_STATUS = 0x0000_0007;
    /// Whether the other side still answers.
    KEEPALIVE = 0x0000_0008;
    /// Changes an object and asks for the outcome; for OIDs that are methods.
    SET_EX = 0x0000_0009;
    /// Answer to INITIALIZE.
    INITIALIZE_COMPLETE = 0x8000_0002;
    /// Answer to QUERY.
    QUERY_COMPLETE = 0x8000_0004;
    /// Answer to SET.
    SET_COMPLETE = 0x8000_0005;
    /// Answer to RESET.
    RESET_COMPLETE = 0x8000_0006;
    /// Answer to KEEPALIVE.
    KEEPALIVE_COMPLETE = 0x8000_0008;
    /// Answer to SET_EX.
    SET_EX_COMPLETE = 0x8000_0009;
}

/// Why a message was refused, or couldn't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RndisError {
    /// Not even a header.
    NoHeader {
        /// Bytes received.
        got: usize,
    },
    /// The length in the header is more than was received, or less than the kind needs.
    BadLength {
        /// The kind of message.
        message_type: MessageType,
        /// What the header says.
        length: u32,
        /// Bytes that it has to have at least.
        min: usize,
        /// Bytes received.
        available: usize,
    },
    /// A kind of message that nobody sends, or not in this direction or on this type of channel.
    Unexpected(MessageType),
    /// A part of the body isn't inside of the message.
    OutOfBounds {
        /// The kind of message.
        message_type: MessageType,
        /// Which part.
        part: &'static str,
        /// Where it starts in the body.
        offset: u32,
        /// Bytes it has.
        length: u32,
    },
    /// The place to write to is too short, or what is to be written is longer than any message.
    NoRoom {
        /// Bytes needed.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
}

impl fmt::Display for RndisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader { got } => write!(f, "RNDIS message of {got} bytes has no header"),
            Self::BadLength {
                message_type,
                length,
                min,
                available,
            } => write!(
                f,
                "{message_type} says {length} bytes, needs {min}, has {available}"
            ),
            Self::Unexpected(message_type) => {
                write!(f, "RNDIS message {message_type} isn't expected here")
            }
            Self::OutOfBounds {
                message_type,
                part,
                offset,
                length,
            } => write!(
                f,
                "{message_type} has its {part} of {length} bytes at {offset}, not inside"
            ),
            Self::NoRoom { need, have } => {
                write!(f, "RNDIS message of {need} bytes doesn't fit into {have}")
            }
        }
    }
}

impl core::error::Error for RndisError {}

wire! {
    /// Start of `struct rndis_message`.
    struct WireHeader { kind: U32, length: U32, } = 8;
}

impl WireHeader {
    pub(crate) const fn new(kind: MessageType, length: u32) -> Self {
        Self {
            kind: U32::new(kind.0),
            length: U32::new(length),
        }
    }
}

/// What every message starts with (`struct rndis_message`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind.
    pub message_type: MessageType,
    /// Bytes of the whole message, header included; at least [`HEADER_BYTES`] and not more than
    /// were there when it was read.
    pub length: u32,
}

impl Header {
    /// Reads the header at the start of `bytes`, of which `available` in all belong to messages:
    /// a message may go on elsewhere.
    ///
    /// # Errors
    ///
    /// [`RndisError::NoHeader`], [`RndisError::BadLength`].
    pub fn parse(bytes: &[u8], available: usize) -> Result<Self, RndisError> {
        let Ok((wire, _)) = WireHeader::read_from_prefix(bytes) else {
            return Err(RndisError::NoHeader { got: bytes.len() });
        };
        let header = Self {
            message_type: MessageType(wire.kind.get()),
            length: wire.length.get(),
        };
        match usize::try_from(header.length) {
            Ok(length) if length >= HEADER_BYTES as usize && length <= available => Ok(header),
            _ => Err(header.bad_length(HEADER_BYTES as usize, available)),
        }
    }

    pub(crate) const fn bad_length(&self, min: usize, available: usize) -> RndisError {
        RndisError::BadLength {
            message_type: self.message_type,
            length: self.length,
            min,
            available,
        }
    }
}

/// A message of which only the header was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMessage<'a> {
    /// The header.
    pub header: Header,
    /// The whole message: as many bytes as the header says.
    pub bytes: &'a [u8],
}

/// The messages that lie one after the other in `bytes`.
pub fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages { bytes }
}

/// Iterator of [`messages`]. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<RawMessage<'a>, RndisError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let all = core::mem::take(&mut self.bytes);
        // A header's length is at least 8, so this ends after `bytes.len() / 8` turns.
        Some(Header::parse(all, all.len()).and_then(|header| {
            let (bytes, rest) = all
                .split_at_checked(header.length as usize)
                .ok_or(header.bad_length(HEADER_BYTES as usize, all.len()))?;
            self.bytes = rest;
            Ok(RawMessage { header, bytes })
        }))
    }
}

/// Reads the fixed part of a message, header included, that is `length` bytes long.
fn read<T: FromBytes>(header: Header, bytes: &[u8]) -> Result<T, RndisError> {
    let message = bytes.get(..header.length as usize).unwrap_or(bytes);
    match T::read_from_prefix(message) {
        Ok((value, _)) => Ok(value),
        Err(_) => Err(header.bad_length(size_of::<T>(), bytes.len())),
    }
}

/// A part of a message at an offset that counts from the body. Empty parts may say any offset.
fn part<'a>(
    header: Header,
    bytes: &'a [u8],
    name: &'static str,
    offset: U32,
    length: U32,
) -> Result<&'a [u8], RndisError> {
    let (offset, length) = (offset.get(), length.get());
    if length == 0 {
        return Ok(&[]);
    }
    offset
        .checked_add(HEADER_BYTES)
        .and_then(|start| crate::layout::part(bytes, start, length))
        .ok_or(RndisError::OutOfBounds {
            message_type: header.message_type,
            part: name,
            offset,
            length,
        })
}

/// Writes a fixed part, whose header is filled in last, and what follows it. Returns the length
/// of the message.
fn write(out: &mut [u8], fixed: &[u8], tail: &[u8]) -> Result<usize, RndisError> {
    let need = fixed.len() + tail.len();
    let have = out.len();
    let no_room = RndisError::NoRoom { need, have };
    let length = u32::try_from(need).map_err(|_| no_room)?;
    let rest = crate::layout::put(out, fixed).ok_or(no_room)?;
    crate::layout::put(rest, tail).ok_or(no_room)?;
    let place = out.get_mut(4..8).ok_or(no_room)?;
    place.copy_from_slice(&length.to_le_bytes());
    Ok(need)
}
