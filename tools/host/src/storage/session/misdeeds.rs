// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a channel does wrong because somebody wants it to (see [`super::super::misbehave`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use storvsc_wire::packet::Layout;
use storvsc_wire::scsi::{ScsiStatus, Sense, SenseKey};
use storvsc_wire::{host, Operation, Srb, SrbCompletion, SrbStatus};

use super::super::buffer::DataBuffer;
use super::super::controller::Controller;
use super::super::mail::{Letter, Mail};
use super::super::misbehave::{Misdeed, Misdeeds, ResetMode, Sort};
use super::super::scsi::Outcome;
use super::request::{Asked, Member};
use super::{Reply, Reset, Session, MAX_RESETS};

/// Packets of a storm in one turn.
const GUST: u64 = 64;
/// Longest packet of noise.
const NOISE_BYTES: u64 = 131;
/// Lengths of completions that are too short.
const SHORT: [usize; 3] = [0, 11, 40];
/// Operations that a host doesn't send or that there aren't.
const UNKNOWN: [u32; 5] = [0, Operation::EXECUTE_SRB.0, 14, 0x7fff_ffff, u32::MAX];
/// Where a completion says how long its sense data is, and where that is.
const SENSE_LENGTH_AT: usize = 21;
const SENSE_AT: usize = 28;
/// Where sense data says how many bytes follow, and a length that makes 255 of them.
const ADDITIONAL_AT: usize = SENSE_AT + 7;
const ADDITIONAL: u8 = 247;
/// How soon a mute channel notices that it is closed.
const MUTE_POLL: Duration = Duration::from_millis(20);

/// Counts something that a controller holds for as long as it lives.
struct Counted {
    controller: Arc<Controller>,
    what: fn(&Misdeeds) -> &AtomicU64,
}

impl Counted {
    fn new(controller: &Arc<Controller>, what: fn(&Misdeeds) -> &AtomicU64) -> Self {
        what(controller.misdeeds()).fetch_add(1, Ordering::AcqRel);
        Self {
            controller: controller.clone(),
            what,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.what)(self.controller.misdeeds()).fetch_sub(1, Ordering::AcqRel);
    }
}

/// A request that was taken and nothing else.
pub(super) struct Held {
    reply: Reply,
    srb: Srb,
    buffer: DataBuffer,
    member: Member,
    _counted: Counted,
}

/// A reset that wasn't answered.
pub(super) struct Unanswered {
    reply: Reply,
    _counted: Counted,
}

impl Session {
    /// EXECUTE_SRB while something is to happen to requests or their completions.
    pub(super) fn execute_badly(
        &mut self,
        reply: Reply,
        srb: &Srb,
        buffer: DataBuffer,
        member: Member,
    ) -> anyhow::Result<()> {
        let asked = Asked::of(srb);
        let misdeeds = self.controller.misdeeds();
        let taken = misdeeds.take_for(asked.address.lun, asked.opcode, Misdeed::is_of_request);
        match taken.map(|taken| self.controller.took(taken)) {
            Some(Misdeed::Refuse(status)) => {
                self.answer(reply, host::complete(reply.layout, status))
            }
            Some(Misdeed::InvalidLun) => {
                let completion = SrbCompletion {
                    address: asked.address,
                    srb_status: SrbStatus::INVALID_LUN,
                    scsi_status: ScsiStatus::GOOD,
                    transferred: 0,
                    sense: Default::default(),
                };
                self.answer(reply, host::complete_srb(reply.layout, &completion))
            }
            Some(Misdeed::Silent) => {
                self.held.push(Held {
                    reply,
                    srb: *srb,
                    buffer,
                    member,
                    _counted: Counted::new(&self.controller, |misdeeds| &misdeeds.held),
                });
                // A reset that began meanwhile is not to wait for it.
                self.end_held()
            }
            _ => self.carry_out(reply, srb, buffer, member),
        }
    }

    /// Answers EXECUTE_SRB while something is to happen to requests or their completions.
    pub(super) fn complete_badly(
        &mut self,
        reply: Reply,
        asked: Asked,
        mut completion: SrbCompletion,
    ) -> anyhow::Result<()> {
        let right = host::complete_srb(reply.layout, &completion);
        let Some(transaction) = reply.transaction else {
            return Ok(());
        };
        let other = self.controller.other_channel(self.index);
        let misdeeds = self.controller.misdeeds();
        let taken = misdeeds.take_for(asked.address.lun, asked.opcode, |what| {
            what.is_of_completion() && (what != Misdeed::OtherChannel || other.is_some())
        });
        let Some(taken) = taken else {
            return self.answer(reply, right);
        };
        let right = Letter::completion(transaction, right);
        let again = right.clone();
        match self.controller.took(taken) {
            Misdeed::Twice => {
                self.post(right)?;
                self.post(again)
            }
            Misdeed::LateTwice(delay) => {
                if let Some(when) = Instant::now().checked_add(delay) {
                    self.delays = self.delays.wrapping_add(1);
                    self.late.insert((when, self.delays), again);
                }
                self.post(right)
            }
            Misdeed::UnknownId(shape) => {
                for id in shape.of(transaction) {
                    self.post(right.readdressed(id))?;
                }
                self.post(right)
            }
            Misdeed::OtherChannel => {
                if let Some(other) = other {
                    self.controller.mail(other, Mail::Letter(right));
                }
                Ok(())
            }
            Misdeed::Short(length) => {
                let lengths = length.map_or(SHORT.to_vec(), |length| vec![length]);
                for length in lengths {
                    let bytes = right.bytes().get(..length).unwrap_or(right.bytes());
                    self.post(Letter::completion_of(transaction, bytes))?;
                }
                self.post(right)
            }
            Misdeed::SenseLength(length) => {
                let bytes = long_sense(reply.layout, &completion, length);
                self.post(Letter::completion_of(transaction, &bytes))
            }
            Misdeed::Residual(by) => {
                completion.transferred = asked.bytes.saturating_add(by);
                self.answer(reply, host::complete_srb(reply.layout, &completion))
            }
            _ => self.post(right),
        }
    }

    /// A reset that isn't answered; what doesn't fit is forgotten at once.
    pub(super) fn leave_unanswered(&mut self, reply: Reply) {
        if self.unanswered.len() < MAX_RESETS {
            let _counted = Counted::new(&self.controller, |misdeeds| &misdeeds.unanswered);
            self.unanswered.push(Unanswered { reply, _counted });
        }
    }

    /// Does what it is to do of its own accord, but for storms.
    pub(super) fn misbehave(&mut self) -> anyhow::Result<()> {
        self.end_held()?;
        self.let_go_of_held()?;
        self.send_late()?;
        for mail in self.stats.mail.take() {
            match mail {
                Mail::Letter(letter) => self.post(letter)?,
                Mail::BadIndex(index) => {
                    tracing::info!(
                        "{} channel {}: write index {index:#x}, as was wished",
                        self.controller.name(),
                        self.index
                    );
                    self.channel.corrupt(index);
                    self.mute = true;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A reset ends what is held, or forgets it.
    pub(super) fn end_held(&mut self) -> anyhow::Result<()> {
        let current = self.controller.drain().current();
        if self
            .held
            .iter()
            .all(|held| held.member.generation == current)
        {
            return Ok(());
        }
        let (stay, end) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.member.generation == current);
        self.held = stay;
        let forget = self.controller.misdeeds().reset() == ResetMode::Forget;
        for held in Vec::<Held>::into_iter(end) {
            if !forget {
                let outcome = Outcome::port(SrbStatus::BUS_RESET);
                self.complete(held.reply, Asked::of(&held.srb), outcome)?;
            }
        }
        Ok(())
    }

    /// Lets go of what is held when somebody said so.
    fn let_go_of_held(&mut self) -> anyhow::Result<()> {
        let releases = self.controller.misdeeds().releases();
        if releases == self.releases {
            return Ok(());
        }
        let forget = releases.forgotten != self.releases.forgotten;
        self.releases = releases;
        let held = std::mem::take(&mut self.held);
        let unanswered = std::mem::take(&mut self.unanswered);
        if forget {
            return Ok(());
        }
        for held in held {
            self.carry_out(held.reply, &held.srb, held.buffer, held.member)?;
        }
        for Unanswered { reply, .. } in unanswered {
            self.resets.push_back(Reset {
                reply,
                since: Instant::now(),
                waits_for: None,
            });
        }
        Ok(())
    }

    /// Sends what is due a second time.
    fn send_late(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        while let Some(entry) = self.late.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let letter = entry.remove();
            self.post(letter)?;
        }
        Ok(())
    }

    /// Packets that nobody asked for; true: there are more, and room for them.
    pub(super) fn storm(&mut self) -> anyhow::Result<bool> {
        if !self.controller.misdeeds().has_storms() || !self.outbox.is_empty() {
            return Ok(false);
        }
        let controller = self.controller.clone();
        let misdeeds = controller.misdeeds();
        let Some((sort, left)) = misdeeds.storm(self.index) else {
            return Ok(false);
        };
        let layout = controller
            .version()
            .map_or(Layout::Long, |version| version.layout());
        let mut sent = 0;
        let mut room = true;
        while sent < left.min(GUST) && room {
            let letter = gust(layout, sort, self.stormed, self.latest);
            room = self.send(&letter)?;
            if room {
                sent += 1;
                self.stormed = self.stormed.wrapping_add(1);
            }
        }
        if sent > 0 {
            let here = Misdeed::Storm(self.index, sort);
            if let Some(taken) = misdeeds.take(sent, |plan| plan.what == here) {
                controller.took(taken);
            }
        }
        Ok(room)
    }

    /// Waits until the channel is closed, whose ring the guest can't read any more.
    pub(super) fn wait_for_the_end(&mut self) -> anyhow::Result<()> {
        while !self.channel.stopped() {
            std::thread::sleep(MUTE_POLL);
        }
        Ok(())
    }
}

/// A completion with CHECK CONDITION whose sense data says that it is longer than its room.
fn long_sense(layout: Layout, completion: &SrbCompletion, length: u8) -> Vec<u8> {
    let completion = SrbCompletion {
        srb_status: SrbStatus::ERROR.with_autosense(),
        scsi_status: ScsiStatus::CHECK_CONDITION,
        // Of these the guest makes another attempt.
        sense: Sense::new(SenseKey::ABORTED_COMMAND, 0, 0).fixed(),
        ..*completion
    };
    let mut bytes = host::complete_srb(layout, &completion).as_bytes().to_vec();
    for (at, value) in [(SENSE_LENGTH_AT, length), (ADDITIONAL_AT, ADDITIONAL)] {
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
    }
    bytes
}

/// Packet `n` of a storm; `latest` is the transaction id of a request.
fn gust(layout: Layout, sort: Option<Sort>, n: u64, latest: u64) -> Letter {
    let sorts = Sort::ALL.len() as u64;
    let (sort, n) = match sort {
        Some(sort) => (sort, n),
        None => {
            let sort = Sort::ALL.get((n % sorts) as usize);
            (sort.map_or(Sort::Garbage, |sort| sort.0), n / sorts)
        }
    };
    match sort {
        Sort::Enumerate => Letter::in_band(0, host::enumerate_bus(layout).as_bytes()),
        Sort::Remove => Letter::in_band(0, host::remove_device(layout).as_bytes()),
        Sort::Unknown => {
            let mut bytes = host::enumerate_bus(layout).as_bytes().to_vec();
            let operation = UNKNOWN.get((n % UNKNOWN.len() as u64) as usize);
            let operation = operation.copied().unwrap_or(u32::MAX).to_le_bytes();
            for (to, from) in bytes.iter_mut().zip(operation) {
                *to = from;
            }
            Letter::in_band(0, &bytes)
        }
        Sort::Garbage => {
            // Odd steps through all lengths.
            let length = n.wrapping_mul(7) % (NOISE_BYTES + 1);
            let noise = |at: u64| (n ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
            let bytes: Vec<u8> = (0..length).map(|at| noise(at) as u8).collect();
            Letter::in_band(0, &bytes)
        }
        Sort::Complete => {
            let completion = SrbCompletion {
                address: Default::default(),
                srb_status: SrbStatus::SUCCESS,
                scsi_status: ScsiStatus::GOOD,
                transferred: 0,
                sense: Default::default(),
            };
            let packet = host::complete_srb(layout, &completion);
            let transaction = if n % 2 == 0 { 0 } else { latest };
            Letter::in_band(transaction, packet.as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storms_have_everything_in_them() {
        let gusts: Vec<_> = (0..700).map(|n| gust(Layout::Long, None, n, 77)).collect();
        assert!(gusts.iter().all(|letter| !letter.completion));
        let lengths: std::collections::BTreeSet<_> =
            gusts.iter().map(|letter| letter.bytes().len()).collect();
        assert_eq!(
            lengths.len(),
            NOISE_BYTES as usize + 1,
            "every length of noise"
        );
        for operation in UNKNOWN.into_iter().chain([1, 2, 11]) {
            let begins = |letter: &&Letter| {
                letter.bytes().len() == 64 && letter.bytes().starts_with(&operation.to_le_bytes())
            };
            assert!(gusts.iter().filter(begins).count() > 10, "{operation}");
        }
        let bytes = gust(Layout::Long, Some(Sort::Complete), 1, 77);
        assert_eq!(bytes, Letter::in_band(77, bytes.bytes()));
    }

    #[test]
    fn sense_data_lies_about_its_length() {
        let completion = SrbCompletion {
            address: Default::default(),
            srb_status: SrbStatus::SUCCESS,
            scsi_status: ScsiStatus::GOOD,
            transferred: 512,
            sense: Default::default(),
        };
        for layout in [Layout::Short, Layout::Long] {
            let bytes = long_sense(layout, &completion, 255);
            assert_eq!(bytes.len(), layout.packet_bytes());
            assert_eq!(bytes[14..16], [0x84, 2]);
            assert_eq!((bytes[21], bytes[28], bytes[30]), (255, 0x70, 0xb));
            assert_eq!(bytes[28 + 7] + 8, 255);
        }
    }
}
