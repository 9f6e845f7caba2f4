// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Requests that are under way.

use std::sync::Arc;
use std::time::Instant;

use storvsc_wire::{Address, Srb};

use super::super::buffer::DataBuffer;
use super::super::controller::{ChannelStats, Controller};
use super::super::drain::Generation;
use super::super::lun::Lun;
use super::super::scsi::Outcome;
use super::super::stats::ChannelCounters;
use super::super::work::{Job, Work};
use super::Reply;

/// Has resets wait for a request for as long as it lives.
pub(super) struct Member {
    controller: Arc<Controller>,
    pub(super) generation: Generation,
}

impl Member {
    pub(super) fn new(controller: &Arc<Controller>) -> Self {
        Self {
            generation: controller.drain().enter(),
            controller: controller.clone(),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.controller.drain().leave(self.generation);
    }
}

/// Counts a request as under way for as long as it lives.
pub(super) struct UnderWay {
    channel: Arc<ChannelStats>,
    pub(super) lun: Arc<Lun>,
    member: Member,
}

impl UnderWay {
    pub(super) fn new(member: Member, channel: &Arc<ChannelStats>, lun: Arc<Lun>) -> Self {
        lun.depth.enter();
        channel.depth.enter();
        Self {
            channel: channel.clone(),
            lun,
            member,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.lun.depth.leave();
        self.channel.depth.leave();
    }
}

/// What of a request its completion depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) address: Address,
    /// Bytes of sense data that the guest takes.
    pub(super) sense_room: u8,
    pub(super) opcode: u8,
    /// Bytes of data.
    pub(super) bytes: u32,
}

impl Asked {
    pub(super) fn of(srb: &Srb) -> Self {
        Self {
            address: srb.address,
            sense_room: srb.sense_length,
            opcode: srb.cdb().first().copied().unwrap_or(0),
            bytes: srb.transfer_length,
        }
    }
}

/// What a request did, for the counters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tally {
    /// Read so many bytes.
    Read(u64),
    /// Wrote so many bytes.
    Write(u64),
    /// Wrote the cache back.
    Flush,
    /// Forgot so many bytes.
    Discard(u64),
    /// Nothing of these.
    Other,
}

impl Tally {
    pub(super) fn of(work: &Work) -> Self {
        match work {
            Work::Read { bytes, .. } => Self::Read(*bytes),
            Work::Write { bytes, .. } | Work::Fill { bytes, .. } => Self::Write(*bytes),
            Work::Flush => Self::Flush,
            Work::Discard(ranges) => Self::Discard(
                ranges
                    .iter()
                    .map(|range| range.end.saturating_sub(range.start))
                    .fold(0, u64::saturating_add),
            ),
        }
    }
}

/// A request that reached a unit.
pub(super) struct Request {
    pub(super) reply: Reply,
    pub(super) asked: Asked,
    pub(super) transferred: u64,
    pub(super) tally: Tally,
    /// Answered not before.
    pub(super) until: Option<Instant>,
    pub(super) under_way: UnderWay,
}

impl Request {
    pub(super) fn count(&self, channel: &ChannelCounters, outcome: &Outcome) {
        let unit = &self.under_way.lun.counters;
        if !outcome.srb_status.is_success() {
            unit.errors.inc();
            return;
        }
        match self.tally {
            Tally::Read(bytes) => {
                unit.reads.inc();
                unit.read_bytes.add(bytes);
                channel.read_bytes.add(bytes);
            }
            Tally::Write(bytes) => {
                unit.writes.inc();
                unit.written_bytes.add(bytes);
                channel.written_bytes.add(bytes);
            }
            Tally::Flush => unit.flushes.inc(),
            Tally::Discard(bytes) => {
                unit.unmaps.inc();
                unit.unmapped_bytes.add(bytes);
            }
            Tally::Other => {}
        }
    }
}

/// A request that is done but perhaps not yet answered.
pub(super) struct Finished {
    pub(super) request: Request,
    pub(super) outcome: Outcome,
}

impl Finished {
    pub(super) fn generation(&self) -> Generation {
        self.request.under_way.member.generation
    }
}

/// A request whose work is with the system.
pub(super) struct Slot {
    pub(super) request: Request,
    pub(super) job: Job,
    /// Keeps the guest's pages mapped that the job's pieces lie in.
    pub(super) _buffer: DataBuffer,
}

/// What is with the system, by token.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Option<Box<Slot>>>,
    free: Vec<usize>,
    used: usize,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.used
    }

    pub(super) fn insert(&mut self, slot: Box<Slot>) -> usize {
        self.used += 1;
        match self.free.pop() {
            Some(index) => {
                if let Some(place) = self.slots.get_mut(index) {
                    *place = Some(slot);
                }
                index
            }
            None => {
                self.slots.push(Some(slot));
                self.slots.len() - 1
            }
        }
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Slot> {
        self.slots.get_mut(index)?.as_deref_mut()
    }

    pub(super) fn take(&mut self, index: usize) -> Option<Box<Slot>> {
        let slot = self.slots.get_mut(index)?.take()?;
        self.free.push(index);
        self.used -= 1;
        Some(slot)
    }
}
