// SPDX-License-Identifier: GPL-2.0

//! Taking what the host has put into the receive buffer.
//!
//! The host may write to the buffer at any time. The head of a message is copied once, and read from
//! the copy; the frame is copied once, into memory of the stack.

use core::ops::Range;

use kernel::{
    prelude::*,
    sync::{rcu, Arc},
};
use kernel_ext::{atomic::Relaxed, pages::SharedBuffer};
use net::{Features, Part, Polled, Received, Taken};
use netvsc_wire::{
    ppi::{PacketId, ReceiveInfo, Verdict},
    rndis::{HostControl, MessageType, PacketHead},
};
use vmbus::Channel;
use vmbus_wire::packet::XferPages;

use crate::queue::Queue;

/// Bytes of a message's head that are read: more than all per-packet info that is known.
const HEAD_BYTES: usize = 256;

/// Bytes that are read before: as much as there mostly is.
const SHORT_HEAD_BYTES: usize = 128;

/// Bytes of the longest message that isn't a frame.
const CONTROL_BYTES: usize = 1024;

/// The least bytes of a frame that isn't copied: less is copied faster than it is kept track of, and would keep as
/// large a place from the host.
const LEAST_LENT: usize = 2048;

/// Bytes of a page of a shared buffer.
const PAGE: usize = 4096;

/// The least bytes of a frame.
const ETHERNET_HEADER: usize = netvsc_wire::ETHERNET_HEADER_BYTES as usize;

/// Parts of a segment, at most (`NVSP_RSC_MAX`): the least part of a segment of 64 KiB that hosts make.
const MOST_PARTS: usize = 562;

/// Bytes of the longest segment, with the Ethernet header.
const MOST_BYTES: usize = 65_535 + ETHERNET_HEADER;

/// A segment that the host has put together, as far as its parts have come; all are in one packet.
pub(crate) struct Segment {
    /// Its parts in the receive buffer, in order; none: there is no segment.
    parts: KVec<Part>,
    bytes: usize,
    received: Received,
}

impl Segment {
    /// None yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            parts: KVec::with_capacity(MOST_PARTS, GFP_KERNEL)?,
            bytes: 0,
            received: Received::default(),
        })
    }

    /// Adds a part; false when there is no room for it, or it comes before the first.
    fn add(&mut self, part: Part, first: Option<Received>) -> bool {
        match first {
            Some(received) => {
                let whole = self.parts.is_empty();
                self.parts.clear();
                (self.bytes, self.received) = (0, received);
                if !whole {
                    return false;
                }
            }
            None if self.parts.is_empty() => return false,
            None => {}
        }
        self.bytes += part.bytes;
        self.bytes <= MOST_BYTES && self.parts.push_within_capacity(part).is_ok()
    }
}

/// Where the host puts frames.
pub(crate) struct ReceiveBuffer {
    pub(crate) buffer: Arc<SharedBuffer>,
    /// The number that transfer-page packets name it by.
    pub(crate) id: u16,
    /// Frames may stay where they are while the stack has them.
    lends: bool,
}

impl ReceiveBuffer {
    /// One that frames are copied from.
    pub(crate) fn new(buffer: Arc<SharedBuffer>, id: u16) -> Self {
        Self {
            buffer,
            id,
            lends: false,
        }
    }

    /// One whose pages the stack may have.
    pub(crate) fn lending(buffer: Arc<SharedBuffer>) -> Self {
        Self {
            buffer,
            id: 0,
            lends: true,
        }
    }
}

impl Queue {
    /// Takes all messages of a packet.
    pub(crate) fn frames_received(
        &self,
        napi: &Polled<'_>,
        channel: &Channel,
        pages: &XferPages<'_>,
    ) {
        let guard = rcu::read_lock();
        let Some(receive) = self.receive.read(&guard) else {
            return self.broke(
                channel,
                format_args!("frames before there is a place for them"),
            );
        };
        if pages.set_id != receive.id {
            return self.broke(
                channel,
                format_args!("frames in a buffer that nobody knows"),
            );
        }
        for range in pages.ranges {
            match range.within(receive.buffer.size()) {
                Some(range) => {
                    // Nothing of this buffer is lent.
                    let _ = self.message(napi, channel, &receive, range.start, range.len());
                }
                None => self.bad(
                    channel,
                    format_args!("a frame outside of the receive buffer"),
                ),
            }
        }
        if let Some(mut segment) = self.segment.try_take() {
            if !segment.parts.is_empty() {
                segment.parts.clear();
                self.bad(channel, format_args!("a segment without an end"));
            }
        }
    }

    /// The host broke the protocol with what it put into the receive buffer.
    pub(crate) fn bad(&self, channel: &Channel, what: kernel::fmt::Arguments<'_>) {
        self.nic.stats.rx_bad.inc();
        self.broke(channel, what);
    }

    /// Takes a message; which pages of the buffer the stack has now.
    pub(crate) fn message(
        &self,
        napi: &Polled<'_>,
        channel: &Channel,
        receive: &ReceiveBuffer,
        start: usize,
        bytes: usize,
    ) -> Option<Range<usize>> {
        let mut head = [0; HEAD_BYTES];
        let mut known = bytes.min(SHORT_HEAD_BYTES);
        receive.buffer.read(start, head.get_mut(..known)?).ok()?;
        if PacketHead::bytes(head.get(..known)?).is_some_and(|whole| whole > known) {
            // All of it anew: the host may have written something else since.
            known = bytes.min(HEAD_BYTES);
            receive.buffer.read(start, head.get_mut(..known)?).ok()?;
        }
        let head = head.get(..known)?;
        let kind = netvsc_wire::rndis::Header::parse(head, bytes);
        match kind {
            Ok(header) if header.message_type == MessageType::PACKET => {
                return self.frame(napi, channel, receive, start, bytes, head);
            }
            Ok(_) => self.control_message(napi, channel, receive, start, bytes),
            Err(error) => self.bad(channel, format_args!("{error}")),
        }
        None
    }

    fn frame(
        &self,
        napi: &Polled<'_>,
        channel: &Channel,
        receive: &ReceiveBuffer,
        start: usize,
        bytes: usize,
        head: &[u8],
    ) -> Option<Range<usize>> {
        let message = match PacketHead::parse(head, bytes) {
            Ok(message) => message,
            Err(error) => {
                self.bad(channel, format_args!("{error}"));
                return None;
            }
        };
        let info = match ReceiveInfo::collect(message.ppis.clone()) {
            Ok(info) => info,
            Err(error) => {
                self.bad(channel, format_args!("{error}"));
                return None;
            }
        };
        let data = message.data();
        let whole = info
            .packet_id
            .is_none_or(|id| !id.sub_allocated || id.first);
        // The parts of a segment but for the first have no headers.
        let least = if whole { ETHERNET_HEADER } else { 1 };
        if data.len() < least || data.end > bytes {
            self.bad(channel, format_args!("a frame of {} bytes", data.len()));
            return None;
        }
        let features = napi.dev().features();
        let good = features.contains(Features::RECEIVE_CHECKSUM)
            && info
                .checksum
                .is_some_and(|sums| sums.tcp == Verdict::Good || sums.udp == Verdict::Good);
        let received = Received {
            queue: self.number,
            hash: info
                .hash
                .filter(|_| features.contains(Features::RECEIVE_HASH)),
            vlan_tci: info.vlan.map(netvsc_wire::ppi::Vlan::to_tci),
            checksum_good: good,
            coalesced: false,
        };
        let part = Part {
            offset: start + data.start,
            bytes: data.len(),
        };
        let Some(id) = info.packet_id.filter(|id| id.sub_allocated) else {
            return self.deliver(napi, receive, &[part], &received);
        };
        // A program is to see every frame, which it can't when they are put together.
        if self.nic.coalesces.load(Relaxed) == 0 || napi.dev().has_program() {
            self.bad(channel, format_args!("a segment that nobody agreed on"));
            return None;
        }
        let received = Received {
            coalesced: true,
            ..received
        };
        if id.first && id.last {
            // All of it in one place.
            self.stats.rx_coalesced.inc();
            return self.deliver(napi, receive, &[part], &received);
        }
        self.part(napi, channel, receive, part, id, received);
        None
    }

    /// Takes a part of a segment that the host has put together.
    fn part(
        &self,
        napi: &Polled<'_>,
        channel: &Channel,
        receive: &ReceiveBuffer,
        part: Part,
        id: PacketId,
        received: Received,
    ) {
        let Some(mut segment) = self.segment.try_take() else {
            return;
        };
        if !segment.add(part, id.first.then_some(received)) {
            segment.parts.clear();
            return self.bad(channel, format_args!("a segment of parts that don't fit"));
        }
        if id.last {
            // Parts are copied, whatever the buffer.
            let _ = self.deliver(napi, receive, &segment.parts, &segment.received);
            self.stats.rx_coalesced.inc();
            segment.parts.clear();
        }
    }

    /// Hands a frame to the stack; which pages of the buffer it has now.
    fn deliver(
        &self,
        napi: &Polled<'_>,
        receive: &ReceiveBuffer,
        parts: &[Part],
        received: &Received,
    ) -> Option<Range<usize>> {
        let stats = &self.stats;
        let first = parts.first()?;
        let group = self.is_group(receive, first.offset);
        let bytes = parts.iter().map(|part| part.bytes as u64).sum();
        let lend = receive.lends
            && parts.len() == 1
            && first.bytes >= LEAST_LENT
            && first.fits_in_place()
            && !napi.dev().has_program()
            && self.may_lend(receive);
        let taken = if lend {
            napi.receive_in_place(&receive.buffer, *first, received)
        } else {
            napi.receive(&*self.nic, &receive.buffer.window(), parts, received)
        };
        let taken = match taken {
            Ok(Taken::Lost) => {
                stats.rx_no_memory.inc();
                return None;
            }
            Ok(taken) => taken,
            Err(_) => {
                self.nic.stats.rx_bad.inc();
                return None;
            }
        };
        match taken {
            Taken::Dropped => stats.rx_xdp_drop.inc(),
            Taken::Sent => stats.rx_xdp_tx.inc(),
            Taken::Redirected => stats.rx_xdp_redirect.inc(),
            Taken::ByStack | Taken::Lost => {}
        }
        stats.rx_packets.inc();
        stats.rx_bytes.add(bytes);
        if received.checksum_good {
            stats.rx_checksum_good.inc();
        }
        if group {
            stats.rx_multicast.inc();
        }
        if !lend {
            return None;
        }
        stats.rx_in_place.inc();
        let end = first.offset.checked_add(first.bytes)?;
        Some(first.offset / PAGE..end.div_ceil(PAGE))
    }

    /// Whether a frame is for a group; for counting only.
    fn is_group(&self, receive: &ReceiveBuffer, at: usize) -> bool {
        let mut first = [0];
        receive.buffer.read(at, &mut first).is_ok() && first[0] & 1 != 0
    }

    fn control_message(
        &self,
        napi: &Polled<'_>,
        channel: &Channel,
        receive: &ReceiveBuffer,
        start: usize,
        bytes: usize,
    ) {
        let mut message = [0; CONTROL_BYTES];
        let known = bytes.min(CONTROL_BYTES);
        let Some(message) = message.get_mut(..known) else {
            return;
        };
        if receive.buffer.read(start, message).is_err() {
            return;
        }
        let id = match HostControl::parse(message) {
            Ok(HostControl::Indicate(indication)) => {
                return self.nic.indicated(napi.dev(), &indication);
            }
            Ok(HostControl::InitializeComplete(complete)) => complete.request_id,
            Ok(HostControl::QueryComplete(complete)) => complete.request_id,
            Ok(HostControl::SetComplete(complete)) => complete.request_id,
            Ok(HostControl::SetExComplete(complete)) => complete.request_id,
            Ok(HostControl::KeepaliveComplete { request_id, .. }) => request_id,
            Ok(HostControl::ResetComplete { .. }) => {
                return self.broke(channel, format_args!("a reset that nobody asked for"));
            }
            Err(error) => return self.broke(channel, format_args!("{error}")),
        };
        if !self.nic.rndis_answered(self, id, message) {
            self.broke(channel, format_args!("nobody asked request {id:#x}"));
        }
    }
}
