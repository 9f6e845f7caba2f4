// SPDX-License-Identifier: GPL-2.0

//! Taking what the host has put into the receive buffer.
//!
//! The host may write to the buffer at any time. The head of a message is copied once, and read from
//! the copy; the frame is copied once, into memory of the stack.

use kernel::sync::{rcu, Arc};
use kernel_ext::pages::SharedBuffer;
use net::{Features, Polled, Received};
use netvsc_wire::{
    ppi::{ReceiveInfo, Verdict},
    rndis::{HostControl, MessageType, PacketHead},
};
use vmbus::Channel;
use vmbus_wire::packet::XferPages;

use crate::queue::Queue;

/// Bytes of a message's head that are read: more than all per-packet info that is known.
const HEAD_BYTES: usize = 256;

/// Bytes of the longest message that isn't a frame.
const CONTROL_BYTES: usize = 1024;

/// The least bytes of a frame.
const ETHERNET_HEADER: usize = netvsc_wire::ETHERNET_HEADER_BYTES as usize;

/// Where the host puts frames.
pub(crate) struct ReceiveBuffer {
    pub(crate) buffer: Arc<SharedBuffer>,
    /// The number that transfer-page packets name it by.
    pub(crate) id: u16,
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
                Some(range) => self.message(napi, channel, &receive, range.start, range.len()),
                None => self.bad(
                    channel,
                    format_args!("a frame outside of the receive buffer"),
                ),
            }
        }
    }

    /// The host broke the protocol with what it put into the receive buffer.
    fn bad(&self, channel: &Channel, what: kernel::fmt::Arguments<'_>) {
        self.nic.stats.rx_bad.inc();
        self.broke(channel, what);
    }

    fn message(
        &self,
        napi: &Polled<'_>,
        channel: &Channel,
        receive: &ReceiveBuffer,
        start: usize,
        bytes: usize,
    ) {
        let window = receive.buffer.window();
        let mut head = [0; HEAD_BYTES];
        let known = bytes.min(HEAD_BYTES);
        let Some(head) = head.get_mut(..known) else {
            return;
        };
        if window.read(start, head).is_err() {
            return;
        }
        let kind = netvsc_wire::rndis::Header::parse(head, bytes);
        match kind {
            Ok(header) if header.message_type == MessageType::PACKET => {
                self.frame(napi, channel, receive, start, bytes, head);
            }
            Ok(_) => self.control_message(napi, channel, receive, start, bytes),
            Err(error) => self.bad(channel, format_args!("{error}")),
        }
    }

    fn frame(
        &self,
        napi: &Polled<'_>,
        channel: &Channel,
        receive: &ReceiveBuffer,
        start: usize,
        bytes: usize,
        head: &[u8],
    ) {
        let stats = &self.nic.stats;
        let message = match PacketHead::parse(head, bytes) {
            Ok(message) => message,
            Err(error) => return self.bad(channel, format_args!("{error}")),
        };
        let info = match ReceiveInfo::collect(message.ppis.clone()) {
            Ok(info) => info,
            Err(error) => return self.bad(channel, format_args!("{error}")),
        };
        let data = message.data();
        if data.len() < ETHERNET_HEADER || data.end > bytes {
            return self.bad(channel, format_args!("a frame of {} bytes", data.len()));
        }
        if info
            .packet_id
            .is_some_and(|id| id.sub_allocated && !(id.first && id.last))
        {
            // A part of a coalesced segment: nobody agreed on that.
            return self.bad(channel, format_args!("a frame in several parts"));
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
        };
        let group = self.is_group(receive, start + data.start);
        let window = receive.buffer.window();
        match napi.receive(&window, start + data.start, data.len(), &received) {
            Ok(true) => {
                stats.rx_packets.inc();
                stats.rx_bytes.add(data.len() as u64);
                if good {
                    stats.rx_checksum_good.inc();
                }
                if group {
                    stats.rx_multicast.inc();
                }
            }
            Ok(false) => stats.rx_no_memory.inc(),
            Err(_) => stats.rx_bad.inc(),
        }
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
