// SPDX-License-Identifier: GPL-2.0

//! The interrupt: event flags to channels, messages to the message path.
//!
//! The hypervisor interrupts a CPU with one vector for everything. The handler looks at that CPU's
//! two pages: for each event flag it tells the channel, which is cheap and takes no lock; a message it
//! moves to a private inbox at once, because timers without direct mode send their ticks through the
//! same slot. A worker parses what is in the inbox. The inbox is small: when it is full the slot stays
//! taken, and the hypervisor keeps the rest.

use kernel::{
    impl_has_work, new_work,
    prelude::*,
    sync::{rcu, Arc},
    workqueue::{Work, WorkItem},
};
use kernel_ext::{
    cpuhp,
    hyperv::{Hypervisor, Isr, Synic, MESSAGE_SIZE, MESSAGE_TIMER_EXPIRED},
    lock::IrqLock,
    new_irq_lock,
    rcu::RcuSlot,
    workqueue::cancel_sync,
};
use vmbus_wire::{slot::Slot, Relid};
use zerocopy::FromBytes;

use crate::connection::{Connection, CONNECT_CPU};

/// Messages handled in one go before the worker lets others run.
const MESSAGES_PER_TURN: usize = 64;

/// Messages that wait for the worker of a CPU.
const INBOX: usize = 16;

/// The connection, while there is one. Set before the first message can come, emptied after the last.
pub(crate) static ACTIVE: RcuSlot<Connection> = RcuSlot::empty();

/// What the bus keeps for each CPU.
#[pin_data]
pub(crate) struct Cpu {
    pub(crate) synic: Synic,
    /// Messages that left the slot, oldest first; at most [`INBOX`].
    #[pin]
    inbox: IrqLock<KVec<[u8; MESSAGE_SIZE]>>,
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
                inbox <- new_irq_lock!(KVec::with_capacity(INBOX, GFP_KERNEL)?, "vmbus_inbox"),
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

    /// Moves messages from the slot to the inbox while there is room. To be called on this CPU: it is
    /// the one that asks the hypervisor for the next message. Any context. False when the inbox is
    /// empty afterwards.
    fn fetch(&self) -> bool {
        let mut inbox = self.inbox.lock();
        if cpuhp::current_cpu() != self.synic.cpu() {
            return !inbox.is_empty();
        }
        let mut bytes = [0; MESSAGE_SIZE];
        while inbox.len() < INBOX {
            // Timer messages are the interrupt handler's, which is at them already.
            match self.synic.peek_message_type() {
                None | Some(MESSAGE_TIMER_EXPIRED) => break,
                Some(_) => {}
            }
            if !self.synic.read_message(&mut bytes) {
                break;
            }
            self.synic.ack_message(message_type(&bytes));
            if inbox.push_within_capacity(bytes).is_err() {
                break;
            }
        }
        !inbox.is_empty()
    }

    /// The oldest message. Any context.
    pub(crate) fn next(&self) -> Option<[u8; MESSAGE_SIZE]> {
        self.inbox.lock().remove(0).ok()
    }

    /// [`Cpu::next`] in a crash, when the lock's holder may never give it back.
    pub(crate) fn next_in_crash(&self) -> Option<[u8; MESSAGE_SIZE]> {
        self.inbox.try_lock()?.remove(0).ok()
    }

    /// Handles messages until there are none, or the turn is over.
    fn drain(self: &Arc<Self>, connection: &Arc<Connection>) {
        for _ in 0..MESSAGES_PER_TURN {
            match self.next() {
                Some(bytes) => handle(connection, &bytes),
                None if self.fetch() => {}
                None => return,
            }
        }
        self.wake(connection);
    }
}

/// The hypervisor's type of a message that was copied out of the slot.
fn message_type(bytes: &[u8; MESSAGE_SIZE]) -> u32 {
    bytes
        .first_chunk::<4>()
        .map_or(0, |kind| u32::from_le_bytes(*kind))
}

/// Hands a channel message to the connection.
fn handle(connection: &Arc<Connection>, bytes: &[u8; MESSAGE_SIZE]) {
    let Ok(slot) = Slot::read_from_bytes(bytes) else {
        return;
    };
    match slot.channel_message() {
        Some(payload) => connection.receive(payload),
        None => connection.protocol_error(format_args!(
            "hypervisor message of type {:#x}",
            message_type(bytes)
        )),
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
    /// Has the worker of the CPU that messages are sent to look for one, interrupt or not. Any context.
    pub(crate) fn look_for_messages(&self) {
        if let Some(cpu) = self.cpus.get(CONNECT_CPU) {
            self.stats.looks.inc();
            cpu.wake(self);
        }
    }

    /// Says that the host hasn't answered, and whether that can be seen here. Process context.
    pub(crate) fn tell_of_silence(&self, milliseconds: u32) {
        if let Some(cpu) = self.cpus.get(CONNECT_CPU) {
            let slot = cpu.synic.peek_message_type().unwrap_or(0);
            let inbox = cpu.inbox.lock().len();
            kernel_ext::log_warn_limited!(
                "the host hasn't answered within {milliseconds} ms; message slot of CPU {CONNECT_CPU}: type {slot:#x}, taken and not handled: {inbox}\n"
            );
        }
    }

    /// Looks at this CPU's pages. Hard interrupt context.
    fn interrupt(&self, guard: &rcu::Guard) {
        let cpu = self.cpus.this_cpu();
        cpu.synic.take_events(|flag| {
            let heard = Relid::new(flag).is_some_and(|relid| self.relids.signalled(relid, guard));
            if !heard {
                self.stats.stray_events.inc();
            }
        });
        // Nearly always there is no message, and then nothing more to do: what is in the inbox, a
        // worker has been woken for.
        if cpu.synic.peek_message_type().is_none() || cpu.synic.handle_timer_message() {
            return;
        }
        if cpu.fetch() {
            cpu.wake(self);
        }
    }
}
