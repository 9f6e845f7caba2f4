// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages that carry a frame (`struct rndis_packet`).
//!
//! The head is the fixed part and the per-packet info; the frame lies at an offset, padding may
//! follow. A sender need not have it in one piece: the guest's head is in the send buffer or in
//! a page of its own and the frame in other pages, so [`PacketHead`] needs the head only.

use super::{Header, MessageType, RndisError, WireHeader, HEADER_BYTES};
use crate::layout::{part, wire};
use crate::ppi::Ppis;
use core::ops::Range;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::*;

wire! {
    /// `struct rndis_packet` with the header of the message.
    struct WirePacket {
        header: WireHeader,
        data_offset: U32,
        data_length: U32,
        oob_offset: U32,
        oob_length: U32,
        oob_count: U32,
        ppi_offset: U32,
        ppi_length: U32,
        vc_handle: U32,
        reserved: U32,
    } = 44;
}

/// Bytes of a head without per-packet info.
pub const FIXED_HEAD_BYTES: usize = size_of::<WirePacket>();
/// What offsets of the fixed part count from the start of the body up to its end.
const BODY_HEAD: u32 = FIXED_HEAD_BYTES as u32 - HEADER_BYTES;

/// A message with a frame, without the frame.
#[derive(Clone, Debug)]
pub struct PacketHead<'a> {
    /// Bytes of the whole message.
    pub message_bytes: u32,
    /// Where the frame starts, in bytes from the start of the message.
    pub data_offset: u32,
    /// Bytes of the frame.
    pub data_bytes: u32,
    /// What goes with it.
    pub ppis: Ppis<'a>,
}

impl<'a> PacketHead<'a> {
    /// Bytes of a head with its per-packet info, as its first bytes say, whatever the rest says; `None`
    /// where there are too few of them.
    pub fn bytes(first: &[u8]) -> Option<usize> {
        let (wire, _) = WirePacket::read_from_prefix(first).ok()?;
        let end = (wire.ppi_offset.get())
            .saturating_add(wire.ppi_length.get())
            .saturating_add(HEADER_BYTES);
        Some((end as usize).max(FIXED_HEAD_BYTES))
    }

    /// Reads a head from the first bytes of a message that is part of `available` bytes. The
    /// frame is inside of the message, behind the fixed part; the per-packet info is inside of
    /// `head`.
    ///
    /// # Errors
    ///
    /// [`RndisError`] says what was wrong.
    pub fn parse(head: &'a [u8], available: usize) -> Result<Self, RndisError> {
        let header = Header::parse(head, available)?;
        if header.message_type != MessageType::PACKET {
            return Err(RndisError::Unexpected(header.message_type));
        }
        let bounded = head.get(..header.length as usize).unwrap_or(head);
        let (wire, _) = WirePacket::read_from_prefix(bounded)
            .map_err(|_| header.bad_length(FIXED_HEAD_BYTES, head.len()))?;

        let outside = |part, offset: U32, length: U32| RndisError::OutOfBounds {
            message_type: header.message_type,
            part,
            offset: offset.get(),
            length: length.get(),
        };
        let bad_data = outside("frame", wire.data_offset, wire.data_length);
        if wire.data_offset.get() < BODY_HEAD {
            return Err(bad_data);
        }
        let data_offset = wire
            .data_offset
            .get()
            .checked_add(HEADER_BYTES)
            .filter(|start| {
                start
                    .checked_add(wire.data_length.get())
                    .is_some_and(|end| end <= header.length)
            })
            .ok_or(bad_data)?;

        // Offset 0 says none as well (`rndis_get_ppi`).
        let ppis = if wire.ppi_length.get() == 0 || wire.ppi_offset.get() == 0 {
            &[]
        } else {
            let bad_ppi = outside("per-packet info", wire.ppi_offset, wire.ppi_length);
            if wire.ppi_offset.get() < BODY_HEAD {
                return Err(bad_ppi);
            }
            wire.ppi_offset
                .get()
                .checked_add(HEADER_BYTES)
                .and_then(|start| part(bounded, start, wire.ppi_length.get()))
                .ok_or(bad_ppi)?
        };
        Ok(Self {
            message_bytes: header.length,
            data_offset,
            data_bytes: wire.data_length.get(),
            ppis: Ppis::new(ppis),
        })
    }

    /// Where the frame is, counted from the start of the message.
    pub fn data(&self) -> Range<usize> {
        // Both were checked against the message's length.
        let start = self.data_offset as usize;
        start..start.saturating_add(self.data_bytes as usize)
    }
}

/// A message with a frame, in one piece.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// What goes with the frame.
    pub ppis: Ppis<'a>,
    /// The frame, from the Ethernet header on.
    pub frame: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads the message at the start of `bytes`.
    ///
    /// # Errors
    ///
    /// [`RndisError`] says what was wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RndisError> {
        let head = PacketHead::parse(bytes, bytes.len())?;
        let frame =
            part(bytes, head.data_offset, head.data_bytes).ok_or(RndisError::BadLength {
                message_type: MessageType::PACKET,
                length: head.message_bytes,
                min: FIXED_HEAD_BYTES,
                available: bytes.len(),
            })?;
        Ok(Self {
            ppis: head.ppis,
            frame,
        })
    }
}

/// Writes the fixed part for a frame of `data_bytes` bytes that follows `ppi_bytes` bytes of
/// per-packet info at once, and `padding` bytes after it. Returns the length of the message.
pub(crate) fn write_fixed(
    out: &mut [u8],
    ppi_bytes: u32,
    data_bytes: u32,
    padding: u32,
) -> Option<u32> {
    let data_offset = BODY_HEAD.checked_add(ppi_bytes)?;
    let length = data_offset
        .checked_add(HEADER_BYTES)?
        .checked_add(data_bytes)?
        .checked_add(padding)?;
    let wire = WirePacket {
        header: WireHeader::new(MessageType::PACKET, length),
        data_offset: U32::new(data_offset),
        data_length: U32::new(data_bytes),
        oob_offset: U32::ZERO,
        oob_length: U32::ZERO,
        oob_count: U32::ZERO,
        ppi_offset: U32::new(if ppi_bytes == 0 { 0 } else { BODY_HEAD }),
        ppi_length: U32::new(ppi_bytes),
        vc_handle: U32::ZERO,
        reserved: U32::ZERO,
    };
    crate::layout::put(out, wire.as_bytes())?;
    Some(length)
}
