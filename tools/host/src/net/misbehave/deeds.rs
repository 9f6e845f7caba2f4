// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How a queue misbehaves.

use netvsc_wire::nvsp::{ChannelType, HostMessage, Status};
use vmbus_wire::packet::{OutHead, OutPacket};

use super::super::plane::rndis_message;
use super::super::session::Answer;
use super::super::worker::Worker;
use super::{shapes, Misdeed, Sort};
use crate::vmbus::channel::ChannelError;

/// Packets of a storm before the guest's are looked at again.
const TURN: u64 = 16;

impl Worker<'_> {
    /// Sends a part of the storm that is planned for this channel. True: there is more, and room for
    /// it.
    ///
    /// # Errors
    ///
    /// When the ring is broken.
    pub(in super::super) fn storm(&mut self) -> anyhow::Result<bool> {
        let misdeeds = &self.nic.misdeeds;
        if !misdeeds.any() {
            return Ok(false);
        }
        let Some((what, sort, left)) = misdeeds.storm(self.index) else {
            return Ok(false);
        };
        let mut sent = 0;
        while sent < left.min(TURN) && self.wrong_packet(sort)? {
            sent += 1;
            self.storms = self.storms.wrapping_add(1);
        }
        misdeeds.did(what, sent);
        Ok(sent == TURN && left > sent)
    }

    /// Sends one packet; false when there is no room.
    fn wrong_packet(&mut self, sort: Option<Sort>) -> anyhow::Result<bool> {
        let all = Sort::ALL.len() as u64;
        let (number, sort) = match sort {
            Some(sort) => (self.storms, sort),
            None => {
                let turn = (self.storms % all) as usize;
                (self.storms / all, Sort::ALL[turn].0)
            }
        };
        let version = self.nic.shared.plane.read().version;
        match sort {
            Sort::Noise => {
                let bytes = shapes::noise(number, (number % 132) as usize);
                self.put(&OutPacket::in_band(number, &[&bytes]))
            }
            Sort::Nvsp => self.put(&OutPacket::in_band(number, &[&shapes::nvsp(number)])),
            Sort::Answers => {
                let last = self.last_frame;
                let ids = [0, u64::MAX, last, last ^ 1 << 32, 1 << 32, 5, 0xffff_fff0];
                let id = ids[(number % ids.len() as u64) as usize];
                let message = HostMessage::RndisComplete(Status::SUCCESS).encode(version);
                let bytes = match number / ids.len() as u64 % 3 {
                    0 => message.as_bytes().to_vec(),
                    1 => shapes::nvsp(number),
                    _ => shapes::noise(number, (number % 40) as usize),
                };
                self.put(&OutPacket::completion(id, &[&bytes]))
            }
            Sort::Ranges => {
                let plane = self.nic.shared.plane.read();
                let section = plane.receive.as_ref().map(|buffer| buffer.section());
                drop(plane);
                let Some(section) = section else {
                    return Ok(true);
                };
                let message = rndis_message(version, ChannelType::Data);
                // Every tenth is in a buffer that the guest never had.
                let set_id = if number % 10 == 9 { 0x1234 } else { RECEIVE };
                // The buffer is whole pages: what is behind its last piece may be inside.
                let size = section.end.next_multiple_of(4096) + 4096;
                self.put(&OutPacket {
                    head: OutHead::XferPages {
                        set_id,
                        ranges: &shapes::ranges(number, size),
                    },
                    transaction_id: number,
                    completion_requested: false,
                    payload: &[message.as_bytes()],
                })
            }
            Sort::Messages => {
                let message = shapes::message(number);
                let kind = if number % 2 == 0 {
                    ChannelType::Data
                } else {
                    ChannelType::Control
                };
                self.receiver
                    .send_messages(self.nic, &mut self.channel, kind, &[&message], 1)
            }
            Sort::Segments => {
                let (messages, times) = shapes::segment(number);
                let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
                let kind = ChannelType::Data;
                self.receiver
                    .send_messages(self.nic, &mut self.channel, kind, &messages, times)
            }
        }
    }

    /// Sends a packet; false when there is no room.
    fn put(&mut self, packet: &OutPacket<'_>) -> anyhow::Result<bool> {
        match self.channel.send(packet) {
            Ok(()) => Ok(true),
            Err(ChannelError::Full) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Before a frame's right answer comes, perhaps, a wrong one.
    ///
    /// # Errors
    ///
    /// When the ring is broken.
    pub(in super::super) fn wrong_answer(&mut self, id: u64, right: &Answer) -> anyhow::Result<()> {
        let Some(what) = self.nic.misdeeds.take(Misdeed::is_of_completion) else {
            return Ok(());
        };
        let right = right.as_bytes();
        // Without room the guest is spared.
        match what {
            Misdeed::Twice => self.put(&OutPacket::completion(id, &[right]))?,
            Misdeed::UnknownId => self.put(&OutPacket::completion(id ^ 1 << 32, &[right]))?,
            Misdeed::Short => {
                let short = right.get(..3).unwrap_or_default();
                self.put(&OutPacket::completion(id, &[short]))?
            }
            _ => self.put(&OutPacket::completion(id, &[&shapes::nvsp(128)]))?,
        };
        Ok(())
    }
}

/// The number of the receive buffer: what all guests have chosen.
const RECEIVE: u16 = netvsc_wire::nvsp::RECEIVE_BUFFER_ID;
