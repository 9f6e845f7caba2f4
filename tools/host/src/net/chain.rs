// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A frame on its way to the guest: its pieces, and TCP segments that are appended to it.
//!
//! A chain of more than one piece is what NVSP 6.1 calls RSC: each piece is an RNDIS message of
//! its own with a part of one large segment, the headers in the first only (`rsc_add_data`,
//! `drivers/net/hyperv/rndis_filter.c`). A large segment from a tap comes in pieces; segments that
//! follow each other on a wire can be joined, because a piece names any part of its bytes. In a buffer that the
//! guest allocated for its queues a large segment has one piece and is one message, the first and the last of its chain.

use netvsc_wire::ppi::{PacketId, ReceiveInfo};

use super::checksum;
use super::frame::{be16, be32, set, Ip, Layout, Network, TCP};
use super::sections::{Batch, ReceiveBuffer, DATA};
use crate::memory::MemoryError;

/// Bytes at the start of a frame that are read into private memory and looked at there.
pub(super) const HEAD: usize = 160;
/// A chain's pieces at most: a segment of 64 KiB in pieces of 1514 bytes and a few more.
pub(super) const MAX_PIECES: usize = 64;

/// Private copy of a frame's first bytes, with room for its RNDIS header before them.
pub(super) type HeadBuffer = [u8; DATA + HEAD];

/// Part of a frame in a piece of the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    piece: u32,
    /// Where in the piece it begins.
    at: usize,
    bytes: usize,
}

/// What the next segment must look like to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Next {
    /// Its sequence number.
    sequence: u32,
    /// Bytes of IP packet so far.
    ip_bytes: usize,
}

/// A frame in pieces.
#[derive(Debug)]
pub(super) struct Chain {
    /// The first bytes; the frame begins at `start`.
    head: HeadBuffer,
    /// Where the frame begins in `head`.
    start: usize,
    /// Bytes of the frame that are in `head`.
    in_head: usize,
    parts: Vec<Part>,
    /// What goes with it.
    pub(super) info: ReceiveInfo,
    /// The queue it is for.
    pub(super) queue: u16,
    /// Bytes of the frame.
    pub(super) bytes: usize,
    network: Option<Network>,
    next: Option<Next>,
    /// Segments were appended.
    joined: bool,
    /// It is a large segment in one piece.
    whole: bool,
}

/// A frame as it was read into pieces of the receive buffer.
#[derive(Debug)]
pub(super) struct Arrived<'a> {
    /// Its first bytes, from [`DATA`] on.
    pub(super) head: &'a HeadBuffer,
    /// Bytes that were taken off its start (a tag): it begins at [`DATA`] plus these.
    pub(super) skip: usize,
    /// Bytes of the frame, without those taken off.
    pub(super) bytes: usize,
    /// Its pieces, the first of which has its first bytes.
    pub(super) pieces: &'a [u32],
    /// What goes with it.
    pub(super) info: ReceiveInfo,
    /// The queue it is for.
    pub(super) queue: u16,
    /// What lies where, counted from its start.
    pub(super) network: Option<Network>,
    /// It is a TCP segment whose checksum is right, and more may be appended.
    pub(super) mergeable: bool,
    /// It is a large segment that has one piece, whatever its length.
    pub(super) whole: bool,
}

impl Chain {
    /// A chain of nothing.
    pub(super) fn new() -> Self {
        Self {
            head: [0; DATA + HEAD],
            start: DATA,
            in_head: 0,
            parts: Vec::new(),
            info: ReceiveInfo::default(),
            queue: 0,
            bytes: 0,
            network: None,
            next: None,
            joined: false,
            whole: false,
        }
    }

    /// There is no frame in it.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Starts with a frame. `room` is that of a piece.
    pub(super) fn start(&mut self, frame: &Arrived<'_>, room: usize) {
        self.head = *frame.head;
        self.start = DATA + frame.skip;
        self.in_head = frame.bytes.min(HEAD.saturating_sub(frame.skip));
        self.info = frame.info;
        self.queue = frame.queue;
        self.bytes = frame.bytes;
        self.network = frame.network;
        self.joined = false;
        self.whole = frame.whole;
        self.parts.clear();
        let mut left = frame.bytes;
        for (number, piece) in frame.pieces.iter().enumerate() {
            let skip = if number == 0 { frame.skip } else { 0 };
            let bytes = left.min(room.saturating_sub(skip));
            self.parts.push(Part {
                piece: *piece,
                at: DATA + skip,
                bytes,
            });
            left -= bytes;
        }
        self.next = if frame.mergeable && frame.pieces.len() == 1 {
            self.after_first()
        } else {
            None
        };
    }

    fn frame_head(&self) -> &[u8] {
        self.head
            .get(self.start..self.start + self.in_head)
            .unwrap_or_default()
    }

    /// What may follow the first segment.
    fn after_first(&self) -> Option<Next> {
        let head = self.frame_head();
        let segment = Segment::look(head, self.network?, self.bytes)?;
        // A segment with PSH ends the burst.
        (!segment.push).then_some(Next {
            sequence: segment.sequence.wrapping_add(segment.data as u32),
            ip_bytes: segment.ip_bytes,
        })
    }

    /// Appends a segment of the same flow; false when it doesn't follow, and nothing is done.
    ///
    /// # Errors
    ///
    /// When its piece is beyond the buffer.
    pub(super) fn append(
        &mut self,
        frame: &Arrived<'_>,
        buffer: &ReceiveBuffer,
    ) -> Result<bool, MemoryError> {
        let (Some(next), Some(network), [piece]) = (self.next, frame.network, frame.pieces) else {
            return Ok(false);
        };
        let head = frame
            .head
            .get(DATA + frame.skip..)
            .and_then(|head| head.get(..frame.bytes.min(head.len())))
            .unwrap_or_default();
        let Some(segment) = Segment::look(head, network, frame.bytes) else {
            return Ok(false);
        };
        let mine = self.frame_head();
        let total = next.ip_bytes + segment.data;
        if !frame.mergeable
            || frame.queue != self.queue
            || frame.info.vlan != self.info.vlan
            || Some(network) != self.network
            || segment.sequence != next.sequence
            || total > usize::from(u16::MAX)
            || self.parts.len() >= MAX_PIECES
            || !same_flow(mine, head, &network, segment.header)
        {
            return Ok(false);
        }
        let at = DATA + frame.skip + segment.header;
        self.parts.push(Part {
            piece: *piece,
            at,
            bytes: segment.data,
        });
        // Data that is still in private memory.
        buffer.write(*piece, at, head.get(segment.header..).unwrap_or_default())?;
        self.joined = true;
        self.bytes += segment.data;
        // The latest acknowledgement and window count, and whether the data is to be pushed.
        let from = network.transport;
        let to = self.start + network.transport;
        if let (Some(new), Some(old)) = (
            head.get(from + 8..from + 16),
            self.head.get_mut(to + 8..to + 16),
        ) {
            old.copy_from_slice(new);
        }
        self.next = (!segment.push).then_some(Next {
            sequence: next.sequence.wrapping_add(segment.data as u32),
            ip_bytes: total,
        });
        Ok(true)
    }

    /// Segments joined so far, the first included; 1 for anything else.
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Writes the RNDIS headers and names the pieces to `batch`; the chain is empty then. `id`
    /// tells chains apart.
    ///
    /// # Errors
    ///
    /// When that is beyond the buffer.
    pub(super) fn finish(
        &mut self,
        buffer: &ReceiveBuffer,
        id: u16,
        batch: &mut Batch,
    ) -> Result<(), MemoryError> {
        if self.joined {
            self.mend();
        }
        let (count, coalesced) = (self.parts.len(), self.is_coalesced());
        let mut header = [0; DATA];
        for (number, part) in self.parts.iter().enumerate() {
            let mut info = if number == 0 {
                self.info
            } else {
                ReceiveInfo::default()
            };
            if coalesced {
                info.packet_id = Some(PacketId {
                    version: PacketId::V1,
                    sub_allocated: true,
                    first: number == 0,
                    last: number + 1 == count,
                    id,
                });
            }
            // MAX_HEAD_BYTES is less than DATA, so this can't fail.
            let Ok(bytes) = info.encode(part.bytes as u32, 0, &mut header) else {
                continue;
            };
            let Some(at) = part.at.checked_sub(bytes) else {
                continue;
            };
            let encoded = header.get(..bytes).unwrap_or_default();
            if number == 0 {
                // Header and first bytes of the frame lie side by side here, too.
                let from = self.start - bytes;
                if set(&mut self.head, from, encoded) {
                    let end = self.start + self.in_head;
                    buffer.write(part.piece, at, self.head.get(from..end).unwrap_or_default())?;
                }
            } else {
                buffer.write(part.piece, at, encoded)?;
            }
            batch
                .ranges
                .push(buffer.range(part.piece, at, bytes + part.bytes));
            batch.pieces.push(part.piece);
        }
        batch.frames += 1;
        self.parts.clear();
        self.next = None;
        Ok(())
    }

    /// It is, or will be, one of what were several frames.
    pub(super) fn is_coalesced(&self) -> bool {
        self.whole || self.parts.len() > 1
    }

    /// Gives up the frame; answers its pieces.
    pub(super) fn abandon(&mut self) -> Vec<u32> {
        self.next = None;
        self.parts.drain(..).map(|part| part.piece).collect()
    }

    /// Headers of joined segments: IP's length and header checksum; TCP's checksum is no good.
    fn mend(&mut self) {
        let Some(network) = self.network else {
            return;
        };
        let (at, length) = match network.ip {
            Ip::V4 => (network.at + 2, self.bytes.saturating_sub(network.at)),
            Ip::V6 => (network.at + 4, self.bytes.saturating_sub(network.at + 40)),
        };
        let length = u16::try_from(length).unwrap_or(0).to_be_bytes();
        let Some(head) = self.head.get_mut(self.start..) else {
            return;
        };
        let _ = set(head, at, &length) && checksum::fill_ipv4_header(head, &network);
        if let Some(sums) = &mut self.info.checksum {
            sums.tcp_value_invalid = true;
        }
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

/// A plain TCP segment with data.
#[derive(Clone, Copy, Debug)]
struct Segment {
    sequence: u32,
    /// Bytes of all headers.
    header: usize,
    /// Bytes of data.
    data: usize,
    ip_bytes: usize,
    push: bool,
}

impl Segment {
    fn look(head: &[u8], network: Network, bytes: usize) -> Option<Self> {
        const ACK: u8 = 0x10;
        const PSH: u8 = 0x08;
        if network.protocol != TCP || network.fragment {
            return None;
        }
        let header = network.tcp_payload(head)?;
        let flags = *head.get(network.transport + 13)?;
        let plain = match network.ip {
            // No options, no fragments.
            Ip::V4 => network.transport - network.at == 20,
            Ip::V6 => network.transport - network.at == 40,
        };
        let data =
            checksum::transport_bytes(head, &network)?.checked_sub(header - network.transport)?;
        // All of it is there, and there may be padding behind short frames only.
        (plain && data > 0 && flags & !PSH == ACK && header + data == bytes).then_some(Self {
            sequence: be32(head, network.transport + 4)?,
            header,
            data,
            ip_bytes: bytes - network.at,
            push: flags & PSH != 0,
        })
    }
}

/// Headers that are the same but for lengths, identification, checksums, sequence and
/// acknowledgement numbers, window and PSH.
fn same_flow(mine: &[u8], other: &[u8], network: &Network, header: usize) -> bool {
    let same = |from: usize, to: usize| match (mine.get(from..to), other.get(from..to)) {
        (Some(mine), Some(other)) => mine == other,
        _ => false,
    };
    let (ip, tcp) = (network.at, network.transport);
    let ip_same = match network.ip {
        // Type of service; fragment field, TTL, protocol; addresses.
        Ip::V4 => same(ip, ip + 2) && same(ip + 6, ip + 10) && same(ip + 12, ip + 20),
        // Class and flow; next header, hop limit, addresses.
        Ip::V6 => same(ip, ip + 4) && same(ip + 6, ip + 40),
    };
    ip_same
        && same(0, ip)
        && same(tcp, tcp + 4)
        // The header's length, and its options as they are: time stamps that differ end a chain.
        && be16(mine, tcp + 12).map(|word| word >> 12) == be16(other, tcp + 12).map(|word| word >> 12)
        && same(tcp + 20, header)
}

/// What lies where in the first bytes of a frame at `at` of a head buffer.
pub(super) fn layout(head: &HeadBuffer, at: usize, bytes: usize) -> Option<Layout> {
    let head = head.get(at..)?;
    Layout::parse(head.get(..bytes.min(head.len()))?)
}
