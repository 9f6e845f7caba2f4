// SPDX-License-Identifier: GPL-2.0

//! Sending frames.
//!
//! A frame travels as an RNDIS message: a head, and the frame. A short one is copied into a section of
//! the send buffer, which the host has mapped, and is done with then; a longer one is taken from where it
//! is, with the head prepended, and kept until the host has completed the packet. The bytes that the host
//! hasn't completed are counted either way (byte queue limits), so that whoever sends is slowed down when the
//! host is.

use core::mem::MaybeUninit;

use kernel::sync::rcu;
use kernel_ext::atomic::Relaxed;
use net::{Dev, Facts, Kept, Offload, Piece, Protocol, SkBuff, Transport};
use netvsc_wire::{
    nvsp::{ChannelType, HostMessage, OutMessage, RndisPacket},
    ppi::{LargeSend, SendChecksum, SendInfo, Vlan, MAX_HEAD_BYTES},
    GuestMessage,
};
use vmbus::{Channel, Load, Reserved, SendError};
use vmbus_wire::packet::{OutPacket, PageBuffer};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    batch::Joined,
    queue::{Queue, Turn},
};

/// Frames of a queue on their way at a time.
pub(crate) const PLACES: usize = 512;

/// Free places before a queue that was stopped is woken.
const WAKE_PLACES: usize = PLACES / 4;

/// Most pieces of a packet (`MAX_PAGE_BUFFER_COUNT`).
const PIECES: usize = 32;

/// Bytes before a frame that heads need.
pub(crate) const HEADROOM: u16 = MAX_HEAD_BYTES as u16;

/// A packet that goes into the ring: frames, and what the host is told of them.
pub(crate) struct Sending<'a> {
    pub(crate) queue: &'a Queue,
    pub(crate) reserved: Reserved,
    pub(crate) kept: Kept,
    pub(crate) count: u32,
    /// Bytes of the frames, for the queue's limits.
    pub(crate) bytes: u32,
    pub(crate) message: OutMessage,
    /// Where the frame is; none: in a section.
    pub(crate) pieces: &'a [PageBuffer],
}

impl Load for Sending<'_> {
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
        let note = u64::from(self.count) << 32 | u64::from(self.bytes);
        let _ = self.queue.frames.enter(self.reserved, self.kept, note);
    }
}

/// What the host is to do with a frame.
fn send_info(facts: &Facts) -> (SendInfo, bool) {
    let mut info = SendInfo {
        vlan: facts.vlan_tci.map(Vlan::from_tci),
        ..SendInfo::default()
    };
    match facts.offload {
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
        skb: SkBuff,
        more: bool,
        guard: &rcu::Guard,
    ) -> core::result::Result<(), SkBuff> {
        let Some(channel) = self.channel.read(guard) else {
            self.nic.stats.tx_gone.inc();
            return Ok(());
        };
        let result = self.put(dev, &channel, skb, guard);
        if result.is_err() {
            self.stop(dev);
        }
        let stopped = dev.queue_stopped(self.number);
        // Whatever became of this frame: those before it are to go now.
        if !more || stopped {
            self.end_batch(dev, &channel, stopped);
            channel.flush();
            // What was completed before the queue was stopped doesn't wake it; a ring that is full does,
            // when the host has made room.
            if stopped && !channel.waits_for_room() {
                self.unblock(dev, &channel);
            }
        }
        result
    }

    /// No frame comes until there is room again. It counts once, however many find that there is none.
    pub(crate) fn stop(&self, dev: &Dev) {
        if !dev.queue_stopped(self.number) {
            dev.stop_queue(self.number);
            self.stats.tx_stopped.inc();
        }
    }

    /// Puts a frame into the open batch or the ring, or drops it.
    ///
    /// # Errors
    ///
    /// Gives it back when there is no room.
    fn put(
        &self,
        dev: &Dev,
        channel: &Channel,
        mut skb: SkBuff,
        guard: &rcu::Guard,
    ) -> core::result::Result<(), SkBuff> {
        let facts = skb.facts();
        let (info, known) = send_info(&facts);
        if !known && skb.compute_checksum().is_err() {
            self.nic.stats.tx_no_memory.inc();
            return Ok(());
        }
        let on_wire = wire_bytes(facts.bytes, facts.offload);
        let Some(mut batch) = self.batch.try_take() else {
            // Never for long: the poll sends what is left of a batch.
            return Err(skb);
        };
        if let Some(send) = self.send.read(guard).filter(|_| info.large_send.is_none()) {
            match self.join(dev, channel, &send, &mut batch, skb, &info) {
                Joined::Yes => {
                    self.count_frame(dev, on_wire);
                    return Ok(());
                }
                Joined::Alone(back) => skb = back,
                Joined::NoRoom(back) => return Err(back),
            }
        }
        if !self.send_batch(dev, channel, &mut batch) {
            return Err(skb);
        }
        self.put_pages(dev, channel, skb, &info, on_wire)
    }

    /// Puts a frame into the ring that the host takes from where it is, or drops it.
    fn put_pages(
        &self,
        dev: &Dev,
        channel: &Channel,
        mut skb: SkBuff,
        info: &SendInfo,
        on_wire: u32,
    ) -> core::result::Result<(), SkBuff> {
        let stats = &self.nic.stats;
        let mut head = [0; MAX_HEAD_BYTES];
        let Ok(head_bytes) = info.encode(skb.len() as u32, 0, &mut head) else {
            stats.tx_too_many_pieces.inc();
            return Ok(());
        };
        let head = head.get(..head_bytes).unwrap_or_default();
        let Some(place) = self.places.take() else {
            return Err(skb);
        };
        let Some(reserved) = self.frames.reserve(place, self.number) else {
            // Never: a place that is free is empty.
            self.places.give(place);
            return Err(skb);
        };
        if skb.prepend(head).is_err() {
            stats.tx_no_memory.inc();
            self.places.give(place);
            return Ok(());
        }
        if info.large_send.is_some() {
            // The transport header moved with the frame.
            skb.prepare_cut();
        }
        let mut room = [const { MaybeUninit::uninit() }; PIECES];
        let Some(pieces) = list(stats, &mut skb, &mut room) else {
            self.places.give(place);
            return Ok(());
        };
        skb.timestamp();
        let message = GuestMessage::RndisPacket(RndisPacket {
            channel_type: ChannelType::Data,
            section: None,
        });
        let sending = Sending {
            queue: self,
            reserved,
            kept: Kept::frame(skb),
            count: 1,
            bytes: on_wire,
            message: message.encode(self.version),
            pieces,
        };
        // Before it is on its way: its end may come at once.
        dev.queue_sent(self.number, on_wire);
        match channel.send_load(sending, false) {
            Ok(()) => {
                self.stats.tx_pages.inc();
                self.count(on_wire);
                Ok(())
            }
            Err((error, back)) => {
                self.places.give(place);
                self.unsent.fetch_add(on_wire, Relaxed);
                match (error, back.kept.into_frame()) {
                    (SendError::Full, Some(mut skb)) => {
                        skb.unprepend(head_bytes);
                        Err(skb)
                    }
                    _ => {
                        stats.tx_gone.inc();
                        Ok(())
                    }
                }
            }
        }
    }

    /// Counts a frame that will be sent.
    fn count_frame(&self, dev: &Dev, bytes: u32) {
        dev.queue_sent(self.number, bytes);
        self.count(bytes);
    }

    fn count(&self, bytes: u32) {
        self.stats.tx_packets.inc();
        self.stats.tx_bytes.add(bytes.into());
    }

    /// Sends what is left of a batch and wakes the queue, if it is stopped and there is room again. Soft
    /// interrupt context.
    pub(crate) fn unblock(&self, dev: &Dev, channel: &Channel) {
        if !dev.queue_stopped(self.number) {
            return;
        }
        // Whoever has it looks here afterwards.
        let Some(mut batch) = self.batch.try_take() else {
            return;
        };
        let sent = self.send_batch(dev, channel, &mut batch);
        drop(batch);
        channel.flush();
        if sent && self.places.free() >= WAKE_PLACES && self.nic.wake(dev, self.number) {
            self.stats.tx_woken.inc();
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
            Ok((kept, note)) => {
                if let Ok(place) = vmbus_wire::tagged::place(id, PLACES) {
                    self.places.give(place);
                }
                let (count, bytes) = ((note >> 32) as u32, note as u32);
                turn.frames_sent += count;
                turn.bytes_sent = turn.bytes_sent.saturating_add(bytes);
                if !status.is_success() {
                    self.nic.stats.tx_failed.add(count.into());
                } else if let Some(frame) = kept.into_frame() {
                    frame.sent(turn.budget);
                }
            }
            Err(error) => self.broke(channel, format_args!("{error}")),
        }
    }
}

/// Lists the pieces of a frame with its head. `None`: it can't be sent.
fn list<'a>(
    stats: &crate::stats::Stats,
    skb: &mut SkBuff,
    room: &'a mut [MaybeUninit<Piece>; PIECES],
) -> Option<&'a [PageBuffer]> {
    if skb.pieces(room).is_none() {
        stats.tx_linearized.inc();
        if skb.linearize().is_err() {
            stats.tx_no_memory.inc();
            return None;
        }
    }
    let Some(pieces) = skb.pieces(room) else {
        stats.tx_too_many_pieces.inc();
        return None;
    };
    Some(wire(pieces))
}

/// Pieces as they travel.
#[inline]
fn wire(pieces: &mut [Piece]) -> &[PageBuffer] {
    for piece in pieces.iter_mut() {
        *piece = Piece {
            bytes: piece.bytes.to_le(),
            offset: piece.offset.to_le(),
            pfn: piece.pfn.to_le(),
        };
    }
    // As many bytes as are needed, and none of them out of line: it doesn't fail.
    <[PageBuffer]>::ref_from_bytes(pieces.as_bytes()).unwrap_or_default()
}
