// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Frames from the back end to the guest.
//!
//! A frame is read straight into pieces of the receive buffer, but for its first bytes, which are
//! looked at in private memory and written with the RNDIS header once it is known what becomes of
//! the frame: which queue it is for, whether a tag is taken off, whether the next segment is
//! appended to it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use netvsc_wire::nvsp::{ChannelType, OutMessage};
use netvsc_wire::ppi::{ReceiveChecksum, ReceiveInfo, Verdict};
use netvsc_wire::Version;
use vmbus_wire::pending::{PendingTable, Slot};

use super::backend::{Queue, Received, Room};
use super::chain::{Arrived, Chain, HeadBuffer, HEAD};
use super::checksum::{self, Sum};
use super::frame::{set, Ip, ETHERNET_BYTES, TCP, UDP, VLAN_BYTES};
use super::nic::Nic;
use super::plane::{rndis_message, Plane, QueueCounters};
use super::scatter::{Scatter, View};
use super::sections::{Batch, Larder, ReceiveBuffer, DATA};
use super::segment;
use super::spec::ChecksumPolicy;
use crate::memory::GuestMemory;
use crate::vmbus::channel::Channel;

mod facts;
mod send;

use facts::Facts;

/// Frames read in a row before the guest's packets are looked at again.
pub(super) const BUDGET: usize = 64;
/// Packets that the guest hasn't completed, at most.
const MAX_FLIGHTS: usize = 2048;
/// Ranges of a packet: what guests take without coalescing (`NETVSC_MAX_XFER_PAGE_RANGES`).
const MAX_RANGES: usize = 375;
/// The longest segment a back end brings, with Ethernet header and tag.
const LARGEST: usize = 65_535 + ETHERNET_BYTES + VLAN_BYTES;

/// Why no frames were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// There were no more.
    Empty,
    /// There may be more.
    More,
    /// The guest has all pieces, or its ring is full.
    Blocked,
    /// The back end brings no more frames.
    Dead,
}

/// A queue's way to the guest.
pub(super) struct Receiver {
    index: u16,
    version: Version,
    /// Where frames go.
    buffer: Option<Arc<ReceiveBuffer>>,
    larder: Larder,
    /// Where control messages go: the same, unless the guest allocated a buffer for frames.
    control: Option<Arc<ReceiveBuffer>>,
    /// Pieces that the next frame goes to, and their place.
    stage: VecDeque<u32>,
    room: Scatter,
    head: HeadBuffer,
    chain: Chain,
    /// Used while a frame is looked at; empty between calls.
    pieces: Vec<u32>,
    next_id: u16,
    /// What is collected for each queue.
    batches: Vec<Batch>,
    /// What is to be sent on this channel.
    outgoing: VecDeque<Batch>,
    flights: PendingTable<Vec<Slot<Batch>>>,
    spare: Vec<Batch>,
    message: Option<OutMessage>,
    scratch: Vec<u8>,
}

impl Receiver {
    /// The receiver of a queue.
    pub(super) fn new(index: u16, queues: u16, memory: &GuestMemory) -> Self {
        Self {
            index,
            version: Version::V1,
            buffer: None,
            larder: Larder::default(),
            control: None,
            stage: VecDeque::new(),
            room: Scatter::new(memory),
            head: [0; DATA + HEAD],
            chain: Chain::new(),
            pieces: Vec::new(),
            next_id: 0,
            batches: (0..queues).map(|_| Batch::default()).collect(),
            outgoing: VecDeque::new(),
            flights: PendingTable::new((0..MAX_FLIGHTS).map(|_| Slot::new()).collect()),
            spare: Vec::new(),
            message: None,
            scratch: Vec::new(),
        }
    }

    /// Follows what was agreed since the last call: a buffer that is gone is forgotten.
    pub(super) fn follow(&mut self, plane: &Plane) {
        self.version = plane.version;
        if !same(&self.control, plane.receive.as_ref()) {
            self.control = plane.receive.clone();
        }
        if !same(&self.buffer, plane.frames()) {
            self.forget();
            self.buffer = plane.frames().cloned();
            self.message = Some(rndis_message(plane.version, ChannelType::Data));
        }
    }

    /// Forgets all pieces.
    fn forget(&mut self) {
        self.larder.forget();
        self.stage.clear();
        self.room.clear();
        self.chain.abandon();
        for batch in self.batches.iter_mut().chain(&mut self.outgoing) {
            batch.clear();
        }
        self.outgoing.clear();
        self.buffer = None;
    }

    /// The channel is being closed: whatever the guest had comes back.
    pub(super) fn close(&mut self, nic: &Nic) {
        let inbox = nic.shared.close_queue(self.index);
        let Some(buffer) = self.buffer.take() else {
            return;
        };
        let mut pieces: Vec<u32> = self.stage.drain(..).collect();
        pieces.extend(self.chain.abandon());
        for batch in self.batches.iter_mut().chain(&mut self.outgoing) {
            pieces.append(&mut batch.pieces);
        }
        self.flights.drain(|mut batch| {
            if batch.generation == buffer.generation {
                pieces.append(&mut batch.pieces);
            }
        });
        for mut batch in inbox {
            if batch.generation == buffer.generation {
                pieces.append(&mut batch.pieces);
            }
        }
        let hungry = self.larder.put(&buffer, &pieces) | self.larder.empty(&buffer);
        nic.nudge(hungry);
        self.forget();
    }

    /// Throws away frames that nobody wants.
    pub(super) fn drain(&mut self, nic: &Nic, queue: &mut dyn Queue) -> Polled {
        let counters = nic.counters(self.index);
        for _ in 0..BUDGET {
            let room = Room {
                head: &mut self.head,
                body: View::EMPTY,
            };
            match queue.receive(room) {
                Ok(Some(_)) => counters.rx_filtered.inc(),
                Ok(None) => return Polled::Empty,
                Err(error) => return dead(nic, &error),
            }
        }
        Polled::More
    }

    /// Reads frames and sends them on, this queue's to the guest.
    ///
    /// # Errors
    ///
    /// When the ring is broken.
    pub(super) fn poll(
        &mut self,
        nic: &Nic,
        plane: &Plane,
        channel: &mut Channel,
        queue: &mut dyn Queue,
    ) -> anyhow::Result<Polled> {
        let counters = nic.counters(self.index);
        let Some(buffer) = self.buffer.clone() else {
            return Ok(self.drain(nic, queue));
        };
        if !self.outgoing.is_empty() && !self.send(nic, channel)? {
            return Ok(Polled::Blocked);
        }
        let mut polled = Polled::More;
        for _ in 0..BUDGET {
            if !self.prepare(&buffer, plane)? {
                counters.no_section.inc();
                polled = Polled::Blocked;
                break;
            }
            let room = Room {
                head: self.head.get_mut(DATA..).unwrap_or_default(),
                body: self.room.view(),
            };
            match queue.receive(room) {
                Ok(Some(got)) => self.arrived(nic, plane, &buffer, counters, got)?,
                Ok(None) => {
                    polled = Polled::Empty;
                    break;
                }
                Err(error) => {
                    polled = dead(nic, &error);
                    break;
                }
            }
        }
        self.finish(nic, &buffer)?;
        for target in 0..self.batches.len() {
            self.ship(nic, &buffer, target);
        }
        if !self.send(nic, channel)? {
            polled = match polled {
                Polled::Dead => Polled::Dead,
                _ => Polled::Blocked,
            };
        }
        Ok(polled)
    }

    /// Has room for the longest frame there may be. False when the guest has too many pieces.
    fn prepare(&mut self, buffer: &Arc<ReceiveBuffer>, plane: &Plane) -> anyhow::Result<bool> {
        let wanted = if plane.accepts.tso4 || plane.accepts.tso6 {
            pieces_for_largest(buffer.room())
        } else {
            1
        };
        while self.stage.len() < wanted {
            let Some(piece) = self.larder.take(buffer, self.index) else {
                return Ok(false);
            };
            let skip = if self.stage.is_empty() { HEAD } else { 0 };
            buffer.place(piece, skip, &mut self.room)?;
            self.stage.push_back(piece);
        }
        Ok(true)
    }

    /// Takes the pieces of a frame out of the stage.
    fn take_stage(
        &mut self,
        buffer: &ReceiveBuffer,
        count: usize,
        pieces: &mut Vec<u32>,
    ) -> anyhow::Result<()> {
        pieces.clear();
        pieces.extend(self.stage.drain(..count.min(self.stage.len())));
        if count == 1 {
            // The common case: another one takes its place.
            if let Some(piece) = self.larder.take(buffer, self.index) {
                self.stage.push_front(piece);
                buffer.replace(piece, HEAD, &mut self.room)?;
                return Ok(());
            }
        }
        self.room.clear();
        for (number, piece) in self.stage.iter().enumerate() {
            let skip = if number == 0 { HEAD } else { 0 };
            buffer.place(*piece, skip, &mut self.room)?;
        }
        Ok(())
    }

    /// A frame is in the stage.
    fn arrived(
        &mut self,
        nic: &Nic,
        plane: &Plane,
        buffer: &Arc<ReceiveBuffer>,
        counters: &QueueCounters,
        got: Received,
    ) -> anyhow::Result<()> {
        let Some(mut frame) = Facts::look(plane, &self.head, got) else {
            counters.rx_refused.inc();
            return Ok(());
        };
        if got.bytes > HEAD + self.room.len() {
            counters.rx_refused.inc();
            return Ok(());
        }
        if frame.foreign || !plane.wants(&frame.destination) {
            counters.rx_filtered.inc();
            return Ok(());
        }
        if frame.skip > 0 {
            // The tag is taken off: the addresses move up to what follows it.
            self.head.copy_within(DATA..DATA + 12, DATA + frame.skip);
        }
        if !self.checksums(plane, counters, &mut frame, got) {
            counters.rx_refused.inc();
            return Ok(());
        }
        let mut queue = self.index;
        let start = DATA + frame.skip;
        if let Some(steering) = &plane.steering {
            queue = 0;
            if let Some(choice) = steering.choose(self.head.get(start..).unwrap_or_default()) {
                queue = nic.shared.queue_or_first(choice.queue);
                frame.info.hash = Some(choice.hash);
                frame.info.hash_info = Some(choice.info);
            }
        } else if self.index != 0 {
            queue = 0;
        }
        counters.rx_frames.inc();
        counters.rx_bytes.add(frame.bytes as u64);
        let large = frame.offload.gso.is_some();
        if large && !frame.takes_large(plane) {
            return self.cut(nic, plane, buffer, counters, &frame, queue, got.bytes);
        }
        let count = pieces_for(got.bytes, buffer.room());
        let mut pieces = std::mem::take(&mut self.pieces);
        self.take_stage(buffer, count, &mut pieces)?;
        let head = self.head;
        let arrived = Arrived {
            head: &head,
            skip: frame.skip,
            bytes: frame.bytes,
            pieces: &pieces,
            info: frame.info,
            queue,
            network: frame.network,
            mergeable: buffer.takes_chains() && frame.mergeable(plane),
            whole: large && !buffer.takes_chains(),
        };
        if self.chain.append(&arrived, buffer)? {
            counters.rx_merged.inc();
        } else {
            self.finish(nic, buffer)?;
            self.chain.start(&arrived, buffer.room());
        }
        self.pieces = pieces;
        Ok(())
    }

    /// What the guest is told of the checksums; computes what it doesn't take without. False when
    /// the back end's description makes no sense.
    fn checksums(
        &mut self,
        plane: &Plane,
        counters: &QueueCounters,
        frame: &mut Facts,
        got: Received,
    ) -> bool {
        let mut sums = ReceiveChecksum::default();
        let start = DATA + frame.skip;
        let in_head = frame.bytes.min(HEAD - frame.skip);
        let mut known = got.offload.valid;
        if let Some(partial) = frame.offload.partial {
            let vouched = plane.accepts.checksum && plane.policy == ChecksumPolicy::Vouch;
            if vouched {
                sums.tcp_value_invalid = true;
            } else {
                let Some(head) = self.head.get_mut(start..start + in_head) else {
                    return false;
                };
                let rest = self.room.view().first(frame.bytes - in_head);
                if !checksum::complete(
                    head,
                    &rest,
                    usize::from(partial.start),
                    usize::from(partial.offset),
                ) {
                    return false;
                }
                counters.rx_checksum.inc();
            }
            known = true;
        }
        let Some(network) = frame.network else {
            return true;
        };
        if network.ip == Ip::V4 {
            let mut sum = Sum::default();
            sum.add(
                self.head
                    .get(start + network.at..start + network.transport)
                    .unwrap_or_default(),
            );
            sums.ip_header = if sum.finish() == 0 {
                Verdict::Good
            } else {
                Verdict::Bad
            };
        }
        if known && !network.fragment {
            match network.protocol {
                TCP => sums.tcp = Verdict::Good,
                UDP => sums.udp = Verdict::Good,
                _ => {}
            }
        }
        frame.info.checksum = Some(sums);
        true
    }

    /// Cuts a large segment that the guest doesn't take.
    #[allow(clippy::too_many_arguments)] // All of them are the frame's.
    fn cut(
        &mut self,
        nic: &Nic,
        plane: &Plane,
        buffer: &Arc<ReceiveBuffer>,
        counters: &QueueCounters,
        frame: &Facts,
        queue: u16,
        read: usize,
    ) -> anyhow::Result<()> {
        self.finish(nic, buffer)?;
        let Some(gso) = frame.offload.gso else {
            return Ok(());
        };
        counters.rx_cut.inc();
        let mut whole = std::mem::take(&mut self.scratch);
        whole.clear();
        let start = DATA + frame.skip;
        let in_head = frame.bytes.min(HEAD - frame.skip);
        whole.extend_from_slice(self.head.get(start..start + in_head).unwrap_or_default());
        whole.resize(frame.bytes, 0);
        let rest = whole.get_mut(in_head..).unwrap_or_default();
        if !self.room.view().read(0, rest) {
            anyhow::bail!("{read} bytes were read into less room");
        }
        let mut info = frame.info;
        if let Some(sums) = &mut info.checksum {
            sums.tcp_value_invalid = false;
            if sums.ip_header != Verdict::Unknown {
                sums.ip_header = Verdict::Good;
            }
        }
        let mut result = Ok(());
        let cut = segment::cut(&whole, &gso, |segment| {
            if result.is_ok() {
                result = self.place(nic, plane, buffer, counters, segment, info, queue);
            }
        });
        self.scratch = whole;
        if !cut {
            counters.rx_refused.inc();
        }
        result
    }

    /// Places a frame that lies in one piece here.
    #[allow(clippy::too_many_arguments)] // As above.
    fn place(
        &mut self,
        nic: &Nic,
        plane: &Plane,
        buffer: &Arc<ReceiveBuffer>,
        counters: &QueueCounters,
        frame: &[u8],
        info: ReceiveInfo,
        queue: u16,
    ) -> anyhow::Result<()> {
        if frame.len() > (plane.frame_bytes as usize).min(buffer.room()) {
            counters.rx_refused.inc();
            return Ok(());
        }
        let Some(piece) = self.larder.take(buffer, self.index) else {
            counters.no_section.inc();
            return Ok(());
        };
        let mut head: HeadBuffer = [0; DATA + HEAD];
        let first = frame.len().min(HEAD);
        let (first, rest) = frame.split_at(first);
        let _ = set(&mut head, DATA, first);
        buffer.write(piece, DATA + HEAD, rest)?;
        let arrived = Arrived {
            head: &head,
            skip: 0,
            bytes: frame.len(),
            pieces: &[piece],
            info,
            queue,
            network: None,
            mergeable: false,
            whole: false,
        };
        self.chain.start(&arrived, buffer.room());
        self.finish(nic, buffer)
    }

    /// The frame in the chain is complete.
    fn finish(&mut self, nic: &Nic, buffer: &Arc<ReceiveBuffer>) -> anyhow::Result<()> {
        if self.chain.is_empty() {
            return Ok(());
        }
        let target = usize::from(self.chain.queue);
        let parts = self.chain.parts();
        let alone = !buffer.takes_chains();
        let full = self.batches.get(target).is_some_and(|batch| {
            !batch.is_empty() && (alone || batch.ranges.len() + parts > MAX_RANGES)
        });
        if full {
            self.ship(nic, buffer, target);
        }
        let Some(batch) = self.batches.get_mut(target) else {
            self.chain.abandon();
            return Ok(());
        };
        if self.chain.is_coalesced() {
            nic.counters(self.index).rx_coalesced.inc();
            self.next_id = self.next_id.wrapping_add(1);
        }
        batch.generation = buffer.generation;
        self.chain.finish(buffer, self.next_id, batch)?;
        Ok(())
    }

    /// What was collected for a queue goes there.
    fn ship(&mut self, nic: &Nic, buffer: &ReceiveBuffer, target: usize) {
        let Some(batch) = self
            .batches
            .get_mut(target)
            .filter(|batch| !batch.is_empty())
        else {
            return;
        };
        let batch = std::mem::replace(batch, self.spare.pop().unwrap_or_default());
        if target == usize::from(self.index) {
            self.outgoing.push_back(batch);
            return;
        }
        let frames = batch.frames;
        match nic.shared.pass_on(target as u16, batch) {
            Ok(()) => {
                nic.counters(self.index).rx_passed_on.add(frames.into());
                nic.nudge(1 << (target & 63));
            }
            // It was closed just now: this channel will do.
            Err(batch) if batch.generation == buffer.generation => self.outgoing.push_back(batch),
            Err(_) => {}
        }
    }
}

fn same(mine: &Option<Arc<ReceiveBuffer>>, now: Option<&Arc<ReceiveBuffer>>) -> bool {
    match (mine, now) {
        (Some(mine), Some(now)) => Arc::ptr_eq(mine, now),
        (None, None) => true,
        _ => false,
    }
}

/// Pieces that a frame of `bytes` bytes needs.
const fn pieces_for(bytes: usize, room: usize) -> usize {
    let room = if room == 0 { 1 } else { room };
    let pieces = bytes.div_ceil(room);
    if pieces == 0 {
        1
    } else {
        pieces
    }
}

/// Pieces that the longest segment needs.
pub(super) const fn pieces_for_largest(room: usize) -> usize {
    pieces_for(LARGEST, room)
}

fn dead(nic: &Nic, error: &io::Error) -> Polled {
    tracing::warn!("{}: {}: {error}", nic.name(), nic.backend().name());
    Polled::Dead
}
