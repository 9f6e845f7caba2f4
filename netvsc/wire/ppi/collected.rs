// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Everything that goes with a frame, read and written at once.

use super::{
    HashInfo, LargeSend, PacketId, PpiError, PpiType, Ppis, ReceiveChecksum, SendChecksum, Vlan,
    WireHead, INTERNAL, PPI_HEAD_BYTES,
};
use crate::rndis::packet::{write_fixed, FIXED_HEAD_BYTES};
use crate::rndis::RndisError;
use zerocopy::little_endian::U32;
use zerocopy::IntoBytes;

/// Bytes of a piece whose value is a word.
const PIECE_BYTES: usize = PPI_HEAD_BYTES + 4;

/// Bytes of the longest head that this crate writes.
pub const MAX_HEAD_BYTES: usize = FIXED_HEAD_BYTES + 5 * PIECE_BYTES;

/// A piece to be written: kind with the internal bit, and value.
type Piece = Option<(u32, u32)>;

/// What goes with a frame that a guest sends. The last piece of a kind counts; kinds that aren't
/// here are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendInfo {
    /// Checksums that are left to the host.
    pub checksum: Option<SendChecksum>,
    /// The frame shall be cut.
    pub large_send: Option<LargeSend>,
    /// The tag that the frame shall get.
    pub vlan: Option<Vlan>,
    /// Hash over the flow.
    pub hash: Option<u32>,
}

impl SendInfo {
    /// Reads all pieces.
    ///
    /// # Errors
    ///
    /// [`PpiError`] says what was wrong.
    pub fn collect(ppis: Ppis<'_>) -> Result<Self, PpiError> {
        let mut info = Self::default();
        for ppi in ppis {
            let ppi = ppi?;
            match (ppi.internal, ppi.kind) {
                (false, PpiType::CHECKSUM) => {
                    info.checksum = Some(SendChecksum::from_wire(ppi.word()?));
                }
                (false, PpiType::LARGE_SEND) => {
                    info.large_send = Some(LargeSend::from_wire(ppi.word()?));
                }
                (false, PpiType::VLAN) => info.vlan = Some(Vlan::from_wire(ppi.word()?)),
                (false, PpiType::HASH_VALUE) => info.hash = Some(ppi.word()?),
                _ => {}
            }
        }
        Ok(info)
    }

    fn pieces(&self) -> [Piece; 4] {
        [
            self.hash.map(|hash| (PpiType::HASH_VALUE.0, hash)),
            self.vlan.map(|vlan| (PpiType::VLAN.0, vlan.to_wire())),
            self.large_send
                .map(|send| (PpiType::LARGE_SEND.0, send.to_wire())),
            self.checksum
                .map(|sums| (PpiType::CHECKSUM.0, sums.to_wire())),
        ]
    }

    /// Bytes of the head of a message with these pieces: where the frame will start.
    pub fn head_bytes(&self) -> usize {
        head_bytes(&self.pieces())
    }

    /// Writes the head of a message with a frame of `data_bytes` bytes and `padding` bytes behind
    /// it. Returns the bytes of the head; frame and padding are for the caller to place after it.
    ///
    /// # Errors
    ///
    /// [`RndisError::NoRoom`].
    pub fn encode(
        &self,
        data_bytes: u32,
        padding: u32,
        out: &mut [u8],
    ) -> Result<usize, RndisError> {
        encode(&self.pieces(), data_bytes, padding, out)
    }
}

/// What goes with a frame that a guest receives. The last piece of a kind counts; kinds that
/// aren't here are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveInfo {
    /// What is known of the checksums.
    pub checksum: Option<ReceiveChecksum>,
    /// The tag that was taken off the frame.
    pub vlan: Option<Vlan>,
    /// Hash over the flow.
    pub hash: Option<u32>,
    /// What the hash was made of.
    pub hash_info: Option<HashInfo>,
    /// The place of the frame among several that make up one segment.
    pub packet_id: Option<PacketId>,
}

impl ReceiveInfo {
    /// Reads all pieces.
    ///
    /// # Errors
    ///
    /// [`PpiError`] says what was wrong.
    pub fn collect(ppis: Ppis<'_>) -> Result<Self, PpiError> {
        let mut info = Self::default();
        for ppi in ppis {
            let ppi = ppi?;
            match (ppi.internal, ppi.kind) {
                (false, PpiType::CHECKSUM) => {
                    info.checksum = Some(ReceiveChecksum::from_wire(ppi.word()?));
                }
                (false, PpiType::VLAN) => info.vlan = Some(Vlan::from_wire(ppi.word()?)),
                (false, PpiType::HASH_VALUE) => info.hash = Some(ppi.word()?),
                (false, PpiType::HASH_INFO) => info.hash_info = Some(HashInfo(ppi.word()?)),
                (true, PpiType::INTERNAL_PACKET_ID) => {
                    info.packet_id = Some(PacketId::from_wire(ppi.word()?));
                }
                _ => {}
            }
        }
        Ok(info)
    }

    fn pieces(&self) -> [Piece; 5] {
        [
            self.vlan.map(|vlan| (PpiType::VLAN.0, vlan.to_wire())),
            self.checksum
                .map(|sums| (PpiType::CHECKSUM.0, sums.to_wire())),
            self.hash.map(|hash| (PpiType::HASH_VALUE.0, hash)),
            self.hash_info.map(|info| (PpiType::HASH_INFO.0, info.0)),
            self.packet_id
                .map(|id| (PpiType::INTERNAL_PACKET_ID.0 | INTERNAL, id.to_wire())),
        ]
    }

    /// Bytes of the head of a message with these pieces: where the frame will start.
    pub fn head_bytes(&self) -> usize {
        head_bytes(&self.pieces())
    }

    /// Writes the head of a message with a frame of `data_bytes` bytes and `padding` bytes behind
    /// it. Returns the bytes of the head; frame and padding are for the caller to place after it.
    ///
    /// # Errors
    ///
    /// [`RndisError::NoRoom`].
    pub fn encode(
        &self,
        data_bytes: u32,
        padding: u32,
        out: &mut [u8],
    ) -> Result<usize, RndisError> {
        encode(&self.pieces(), data_bytes, padding, out)
    }
}

fn head_bytes(pieces: &[Piece]) -> usize {
    FIXED_HEAD_BYTES + pieces.iter().flatten().count() * PIECE_BYTES
}

fn encode(
    pieces: &[Piece],
    data_bytes: u32,
    padding: u32,
    out: &mut [u8],
) -> Result<usize, RndisError> {
    let need = head_bytes(pieces);
    let no_room = RndisError::NoRoom {
        need,
        have: out.len(),
    };
    let ppi_bytes = (need - FIXED_HEAD_BYTES) as u32; // at most five pieces
    write_fixed(out, ppi_bytes, data_bytes, padding).ok_or(no_room)?;
    let mut rest = out.get_mut(FIXED_HEAD_BYTES..).ok_or(no_room)?;
    for &(kind, value) in pieces.iter().flatten() {
        let head = WireHead {
            size: U32::new(PIECE_BYTES as u32),
            kind: U32::new(kind),
            offset: U32::new(PPI_HEAD_BYTES as u32),
        };
        rest = crate::layout::put(rest, head.as_bytes()).ok_or(no_room)?;
        rest = crate::layout::put(rest, &value.to_le_bytes()).ok_or(no_room)?;
    }
    Ok(need)
}
