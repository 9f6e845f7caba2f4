// SPDX-License-Identifier: GPL-2.0

//! A queue: a channel that is polled, what is on its way on it, and what it owes the host.

use kernel::{
    prelude::*,
    sync::{rcu, Arc},
};
use kernel_ext::{
    atomic::{Atomic, Full, Relaxed},
    lock::TryCell,
    rcu::RcuSlot,
};
use net::{Kept, Napi, Poll, Polled};
use netvsc_wire::{HostMessage, Version};
use vmbus::{Channel, Handler, Tagged};
use vmbus_wire::{
    packet::{Packet, PacketBody},
    tagged::has_no_place,
};

use crate::{
    batch::{Batch, SendSections},
    nic::Nic,
    owed::{Owed, OWED},
    receive::{ReceiveBuffer, Segment},
    slots::Slots,
    stats::QueueStats,
    transmit::PLACES,
    vmq::{Asked, Lent, BUFFER},
};

/// What a poll counts, to be told of at once.
pub(crate) struct Turn {
    /// What the stack allows.
    pub(crate) budget: usize,
    pub(crate) frames_sent: u32,
    pub(crate) bytes_sent: u32,
}

/// A queue of a NIC.
pub(crate) struct Queue {
    /// Number among the NIC's channels.
    pub(crate) number: u16,
    pub(crate) nic: Arc<Nic>,
    pub(crate) stats: Arc<QueueStats>,
    pub(crate) version: Version,
    pub(crate) channel: RcuSlot<Channel>,
    /// Where the host puts frames; once it was told of it.
    pub(crate) receive: RcuSlot<ReceiveBuffer>,
    /// Where frames are copied to, if the host takes them from there.
    pub(crate) send: RcuSlot<SendSections>,
    /// Frames on their way.
    pub(crate) frames: Tagged<Kept>,
    /// Frames that the host will be told of with those that the stack has promised.
    pub(crate) batch: TryCell<Option<Batch>>,
    pub(crate) places: Slots,
    /// What the host is putting together; only the poll uses it.
    pub(crate) segment: TryCell<Segment>,
    /// The buffer that the host has asked for, if it has.
    pub(crate) lent_buffer: RcuSlot<ReceiveBuffer>,
    /// Frames in it that the stack has; only the poll uses it.
    pub(crate) lent: TryCell<Lent>,
    /// How many.
    pub(crate) lent_frames: Atomic<u32>,
    /// Packets of the host that are to be completed; only the poll uses it.
    pub(crate) owed: TryCell<KVVec<Owed>>,
    /// Bytes that were counted as on their way and weren't sent; the next poll takes them off.
    pub(crate) unsent: Atomic<u32>,
}

impl Queue {
    /// A queue without a channel.
    pub(crate) fn new(nic: Arc<Nic>, number: u16, version: Version) -> Result<Self> {
        let stats = nic.queue_stats.get(usize::from(number)).ok_or(EINVAL)?;
        let owed = KVVec::with_capacity(OWED, GFP_KERNEL)?;
        Ok(Self {
            number,
            stats: stats.clone(),
            nic,
            version,
            channel: RcuSlot::new(None),
            receive: RcuSlot::new(None),
            send: RcuSlot::new(None),
            frames: Tagged::new(PLACES)?,
            batch: TryCell::new(None),
            places: Slots::new(PLACES)?,
            segment: TryCell::new(Segment::new()?),
            lent_buffer: RcuSlot::new(None),
            lent: TryCell::new(Lent::new()?),
            lent_frames: Atomic::new(0),
            owed: TryCell::new(owed),
            unsent: Atomic::new(0),
        })
    }

    /// The channel is gone. With the primary one the device goes, with another the NIC does without.
    fn lost(&self) {
        match self.number {
            0 => self.nic.lost(),
            number => self.nic.lost_queue(number),
        }
    }

    /// The host broke the protocol.
    pub(crate) fn broke(&self, channel: &Channel, what: kernel::fmt::Arguments<'_>) {
        self.nic.stats.protocol_errors.inc();
        channel.bad_packet(what);
    }

    fn packet(&self, napi: &Polled<'_>, channel: &Channel, packet: &Packet<'_>, turn: &mut Turn) {
        let id = packet.transaction_id;
        match packet.body {
            PacketBody::Completion if has_no_place(id) => {
                if !self.nic.answered(self, id, packet.payload) {
                    self.broke(channel, format_args!("nobody asked question {id:#x}"));
                }
            }
            PacketBody::Completion => self.frame_sent(channel, id, packet.payload, turn),
            PacketBody::XferPages(ref pages) => {
                self.frames_received(napi, channel, pages);
                if packet.completion_requested {
                    self.owe(channel, Owed::Rndis(id));
                }
            }
            PacketBody::InBand => self.told(napi, channel, packet),
            _ => self.broke(channel, format_args!("a packet with pages of its own")),
        }
    }

    /// The host says something that is no answer.
    fn told(&self, napi: &Polled<'_>, channel: &Channel, packet: &Packet<'_>) {
        let (id, wanted) = (packet.transaction_id, packet.completion_requested);
        match HostMessage::parse(self.version, packet.payload) {
            Ok(HostMessage::VmqPacket(frame)) if wanted => {
                self.frame_in_place(napi, channel, id, &frame);
            }
            Ok(HostMessage::AllocReceiveBuffer { allocation, length })
                if wanted && self.number == 0 =>
            {
                let asked = Asked {
                    transaction: id,
                    allocation,
                    bytes: length,
                };
                if !self.nic.asked_for_buffer(asked) {
                    self.broke(channel, format_args!("a second request for a buffer"));
                }
            }
            Ok(HostMessage::FreeReceiveBuffer { buffer })
                if buffer == BUFFER && self.number == 0 =>
            {
                self.nic.freed_buffer();
            }
            Ok(HostMessage::SendTable(table)) if self.number == 0 => {
                self.nic.send_spread.follow(&table);
            }
            // No virtual function is taken.
            Ok(HostMessage::VfAssociation(_)) => {}
            Ok(_) => self.broke(channel, format_args!("a message that nobody waits for")),
            Err(error) => self.broke(channel, format_args!("{error}")),
        }
    }

    /// Drops what was on its way: no answer will come. While nobody polls or sends.
    pub(crate) fn forget_frames(&self) {
        self.frames.drain(None, |kept, _| drop(kept));
        if let Some(mut batch) = self.batch.try_take() {
            *batch = None;
        }
        if let Some(mut owed) = self.owed.try_take() {
            owed.clear();
        }
        if let Some(mut lent) = self.lent.try_take() {
            lent.forget();
            self.lent_frames.store(0, Relaxed);
        }
    }
}

impl Poll for Queue {
    fn poll(&self, napi: &Polled<'_>, budget: usize) -> usize {
        let channel = {
            let guard = rcu::read_lock();
            self.channel.read(&guard).map(Arc::from)
        };
        let Some(channel) = channel else {
            if budget != 0 {
                napi.complete(0);
            }
            return 0;
        };
        let mut turn = Turn {
            budget,
            frames_sent: 0,
            bytes_sent: self.unsent.xchg(0, Full),
        };
        // One packet may have hundreds of frames: it is those that the budget is for.
        let done = channel.poll(budget, |packet| {
            self.packet(napi, &channel, &packet, &mut turn);
            match packet.body {
                PacketBody::XferPages(ref pages) => pages.ranges.len(),
                _ => 1,
            }
        });
        // Before anything is sent: what asks for room from here on is to be told of it.
        channel.poll_out();
        self.take_back(&channel);
        self.pay(&channel);
        self.send_held(napi.dev(), &channel);
        if turn.bytes_sent != 0 {
            let (frames, bytes) = (turn.frames_sent, turn.bytes_sent);
            napi.dev().queue_completed(self.number, frames, bytes);
        }
        self.unblock(napi.dev(), &channel);
        channel.flush();
        if done < budget && napi.complete(done) && channel.poll_end() {
            napi.again();
        }
        done
    }
}

/// What a channel calls.
pub(crate) struct Listener(pub(crate) Arc<Napi<Queue>>);

impl Handler for Listener {
    fn packet(&self, channel: &Channel, _packet: Packet<'_>) {
        // Packets are polled for; see `Queue::poll`.
        self.0
            .broke(channel, format_args!("a packet outside of a poll"));
    }

    fn signalled(&self) {
        self.0.schedule();
    }

    fn failed(&self, _channel: &Channel) {
        self.0.lost();
    }

    fn rescinded(&self, _channel: &Channel) {
        self.0.lost();
    }

    fn pending(&self) -> usize {
        self.0.frames.count(None)
    }
}
