// SPDX-License-Identifier: GPL-2.0

//! Completions of the host's packets: sent at once where the ring has room, else later.

use kernel::prelude::*;
use netvsc_wire::{nvsp::Status, GuestMessage};
use vmbus::{Channel, SendError};
use vmbus_wire::packet::OutPacket;

use crate::queue::Queue;

/// Completions that find no room in the ring, kept for later.
pub(crate) const OWED: usize = 16_384;

/// A packet of the host's that is to be completed: its places are free.
#[derive(Clone, Copy)]
pub(crate) enum Owed {
    /// One in the receive buffer, by its id.
    Rndis(u64),
    /// One in a buffer that the host asked for.
    Vmq(u64),
}

impl Queue {
    /// The host's packet is to be completed.
    pub(crate) fn owe(&self, channel: &Channel, packet: Owed) {
        if let Some(mut owed) = self.owed.try_take() {
            if owed.is_empty() && self.complete(channel, packet) {
                return;
            }
            self.nic.stats.rx_completions_waited.inc();
            // There are no more than pieces of the receive buffer, unless the host lies.
            if owed.push_within_capacity(packet).is_err() {
                drop(owed);
                self.broke(
                    channel,
                    format_args!("more packets than the receive buffer has room for"),
                );
            }
        }
    }

    /// Sends a completion; false when there is no room.
    fn complete(&self, channel: &Channel, packet: Owed) -> bool {
        let (id, message) = match packet {
            Owed::Rndis(id) => (id, GuestMessage::RndisComplete(Status::SUCCESS)),
            Owed::Vmq(id) => (id, GuestMessage::VmqComplete(Status::SUCCESS)),
        };
        let message = message.encode(self.version);
        let payload = [message.as_bytes()];
        let packet = OutPacket::completion(id, &payload);
        // A channel that is gone needs none.
        !matches!(channel.send_load(&packet, false), Err((SendError::Full, _)))
    }

    /// Sends what is owed, as far as there is room.
    pub(crate) fn pay(&self, channel: &Channel) {
        if let Some(mut owed) = self.owed.try_take() {
            let mut paid = 0;
            for packet in owed.iter() {
                if !self.complete(channel, *packet) {
                    break;
                }
                paid += 1;
            }
            take_front(&mut owed, paid);
        }
    }
}

/// Takes so many entries off the front.
fn take_front(owed: &mut KVVec<Owed>, front: usize) {
    if front == 0 {
        return;
    }
    let all = owed.len();
    owed.copy_within(front.min(all)..all, 0);
    owed.truncate(all.saturating_sub(front));
}
