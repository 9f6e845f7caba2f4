// SPDX-License-Identifier: GPL-2.0

//! Sending frames.
//!
//! A frame travels as an RNDIS message: a head, and the frame. A short one is copied into a section of
//! the send buffer, which the host has mapped; a longer one is taken from where it is, with the head
//! prepended. Either way the frame is kept until the host has completed the packet, so that whoever
//! sends is slowed down when the host is.

use kernel::sync::{atomic::Relaxed, rcu, Arc};
use kernel_ext::pages::SharedBuffer;
use net::{Dev, Offload, Piece, Protocol, SkBuff, Transport};
use netvsc_wire::{
    nvsp::{ChannelType, HostMessage, OutMessage, RndisPacket, SectionUse},
    ppi::{LargeSend, SendChecksum, SendInfo, Vlan, MAX_HEAD_BYTES},
    GuestMessage,
};
use vmbus::{Channel, Load, Reserved, SendError};
use vmbus_wire::packet::{OutPacket, PageBuffer};
use zerocopy::FromZeros;

use crate::queue::{Queue, Turn};

/// Frames of a queue on their way at a time.
pub(crate) const PLACES: usize = 512;

/// Free places before a queue that was stopped is woken.
const WAKE_PLACES: usize = PLACES / 4;

/// Most pieces of a packet (`MAX_PAGE_BUFFER_COUNT`).
const PIECES: usize = 32;

/// Bytes before a frame that heads need.
pub(crate) const HEADROOM: u16 = MAX_HEAD_BYTES as u16;

/// The part of the send buffer that a queue uses: its frame number `n` is copied to section
/// `first + n`, if `n` is below `count`.
pub(crate) struct SendSections {
    pub(crate) buffer: Arc<SharedBuffer>,
    pub(crate) section_bytes: u32,
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// A frame that goes into the ring.
struct Frame<'a> {
    queue: &'a Queue,
    reserved: Reserved,
    skb: SkBuff,
    place: usize,
    /// Bytes of the frame, for the queue's limits.
    bytes: u32,
    message: OutMessage,
    pieces: &'a [PageBuffer],
}

impl Load for Frame<'_> {
    #[inline]
    fn packet<R>(&self, with: impl FnOnce(&OutPacket<'_>) -> R) -> R {
        let payload = [self.message.as_bytes()];
        let id = self.reserved.id();
        if self.pieces.is_empty() {
            with(&OutPacket::in_band(id, &payload).requesting_completion())
        } else {
            with(&OutPacket::page_buffers(id, self.pieces, &payload))
        }
    }

    #[inline]
    fn loaded(self) {
        // A place that was taken is empty, so this doesn't fail; if it did, the frame would be dropped.
        let _ = self
            .queue
            .frames
            .enter(self.reserved, self.skb, self.bytes.into());
    }
}

/// What the host is to do with a frame.
fn send_info(skb: &SkBuff, offload: Offload) -> (SendInfo, bool) {
    let mut info = SendInfo {
        vlan: skb.vlan_tci().map(Vlan::from_tci),
        ..SendInfo::default()
    };
    match offload {
        Offload::None => {}
        Offload::Checksum {
            protocol,
            transport,
            offset,
        } => {
            info.checksum = Some(SendChecksum {
                ipv4: protocol == Protocol::Ip4,
                ipv6: protocol == Protocol::Ip6,
                tcp: transport == Transport::Tcp,
                udp: transport == Transport::Udp,
                ip_header: false,
                transport_offset: offset,
            });
        }
        Offload::Cut {
            protocol,
            offset,
            segment,
            ..
        } => {
            info.large_send = Some(LargeSend {
                mss: segment.into(),
                tcp_offset: offset,
                ipv6: protocol == Protocol::Ip6,
                v2: true,
            });
        }
        Offload::Other => return (info, false),
    }
    (info, true)
}

/// Bytes of a frame on the wire: headers once for each segment.
fn wire_bytes(bytes: u32, offload: Offload) -> u32 {
    match offload {
        Offload::Cut {
            segments, header, ..
        } => {
            let more = u32::from(segments.saturating_sub(1)) * u32::from(header);
            bytes.saturating_add(more)
        }
        _ => bytes,
    }
}

impl Queue {
    /// Sends a frame, or drops it.
    ///
    /// # Errors
    ///
    /// Gives it back when there is no room; the queue is stopped then.
    pub(crate) fn transmit(
        &self,
        dev: &Dev,
        mut skb: SkBuff,
        more: bool,
    ) -> core::result::Result<(), SkBuff> {
        let stats = &self.nic.stats;
        let guard = rcu::read_lock();
        let Some(channel) = self.channel.read(&guard) else {
            stats.tx_gone.inc();
            return Ok(());
        };
        let offload = skb.offload();
        let (info, known) = send_info(&skb, offload);
        if !known && skb.compute_checksum().is_err() {
            stats.tx_no_memory.inc();
            return Ok(());
        }
        let mut head = [0; MAX_HEAD_BYTES];
        let bytes = skb.len() as u32;
        let Ok(head_bytes) = info.encode(bytes, 0, &mut head) else {
            stats.tx_too_many_pieces.inc();
            return Ok(());
        };
        let head = head.get(..head_bytes).unwrap_or_default();
        let Some(place) = self.places.take() else {
            return self.no_room(dev, &channel, skb);
        };
        let Some(reserved) = self.frames.reserve(place, self.number) else {
            // Never: a place that is free is empty.
            self.places.give(place);
            return self.no_room(dev, &channel, skb);
        };
        let on_wire = wire_bytes(bytes, offload);
        let cut = info.large_send.is_some();
        let section = match self.send.read(&guard) {
            Some(send) if !cut => copy(&send, place, head, &skb),
            _ => None,
        };
        let mut prepended = 0;
        let mut buffers = [PageBuffer::new_zeroed(); PIECES];
        let mut count = 0;
        if section.is_none() {
            if skb.prepend(head).is_err() {
                stats.tx_no_memory.inc();
                self.places.give(place);
                return Ok(());
            }
            prepended = head.len();
            if cut {
                // The transport header moved with the frame.
                skb.prepare_cut();
            }
            match list(stats, &mut skb, &mut buffers) {
                Some(pieces) => count = pieces,
                None => {
                    self.places.give(place);
                    return Ok(());
                }
            }
            stats.tx_pages.inc();
        } else {
            stats.tx_sections.inc();
        }
        let message = GuestMessage::RndisPacket(RndisPacket {
            channel_type: ChannelType::Data,
            section,
        });
        let frame = Frame {
            queue: self,
            reserved,
            skb,
            place,
            bytes: on_wire,
            message: message.encode(self.version),
            pieces: buffers.get(..count).unwrap_or_default(),
        };
        // Before it is on its way: its end may come at once.
        dev.queue_sent(self.number, on_wire);
        match channel.send_load(frame, !more || dev.queue_stopped(self.number)) {
            Ok(()) => {
                stats.tx_packets.inc();
                stats.tx_bytes.add(on_wire.into());
                Ok(())
            }
            Err((error, frame)) => {
                let Frame { mut skb, place, .. } = frame;
                self.places.give(place);
                self.unsent.fetch_add(on_wire, Relaxed);
                if error == SendError::Full {
                    skb.unprepend(prepended);
                    return self.no_room(dev, &channel, skb);
                }
                stats.tx_gone.inc();
                Ok(())
            }
        }
    }

    /// Stops the queue; the frame comes again.
    fn no_room(
        &self,
        dev: &Dev,
        channel: &Channel,
        skb: SkBuff,
    ) -> core::result::Result<(), SkBuff> {
        channel.flush();
        dev.stop_queue(self.number);
        self.nic.stats.tx_stopped.inc();
        // What was completed before the queue was stopped doesn't wake it.
        self.wake(dev);
        Err(skb)
    }

    /// Wakes the queue if it is stopped and there is room again.
    pub(crate) fn wake(&self, dev: &Dev) {
        if dev.queue_stopped(self.number) && self.places.free() >= WAKE_PLACES {
            dev.wake_queue(self.number);
            self.nic.stats.tx_woken.inc();
        }
    }

    /// The host has completed a packet with a frame.
    pub(crate) fn frame_sent(&self, channel: &Channel, id: u64, payload: &[u8], turn: &mut Turn) {
        let status = match HostMessage::parse(self.version, payload) {
            Ok(HostMessage::RndisComplete(status)) => status,
            Ok(_) => return self.broke(channel, format_args!("an answer of another kind")),
            Err(error) => return self.broke(channel, format_args!("{error}")),
        };
        match self.frames.take(id, self.number) {
            Ok((skb, bytes)) => {
                if let Ok(place) = vmbus_wire::tagged::place(id, PLACES) {
                    self.places.give(place);
                }
                turn.frames_sent += 1;
                turn.bytes_sent = turn.bytes_sent.saturating_add(bytes as u32);
                if status.is_success() {
                    skb.sent(64);
                } else {
                    self.nic.stats.tx_failed.inc();
                }
            }
            Err(error) => self.broke(channel, format_args!("{error}")),
        }
    }
}

/// Copies a frame into its section, if it has one and fits.
fn copy(send: &SendSections, place: usize, head: &[u8], skb: &SkBuff) -> Option<SectionUse> {
    let place = u32::try_from(place).ok()?;
    let bytes = u32::try_from(head.len() + skb.len()).ok()?;
    if place >= send.count || bytes > send.section_bytes {
        return None;
    }
    let section = SectionUse {
        index: send.first.checked_add(place)?,
        bytes,
    };
    let size = send.buffer.size() as u64;
    let at = section.within(send.section_bytes, size)?.start as usize;
    let window = send.buffer.window();
    window.write(at, head).ok()?;
    skb.copy_to(&window, at + head.len()).ok()?;
    Some(section)
}

/// Lists the pieces of a frame with its head; how many. `None`: it can't be sent.
fn list(
    stats: &crate::stats::Stats,
    skb: &mut SkBuff,
    out: &mut [PageBuffer; PIECES],
) -> Option<usize> {
    let mut pieces = [Piece::default(); PIECES];
    if skb.pieces(&mut pieces).is_none() {
        stats.tx_linearized.inc();
        if skb.linearize().is_err() {
            stats.tx_no_memory.inc();
            return None;
        }
    }
    let Some(pieces) = skb.pieces(&mut pieces) else {
        stats.tx_too_many_pieces.inc();
        return None;
    };
    for (to, piece) in out.iter_mut().zip(pieces) {
        *to = PageBuffer::new(piece.pfn, piece.offset, piece.bytes)?;
    }
    Some(pieces.len())
}
