// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets to the guest, and its completions of them.

use anyhow::Context;
use netvsc_wire::nvsp::{ChannelType, HostMessage, Status};
use netvsc_wire::vmq::VmqPacket;
use vmbus_wire::packet::{OutHead, OutPacket};

use super::super::nic::Nic;
use super::super::plane::rndis_message;
use super::super::sections::{Batch, BufferName, DATA};
use super::Receiver;
use crate::vmbus::channel::{Channel, ChannelError};

impl Receiver {
    /// Takes what other queues read for this one.
    pub(in crate::net) fn collect(&mut self, nic: &Nic) {
        let generation = self.buffer.as_ref().map(|buffer| buffer.generation);
        nic.shared.take_inbox(self.index, |batch| {
            if Some(batch.generation) == generation {
                self.outgoing.push_back(batch);
            }
        });
    }

    /// There is something to be sent on this channel.
    pub(in crate::net) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Sends what is for this channel; false when the guest must take something first.
    ///
    /// # Errors
    ///
    /// When the ring is broken.
    pub(in crate::net) fn send(
        &mut self,
        nic: &Nic,
        channel: &mut Channel,
    ) -> anyhow::Result<bool> {
        let counters = nic.counters(self.index);
        let (Some(buffer), Some(message)) = (&self.buffer, &self.message) else {
            self.outgoing.clear();
            return Ok(true);
        };
        while let Some(batch) = self.outgoing.pop_front() {
            let id = match self.flights.insert(batch) {
                Ok(id) => id,
                Err(batch) => {
                    counters.no_section.inc();
                    self.outgoing.push_front(batch);
                    return Ok(false);
                }
            };
            let batch = self.flights.get(id)?;
            let sent = match buffer.name {
                BufferName::Transfer(set_id) => channel.send(&OutPacket {
                    head: OutHead::XferPages {
                        set_id,
                        ranges: &batch.ranges,
                    },
                    transaction_id: id,
                    completion_requested: true,
                    payload: &[message.as_bytes()],
                }),
                BufferName::Allocated(number) => {
                    let range = batch.ranges.first().context("packet without a frame")?;
                    let message = HostMessage::VmqPacket(VmqPacket {
                        buffer: number,
                        offset: range.byte_offset.get(),
                        bytes: netvsc_wire::rndis::HEADER_BYTES,
                    })
                    .encode(self.version);
                    counters.rx_vmq.inc();
                    channel.send(
                        &OutPacket::in_band(id, &[message.as_bytes()]).requesting_completion(),
                    )
                }
            };
            match sent {
                Ok(()) => counters.rx_packets.inc(),
                Err(ChannelError::Full) => {
                    counters.ring_full.inc();
                    let batch = self.flights.take(id)?;
                    self.outgoing.push_front(batch);
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Sends a control message; false when the guest must take something first.
    ///
    /// # Errors
    ///
    /// When the ring is broken, or there is no place for a message of this length.
    pub(in crate::net) fn send_control(
        &mut self,
        nic: &Nic,
        channel: &mut Channel,
        message: &[u8],
    ) -> anyhow::Result<bool> {
        self.send_messages(nic, channel, ChannelType::Control, &[message], 1)
    }

    /// Sends messages in one packet, each in a section of its own, the last of them so many `times`;
    /// false when the guest must take something first.
    ///
    /// # Errors
    ///
    /// As for [`Receiver::send_control`].
    pub(in crate::net) fn send_messages(
        &mut self,
        nic: &Nic,
        channel: &mut Channel,
        kind: ChannelType,
        messages: &[&[u8]],
        times: usize,
    ) -> anyhow::Result<bool> {
        let Some(batch) = self.place_messages(nic, messages, times)? else {
            return Ok(false);
        };
        let Some(set_id) = self.control_set() else {
            anyhow::bail!("a control message in a buffer for frames");
        };
        let id = match self.flights.insert(batch) {
            Ok(id) => id,
            Err(batch) => {
                self.give_back(nic, &batch);
                return Ok(false);
            }
        };
        let payload = rndis_message(self.version, kind);
        let sent = channel.send(&OutPacket {
            head: OutHead::XferPages {
                set_id,
                ranges: &self.flights.get(id)?.ranges,
            },
            transaction_id: id,
            completion_requested: true,
            payload: &[payload.as_bytes()],
        });
        match sent {
            Ok(()) => Ok(true),
            Err(ChannelError::Full) => {
                nic.counters(self.index).ring_full.inc();
                let batch = self.flights.take(id)?;
                self.give_back(nic, &batch);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Has the next open channel send a control message; false when there is none.
    ///
    /// # Errors
    ///
    /// As for [`Receiver::send_control`].
    pub(in crate::net) fn send_elsewhere(
        &mut self,
        nic: &Nic,
        message: &[u8],
    ) -> anyhow::Result<bool> {
        let other = self.index + 1;
        let Some(batch) = self.place_messages(nic, &[message], 1)? else {
            return Ok(false);
        };
        match nic.shared.pass_on(other, batch) {
            Ok(()) => {
                nic.nudge(1 << (other & 63));
                Ok(true)
            }
            Err(batch) => {
                self.give_back(nic, &batch);
                Ok(false)
            }
        }
    }

    fn control_set(&self) -> Option<u16> {
        match self.control.as_ref()?.name {
            BufferName::Transfer(set_id) => Some(set_id),
            BufferName::Allocated(_) => None,
        }
    }

    fn give_back(&self, nic: &Nic, batch: &Batch) {
        if let Some(buffer) = &self.control {
            nic.nudge(buffer.give(&batch.pieces));
        }
    }

    /// Writes messages into sections; none when the guest has all of them.
    fn place_messages(
        &mut self,
        nic: &Nic,
        messages: &[&[u8]],
        times: usize,
    ) -> anyhow::Result<Option<Batch>> {
        let Some(buffer) = self.control.clone() else {
            anyhow::bail!("a control message before there is a receive buffer");
        };
        let mut batch = self.spare.pop().unwrap_or_default();
        batch.generation = buffer.generation;
        for message in messages {
            anyhow::ensure!(
                message.len() <= buffer.room(),
                "an answer of {} bytes doesn't fit into a section",
                message.len()
            );
            let Some(piece) = buffer.take_one(self.index) else {
                nic.counters(self.index).no_section.inc();
                self.give_back(nic, &batch);
                return Ok(None);
            };
            batch.pieces.push(piece);
            buffer.write(piece, DATA, message)?;
            batch.ranges.push(buffer.range(piece, DATA, message.len()));
        }
        if let Some(last) = batch.ranges.last().copied() {
            for _ in 1..times {
                batch.ranges.push(last);
            }
        }
        Ok(Some(batch))
    }

    /// The guest has completed a packet with frames or a control message.
    ///
    /// # Errors
    ///
    /// When there is no such packet.
    pub(in crate::net) fn completed(
        &mut self,
        nic: &Nic,
        id: u64,
        status: Status,
    ) -> anyhow::Result<()> {
        let mut batch = self.flights.take(id)?;
        if !status.is_success() {
            nic.counters(self.index).rx_failed.inc();
        }
        match (&self.buffer, &self.control) {
            (Some(buffer), _) if batch.generation == buffer.generation => {
                nic.nudge(self.larder.put(buffer, &batch.pieces));
            }
            (_, Some(control)) if batch.generation == control.generation => {
                nic.nudge(control.give(&batch.pieces));
            }
            // Of a buffer that is gone.
            _ => {}
        }
        if self.spare.len() < 64 {
            batch.clear();
            self.spare.push(batch);
        }
        Ok(())
    }
}
