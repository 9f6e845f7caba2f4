// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Serves one open channel: takes packets from the ring, has them carried out, answers.
//!
//! The thread works in turns: take a batch of packets, hand the work they make to the system with
//! one call, take what it has answered, put completions into the ring with one interrupt, sleep.
//! What a guest can have under way at a time is limited: beyond that its packets stay in the ring.

mod execute;
mod misdeeds;
mod request;
mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use storvsc_wire::packet::{Layout, OutPacket as VstorPacket, PacketError};
use storvsc_wire::{host, GuestPacket, NtStatus, Operation, SrbStatus};
use vmbus_wire::packet::{OutPacket, Packet, PacketBody};

use super::controller::{ChannelStats, Controller, News};
use super::drain::Generation;
use super::mail::Letter;
use super::misbehave::{Releases, ResetMode};
use super::ring::Ring;
use crate::vmbus::channel::{Channel, ChannelError};
use misdeeds::{Held, Unanswered};
use request::{Finished, Slots};

/// Requests that a channel has under way at most; half of what its ring can answer at once.
const MAX_UNDER_WAY: usize = 1024;
/// Requests that a channel holds at most for a controller that doesn't answer.
const MAX_HELD: usize = 8192;
/// Resets that wait at most.
const MAX_RESETS: usize = 64;
/// How long a reset waits for what was under way before it.
const RESET_LIMIT: Duration = Duration::from_secs(20);
/// How long a closing channel waits for the system to let go of the guest's pages.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// Whom to answer; none: the guest wants no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reply {
    transaction: Option<u64>,
    layout: Layout,
}

/// A reset that waits for what was under way before it.
#[derive(Debug)]
struct Reset {
    reply: Reply,
    since: Instant,
    /// What it waits for; none: for its turn.
    waits_for: Option<Generation>,
}

struct Session {
    controller: Arc<Controller>,
    channel: Channel,
    index: u16,
    stats: Arc<ChannelStats>,
    /// None: not needed yet.
    ring: Option<Ring>,
    /// The system has no io_uring for us, or isn't to be asked for one.
    no_ring: bool,
    slots: Slots,
    answers: Vec<(u64, i32)>,
    /// What the ring to the guest has no room for.
    outbox: VecDeque<Letter>,
    /// What is answered later, by time and then in order.
    delayed: BTreeMap<(Instant, u64), Finished>,
    delays: u64,
    resets: VecDeque<Reset>,
    /// What the controller is to do wrong: requests that aren't answered, resets likewise,
    /// completions that come again.
    held: Vec<Held>,
    unanswered: Vec<Unanswered>,
    late: BTreeMap<(Instant, u64), Letter>,
    /// What was let go of so far.
    releases: Releases,
    /// There are more packets of a storm, and room for them.
    storming: bool,
    /// Packets of storms so far.
    stormed: u64,
    /// Transaction id of the latest request.
    latest: u64,
    /// The ring to the guest was made corrupt.
    mute: bool,
    warnings: u32,
}

/// Serves a channel until it is to stop.
pub(super) fn serve(controller: Arc<Controller>, channel: Channel) -> anyhow::Result<()> {
    let index = channel.subchannel();
    if index == 0 {
        controller.forget_conversation();
    }
    let mut session = Session {
        stats: controller.channel_opened(index),
        releases: controller.misdeeds().releases(),
        no_ring: !controller.options().io_uring,
        controller,
        channel,
        index,
        ring: None,
        slots: Slots::default(),
        answers: Vec::new(),
        outbox: VecDeque::new(),
        delayed: BTreeMap::new(),
        delays: 0,
        resets: VecDeque::new(),
        held: Vec::new(),
        unanswered: Vec::new(),
        late: BTreeMap::new(),
        storming: false,
        stormed: 0,
        latest: 0,
        mute: false,
        warnings: 0,
    };
    let served = session.run();
    let closed = session.close();
    served.and(closed)
}

impl Session {
    fn packet(&mut self, packet: &Packet<'_>) -> anyhow::Result<()> {
        self.stats.counters.packets.inc();
        if !matches!(packet.body, PacketBody::InBand | PacketBody::GpaDirect(_)) {
            bail!("unexpected kind of packet: {:?}", packet.body);
        }
        let payload = packet.payload;
        let layout = Layout::fitting(payload.len())
            .with_context(|| format!("packet of {} bytes", payload.len()))?;
        let agreed = self.controller.version().map(|version| version.layout());
        let reply = Reply {
            transaction: packet.completion_requested.then_some(packet.transaction_id),
            layout,
        };
        match GuestPacket::parse(payload, agreed.unwrap_or(Layout::Short)) {
            Ok(GuestPacket::ExecuteSrb(srb)) => {
                let layout = agreed.unwrap_or(layout);
                self.execute(Reply { layout, ..reply }, packet, &srb)
            }
            Ok(other) => self.converse(reply, other),
            // A field of a request makes no sense, which is the request's affair.
            Err(error @ PacketError::BadField { .. }) => {
                self.warn(format_args!("{error}"));
                self.refuse_srb(reply, SrbStatus::INVALID_REQUEST)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Packets that aren't requests.
    fn converse(&mut self, reply: Reply, packet: GuestPacket) -> anyhow::Result<()> {
        let controller = &self.controller;
        let primary = self.index == 0;
        let operation = packet.operation();
        let reset = matches!(
            packet,
            GuestPacket::ResetLun(_) | GuestPacket::ResetAdapter | GuestPacket::ResetBus
        );
        if let Some(transaction) = reply.transaction {
            let operation = if reset {
                Operation::RESET_BUS
            } else {
                operation
            };
            controller.note_asked(operation, transaction, reply.layout);
        }
        let status = match packet {
            _ if reset && controller.misdeeds().reset() == ResetMode::Ignore => {
                self.leave_unanswered(reply);
                return Ok(());
            }
            _ if reset => {
                tracing::info!("{}: {operation}", controller.name());
                self.resets.push_back(Reset {
                    reply,
                    since: Instant::now(),
                    waits_for: None,
                });
                return Ok(());
            }
            // The device is set up on its primary channel only.
            _ if !primary => NtStatus::INVALID_DEVICE_REQUEST,
            GuestPacket::BeginInitialization => controller.begin(),
            GuestPacket::QueryProtocolVersion(version) => controller.agree(version),
            GuestPacket::QueryProperties => match controller.properties() {
                Ok(properties) => {
                    return self.answer(reply, host::complete_properties(reply.layout, properties))
                }
                Err(status) => status,
            },
            GuestPacket::EndInitialization => controller.end(),
            GuestPacket::CreateSubChannels { count } => controller.create_subchannels(count),
            // Not a Fibre Channel adapter.
            GuestPacket::FibreChannelData => NtStatus::INVALID_DEVICE_REQUEST,
            GuestPacket::ExecuteSrb(_)
            | GuestPacket::ResetLun(_)
            | GuestPacket::ResetAdapter
            | GuestPacket::ResetBus
            | GuestPacket::Other(_) => NtStatus::INVALID_DEVICE_REQUEST,
        };
        if !status.is_success() {
            self.refused(operation, status);
        }
        self.answer(reply, host::complete(reply.layout, status))
    }

    fn refused(&mut self, operation: Operation, status: NtStatus) {
        self.stats.counters.refused.inc();
        // A guest that tries versions in turn is no news.
        if status != NtStatus::REVISION_MISMATCH {
            self.warn(format_args!("{operation} refused with {status}"));
        }
    }

    /// Logs what the guest did wrong, but not for ever.
    fn warn(&mut self, what: std::fmt::Arguments<'_>) {
        const MOST: u32 = 10;
        if self.warnings < MOST {
            self.warnings += 1;
            let rest = if self.warnings == MOST {
                "; no more of this from here on"
            } else {
                ""
            };
            tracing::warn!(
                "{} channel {}: {what}{rest}",
                self.controller.name(),
                self.index
            );
        }
    }

    /// Puts an answer into the ring to the guest, or keeps it until there is room.
    fn answer(&mut self, reply: Reply, packet: VstorPacket) -> anyhow::Result<()> {
        match reply.transaction {
            Some(transaction) => self.post(Letter::completion(transaction, packet)),
            None => Ok(()),
        }
    }

    /// Puts a packet into the ring to the guest, or keeps it until there is room.
    fn post(&mut self, letter: Letter) -> anyhow::Result<()> {
        if self.outbox.is_empty() && self.send(&letter)? {
            return Ok(());
        }
        self.outbox.push_back(letter);
        Ok(())
    }

    /// False: there is no room in the ring.
    fn send(&mut self, letter: &Letter) -> anyhow::Result<bool> {
        let payload = [letter.bytes()];
        match self.channel.send(&letter.packet(&payload)) {
            Ok(()) => {
                if letter.completion {
                    self.stats.counters.completions.inc();
                }
                Ok(true)
            }
            Err(ChannelError::Full) => {
                self.stats.counters.ring_full.inc();
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what there was no room for.
    fn send_outbox(&mut self) -> anyhow::Result<()> {
        while let Some(letter) = self.outbox.pop_front() {
            if !self.send(&letter)? {
                self.outbox.push_front(letter);
                break;
            }
        }
        Ok(())
    }

    /// Tells the guest what it didn't ask for.
    fn tell_news(&mut self) -> anyhow::Result<()> {
        if self.index != 0 || !self.controller.is_ready() {
            return Ok(());
        }
        let Some(version) = self.controller.version() else {
            return Ok(());
        };
        while let Some(news) = self.controller.take_news() {
            let layout = version.layout();
            let packet = match news {
                // Before 4.2 there is but the other packet.
                News::Enumerate if version.has_enumerate_bus() => host::enumerate_bus(layout),
                News::Enumerate | News::Remove => host::remove_device(layout),
            };
            let payload = [packet.as_bytes()];
            match self.channel.send(&OutPacket::in_band(0, &payload)) {
                Ok(()) => {}
                Err(ChannelError::Full) => {
                    self.controller.untold(news);
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Begins resets whose turn it is, and answers those that have nothing to wait for any more.
    fn drive_resets(&mut self) -> anyhow::Result<()> {
        let controller = self.controller.clone();
        while let Some(reset) = self.resets.front_mut() {
            if reset.waits_for.is_none() {
                reset.waits_for = controller.drain().begin(self.index);
                if reset.waits_for.is_some() {
                    // What the others hold back they let go of now.
                    controller.nudge_all();
                    self.release_delayed()?;
                    self.end_held()?;
                    continue;
                }
            }
            let late = reset.since.elapsed() > RESET_LIMIT;
            let drained = reset
                .waits_for
                .is_some_and(|generation| controller.drain().is_drained(generation));
            if !drained && !late {
                break;
            }
            let reply = reset.reply;
            self.resets.pop_front();
            controller.drain().end(self.index);
            if !drained {
                self.warn(format_args!("a reset gave up waiting for requests"));
            }
            self.answer(reply, host::complete(reply.layout, NtStatus::SUCCESS))?;
        }
        Ok(())
    }

    /// Waits until the system has let go of the guest's pages.
    fn close(mut self) -> anyhow::Result<()> {
        self.delayed.clear();
        self.held.clear();
        self.controller.drain().end(self.index);
        self.stats.open.store(false, Ordering::Release);
        if self.index == 0 {
            self.controller.forget_conversation();
        }
        let Some(mut ring) = self.ring.take() else {
            return Ok(());
        };
        // Watching may have ended with the channel; then there is nothing to end.
        let _ = self.channel.unwatch(ring.event());
        let since = Instant::now();
        while ring.under_way() > 0 {
            if since.elapsed() > CLOSE_LIMIT {
                let left = ring.under_way();
                // The system still writes there: neither lists nor pages may ever be let go of.
                std::mem::forget(self.slots);
                std::mem::forget(ring);
                bail!("{left} requests are still with the system {CLOSE_LIMIT:?} after the close");
            }
            // Hands over what was pushed and not yet submitted, too.
            if ring.submit().is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
            ring.wait(Duration::from_millis(100));
            self.answers.clear();
            ring.answers(&mut self.answers);
        }
        Ok(())
    }
}
