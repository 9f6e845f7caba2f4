// SPDX-License-Identifier: GPL-2.0

//! Leaving the bus when the kernel goes down: kexec, crash, panic.
//!
//! The host must forget the old kernel's pages before a new kernel reuses them, and a new kernel can
//! connect only after the old one has left.

use kernel::time::{delay::udelay, Delta};
use kernel_ext::{
    cpuhp,
    hyperv::{Crash, Kexec, MESSAGE_SIZE, MESSAGE_TIMER_EXPIRED},
    notifier::Panic,
};
use vmbus_wire::{message::guest, slot::Slot, HostMessage};
use zerocopy::FromBytes;

use crate::{
    connection::{Connection, State},
    control::Outcome,
    interrupt::{Interrupt, ACTIVE},
};

/// Milliseconds between looks for the host's answer in a crash.
const POLL_MS: u32 = 10;

/// Looks for the host's answer in a crash: 100 s, see `UNLOAD_WAIT_MS`.
const POLLS: u32 = 10_000;

/// Looks between signs of life on the console.
const POLLS_A_LINE: u32 = 500;

impl Kexec for Interrupt {
    fn kexec() {
        let Some(connection) = ACTIVE.get() else {
            return;
        };
        match connection.unload() {
            Outcome::Answered(()) | Outcome::Rescinded => {}
            Outcome::TimedOut => log_err!("kexec goes on although the host didn't let go\n"),
        }
        for number in cpuhp::online() {
            if let Some(cpu) = connection.cpus.get(number) {
                let _ = cpuhp::on_cpu(number, || cpu.synic.disable());
            }
        }
    }
}

impl Crash for Interrupt {
    fn crash() {
        crash();
        if let Some(connection) = ACTIVE.get() {
            // Other CPUs are stopped; their pages are reserved for the dump.
            let _ = connection.cpus.this_cpu().synic.disable_in_crash();
        }
    }
}

impl Panic for Interrupt {
    fn panic(&self) {
        crash();
    }
}

/// Tells the host, once, and polls for its answer: interrupts may be off and other CPUs stopped.
fn crash() {
    let Some(connection) = ACTIVE.get() else {
        return;
    };
    if !connection.begin_unload() {
        return;
    }
    let posted = connection.post_to(connection.connection_id(), &guest::unload(), |_| {
        spin_ms(POLL_MS)
    });
    if posted.is_err() {
        return log_err!("the host couldn't be told of the crash\n");
    }
    for poll in 1..=POLLS {
        if connection.unload_answered() {
            return;
        }
        if poll % POLLS_A_LINE == 0 {
            log_info!("waiting for the host to let go\n");
        }
        spin_ms(POLL_MS);
    }
    log_err!("going on although the host didn't let go\n");
}

/// Waits without sleeping.
fn spin_ms(milliseconds: u32) {
    for _ in 0..milliseconds {
        udelay(Delta::from_micros(1000));
    }
}

impl Connection {
    /// Takes the right to send UNLOAD; false if it was sent, or there is nobody to send it to.
    pub(crate) fn begin_unload(&self) -> bool {
        let before = self.swap_state(State::Disconnected);
        before == State::Connected || before == State::Closing
    }

    /// Looks in every CPU's message slot for the answer to UNLOAD, throwing away what else is there.
    fn unload_answered(&self) -> bool {
        let mut bytes = [0; MESSAGE_SIZE];
        for (_, cpu) in self.cpus.iter() {
            if cpu.synic.peek_message_type() == Some(MESSAGE_TIMER_EXPIRED)
                || !cpu.synic.read_message(&mut bytes)
            {
                continue;
            }
            let Ok(slot) = Slot::read_from_bytes(&bytes) else {
                continue;
            };
            cpu.synic.ack_message(slot.header.message_type.get());
            let message = slot.channel_message().map(HostMessage::parse);
            if matches!(message, Some(Ok(HostMessage::UnloadComplete))) {
                return true;
            }
        }
        false
    }
}
