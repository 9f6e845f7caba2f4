// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The guest's end of an open channel.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vmbus_wire::message::{guest, ModifyChannel};
use vmbus_wire::packet::{OutPacket, PacketBody, PacketType};
use vmbus_wire::ring::{InRing, OutRing, RingError};
use vmbus_wire::{HostMessage, Offer, Relid, HV_PAGE_SIZE};

use super::{FakeGuest, OpenOptions, LIMIT};
use crate::memory::Pages;
use crate::vmbus::ring::RingPages;

/// A packet from the host, copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its kind.
    pub packet_type: PacketType,
    /// Chosen by who asks for a completion.
    pub transaction_id: u64,
    /// The host waits for a completion.
    pub completion_requested: bool,
    /// Payload with its padding, up to seven bytes.
    pub payload: Vec<u8>,
    /// Of transfer pages: which buffer, and offset and length of each range.
    pub ranges: Option<(u16, Vec<(u32, u32)>)>,
}

/// An open channel. Dropping it leaves it open; a good guest calls [`Self::close`].
pub struct GuestChannel {
    guest: FakeGuest,
    offer: Offer,
    pfns: Vec<u64>,
    out_pages: u32,
    gpadl: u32,
    target_vp: u32,
    outgoing: OutRing<RingPages>,
    incoming: InRing<RingPages>,
    buffer: Vec<u8>,
    /// Signals sent to the host.
    pub signals: u64,
}

impl GuestChannel {
    pub(super) fn new(
        guest: FakeGuest,
        offer: Offer,
        options: &OpenOptions,
        pfns: Vec<u64>,
        pages: &Pages,
        gpadl: u32,
    ) -> Self {
        let (out, incoming) = (options.out_pages, options.in_pages);
        let out_ring = RingPages::new(pages, 0, out).expect("pages of a ring");
        let in_ring = RingPages::new(pages, out, incoming).expect("pages of a ring");
        Self {
            guest,
            offer,
            pfns,
            out_pages: out,
            gpadl,
            target_vp: options.target_vp,
            outgoing: OutRing::new(out_ring).expect("a ring"),
            incoming: InRing::new(in_ring).expect("a ring"),
            buffer: vec![0; incoming as usize * HV_PAGE_SIZE as usize],
            signals: 0,
        }
    }

    /// The channel's id.
    pub fn relid(&self) -> Relid {
        self.offer.relid
    }

    /// What was offered.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The page list of the rings.
    pub fn ring_gpadl(&self) -> u32 {
        self.gpadl
    }

    /// The guest it belongs to.
    pub fn guest(&self) -> &FakeGuest {
        &self.guest
    }

    /// Writes over a word of the control page of the ring to the host (`false`) or to the guest
    /// (`true`), behind the back of this end.
    pub fn scribble(&self, to_guest: bool, offset: u64, value: u32) {
        let address = self.control_page(to_guest) + offset;
        let bytes = value.to_le_bytes();
        self.guest.memory().write(address, &bytes).expect("a page");
    }

    /// Guest address of a control page, as for [`Self::scribble`]; where the ring is in one piece
    /// its data follows.
    pub fn control_page(&self, to_guest: bool) -> u64 {
        let page = if to_guest { self.out_pages as usize } else { 0 };
        self.pfns[page] * u64::from(HV_PAGE_SIZE)
    }

    /// A word of a control page, as for [`Self::scribble`].
    pub fn word(&self, to_guest: bool, offset: u64) -> u32 {
        let address = self.control_page(to_guest) + offset;
        self.guest.memory().load(address).expect("a page")
    }

    /// Writes a packet, and signals where the rules ask for it.
    ///
    /// # Errors
    ///
    /// When there is no room.
    pub fn send(&mut self, packet: &OutPacket<'_>) -> Result<(), RingError> {
        if self.outgoing.write(packet)? {
            self.signal();
        }
        Ok(())
    }

    /// Writes a packet, and waits for room as long as it takes.
    pub fn send_all(&mut self, packet: &OutPacket<'_>) {
        let deadline = Instant::now() + LIMIT;
        let bytes = packet.ring_bytes().expect("a packet of a size");
        loop {
            match self.send(packet) {
                Ok(()) => return,
                Err(RingError::Full { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            if !self.outgoing.request_space(bytes).expect("a sane ring") {
                let woken = self.wait(deadline.saturating_duration_since(Instant::now()));
                self.outgoing.cancel_request();
                assert!(woken, "the host makes no room");
            }
        }
    }

    /// Signals the host: through the monitor page where the offer says so.
    pub fn signal(&mut self) {
        self.signals += 1;
        match (self.offer.monitor, self.guest.monitor_pages()) {
            (Some(id), Some(pages)) => {
                let address = pages.to_host + id.pending_offset() as u64;
                let pending = self.guest.memory().atomic_u32(address).expect("a page");
                pending.fetch_or(id.mask(), Ordering::SeqCst);
            }
            _ => {
                let connection = self.offer.connection_id;
                self.guest.hypervisor().signal_event(connection);
            }
        }
    }

    /// Waits for the host's interrupt; false when the time is over.
    pub fn wait(&self, limit: Duration) -> bool {
        self.interrupted(limit).is_some()
    }

    /// Waits for the host's interrupt; the processor that got it.
    pub fn interrupted(&self, limit: Duration) -> Option<u32> {
        let flag = self.offer.relid.get() as u16;
        self.guest.hypervisor().take_flag(flag, limit)
    }

    /// The next packet, if there is one.
    pub fn try_receive(&mut self) -> Option<Received> {
        let received = {
            let raw = self.incoming.read(&mut self.buffer).expect("a sane ring")?;
            let packet = raw.parse().expect("a sane packet");
            Received {
                packet_type: raw.descriptor.packet_type(),
                transaction_id: packet.transaction_id,
                completion_requested: packet.completion_requested,
                payload: packet.payload.to_vec(),
                ranges: match packet.body {
                    PacketBody::XferPages(xfer) => {
                        let ranges = xfer.ranges.iter();
                        let ranges = ranges.map(|r| (r.byte_offset.get(), r.byte_count.get()));
                        Some((xfer.set_id, ranges.collect()))
                    }
                    _ => None,
                },
            }
        };
        if self.incoming.commit().expect("a sane ring") {
            self.signal();
        }
        Some(received)
    }

    /// The next packet; waits for interrupts only, so that one that is missing is found.
    pub fn receive(&mut self, limit: Duration) -> Option<Received> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(received) = self.try_receive() {
                return Some(received);
            }
            if !self.wait(deadline.saturating_duration_since(Instant::now())) {
                // Whatever is there now wasn't announced.
                return None;
            }
        }
    }

    /// Sends an in-band packet that asks for a completion and waits for it; its payload. Other
    /// packets that come before are given to `other`.
    pub fn transact(
        &mut self,
        transaction_id: u64,
        payload: &[&[u8]],
        mut other: impl FnMut(Received),
    ) -> Vec<u8> {
        let packet = OutPacket::in_band(transaction_id, payload).requesting_completion();
        self.send_all(&packet);
        loop {
            let received = self.receive(LIMIT).expect("a completion");
            if received.packet_type == PacketType::COMPLETION
                && received.transaction_id == transaction_id
            {
                return received.payload;
            }
            other(received);
        }
    }

    /// Tells the host not to interrupt, or to do so again.
    pub fn mask(&mut self, masked: bool) {
        if masked {
            self.incoming.mask_interrupts();
        } else {
            self.incoming.unmask_interrupts().expect("a sane ring");
        }
    }

    /// The guest's own view of the rings, for tests of their rules: out and in.
    pub fn indices(&self) -> (u32, u32) {
        (self.outgoing.write_index(), self.incoming.read_index())
    }

    /// Moves the interrupt; whether the host said yes, where it says anything.
    pub fn modify(&mut self, target_vp: u32) -> Option<bool> {
        let relid = self.relid();
        self.guest
            .post(&ModifyChannel { relid, target_vp }.message());
        if !self.guest.version().acks_modify_channel() {
            self.target_vp = target_vp;
            return None;
        }
        let status = self
            .guest
            .expect("MODIFY_CHANNEL_RESPONSE", |message| match message {
                HostMessage::ModifyResponse(response) if response.relid == relid => {
                    Some(response.status)
                }
                _ => None,
            });
        if status.is_success() {
            self.target_vp = target_vp;
        }
        Some(status.is_success())
    }

    /// The processor the interrupt was sent to last.
    pub fn target_vp(&self) -> u32 {
        self.target_vp
    }

    /// Closes the channel and takes the rings' pages back, as Linux does.
    pub fn close(self) {
        self.guest.post(&guest::close_channel(self.relid()));
        self.guest.teardown(self.relid(), self.gpadl);
        self.guest.free(&self.pfns);
    }

    /// Closes a channel that was rescinded, and gives its id back.
    pub fn release(self) {
        let relid = self.relid();
        let guest = self.guest.clone();
        self.close();
        guest.post(&vmbus_wire::message::guest::relid_released(relid));
    }
}
