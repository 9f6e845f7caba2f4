// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Frames from the guest to the back end.
//!
//! Whatever decides something (RNDIS headers, a frame's own headers) is copied once and looked at
//! in private memory; the rest of a frame goes from the guest's pages to the back end as it is.

use std::sync::Arc;

use netvsc_wire::nvsp::{SectionUse, Status, SEND_SECTION_BYTES};
use netvsc_wire::ppi::{SendChecksum, SendInfo};
use netvsc_wire::rndis::packet::PacketHead;
use vmbus_wire::packet::GpaRanges;

use super::backend::{Capabilities, Frame, Gso, Offload, Partial, Queue};
use super::checksum;
use super::frame::{set, Ip, Layout, ETHERNET_BYTES, TCP, TYPE_VLAN, UDP, VLAN_BYTES};
use super::plane::{Plane, QueueCounters};
use super::scatter::{Scatter, View};
use super::segment;
use crate::memory::GuestMemory;

/// Bytes of an RNDIS head that are looked at; the frame's own first bytes may follow in them.
const RNDIS_HEAD: usize = 512;
/// Bytes of a frame that are looked at.
const FRAME_HEAD: usize = 256;
/// The longest frame: a segment of 64 KiB.
const LONGEST: usize = 65_535 + ETHERNET_BYTES;

/// A queue's way from the guest.
pub(super) struct Transmitter {
    /// All bytes of a packet.
    stream: Scatter,
    /// Where the packet's ranges end in `stream`.
    ends: Vec<usize>,
    /// What follows the looked-at part of a frame.
    body: Scatter,
    /// A frame in one piece, for whoever takes no scatter list.
    whole: Vec<u8>,
}

/// What became of a packet with frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// For the guest.
    pub(super) status: Status,
}

/// A guest's packet makes no sense; its channel is dead.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadPacket {
    /// No send buffer was agreed.
    #[error("a section of a send buffer that there isn't")]
    NoSendBuffer,
    /// A section that isn't in the buffer.
    #[error("section {} with {} bytes is not in the send buffer", .0.index, .0.bytes)]
    Section(SectionUse),
    /// Pages that aren't memory.
    #[error("guest pages: {0}")]
    Memory(#[from] crate::memory::MemoryError),
    /// RNDIS messages that make no sense.
    #[error("RNDIS: {0}")]
    Rndis(#[from] netvsc_wire::RndisError),
    /// Per-packet info that makes no sense.
    #[error("per-packet info: {0}")]
    Ppi(#[from] netvsc_wire::ppi::PpiError),
    /// Nothing in it.
    #[error("a packet without an RNDIS message")]
    Empty,
    /// More than any message.
    #[error("a control message of {0} bytes")]
    Long(usize),
}

impl Transmitter {
    /// The transmitter of a queue.
    pub(super) fn new(memory: &GuestMemory) -> Self {
        Self {
            stream: Scatter::new(memory),
            ends: Vec::new(),
            body: Scatter::new(memory),
            whole: Vec::new(),
        }
    }

    /// Lists all bytes of a packet: those in the send buffer, then those in guest pages.
    ///
    /// # Errors
    ///
    /// [`BadPacket`].
    pub(super) fn gather(
        &mut self,
        plane: &Plane,
        section: Option<SectionUse>,
        ranges: Option<GpaRanges<'_>>,
    ) -> Result<(), BadPacket> {
        self.stream.clear();
        self.ends.clear();
        if let Some(section) = section {
            let send = plane.send.as_ref().ok_or(BadPacket::NoSendBuffer)?;
            let range = section
                .within(SEND_SECTION_BYTES, send.gpadl.bytes())
                .ok_or(BadPacket::Section(section))?;
            let gpadl: &Arc<_> = &send.gpadl;
            self.stream
                .push_gpadl(gpadl, range.start, section.bytes as usize)?;
            self.ends.push(self.stream.len());
        }
        for range in ranges.into_iter().flatten() {
            self.stream.push_range(&range)?;
            self.ends.push(self.stream.len());
        }
        if self.stream.is_empty() {
            return Err(BadPacket::Empty);
        }
        Ok(())
    }

    /// Lets go of the guest's buffers.
    pub(super) fn release(&mut self) {
        self.stream.clear();
        self.body.clear();
    }

    /// The gathered bytes in one piece, for a control message.
    ///
    /// # Errors
    ///
    /// When they are more than `most`.
    pub(super) fn copy(&mut self, most: usize) -> Result<&[u8], BadPacket> {
        let bytes = self.stream.len();
        if bytes > most {
            return Err(BadPacket::Long(bytes));
        }
        self.whole.resize(bytes, 0);
        if !self.stream.view().read(0, &mut self.whole) {
            return Err(BadPacket::Empty);
        }
        Ok(&self.whole)
    }

    /// Sends the frames in the gathered bytes.
    ///
    /// # Errors
    ///
    /// [`BadPacket`].
    pub(super) fn send(
        &mut self,
        plane: &Plane,
        counters: &QueueCounters,
        queue: &mut dyn Queue,
        capabilities: Capabilities,
    ) -> Result<Sent, BadPacket> {
        let total = self.stream.len();
        let mut at = 0;
        let mut status = Status::SUCCESS;
        counters.tx_packets.inc();
        while at < total {
            let left = total - at;
            let mut buffer = [0; RNDIS_HEAD];
            let head = &mut buffer[..left.min(RNDIS_HEAD)];
            if !self.stream.view().read(at, head) {
                return Err(BadPacket::Empty);
            }
            let packet = PacketHead::parse(head, left)?;
            let info = SendInfo::collect(packet.ppis.clone())?;
            let data = packet.data();
            // Hosts look at the header in the range it begins in (OpenVMM's netvsp says so too).
            if self.split(at, data.start.min(left)) {
                counters.tx_bad_headers.inc();
                status = Status::INVALID_RNDIS_PACKET;
            } else {
                self.frame(
                    plane,
                    counters,
                    queue,
                    capabilities,
                    at + data.start,
                    data.len(),
                    &info,
                );
            }
            // At least the 44 bytes of a head.
            at += packet.message_bytes as usize;
        }
        Ok(Sent { status })
    }

    /// Whether `bytes` bytes at `at` are in more than one range.
    fn split(&self, at: usize, bytes: usize) -> bool {
        let end = self.ends.iter().find(|end| **end > at);
        end.is_some_and(|end| at + bytes > *end)
    }

    #[allow(clippy::too_many_arguments)] // All of them are the frame's.
    fn frame(
        &mut self,
        plane: &Plane,
        counters: &QueueCounters,
        queue: &mut dyn Queue,
        capabilities: Capabilities,
        at: usize,
        bytes: usize,
        info: &SendInfo,
    ) {
        if !(ETHERNET_BYTES..=LONGEST).contains(&bytes) {
            counters.tx_refused.inc();
            return;
        }
        if !plane.link || !plane.running {
            counters.tx_link_down.inc();
            return;
        }
        // Four bytes before the frame are for a tag.
        let mut buffer = [0; VLAN_BYTES + FRAME_HEAD];
        let first = bytes.min(FRAME_HEAD);
        let head = &mut buffer[VLAN_BYTES..VLAN_BYTES + first];
        if !self.stream.view().read(at, head)
            || !self.stream.cut(at + first, bytes - first, &mut self.body)
        {
            counters.tx_refused.inc();
            return;
        }
        let Some(shape) = Shape::of(plane, head, bytes, info) else {
            counters.tx_refused.inc();
            return;
        };
        counters.tx_frames.inc();
        counters.tx_bytes.add(bytes as u64);
        let mut offload = shape.offload;
        if let Some(gso) = offload.gso {
            counters.tx_large.inc();
            if !capabilities.tso(gso.ip) || !capabilities.checksum {
                counters.tx_cut.inc();
                self.cut(
                    counters,
                    queue,
                    &buffer[VLAN_BYTES..][..first],
                    &gso,
                    shape.tag,
                );
                return;
            }
        } else if let Some(partial) = offload.partial {
            counters.tx_checksum.inc();
            if !capabilities.checksum {
                let (start, offset) = (usize::from(partial.start), usize::from(partial.offset));
                if !checksum::complete(head, &self.body.view(), start, offset) {
                    counters.tx_refused.inc();
                    return;
                }
                offload.partial = None;
            }
        }
        let from = match shape.tag {
            Some(tag) => {
                insert_tag(&mut buffer, tag);
                offload = moved(offload, VLAN_BYTES as u16);
                0
            }
            None => VLAN_BYTES,
        };
        let frame = Frame {
            head: &buffer[from..VLAN_BYTES + first],
            body: self.body.view(),
        };
        if queue.transmit(&offload, frame).is_err() {
            counters.tx_errors.inc();
        }
    }

    /// Cuts a large segment for a back end that can't.
    fn cut(
        &mut self,
        counters: &QueueCounters,
        queue: &mut dyn Queue,
        head: &[u8],
        gso: &Gso,
        tag: Option<u16>,
    ) {
        self.whole.clear();
        self.whole.extend_from_slice(head);
        self.whole.resize(head.len() + self.body.len(), 0);
        let rest = self.whole.get_mut(head.len()..).unwrap_or_default();
        if !self.body.view().read(0, rest) {
            counters.tx_refused.inc();
            return;
        }
        let mut tagged = Vec::new();
        let done = segment::cut(&self.whole, gso, |segment| {
            let segment = match tag {
                Some(tag) => {
                    tagged.clear();
                    tagged.extend_from_slice(segment.get(..12).unwrap_or_default());
                    tagged.extend_from_slice(&TYPE_VLAN.to_be_bytes());
                    tagged.extend_from_slice(&tag.to_be_bytes());
                    tagged.extend_from_slice(segment.get(12..).unwrap_or_default());
                    &tagged
                }
                None => segment,
            };
            let frame = Frame {
                head: segment,
                body: View::EMPTY,
            };
            if queue.transmit(&Offload::default(), frame).is_err() {
                counters.tx_errors.inc();
            }
        });
        if !done {
            counters.tx_refused.inc();
        }
    }
}

/// What becomes of a frame.
struct Shape {
    offload: Offload,
    /// The tag it gets.
    tag: Option<u16>,
}

impl Shape {
    /// Looks at a frame's first bytes and what the guest says of it, and mends the bytes. None
    /// when it isn't to be sent.
    fn of(plane: &Plane, head: &mut [u8], bytes: usize, info: &SendInfo) -> Option<Self> {
        let layout = Layout::parse(head)?;
        let tag = match (plane.vlan, info.vlan) {
            // An access port takes untagged frames, and those with a priority only.
            (Some(own), None) => Some(own),
            (Some(own), Some(vlan)) if vlan.id == 0 => Some(own | vlan.to_tci() & 0xf000),
            (Some(_), Some(_)) => return None,
            (None, vlan) => vlan.map(netvsc_wire::ppi::Vlan::to_tci),
        };
        if layout.tag.is_some() && tag.is_some() {
            return None;
        }
        let mut offload = Offload::default();
        let large = info.large_send.filter(|large| large.mss > 0);
        if let Some(large) = large {
            let mended = segment::mend(head, bytes)?;
            let size = u16::try_from(large.mss).ok()?;
            if large.ipv6 != (mended.ip == Ip::V6) {
                return None;
            }
            offload.partial = Some(Partial {
                start: mended.transport as u16,
                offset: checksum::TCP_OFFSET as u16,
            });
            let longest = plane.frame_bytes as usize;
            if bytes - mended.header > usize::from(size) {
                if mended.header + usize::from(size) > longest {
                    return None;
                }
                offload.gso = Some(Gso {
                    ip: mended.ip,
                    size,
                    header: mended.header as u16,
                });
            }
        } else {
            let longest = plane.frame_bytes as usize + (layout.payload() - ETHERNET_BYTES);
            if bytes > longest {
                return None;
            }
            if let Some(sums) = info.checksum {
                offload.partial = partial(head, &layout, &sums, bytes)?;
            }
        }
        Some(Self { offload, tag })
    }
}

/// The checksum that a guest left out; the outer none is for one that can't be.
#[allow(clippy::option_option)] // "None to be done" and "can't be done".
fn partial(
    head: &mut [u8],
    layout: &Layout,
    sums: &SendChecksum,
    bytes: usize,
) -> Option<Option<Partial>> {
    if sums.ip_header {
        let network = layout.network?;
        if !checksum::fill_ipv4_header(head, &network) {
            return None;
        }
    }
    let protocol = match (sums.tcp, sums.udp) {
        (false, false) => return Some(None),
        (true, _) => TCP,
        (false, true) => UDP,
    };
    let offset = checksum::field_offset(protocol)?;
    let start = match (sums.transport_offset, layout.network) {
        (0, network) => network?.transport,
        (start, _) => usize::from(start),
    };
    if start < ETHERNET_BYTES || start + offset + 2 > head.len().min(bytes) {
        return None;
    }
    Some(Some(Partial {
        start: start as u16,
        offset: offset as u16,
    }))
}

/// Puts a tag before what follows the addresses; the frame begins at 0 then.
fn insert_tag(buffer: &mut [u8; VLAN_BYTES + FRAME_HEAD], tag: u16) {
    buffer.copy_within(VLAN_BYTES..VLAN_BYTES + 12, 0);
    let _ = set(buffer, 12, &TYPE_VLAN.to_be_bytes()) && set(buffer, 14, &tag.to_be_bytes());
}

/// The same offload of a frame that got `more` bytes before its network header.
fn moved(mut offload: Offload, more: u16) -> Offload {
    if let Some(partial) = &mut offload.partial {
        partial.start += more;
    }
    if let Some(gso) = &mut offload.gso {
        gso.header += more;
    }
    offload
}
