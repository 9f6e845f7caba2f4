// SPDX-License-Identifier: GPL-2.0

//! The interrupt: event flags to channels, messages to the message path.
//!
//! The hypervisor interrupts a CPU with one vector for everything. The handler looks at that CPU's
//! two pages: for each event flag it tells the channel, which is cheap and takes no lock; if there is
//! a message it queues the worker that copies it out. The slot holds one message and the hypervisor
//! keeps the rest, so a worker that is late costs time and nothing else.

use kernel::{
    impl_has_work, new_work,
    prelude::*,
    sync::{rcu, Arc},
    workqueue::{Work, WorkItem},
};
use kernel_ext::{
    hyperv::{Hypervisor, Isr, Synic, MESSAGE_SIZE, MESSAGE_TIMER_EXPIRED},
    rcu::RcuSlot,
    workqueue::cancel_sync,
};
use vmbus_wire::{slot::Slot, Relid};
use zerocopy::FromBytes;

use crate::connection::Connection;

/// Messages taken in one go before the worker lets others run.
const MESSAGES_PER_TURN: usize = 64;

/// The connection, while there is one. Set before the first message can come, emptied after the last.
pub(crate) static ACTIVE: RcuSlot<Connection> = RcuSlot::empty();

/// What the bus keeps for each CPU.
#[pin_data]
pub(crate) struct Cpu {
    pub(crate) synic: Synic,
    #[pin]
    work: Work<Cpu>,
}

impl Cpu {
    /// Pages for a CPU that isn't enabled yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(hypervisor: Hypervisor, cpu: u32) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                synic: Synic::new(hypervisor, cpu)?,
                work <- new_work!("vmbus_messages"),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Waits until no message of this CPU is being handled. Process context.
    pub(crate) fn stop(self: &Arc<Self>) {
        cancel_sync(self);
    }

    /// Queues the worker on this CPU. Any context.
    fn wake(self: &Arc<Self>, connection: &Connection) {
        // `Err`: it is queued already.
        let _ = connection
            .messages
            .enqueue_on(self.synic.cpu(), self.clone());
    }

    /// Takes messages until there are none, or the turn is over.
    fn drain(self: &Arc<Self>, connection: &Arc<Connection>) {
        let mut bytes = [0; MESSAGE_SIZE];
        for _ in 0..MESSAGES_PER_TURN {
            // Timer messages are the interrupt handler's, which is at them already.
            match self.synic.peek_message_type() {
                None | Some(MESSAGE_TIMER_EXPIRED) => return,
                Some(_) => {}
            }
            if !self.synic.read_message(&mut bytes) {
                return;
            }
            let Ok(slot) = Slot::read_from_bytes(&bytes) else {
                return;
            };
            // The slot is free for the next message before this one is looked at.
            self.synic.ack_message(slot.header.message_type.get());
            match slot.channel_message() {
                Some(payload) => connection.receive(payload),
                None => connection.protocol_error(format_args!(
                    "hypervisor message of type {:#x}",
                    slot.header.message_type.get()
                )),
            }
        }
        self.wake(connection);
    }
}

impl_has_work! {
    impl HasWork<Self> for Cpu { self.work }
}

impl WorkItem for Cpu {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(connection) = ACTIVE.get() {
            this.drain(&connection);
        }
    }
}

/// The handler.
pub(crate) struct Interrupt;

impl Isr for Interrupt {
    fn isr() {
        let guard = rcu::read_lock();
        if let Some(connection) = ACTIVE.read(&guard) {
            connection.interrupt(&guard);
        }
    }
}

impl Connection {
    /// Looks at this CPU's pages. Hard interrupt context.
    fn interrupt(&self, guard: &rcu::Guard) {
        let cpu = self.cpus.this_cpu();
        cpu.synic.take_events(|flag| {
            let heard = Relid::new(flag).is_some_and(|relid| self.relids.signalled(relid, guard));
            if !heard {
                self.stats.stray_events.inc();
            }
        });
        if cpu.synic.handle_timer_message() {
            return;
        }
        if cpu.synic.peek_message_type().is_some() {
            cpu.wake(self);
        }
    }
}
