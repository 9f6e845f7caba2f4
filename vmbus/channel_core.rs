// SPDX-License-Identifier: GPL-2.0

//! What the bus knows of a channel from its offer to its rescind, open or not.

use kernel::{
    prelude::*,
    sync::{rcu, Arc, Mutex},
};
use kernel_ext::{
    atomic::{Acquire, Atomic, Full, Relaxed},
    cpuhp,
    rcu::RcuSlot,
};
use vmbus_wire::{
    guid::class,
    message::{ModifyChannel, Offer},
    waiting::{Answer, Key},
    Status,
};

use crate::{
    channel::Channel,
    connection::{Connection, CONNECT_CPU},
    control::Outcome,
    stats::Counter,
};

/// Milliseconds to wait until the host has moved a channel's interrupt.
const MODIFY_WAIT_MS: u32 = 10_000;

/// Counters of a channel. They survive a close, so that a reopened channel goes on counting.
pub struct ChannelStats {
    /// Packets written.
    pub packets_out: Counter,
    /// Packets read.
    pub packets_in: Counter,
    /// Bytes written, descriptor, padding and trailer included.
    pub bytes_out: Counter,
    /// Bytes of payload read.
    pub bytes_in: Counter,
    /// Signals sent to the host.
    pub signals_out: Counter,
    /// Signals received.
    pub interrupts_in: Counter,
    /// Times that a packet found the ring full.
    pub out_full: Counter,
    /// Times that the ring was full for a packet whose predecessor had found room.
    pub out_full_first: Counter,
    /// Times that the host was signalled because it waited for room.
    pub in_full_signals: Counter,
    /// Breaches of the protocol by the host.
    pub errors: Counter,
}

impl ChannelStats {
    const fn new() -> Self {
        Self {
            packets_out: Counter::new(),
            packets_in: Counter::new(),
            bytes_out: Counter::new(),
            bytes_in: Counter::new(),
            signals_out: Counter::new(),
            interrupts_in: Counter::new(),
            out_full: Counter::new(),
            out_full_first: Counter::new(),
            in_full_signals: Counter::new(),
            errors: Counter::new(),
        }
    }
}

/// The host's end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostEnd {
    /// It knows no ring.
    Closed,
    /// It was asked to open it and didn't refuse.
    Open,
}

/// A channel that the host offers.
#[pin_data]
pub(crate) struct ChannelCore {
    pub(crate) connection: Arc<Connection>,
    pub(crate) offer: Offer,
    /// 1 while somebody has the channel, open or about to be opened.
    claimed: Atomic<u32>,
    rescinded: Atomic<u32>,
    target_cpu: Atomic<u32>,
    /// Whether the host has the channel open, and with it the right to choose its CPU: who opens,
    /// closes or moves the channel holds it.
    #[pin]
    pub(crate) host_end: Mutex<HostEnd>,
    /// Held by who calls the channel's handler or looks at it other than from its worker and its
    /// interrupts, so that neither goes on when the channel has been closed.
    #[pin]
    pub(crate) visit: Mutex<()>,
    /// The channel while it is open; read by the interrupt handler.
    pub(crate) open: RcuSlot<Channel>,
    pub(crate) stats: ChannelStats,
}

impl ChannelCore {
    /// A channel as offered.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(connection: Arc<Connection>, offer: Offer, cpu: u32) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                connection,
                offer,
                claimed: Atomic::new(0),
                rescinded: Atomic::new(0),
                target_cpu: Atomic::new(cpu),
                host_end <- kernel::new_mutex!(HostEnd::Closed, "vmbus_host_end"),
                visit <- kernel::new_mutex!((), "vmbus_visit"),
                open: RcuSlot::empty(),
                stats: ChannelStats::new(),
            }),
            // The message path never waits for memory.
            GFP_ATOMIC,
        )
    }

    /// Takes the right to open the channel; false while somebody has it.
    pub(crate) fn claim(&self) -> bool {
        self.claimed.cmpxchg(0, 1, Acquire).is_ok()
    }

    /// Gives the right back.
    pub(crate) fn unclaim(&self) {
        // Full: of `unclaim` and `mark_rescinded`, each followed by a look at what the other sets, at
        // least one sees the other.
        self.claimed.xchg(0, Full);
    }

    /// Whether somebody has the channel.
    pub(crate) fn is_claimed(&self) -> bool {
        self.claimed.load(Relaxed) != 0
    }

    /// Whether the host has withdrawn the channel.
    #[inline]
    pub(crate) fn is_rescinded(&self) -> bool {
        self.rescinded.load(Acquire) != 0
    }

    /// Whether the channel is one of the device that another offer is of, and the host hasn't withdrawn it.
    pub(crate) fn is_sibling(&self, offer: &Offer) -> bool {
        self.offer.class == offer.class
            && self.offer.instance == offer.instance
            && !self.is_rescinded()
    }

    /// Notes that the host has withdrawn the channel; false if it had before.
    pub(crate) fn mark_rescinded(&self) -> bool {
        self.rescinded.xchg(1, Full) == 0
    }

    /// The word for the channel's state in sysfs and debugfs.
    pub(crate) fn state(&self) -> &'static str {
        if self.is_rescinded() {
            "rescinded"
        } else if self.open.get().is_some() {
            "open"
        } else if self.is_claimed() {
            "closed"
        } else {
            "offered"
        }
    }

    /// What kind of device the channel belongs to, for people.
    pub(crate) fn class_name(&self) -> &'static str {
        class::find(&self.offer.class).map_or("unknown", |class| class.name)
    }

    /// The CPU that takes the channel's interrupts.
    #[inline]
    pub(crate) fn target_cpu(&self) -> u32 {
        self.target_cpu.load(Relaxed)
    }

    /// The channel's CPU, or another one if that has gone off line. To be asked under `host_end`.
    pub(crate) fn online_target(&self) -> u32 {
        if !cpuhp::is_online(self.target_cpu()) {
            self.target_cpu.store(CONNECT_CPU, Relaxed);
        }
        self.target_cpu()
    }

    /// Tells the host that there is something in the ring. Any context.
    pub(crate) fn signal_host(&self) {
        self.stats.signals_out.inc();
        if !self.offer.dedicated_interrupt || self.offer.monitor.is_some() {
            self.connection.set_interrupt_bit(self.offer.relid);
        }
        if let Some(id) = self.offer.monitor {
            // The hypervisor looks at the page by itself.
            self.connection.trigger_monitor(id);
            return;
        }
        if self
            .connection
            .hypervisor
            .signal_event(self.offer.connection_id, 0)
            .is_err()
        {
            self.stats.errors.inc();
        }
    }

    /// The host signalled. Hard interrupt context. False when the channel isn't open.
    #[inline]
    pub(crate) fn signalled(&self, guard: &rcu::Guard) -> bool {
        self.stats.interrupts_in.inc();
        match self.open.read(guard) {
            Some(channel) => {
                channel.interrupt(guard);
                true
            }
            None => false,
        }
    }

    /// Moves the channel's interrupt to another CPU, which must be on line, and tells its driver. Process
    /// context; the caller keeps CPUs from going away.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for an open channel of a host before protocol 4.1, `ENODEV` for a rescinded
    /// one, `ETIMEDOUT` and `EIO` when the host didn't do it.
    pub(crate) fn set_target_cpu(&self, cpu: u32) -> Result {
        self.move_to(cpu)?;
        let _visit = self.visit.lock();
        if let Some(channel) = self.open.get() {
            channel.moved();
        }
        Ok(())
    }

    fn move_to(&self, cpu: u32) -> Result {
        let host_end = self.host_end.lock();
        if self.target_cpu() == cpu {
            return Ok(());
        }
        if *host_end == HostEnd::Closed {
            // The host learns of it when the channel is opened.
            self.target_cpu.store(cpu, Relaxed);
            return Ok(());
        }
        let version = self.connection.version();
        if !version.has_modify_channel() {
            // `EOPNOTSUPP`, which the kernel crate doesn't name.
            return Err(Error::from_errno(-(kernel::bindings::EOPNOTSUPP as i32)));
        }
        let relid = self.offer.relid;
        let target_vp = self.connection.hypervisor.vp_index(cpu).ok_or(EINVAL)?;
        let message = ModifyChannel { relid, target_vp }.message();
        if version.acks_modify_channel() {
            let request = self.connection.control.expect(Key::Modify { relid })?;
            if self.is_rescinded() {
                return Err(ENODEV);
            }
            self.connection.post(&message)?;
            match request.wait(MODIFY_WAIT_MS) {
                Outcome::Answered(Answer::Status(Status::SUCCESS)) => {}
                Outcome::Answered(_) => return Err(EIO),
                Outcome::Rescinded => return Err(ENODEV),
                Outcome::TimedOut => return Err(ETIMEDOUT),
            }
        } else {
            self.connection.post(&message)?;
        }
        self.target_cpu.store(cpu, Relaxed);
        Ok(())
    }
}
