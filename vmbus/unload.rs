// SPDX-License-Identifier: GPL-2.0

//! Leaving the bus when the kernel goes down: kexec, crash, panic.
//!
//! The host must forget the old kernel's pages before a new kernel reuses them, and a new kernel can
//! connect only after the old one has left.

use kernel::time::{delay::udelay, Delta};
use kernel_ext::{
    cpuhp,
    hyperv::{Crash, Kexec, MESSAGE_SIZE},
    notifier::Panic,
};
use vmbus_wire::{message::guest, slot::Slot, HostMessage};
use zerocopy::FromBytes;

use crate::{
    connection::{Connection, State},
    control::Outcome,
    interrupt::{Interrupt, ACTIVE},
};

/// How long to look for the host's answer in a crash, see `UNLOAD_WAIT_MS`.
const PATIENCE: Delta = Delta::from_millis(100_000);

/// Time between signs of life on the console.
const SIGN_OF_LIFE: Delta = Delta::from_millis(5_000);

/// Microseconds between looks: short at first, when the answer usually comes.
const LOOK_US: i64 = 10;
const LATE_LOOK_US: i64 = 1_000;
const SHORT_LOOKS: u32 = 10_000;

impl Kexec for Interrupt {
    fn kexec() {
        let Some(connection) = ACTIVE.get() else {
            return;
        };
        match connection.unload() {
            Outcome::Answered(()) | Outcome::Rescinded => {}
            Outcome::TimedOut => {
                kernel_ext::log_err!("kexec goes on although the host didn't let go\n")
            }
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
    // A message that waits in a slot, be it a timer's, keeps the answer away: hosts try again when
    // that CPU asks for more, and it may be stopped.
    connection.take_answer();
    let id = connection.connection_id();
    let posted = connection.post_to(id, &guest::unload(), |_| spin(LATE_LOOK_US));
    if posted.is_err() {
        return kernel_ext::log_err!("the host couldn't be told of the crash\n");
    }
    let (mut waited, mut said) = (Delta::ZERO, Delta::ZERO);
    for look in 0.. {
        // The CPU that takes messages may still be alive and take the answer.
        if connection.is_unloaded() || connection.take_answer() {
            return;
        }
        let pause = if look < SHORT_LOOKS {
            LOOK_US
        } else {
            LATE_LOOK_US
        };
        spin(pause);
        waited += Delta::from_micros(pause);
        if waited >= PATIENCE {
            break;
        }
        if waited - said >= SIGN_OF_LIFE {
            said = waited;
            kernel_ext::log_info!("waiting for the host to let go\n");
        }
    }
    kernel_ext::log_err!("going on although the host didn't let go\n");
}

/// Waits without sleeping, at most a millisecond.
fn spin(microseconds: i64) {
    udelay(Delta::from_micros(microseconds));
}

impl Connection {
    /// Takes the right to send UNLOAD; false if it was sent, or there is nobody to send it to.
    pub(crate) fn begin_unload(&self) -> bool {
        let before = self.swap_state(State::Disconnected);
        if before != State::Connected && before != State::Closing {
            return false;
        }
        self.expect_unload();
        true
    }

    /// Looks for the answer to UNLOAD wherever messages are, and throws away what else there is.
    fn take_answer(&self) -> bool {
        let is_answer = |bytes: &[u8; MESSAGE_SIZE]| {
            Slot::read_from_bytes(bytes).is_ok_and(|slot| {
                let message = slot.channel_message().map(HostMessage::parse);
                matches!(message, Some(Ok(HostMessage::UnloadComplete)))
            })
        };
        let mut bytes = [0; MESSAGE_SIZE];
        for (_, cpu) in self.cpus.iter() {
            while let Some(bytes) = cpu.next_in_crash() {
                if is_answer(&bytes) {
                    return true;
                }
            }
            if let Some(kind) = cpu.synic.peek_message_type() {
                let copied = cpu.synic.read_message(&mut bytes);
                cpu.synic.ack_message(kind);
                if copied && is_answer(&bytes) {
                    return true;
                }
            }
        }
        false
    }
}
