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
//!
//! One exception: a host that answers neither a reset nor the closing of its channels (the rings are then
//! leaked, `gpadls_leaked` counts them) hasn't let go of anything. Its commands end all the same,
//! because the mid-layer's error handler, whose turn it is, takes its memory back whatever the driver
//! says, and somebody waits for them.

use core::ptr;

use kernel::{
    sync::Arc,
    time::{delay::fsleep, Delta},
    workqueue::WorkItem,
};
use kernel_ext::{
    atomic::Release,
    compat,
    mm::NoIo,
    rcu::{self, RcuSlot},
};
use scsi::{HostByte, Info, Outcome, TimedOut};
use storvsc_wire::GuestPacket;
use vmbus::Channel;

use crate::{
    control::NoAnswer,
    controller::{Controller, State, PRIMARY},
    module_parameters,
};

/// Milliseconds for the host to reset the bus.
const RESET_WAIT_MS: u32 = 30_000;

/// Nanoseconds for the answers to what was under way, after the reset was confirmed: they are in the
/// rings by then, or never will be.
const FLUSH_WAIT_NS: u64 = 10_000_000_000;
const FLUSH_POLL_MS: i64 = 20;

impl Controller {
    /// A command took longer than whoever sent it had thought: the mid-layer, which gives some commands
    /// a few seconds, or a program. A reset is for all devices, so it takes the controller's own
    /// time. Any context.
    pub(crate) fn command_timed_out(&self, command: &Info<Self>) -> TimedOut {
        let seconds: u32 = compat::param(module_parameters::timeout.value());
        let limit = u64::from(seconds.max(1)) * 1_000_000_000;
        let Some(sent_at) = self.commands.note(self.place(command.tag())) else {
            // Answered at this moment.
            return TimedOut::Wait;
        };
        if self.clock.now().saturating_sub(sent_at) < limit {
            return TimedOut::Wait;
        }
        self.stats.timeouts.inc();
        let opcode = command.opcode();
        let address = command.address();
        kernel_ext::log_warn_limited!(
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
                unit.gave_up(sent_on);
            }
            command.complete(&Outcome::failed(how));
            count += 1;
        });
        count
    }

    /// Whether a channel is the one that goes by this number now.
    fn is_port(&self, number: u16, channel: &Channel) -> bool {
        let port = self.ports.get(usize::from(number)).and_then(RcuSlot::get);
        port.is_some_and(|port| ptr::eq(&*port.channel, channel))
    }

    /// The host has withdrawn a channel. Process context, from its handler.
    pub(crate) fn lost_channel(self: &Arc<Self>, number: u16, channel: &Channel) {
        if number == PRIMARY {
            self.stop(State::Gone);
            // Who saw it running has sent by then, on whichever channel.
            rcu::synchronize();
            let count = self.end_commands(None, HostByte::NoConnect);
            kernel_ext::log_info!(
                "host{}: withdrawn by the host, {count} commands ended\n",
                self.host_number()
            );
        } else if self.is_port(number, channel) {
            self.lose(number);
        }
    }

    /// The host corrupted a channel's ring, and may still have the memory of its commands: they end when
    /// it has been closed. Process context, from its handler.
    pub(crate) fn corrupt_channel(self: &Arc<Self>, number: u16, channel: &Channel) {
        if number == PRIMARY {
            self.stop(State::Failed);
            self.close_later();
        } else if self.is_port(number, channel) {
            self.lose(number);
        }
    }

    /// Does without a sub-channel from now on.
    fn lose(self: &Arc<Self>, number: u16) {
        if let Some(lost) = self.lost_ports.get(usize::from(number)) {
            lost.store(1, Release);
        }
        self.close_later();
    }

    /// Has the worker close what is lost: closing a channel waits for its handler.
    fn close_later(self: &Arc<Self>) {
        let worker = &self.module.worker;
        // `Err`: it is queued already.
        let _ = worker.enqueue::<_, { Controller::LOST }>(self.clone());
    }

    /// Asks the host to reset the bus; true when it has, and has answered what was under way.
    fn reset_bus(&self, channel: &Arc<Channel>) -> bool {
        let answer = match self
            .control
            .ask(channel, &GuestPacket::ResetBus, RESET_WAIT_MS)
        {
            Ok(answer) => answer,
            Err(NoAnswer::TimedOut) => {
                kernel_ext::log_warn!("host{}: no answer to a reset\n", self.host_number());
                return false;
            }
            Err(_) => return false,
        };
        if !answer.is_success() {
            return false;
        }
        let confirmed = self.clock.now();
        while self.commands.count(None) != 0 {
            // By the clock: sleeps may take longer than they are to.
            let waited = self.clock.now().saturating_sub(confirmed);
            if waited >= FLUSH_WAIT_NS || self.state() != State::Running {
                return false;
            }
            fsleep(Delta::from_millis(FLUSH_POLL_MS));
        }
        // The last answers have been taken, and have got to the mid-layer when these are done.
        for port in self.used_ports().iter().filter_map(RcuSlot::get) {
            port.channel.settle();
        }
        true
    }
}

/// Resets the controller. Process context, from the error handler's thread; no new commands come
/// meanwhile. True when it works again.
pub(crate) fn reset(controller: &Arc<Controller>) -> bool {
    let number = controller.host_number();
    // The error handler's and those of programs, one after the other.
    let _resetting = controller.resetting.lock();
    // No memory is to be had from writing to a disk that waits for this.
    let _no_io = NoIo::new();
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
        kernel_ext::log_info!("host{number}: reset\n");
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
            kernel_ext::log_info!(
                "host{number}: connected again, {count} commands are sent again\n"
            );
            true
        }
        Err(error) => {
            kernel_ext::log_err!("host{number}: the host doesn't answer any more: {error:?}\n");
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
        if this.state() == State::Failed {
            give_up(&this);
        }
        this.close_lost();
    }
}
