// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One open channel: the thread that moves a queue's frames both ways.

use std::collections::VecDeque;
use std::time::Duration;

use netvsc_wire::nvsp::{ChannelType, HostMessage, MessageType, RndisPacket, Status};
use netvsc_wire::GuestMessage;
use vmbus_wire::packet::{GpaDirect, OutPacket, Packet, PacketBody};

use super::backend::{Capabilities, Queue};
use super::nic::Nic;
use super::receive::{Polled, Receiver};
use super::session::{Answer, Session};
use super::transmit::Transmitter;
use crate::vmbus::channel::{Channel, ChannelError, PacketBuffer};

/// Completions that the guest has no room for, before its packets have to wait.
const MAX_OWED: usize = 64;
/// Bytes of a control message.
const MAX_CONTROL: usize = 64 * 1024;
/// Rounds without frames before the back end is only looked at when it says so.
const PATIENCE: u32 = 16;
/// Token of the back end's file.
const TOKEN_BACKEND: u32 = 1;

/// A queue at work.
pub(super) struct Worker<'n> {
    pub(super) nic: &'n Nic,
    pub(super) index: u16,
    pub(super) channel: Channel,
    queue: Box<dyn Queue>,
    capabilities: Capabilities,
    transmitter: Transmitter,
    pub(super) receiver: Receiver,
    /// The conversation with the guest's driver, on the primary channel.
    session: Option<Session>,
    /// Answers for which the ring had no room.
    owed: VecDeque<(u64, Answer)>,
    watched: bool,
    dead: bool,
    /// Rounds since there was a frame.
    quiet: u32,
    /// Packets of storms so far.
    pub(super) storms: u64,
    /// Transaction id of the guest's latest frames.
    pub(super) last_frame: u64,
}

impl<'n> Worker<'n> {
    /// Takes a channel.
    ///
    /// # Errors
    ///
    /// When the back end has no queue for it.
    pub(super) fn new(nic: &'n Nic, channel: Channel) -> anyhow::Result<Self> {
        let index = channel.subchannel();
        let queues = nic.queues();
        anyhow::ensure!(
            index < queues,
            "sub-channel {index} of a NIC with {queues} queues"
        );
        let queue = nic.backend().open(index)?;
        let memory = channel.memory().clone();
        Ok(Self {
            nic,
            index,
            queue,
            capabilities: nic.backend().capabilities(),
            transmitter: Transmitter::new(&memory),
            receiver: Receiver::new(index, queues, &memory),
            session: (index == 0).then(|| Session::new(nic)),
            owed: VecDeque::new(),
            watched: false,
            dead: false,
            quiet: 0,
            storms: 0,
            last_frame: 0,
            channel,
        })
    }

    /// Serves the channel until it is closed.
    ///
    /// # Errors
    ///
    /// What the guest did wrong.
    pub(super) fn run(&mut self) -> anyhow::Result<()> {
        self.nic.shared.open_queue(self.index);
        self.nic.opened(self.index);
        let result = self.serve();
        self.receiver.close(self.nic);
        result
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        let mut packets = PacketBuffer::default();
        // What waits in the back end is older than the link that the guest sees.
        let mut look = true;
        loop {
            self.pay()?;
            self.take_packets(&mut packets)?;
            let storming = self.storm()?;
            if let Some(session) = &mut self.session {
                session.speak(self.nic, &mut self.channel, &mut self.receiver)?;
            }
            let polled = self.bring(look)?;
            if self.owed.len() >= MAX_OWED {
                // Its packets are there, but it takes no answers: this may take a while.
                std::thread::sleep(Duration::from_micros(500));
            }
            let limit = match storming {
                true => Some(Duration::ZERO),
                false => self.limit(polled),
            };
            let wake = self.channel.wait(limit)?;
            if wake.stop {
                return Ok(());
            }
            look = wake.ready.contains(&TOKEN_BACKEND)
                || matches!(polled, Some(Polled::More))
                || self.quiet < PATIENCE;
            if wake.ready.is_empty() && !wake.ring && !wake.nudged {
                // The time was over: a back end without a file may have something.
                look = true;
            }
        }
    }

    /// How long the guest's silence may last.
    fn limit(&mut self, polled: Option<Polled>) -> Option<Duration> {
        match polled {
            Some(Polled::More) => Some(Duration::ZERO),
            Some(Polled::Empty) if self.queue.file().is_none() => self.queue.due(),
            None if self.queue.file().is_none() => self.queue.due(),
            _ => None,
        }
    }

    /// Sends answers that had no room.
    fn pay(&mut self) -> anyhow::Result<()> {
        while let Some((id, answer)) = self.owed.pop_front() {
            match self
                .channel
                .send(&OutPacket::completion(id, &[answer.as_bytes()]))
            {
                Ok(()) => {}
                Err(ChannelError::Full) => {
                    self.owed.push_front((id, answer));
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn answer(&mut self, id: u64, answer: Answer) -> anyhow::Result<()> {
        if !self.owed.is_empty() {
            self.owed.push_back((id, answer));
            return Ok(());
        }
        match self
            .channel
            .send(&OutPacket::completion(id, &[answer.as_bytes()]))
        {
            Ok(()) => Ok(()),
            Err(ChannelError::Full) => {
                self.nic.counters(self.index).ring_full.inc();
                self.owed.push_back((id, answer));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Works on the guest's packets.
    fn take_packets(&mut self, buffer: &mut PacketBuffer) -> anyhow::Result<()> {
        while self.owed.len() < MAX_OWED {
            let Some(packet) = self.channel.receive(buffer)? else {
                break;
            };
            self.packet(packet)?;
        }
        Ok(())
    }

    fn packet(&mut self, packet: Packet<'_>) -> anyhow::Result<()> {
        let message = GuestMessage::parse(packet.payload)?;
        let completion = matches!(packet.body, PacketBody::Completion);
        anyhow::ensure!(
            completion == message.is_completion(),
            "{} in the wrong kind of packet",
            message.message_type()
        );
        let ranges = match &packet.body {
            PacketBody::GpaDirect(ranges) => Some(ranges),
            PacketBody::InBand | PacketBody::Completion => None,
            PacketBody::XferPages(_) => anyhow::bail!("a packet with transfer pages"),
        };
        match message {
            GuestMessage::RndisComplete(status) => {
                self.receiver
                    .completed(self.nic, packet.transaction_id, status)
            }
            GuestMessage::VmqComplete(status) => {
                self.receiver
                    .completed(self.nic, packet.transaction_id, status)
            }
            GuestMessage::RndisPacket(rndis) => self.rndis(&packet, rndis, ranges),
            message => {
                self.nic.counters(self.index).nvsp.inc();
                let Some(session) = &mut self.session else {
                    anyhow::bail!("{} on a sub-channel", message.message_type());
                };
                let since = message.message_type().since();
                let version = session.version();
                anyhow::ensure!(
                    message.message_type() == MessageType::INIT
                        || since.is_some_and(|since| version.is_some_and(|v| since <= v)),
                    "{} before a version that has it",
                    message.message_type()
                );
                let answer = session.message(
                    self.nic,
                    &mut self.channel,
                    packet.transaction_id,
                    &message,
                )?;
                self.receiver.follow(&self.nic.shared.plane.read());
                match answer {
                    Some(answer) if packet.completion_requested => {
                        self.answer(packet.transaction_id, answer)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn rndis(
        &mut self,
        packet: &Packet<'_>,
        rndis: RndisPacket,
        ranges: Option<&GpaDirect<'_>>,
    ) -> anyhow::Result<()> {
        let counters = self.nic.counters(self.index);
        let ranges = ranges.map(GpaDirect::ranges);
        let (status, version) = match rndis.channel_type {
            ChannelType::Data => {
                let plane = self.nic.shared.plane.read();
                self.transmitter.gather(&plane, rndis.section, ranges)?;
                let sent =
                    self.transmitter
                        .send(&plane, counters, &mut *self.queue, self.capabilities);
                self.transmitter.release();
                // Whatever it sent may have an answer already.
                self.quiet = 0;
                (sent?.status, plane.version)
            }
            ChannelType::Control => {
                counters.control.inc();
                {
                    let plane = self.nic.shared.plane.read();
                    self.transmitter.gather(&plane, rndis.section, ranges)?;
                }
                let Some(session) = &mut self.session else {
                    anyhow::bail!("a control message on a sub-channel");
                };
                let message = self.transmitter.copy(MAX_CONTROL)?;
                // The guest may rely on what it asked for once the packet is completed.
                session.control(self.nic, message)?;
                self.transmitter.release();
                let plane = self.nic.shared.plane.read();
                self.receiver.follow(&plane);
                (Status::SUCCESS, plane.version)
            }
        };
        if packet.completion_requested {
            let answer = Answer::Message(HostMessage::RndisComplete(status).encode(version));
            if rndis.channel_type == ChannelType::Data {
                self.last_frame = packet.transaction_id;
                if self.nic.misdeeds.any() {
                    self.wrong_answer(packet.transaction_id, &answer)?;
                }
            }
            self.answer(packet.transaction_id, answer)?;
        }
        Ok(())
    }

    /// Brings frames from the back end and from other queues. None when the back end wasn't
    /// looked at.
    fn bring(&mut self, look: bool) -> anyhow::Result<Option<Polled>> {
        let plane = self.nic.shared.plane.read();
        self.receiver.follow(&plane);
        self.receiver.collect(self.nic);
        if self.receiver.has_outgoing() {
            self.receiver.send(self.nic, &mut self.channel)?;
        }
        if self.dead {
            return Ok(Some(Polled::Dead));
        }
        let watched_file = self.queue.file().is_some();
        // Watched by level: a queue that is blocked or that nobody reads must not be.
        if watched_file && !look && self.watched {
            self.quiet = self.quiet.saturating_add(1);
            return Ok(None);
        }
        if !watched_file && self.queue.due() != Some(Duration::ZERO) {
            return Ok(None);
        }
        let flowing = plane.running && plane.link && plane.frames().is_some();
        let polled = if flowing {
            self.receiver
                .poll(self.nic, &plane, &mut self.channel, &mut *self.queue)?
        } else {
            self.receiver.drain(self.nic, &mut *self.queue)
        };
        drop(plane);
        self.quiet = match polled {
            Polled::More => 0,
            _ => self.quiet.saturating_add(1),
        };
        self.dead = polled == Polled::Dead;
        self.set_watch(matches!(polled, Polled::Empty | Polled::More))?;
        Ok(Some(polled))
    }

    fn set_watch(&mut self, wanted: bool) -> anyhow::Result<()> {
        if wanted == self.watched {
            return Ok(());
        }
        if let Some(file) = self.queue.file() {
            if wanted {
                self.channel.watch(file, TOKEN_BACKEND)?;
            } else {
                self.channel.unwatch(file)?;
            }
            self.watched = wanted;
        }
        Ok(())
    }
}
