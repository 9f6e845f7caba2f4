// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A service's channel: messages out, answers in.

use std::time::Duration;

use anyhow::{bail, Context};
use util_wire::negotiate::{self, Agreed, Offer};
use util_wire::version::FRAMEWORK;
use util_wire::{Header, Message, MessageKind, Status, Version};
use vmbus_wire::packet::{OutPacket, PacketBody};

use super::service::Desk;
use crate::vmbus::channel::{Channel, ChannelError, PacketBuffer, Wake};

/// An open channel of a service.
pub struct Link<'d> {
    channel: Channel,
    buffer: PacketBuffer,
    desk: &'d Desk,
    agreed: Agreed,
    last: u8,
}

/// An answer of the guest's.
#[derive(Debug)]
pub struct Answer<'b> {
    /// Which question it answers.
    pub transaction: u8,
    /// How it went.
    pub status: Status,
    /// What the guest says.
    pub body: &'b [u8],
}

impl<'d> Link<'d> {
    pub(super) fn new(channel: Channel, desk: &'d Desk) -> Self {
        let none = Version::default();
        Self {
            channel,
            buffer: PacketBuffer::default(),
            desk,
            agreed: Agreed {
                framework: none,
                service: none,
            },
            last: 0,
        }
    }

    /// What the service shares with those who ask.
    pub fn desk(&self) -> &'d Desk {
        self.desk
    }

    /// The settled version of the service.
    pub fn version(&self) -> Version {
        self.agreed.service
    }

    /// Settles versions; none: told to stop before the guest answered.
    pub(super) fn negotiate(&mut self, versions: &[Version]) -> anyhow::Result<Option<Agreed>> {
        let offer = Offer::new(&FRAMEWORK, versions).context("too many versions to offer")?;
        let question = loop {
            if let Some(question) = self.send(MessageKind::NEGOTIATE, offer.as_bytes())? {
                break question;
            }
            if self.wait(None)?.stop {
                return Ok(None);
            }
        };
        loop {
            if let Some(answer) = self.receive(MessageKind::NEGOTIATE)? {
                if answer.transaction != question {
                    bail!("a negotiation that wasn't asked for");
                }
                let agreed = negotiate::parse_answer(answer.body)?
                    .context("the guest speaks no version of the service")?;
                if !FRAMEWORK.contains(&agreed.framework) || !versions.contains(&agreed.service) {
                    bail!(
                        "the guest chose {} in framework {}, which wasn't offered",
                        agreed.service,
                        agreed.framework
                    );
                }
                self.agreed = agreed;
                return Ok(Some(agreed));
            }
            if self.wait(None)?.stop {
                return Ok(None);
            }
        }
    }

    /// Asks the guest something and answers the question's number; none: the ring is full.
    ///
    /// # Errors
    ///
    /// A broken ring.
    pub fn send(&mut self, kind: MessageKind, body: &[u8]) -> anyhow::Result<Option<u8>> {
        let number = self.last.wrapping_add(1);
        let header = Header::request(kind, self.agreed.framework, self.agreed.service, number)
            .encode(body.len())
            .context("a message longer than 64 KiB")?;
        match self
            .channel
            .send(&OutPacket::in_band(number.into(), &[&header, body]))
        {
            Ok(()) => {
                self.last = number;
                self.desk.counters.sent.inc();
                Ok(Some(number))
            }
            Err(ChannelError::Full) => {
                self.desk.counters.ring_full.inc();
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The guest's next answer, which must be of this kind. Never waits.
    ///
    /// # Errors
    ///
    /// Whatever isn't such an answer.
    pub fn receive(&mut self, kind: MessageKind) -> anyhow::Result<Option<Answer<'_>>> {
        let Some(packet) = self.channel.receive(&mut self.buffer)? else {
            return Ok(None);
        };
        self.desk.counters.received.inc();
        if !matches!(packet.body, PacketBody::InBand) {
            bail!("a packet that isn't in-band");
        }
        let Message { header, body } = Message::parse(packet.payload)?;
        if header.kind != kind {
            bail!("{} instead of {kind}", header.kind);
        }
        if !header.flags.is_response() {
            bail!("{kind} that is no answer");
        }
        Ok(Some(Answer {
            transaction: header.transaction,
            status: header.status,
            body,
        }))
    }

    /// Sleeps until there is something to do or the time is over.
    ///
    /// # Errors
    ///
    /// A broken ring.
    pub fn wait(&mut self, limit: Option<Duration>) -> anyhow::Result<Wake> {
        Ok(self.channel.wait(limit)?)
    }
}
