// SPDX-License-Identifier: GPL-2.0

//! A channel of a controller, and what comes in on it.

use kernel::sync::Arc;
use scsi::{HostByte, Mapped, Outcome};
use storvsc_wire::{
    judge, scsi::ScsiStatus, Asked, Disposition, HostPacket, Layout, SrbCompletion,
};
use vmbus::{Channel, Handler};
use vmbus_wire::{
    packet::{Packet, PacketBody},
    tagged::has_no_place,
};

use crate::{
    controller::{Controller, PRIMARY},
    scan::Change,
    trace,
};

/// An open channel that commands may be sent on.
pub(crate) struct Port {
    /// Number among the controller's channels.
    pub(crate) number: u16,
    pub(crate) channel: Arc<Channel>,
}

/// What a channel calls.
pub(crate) struct Listener {
    pub(crate) controller: Arc<Controller>,
    pub(crate) number: u16,
}

impl Listener {
    /// A command was answered.
    fn command(&self, channel: &Channel, id: u64, payload: &[u8]) {
        let controller = &self.controller;
        // Read before the command is taken: one that says nothing answers nothing.
        let answer = match HostPacket::parse(payload, Layout::Long) {
            Ok(HostPacket::Completion(completion)) => completion.srb(),
            Ok(_) => {
                return controller.broke(channel, format_args!("an answer that isn't one"));
            }
            Err(error) => Err(error),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return controller.broke(channel, format_args!("{error}")),
        };
        match controller.commands.take(id, self.number) {
            Ok((command, sent_at)) => self.end(channel, command, sent_at, &answer),
            Err(error) => controller.broke(channel, format_args!("{error}")),
        }
    }

    /// Ends a command with what the host says.
    fn end(
        &self,
        channel: &Channel,
        command: Mapped<Controller>,
        sent_at: u64,
        answer: &SrbCompletion,
    ) {
        let controller = &self.controller;
        let asked = Asked {
            opcode: command.opcode(),
            bytes: command.bytes(),
            fibre: false,
        };
        let verdict = judge(answer, &asked);
        if verdict.overrun {
            controller.broke(
                channel,
                format_args!(
                    "{} bytes transferred of {}",
                    answer.transferred, asked.bytes
                ),
            );
        }
        if let Some(follow_up) = verdict.follow_up {
            let change = Change::of(follow_up, command.address());
            controller.changes.note(change);
            controller.look();
        }
        controller.count_end(self.number);
        let good =
            verdict.disposition == Disposition::Answered && verdict.status == ScsiStatus::GOOD;
        let ns = controller.clock.now().saturating_sub(sent_at);
        if let Some(unit) = command.device_data() {
            let (direction, bytes) = (command.direction(), verdict.transferred);
            unit.answered(self.number, direction, bytes, ns, good);
        }
        trace::complete(
            controller,
            self.number,
            &command,
            answer.srb_status.0,
            verdict.status.0,
            ns,
        );
        command.complete(&Outcome {
            host: host_byte(verdict.disposition),
            status: verdict.status.0,
            residual: asked.bytes.saturating_sub(verdict.transferred),
            sense: verdict.sense.as_bytes(),
        });
    }

    /// The host says something of its own accord.
    fn unsolicited(&self, channel: &Channel, payload: &[u8]) {
        let controller = &self.controller;
        controller.stats.unsolicited.inc();
        match HostPacket::parse(payload, Layout::Long) {
            Ok(HostPacket::EnumerateBus | HostPacket::RemoveDevice) => {
                controller.changes.note(Change::Anything);
                controller.look();
            }
            Ok(HostPacket::Completion(_)) => {
                controller.broke(channel, format_args!("an answer to nothing"));
            }
            // Hosts may tell more than is known today.
            Ok(HostPacket::FibreChannelData(_) | HostPacket::Other(_)) => {}
            Err(error) => controller.broke(channel, format_args!("{error}")),
        }
    }
}

/// What the mid-layer is told.
fn host_byte(disposition: Disposition) -> HostByte {
    match disposition {
        Disposition::Answered => HostByte::Ok,
        Disposition::Error => HostByte::Error,
        Disposition::Requeue => HostByte::Requeue,
        Disposition::Passthrough => HostByte::Passthrough,
        Disposition::NoConnect => HostByte::NoConnect,
    }
}

impl Handler for Listener {
    fn packet(&self, channel: &Channel, packet: Packet<'_>) {
        let id = packet.transaction_id;
        match packet.body {
            // A question of [`Control`](crate::control::Control).
            PacketBody::Completion if has_no_place(id) => {
                let known =
                    self.number == PRIMARY && self.controller.control.answer(id, packet.payload);
                if !known {
                    self.controller
                        .broke(channel, format_args!("nobody asked question {id:#x}"));
                }
            }
            PacketBody::Completion => self.command(channel, id, packet.payload),
            PacketBody::InBand => self.unsolicited(channel, packet.payload),
            _ => self
                .controller
                .broke(channel, format_args!("a packet with data of its own")),
        }
    }

    fn failed(&self, channel: &Channel) {
        self.controller.corrupt_channel(self.number, channel);
    }

    fn rescinded(&self, channel: &Channel) {
        self.controller.lost_channel(self.number, channel);
    }

    fn moved(&self) {
        self.controller.route();
    }

    fn pending(&self) -> usize {
        self.controller.commands.count(Some(self.number))
    }
}
