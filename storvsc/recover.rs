// SPDX-License-Identifier: GPL-2.0

//! When answers don't come: time-outs, resets, channels that are gone.
//!
//! Every command ends. Its memory is the host's while it is under way, so it ends without an answer
//! only when the host has let go of it:
//!
//! | what happens | how the host lets go | the command ends with |
//! |---|---|---|
//! | the device is rescinded | it says so | `NoConnect` |
//! | a sub-channel is rescinded | it says so | `Requeue`, on another channel |
//! | a command times out | it answers RESET_BUS and what was under way | what it answers |
//! | it doesn't, or not all | the channels are closed and opened again | `Reset`, to be sent again |
//! | that fails too | the channels are closed | `NoConnect`, the devices go off line |

use kernel::{
    sync::Arc,
    time::{delay::fsleep, Delta},
    workqueue::WorkItem,
};
use kernel_ext::{
    rcu,
    scsi::{HostByte, Info, Outcome, TimedOut},
};
use storvsc_wire::{GuestPacket, HostPacket, Layout};
use vmbus::Channel;

use crate::{
    control::NoAnswer,
    controller::{Controller, State, PRIMARY},
};

/// Milliseconds for the host to reset the bus.
const RESET_WAIT_MS: u32 = 30_000;

/// Milliseconds for the answers to what was under way, after the reset was confirmed.
const FLUSH_WAIT_MS: u32 = 5_000;
const FLUSH_POLL_MS: u32 = 10;

impl Controller {
    /// A command took longer than its time. Any context.
    pub(crate) fn command_timed_out(&self, command: &Info<Self>) -> TimedOut {
        self.stats.timeouts.inc();
        let opcode = command.cdb().first().copied().unwrap_or(0);
        let address = command.address();
        log_warn_limited!(
            "host{}: {address}: command {opcode:#04x} timed out\n",
            self.host_number()
        );
        TimedOut::GiveUp
    }

    /// Ends the commands that were sent on a channel, or all. The host has let go of them, and
    /// nobody is sending.
    pub(crate) fn end_commands(&self, channel: Option<u16>, how: HostByte) -> usize {
        let mut count = 0;
        self.commands.drain(channel, |command, sent_on| {
            self.count_end(sent_on);
            if let Some(unit) = command.device_data() {
                unit.gave_up();
            }
            command.complete(&Outcome::failed(how));
            count += 1;
        });
        count
    }

    /// The host has withdrawn a channel. Process context, from its handler.
    pub(crate) fn lost_channel(self: &Arc<Self>, number: u16) {
        if number == PRIMARY {
            self.stop(State::Gone);
            // Who saw it running has sent by then, on whichever channel.
            rcu::synchronize();
            let count = self.end_commands(None, HostByte::NoConnect);
            log_info!(
                "host{}: withdrawn by the host, {count} commands ended\n",
                self.host_number()
            );
            return;
        }
        let Some(slot) = self.ports.get(usize::from(number)) else {
            return;
        };
        drop(slot.replace(None));
        self.route();
        self.end_commands(Some(number), HostByte::Requeue);
        // Closing it waits for this handler.
        let _ = self.worker.enqueue::<_, { Controller::LOST }>(self.clone());
    }

    /// Asks the host to reset the bus; true when it has, and has answered what was under way.
    fn reset_bus(&self, channel: &Channel) -> bool {
        let answer = match self
            .control
            .ask(channel, &GuestPacket::ResetBus, RESET_WAIT_MS)
        {
            Ok(answer) => answer,
            Err(NoAnswer::TimedOut) => {
                log_warn!("host{}: no answer to a reset\n", self.host_number());
                return false;
            }
            Err(_) => return false,
        };
        let done = match HostPacket::parse(answer.as_bytes(), Layout::Long) {
            Ok(HostPacket::Completion(completion)) => completion.status.is_success(),
            _ => false,
        };
        if !done {
            return false;
        }
        let mut waited = 0;
        while self.commands.count(None) != 0 {
            if waited >= FLUSH_WAIT_MS || self.state() != State::Running {
                return false;
            }
            fsleep(Delta::from_millis(FLUSH_POLL_MS.into()));
            waited += FLUSH_POLL_MS;
        }
        true
    }
}

/// Resets the controller. Process context, from the error handler's thread; no new commands come
/// meanwhile. True when it works again.
pub(crate) fn reset(controller: &Arc<Controller>) -> bool {
    let number = controller.host_number();
    controller.stats.resets.inc();
    // Nobody is in the middle of sending a command, so that all of them are before the reset.
    rcu::synchronize();
    if controller.state() != State::Running {
        return give_up(controller);
    }
    let channel = controller
        .ports
        .first()
        .and_then(|slot| slot.get())
        .map(|port| port.channel.clone());
    if channel.is_some_and(|channel| controller.reset_bus(&channel)) {
        log_info!("host{number}: reset\n");
        return true;
    }
    if controller.state() != State::Running {
        return give_up(controller);
    }
    controller.stats.reconnects.inc();
    controller.disconnect();
    // The host has let go of the channels, and with them of what was sent on them.
    let count = controller.end_commands(None, HostByte::Reset);
    match controller.connect() {
        Ok(()) => {
            log_info!("host{number}: connected again, {count} commands are sent again\n");
            true
        }
        Err(error) => {
            log_err!("host{number}: the host doesn't answer any more: {error:?}\n");
            controller.stop(State::Failed);
            give_up(controller)
        }
    }
}

/// Ends what is under way at a controller that doesn't run any more; false, as for a reset in vain.
fn give_up(controller: &Arc<Controller>) -> bool {
    if controller.state() == State::Failed {
        controller.disconnect();
    }
    controller.end_commands(None, HostByte::NoConnect);
    false
}

impl WorkItem<{ Controller::LOST }> for Controller {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.close_lost();
    }
}
