// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The frame of all packets (`struct vstor_packet`): operation, flags and status, then a body of
//! a fixed size.

use crate::{NtStatus, Operation};
use core::fmt;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes};
use zerocopy_derive::*;

/// Bytes before the body.
pub const HEADER_BYTES: usize = 12;
/// Bytes of the body before 5.1.
pub const SHORT_BODY_BYTES: usize = 0x24;
/// Bytes of the body from 5.1 on.
pub const LONG_BODY_BYTES: usize = 0x34;
/// Bytes of the longest packet.
pub const MAX_PACKET_BYTES: usize = HEADER_BYTES + LONG_BODY_BYTES;

/// Bit of the flags: the sender wants a completion (`REQUEST_COMPLETION_FLAG`).
pub const FLAG_REQUEST_COMPLETION: u32 = 1;

/// How long packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// 48 bytes: the request block ends with command or sense data.
    Short,
    /// 64 bytes: the request block has an extension (`vmscsi_win8_extension` of older headers).
    Long,
}

impl Layout {
    /// Bytes of a packet.
    pub const fn packet_bytes(self) -> usize {
        match self {
            Self::Short => HEADER_BYTES + SHORT_BODY_BYTES,
            Self::Long => HEADER_BYTES + LONG_BODY_BYTES,
        }
    }

    /// Bytes of a request block, which is what its length field says.
    pub const fn srb_bytes(self) -> u16 {
        match self {
            Self::Short => SHORT_BODY_BYTES as u16,
            Self::Long => LONG_BODY_BYTES as u16,
        }
    }

    /// Most bytes of sense data that a request block takes: 18 before 5.1, 20 since.
    pub const fn sense_bytes(self) -> usize {
        match self {
            Self::Short => 18,
            Self::Long => 20,
        }
    }

    /// The longest layout that fits in so many bytes; `None` when not even the short one does.
    pub const fn fitting(bytes: usize) -> Option<Self> {
        if bytes >= Self::Long.packet_bytes() {
            Some(Self::Long)
        } else if bytes >= Self::Short.packet_bytes() {
            Some(Self::Short)
        } else {
            None
        }
    }
}

/// Why a packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// Shorter than it must be.
    Short {
        /// Bytes it must have.
        needed: usize,
        /// Bytes it has.
        got: usize,
    },
    /// A field has a value that makes no sense.
    BadField {
        /// What the packet is about.
        operation: Operation,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { needed, got } => write!(f, "packet of {got} bytes, {needed} needed"),
            Self::BadField {
                operation,
                field,
                value,
            } => write!(f, "{operation}: {field} is {value:#x}"),
        }
    }
}

impl core::error::Error for PacketError {}

/// The first bytes of a packet.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawHeader {
    operation: U32,
    flags: U32,
    status: U32,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES);

/// The frame of a packet that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is about.
    pub operation: Operation,
    /// See [`FLAG_REQUEST_COMPLETION`].
    pub flags: u32,
    /// Of a completion: how it ended.
    pub status: NtStatus,
}

impl Header {
    /// Splits a packet.
    ///
    /// # Errors
    ///
    /// [`PacketError::Short`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), PacketError> {
        let (raw, body) =
            RawHeader::read_from_prefix(bytes).map_err(|_| short::<RawHeader>(bytes))?;
        let header = Self {
            operation: Operation(raw.operation.get()),
            flags: raw.flags.get(),
            status: NtStatus(raw.status.get()),
        };
        Ok((header, body))
    }
}

/// Reads a body that may be followed by the rest of its packet.
pub(crate) fn read<T: FromBytes>(body: &[u8]) -> Result<T, PacketError> {
    T::read_from_prefix(body)
        .map(|(value, _)| value)
        .map_err(|_| PacketError::Short {
            needed: HEADER_BYTES.saturating_add(size_of::<T>()),
            got: HEADER_BYTES.saturating_add(body.len()),
        })
}

fn short<T>(bytes: &[u8]) -> PacketError {
    PacketError::Short {
        needed: size_of::<T>(),
        got: bytes.len(),
    }
}

/// A packet to be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OutPacket {
    bytes: [u8; MAX_PACKET_BYTES],
    layout: Layout,
}

impl OutPacket {
    /// A packet whose body is `body`, cut or filled with zeroes to the layout's size.
    #[inline]
    pub(crate) fn new<T: IntoBytes + Immutable + ?Sized>(
        layout: Layout,
        operation: Operation,
        flags: u32,
        status: NtStatus,
        body: &T,
    ) -> Self {
        let header = RawHeader {
            operation: U32::new(operation.0),
            flags: U32::new(flags),
            status: U32::new(status.0),
        };
        // Whole copies, because one is made for every command.
        let mut bytes = [0; MAX_PACKET_BYTES];
        let room = layout.packet_bytes().saturating_sub(HEADER_BYTES);
        let body = body.as_bytes();
        let body = body.get(..room).unwrap_or(body);
        if let Some((head, rest)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() {
            if let Ok(header) = header.as_bytes().try_into() {
                *head = header;
            }
            if let Some(to) = rest.get_mut(..body.len()) {
                to.copy_from_slice(body);
            }
        }
        Self { bytes, layout }
    }

    /// The bytes, as long as the layout says.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.layout.packet_bytes())
            .unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for OutPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", self.as_bytes())
    }
}
