// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Requests: from their packet to their completion.

use std::sync::Once;
use std::time::Instant;

use storvsc_wire::scsi::{opcode, Command, Sense};
use storvsc_wire::{host, Address, NtStatus, Operation, Srb, SrbCompletion, SrbStatus};
use vmbus_wire::packet::Packet;

use super::super::backend::{Backend, FileDisk, Writes};
use super::super::buffer::DataBuffer;
use super::super::controller::Target;
use super::super::inject::Injected;
use super::super::ring::Ring;
use super::super::scsi::{self, Outcome, Verdict};
use super::super::work::{Job, Step, Work};
use super::request::{Asked, Finished, Member, Request, Slot, Tally, UnderWay};
use super::{Reply, Session};

/// Token of the ring's event among a channel's watched files.
pub(super) const RING_TOKEN: u32 = 1;

impl Session {
    /// EXECUTE_SRB.
    pub(super) fn execute(
        &mut self,
        reply: Reply,
        packet: &Packet<'_>,
        srb: &Srb,
    ) -> anyhow::Result<()> {
        self.stats.counters.requests.inc();
        self.latest = packet.transaction_id;
        if !self.controller.is_ready() {
            let status = NtStatus::INVALID_DEVICE_STATE;
            self.refused(Operation::EXECUTE_SRB, status);
            return self.answer(reply, host::complete(reply.layout, status));
        }
        let most = self.controller.options().max_transfer_bytes;
        let buffer = match DataBuffer::new(self.channel.memory(), packet, srb, most) {
            Ok(buffer) => buffer,
            Err(error) => {
                self.stats.counters.bad_buffers.inc();
                self.warn(format_args!("request for {}: {error}", srb.address));
                let outcome = Outcome::port(SrbStatus::INVALID_REQUEST);
                return self.complete(reply, Asked::of(srb), outcome);
            }
        };
        let member = Member::new(&self.controller);
        if self.controller.misdeeds().concern_requests() {
            self.execute_badly(reply, srb, buffer, member)
        } else {
            self.carry_out(reply, srb, buffer, member)
        }
    }

    /// Carries a request out whose data there is room for.
    pub(super) fn carry_out(
        &mut self,
        reply: Reply,
        srb: &Srb,
        buffer: DataBuffer,
        member: Member,
    ) -> anyhow::Result<()> {
        let asked = Asked::of(srb);
        let most = self.controller.options().max_transfer_bytes;
        let command = Command::parse(srb.cdb());
        if let Ok(Command::ReportLuns { select, allocation }) = command {
            let outcome = self.report_luns(srb.address, select, allocation, &buffer);
            return self.complete(reply, asked, outcome);
        }
        let lun = match self.controller.target(srb.address) {
            Target::Unit(lun) => lun,
            nothing => {
                let outcome = no_unit(&nothing, srb, &buffer);
                return self.complete(reply, asked, outcome);
            }
        };
        lun.counters.commands.inc();
        let mut request = Request {
            reply,
            asked,
            transferred: 0,
            tally: Tally::Other,
            until: None,
            under_way: UnderWay::new(member, &self.stats, lun.clone()),
        };
        if let Some(injected) = lun.injections.take(asked.opcode, command.as_ref().ok()) {
            lun.counters.injected.inc();
            match injected {
                Injected::Sense(sense) => return self.finish(request, Outcome::check(sense)),
                Injected::Status(srb_status, scsi_status) => {
                    let outcome = Outcome {
                        scsi_status,
                        ..Outcome::port(srb_status)
                    };
                    return self.finish(request, outcome);
                }
                Injected::Delay(delay) => request.until = Instant::now().checked_add(delay),
            }
        }
        let verdict = match command {
            Ok(command) => scsi::execute(&lun, &command, &buffer, most),
            Err(error) => Verdict::Done(Outcome::check(error.sense())),
        };
        match verdict {
            Verdict::Done(outcome) => self.finish(request, outcome),
            Verdict::Work { work, transferred } => {
                request.transferred = transferred;
                request.tally = Tally::of(&work);
                match &lun.backend {
                    Backend::Ram(ram) => {
                        let result = ram.run(&work, &buffer);
                        self.finish_work(request, result)
                    }
                    Backend::File(file) => self.start(request, file, work, buffer),
                }
            }
        }
    }

    /// Has a file do work, on this thread or with the ring.
    fn start(
        &mut self,
        request: Request,
        file: &FileDisk,
        work: Work,
        buffer: DataBuffer,
    ) -> anyhow::Result<()> {
        let mut job = match Job::new(work, &buffer) {
            Ok(job) => job,
            Err(_) => return self.finish_work(request, Err(libc::EFAULT)),
        };
        let here = file.in_memory() || !self.has_ring() || {
            let mut writes = Writes::Ring;
            if let Some(step @ Step::Write { durable: false, .. }) = job.step() {
                writes = file.writes();
                if writes == Writes::Unknown {
                    let answer = file.probe_write(&step);
                    if let Err(errno) = job.advance(answer) {
                        return self.finish_work(request, Err(errno));
                    }
                    writes = file.writes();
                }
            }
            writes == Writes::Here
        };
        if here {
            let result = file.run(&mut job);
            return self.finish_work(request, result);
        }
        let index = self.slots.insert(Box::new(Slot {
            request,
            job,
            _buffer: buffer,
        }));
        self.step(index)
    }

    /// Hands the next call of a slot's job to the ring, or finishes it.
    fn step(&mut self, index: usize) -> anyhow::Result<()> {
        let (Some(slot), Some(ring)) = (self.slots.get_mut(index), self.ring.as_mut()) else {
            return Ok(());
        };
        let Backend::File(file) = &slot.request.under_way.lun.backend else {
            return Ok(());
        };
        let mut done = true;
        if let Some(step) = slot.job.step() {
            // SAFETY: pieces and pattern lie on the heap of the slot's job, which nothing touches
            // before the call is answered; the slot keeps the pages and the file, and `close`
            // waits for the answer or lets go of neither.
            match unsafe { ring.push(file.fd(), &step, index as u64) } {
                Ok(()) => return Ok(()),
                Err(error) => tracing::debug!("io_uring takes no more: {error}"),
            }
            done = false;
        }
        let Some(mut slot) = self.slots.take(index) else {
            return Ok(());
        };
        let result = match &slot.request.under_way.lun.backend {
            // What the ring doesn't take is done here.
            Backend::File(file) if !done => file.run(&mut slot.job),
            _ => Ok(()),
        };
        self.finish_work(slot.request, result)
    }

    /// The system answered a call.
    pub(super) fn answered(&mut self, token: u64, answer: i32) -> anyhow::Result<()> {
        let index = usize::try_from(token).unwrap_or(usize::MAX);
        let Some(slot) = self.slots.get_mut(index) else {
            tracing::error!("io_uring answered {token}, which nobody asked");
            return Ok(());
        };
        match slot.job.advance(answer) {
            Ok(()) => self.step(index),
            Err(errno) => match self.slots.take(index) {
                Some(slot) => self.finish_work(slot.request, Err(errno)),
                None => Ok(()),
            },
        }
    }

    /// There is a ring; it is set up when it is first needed.
    fn has_ring(&mut self) -> bool {
        static SAID: Once = Once::new();
        if self.ring.is_none() && !self.no_ring {
            let ring = Ring::new().and_then(|ring| {
                self.channel.watch(ring.event(), RING_TOKEN)?;
                Ok(ring)
            });
            match ring {
                Ok(ring) => self.ring = Some(ring),
                Err(error) => {
                    self.no_ring = true;
                    SAID.call_once(|| {
                        tracing::warn!("no io_uring ({error}): files take one call at a time");
                    });
                }
            }
        }
        self.ring.is_some()
    }

    fn finish_work(&mut self, request: Request, result: Result<(), i32>) -> anyhow::Result<()> {
        if let Err(errno) = result {
            let lun = request.under_way.lun.number;
            let error = std::io::Error::from_raw_os_error(errno);
            self.warn(format_args!("LUN {lun}: {:?}: {error}", request.tally));
        }
        let writing = !matches!(request.tally, Tally::Read(_));
        let outcome = Outcome::of_work(result, writing, request.transferred);
        self.finish(request, outcome)
    }

    /// A request is done: count it, and answer it now or later.
    fn finish(&mut self, request: Request, outcome: Outcome) -> anyhow::Result<()> {
        request.count(&self.stats.counters, &outcome);
        let finished = Finished { request, outcome };
        match finished.request.until {
            Some(until) if finished.generation() == self.controller.drain().current() => {
                self.delays = self.delays.wrapping_add(1);
                self.delayed.insert((until, self.delays), finished);
                Ok(())
            }
            _ => self.let_go(finished),
        }
    }

    /// Answers a request that is done.
    pub(super) fn let_go(&mut self, finished: Finished) -> anyhow::Result<()> {
        let Finished { request, outcome } = finished;
        self.complete(request.reply, request.asked, outcome)
    }

    /// Answers EXECUTE_SRB.
    pub(super) fn complete(
        &mut self,
        reply: Reply,
        asked: Asked,
        outcome: Outcome,
    ) -> anyhow::Result<()> {
        let sense = outcome.sense.cut(asked.sense_room.into());
        let srb_status = if sense.as_bytes().is_empty() {
            SrbStatus(outcome.srb_status.0 & !SrbStatus::AUTOSENSE_VALID)
        } else {
            outcome.srb_status
        };
        let completion = SrbCompletion {
            address: asked.address,
            srb_status,
            scsi_status: outcome.scsi_status,
            transferred: outcome.transferred,
            sense,
        };
        if self.controller.misdeeds().concern_requests() {
            return self.complete_badly(reply, asked, completion);
        }
        self.answer(reply, host::complete_srb(reply.layout, &completion))
    }

    /// Answers EXECUTE_SRB whose fields make no sense.
    pub(super) fn refuse_srb(&mut self, reply: Reply, status: SrbStatus) -> anyhow::Result<()> {
        self.complete(reply, Asked::default(), Outcome::port(status))
    }

    /// REPORT LUNS is answered at any unit, also at one that isn't there: guests ask unit 0. At
    /// other targets there are none. (INVALID_LUN there would have Linux remove the unit of that
    /// number at target 0.)
    fn report_luns(
        &self,
        address: Address,
        select: u8,
        allocation: u32,
        buffer: &DataBuffer,
    ) -> Outcome {
        let units = match self.controller.target(address) {
            Target::Nowhere => Vec::new(),
            Target::Missing => self.controller.unit_numbers(),
            Target::Unit(lun) => {
                lun.counters.commands.inc();
                lun.forget_attention(Sense::REPORTED_LUNS_CHANGED);
                self.controller.unit_numbers()
            }
        };
        match scsi::report_luns(select, units.into_iter()) {
            Some(data) => scsi::give_all(buffer, &data, allocation),
            None => Outcome::check(Sense::INVALID_FIELD_IN_CDB),
        }
    }
}

/// What is answered where there is no unit.
fn no_unit(target: &Target, srb: &Srb, buffer: &DataBuffer) -> Outcome {
    if let Ok(Command::Inquiry { allocation, .. }) = Command::parse(srb.cdb()) {
        return scsi::give_all(buffer, scsi::absent().as_bytes(), allocation.into());
    }
    // Linux takes a failed inquiry for a good one and forgets about the unit only if it is told
    // so in any other command.
    if srb.cdb().first() == Some(&opcode::INQUIRY) {
        return Outcome::port(SrbStatus::INVALID_REQUEST);
    }
    Outcome::port(match target {
        Target::Nowhere => SrbStatus::SELECTION_TIMEOUT,
        _ => SrbStatus::INVALID_LUN,
    })
}
