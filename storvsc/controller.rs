// SPDX-License-Identifier: GPL-2.0

//! A controller: what its channels, its SCSI host, its worker and debugfs share.

use kernel::{
    fmt, impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{aref::ARef, Arc, Mutex},
    workqueue::Work,
};
use kernel_ext::{
    atomic::{Acquire, Atomic, Full, Relaxed},
    compat, cpuhp,
    rcu::RcuSlot,
    shared::Shared,
};
use scsi::{Host, Mapped};
use storvsc_wire::{conversation::MOST_SUBCHANNELS, Agreement, ProtocolVersion};
use vmbus::{stats::Counter, Channel, Open, Tagged};
use vmbus_wire::guid::class;

use crate::{
    control::Control,
    module, module_parameters,
    port::Port,
    scan::Changes,
    stats::{Clock, Stats, Unit},
};

/// Channels of a controller at most, the primary one included.
pub(crate) const MOST_CHANNELS: usize = MOST_SUBCHANNELS as usize + 1;

/// Number of the primary channel among a controller's.
pub(crate) const PRIMARY: u16 = 0;

/// Kinds of controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 8 buses with 2 targets of 255 units each, sub-channels.
    Scsi,
    /// One disk.
    Ide,
}

impl Kind {
    /// The word for it in debugfs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Scsi => "scsi",
            Kind::Ide => "ide",
        }
    }
}

/// Where a controller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum State {
    /// Commands are sent.
    Running = 0,
    /// The host has withdrawn it, and has let go of everything.
    Gone = 1,
    /// It broke the protocol or doesn't answer any more; the host may still have what it was given.
    Failed = 2,
}

impl State {
    /// The word for it in debugfs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Gone => "gone",
            State::Failed => "failed",
        }
    }
}

/// The channels, held open.
#[derive(Default)]
pub(crate) struct Links {
    pub(crate) primary: Option<Open>,
    /// Each with its number.
    pub(crate) subs: KVec<(u16, Open)>,
}

/// A controller.
#[pin_data]
pub(crate) struct Controller {
    pub(crate) dev: ARef<vmbus::Device>,
    pub(crate) kind: Kind,
    state: Atomic<u32>,
    #[pin]
    pub(crate) agreement: Mutex<Option<Agreement>>,
    #[pin]
    pub(crate) control: Control,
    /// The open channels by their number.
    pub(crate) ports: [RcuSlot<Port>; MOST_CHANNELS],
    /// Commands that ended, for each channel.
    pub(crate) ended: [Counter; MOST_CHANNELS],
    /// One more than the highest number of a port that is or was open.
    ports_used: Atomic<u32>,
    /// Which port a CPU sends on.
    pub(crate) routes: KVec<Atomic<u32>>,
    /// Commands under way.
    pub(crate) commands: Tagged<Mapped<Controller>>,
    /// Commands of a hardware queue: places of `commands` that belong to it.
    pub(crate) queue_depth: u16,
    pub(crate) queues: u16,
    #[pin]
    pub(crate) links: Mutex<Links>,
    pub(crate) clock: Clock,
    pub(crate) stats: Stats,
    #[pin]
    pub(crate) units: Mutex<KVec<Arc<Unit>>>,
    /// The SCSI host while it is registered, and its number.
    #[pin]
    pub(crate) host: Mutex<Option<ARef<Host>>>,
    pub(crate) host_number: Atomic<u32>,
    #[pin]
    pub(crate) changes: Changes,
    /// Held during a reset, and when the controller goes.
    #[pin]
    pub(crate) resetting: Mutex<()>,
    /// 1 for a sub-channel that the host has withdrawn or corrupted, until it has been closed.
    pub(crate) lost_ports: [Atomic<u32>; MOST_CHANNELS],
    /// 1 while commands of a batch are in a ring that the host may not have been told of.
    pub(crate) batched: Atomic<u32>,
    /// Has the queue where the works below run, which outlives all controllers.
    pub(crate) module: Arc<Shared>,
    #[pin]
    pub(crate) scan: Work<Controller, { Controller::SCAN }>,
    #[pin]
    pub(crate) lost: Work<Controller, { Controller::LOST }>,
}

impl Controller {
    pub(crate) const SCAN: u64 = 0;
    pub(crate) const LOST: u64 = 1;

    /// A controller without channels.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EINVAL` for module parameters that make no sense.
    pub(crate) fn new(dev: ARef<vmbus::Device>) -> Result<Arc<Self>> {
        let kind = if dev.payload().offer().class == class::IDE {
            Kind::Ide
        } else {
            Kind::Scsi
        };
        let cpus = cpuhp::nr_cpu_ids();
        let queues = match kind {
            Kind::Scsi => u16::try_from(cpuhp::online().count().max(1)).unwrap_or(u16::MAX),
            Kind::Ide => 1,
        };
        let depth: u32 = compat::param(module_parameters::queue_depth.value());
        // Two commands let a second device have one; the block layer's limit is the upper end.
        let queue_depth = u16::try_from(depth.clamp(2, 8192))?;
        let places = usize::from(queues)
            .checked_mul(queue_depth.into())
            .ok_or(EINVAL)?;
        let mut routes = KVec::with_capacity(cpus as usize, GFP_KERNEL)?;
        for _ in 0..cpus {
            routes.push(Atomic::new(0), GFP_KERNEL)?;
        }
        let module = module::SHARED.get()?;
        let commands = Tagged::new(places)?;
        Arc::pin_init(
            pin_init!(Self {
                dev,
                kind,
                state: Atomic::new(State::Running as u32),
                agreement <- new_mutex!(None, "storvsc_agreement"),
                control <- Control::new(),
                ports: [const { RcuSlot::empty() }; MOST_CHANNELS],
                ended: [const { Counter::new() }; MOST_CHANNELS],
                ports_used: Atomic::new(0),
                routes,
                commands,
                queue_depth,
                queues,
                links <- new_mutex!(Links::default(), "storvsc_links"),
                clock: Clock::new(),
                stats: Stats::default(),
                units <- new_mutex!(KVec::new(), "storvsc_units"),
                host <- new_mutex!(None, "storvsc_host"),
                host_number: Atomic::new(0),
                changes <- Changes::new(),
                resetting <- new_mutex!((), "storvsc_resetting"),
                lost_ports: [const { Atomic::new(0) }; MOST_CHANNELS],
                batched: Atomic::new(0),
                module,
                scan <- new_work!("storvsc_scan"),
                lost <- new_work!("storvsc_lost"),
            }),
            GFP_KERNEL,
        )
    }

    /// Where it stands.
    #[inline]
    pub(crate) fn state(&self) -> State {
        match self.state.load(Acquire) {
            0 => State::Running,
            1 => State::Gone,
            _ => State::Failed,
        }
    }

    /// It runs no more; the first reason stays. True for the first.
    pub(crate) fn stop(&self, reason: State) -> bool {
        let first = self
            .state
            .cmpxchg(State::Running as u32, reason as u32, Full)
            .is_ok();
        self.control.abandon();
        first
    }

    /// The version spoken; the oldest before there is one.
    pub(crate) fn version(&self) -> ProtocolVersion {
        let agreement = self.agreement.lock();
        agreement.map_or(ProtocolVersion::WIN8, |agreement| agreement.version)
    }

    /// The place of a command in the table.
    #[inline]
    pub(crate) fn place(&self, tag: scsi::Tag) -> usize {
        usize::from(tag.queue) * usize::from(self.queue_depth) + usize::from(tag.number)
    }

    /// The ports that may be open.
    #[inline]
    pub(crate) fn used_ports(&self) -> &[RcuSlot<Port>] {
        let used = self.ports_used.load(Relaxed) as usize;
        self.ports.get(..used).unwrap_or(&self.ports)
    }

    /// Counts a command that ended, on the channel it was sent on.
    #[inline]
    pub(crate) fn count_end(&self, channel: u16) {
        if let Some(ended) = self.ended.get(usize::from(channel)) {
            ended.inc();
        }
    }

    /// Chooses for each CPU the port it sends on: that whose interrupts it takes; else, in turns, one
    /// whose interrupts a CPU of the same node takes; else any.
    pub(crate) fn route(&self) {
        let mut open: KVec<(u16, u32)> = KVec::new();
        for port in self.ports.iter().filter_map(RcuSlot::get) {
            // Without memory everything goes the first way.
            let _ = open.push((port.number, port.channel.target_cpu()), GFP_KERNEL);
            let used = u32::from(port.number) + 1;
            if used > self.ports_used.load(Relaxed) {
                self.ports_used.store(used, Relaxed);
            }
        }
        for (cpu, route) in (0..).zip(self.routes.iter()) {
            let node = cpuhp::node_of(cpu);
            let near = open.iter().filter(|(_, at)| cpuhp::node_of(*at) == node);
            let near_count = near.clone().count();
            let own = open.iter().find(|(_, at)| *at == cpu);
            let chosen = own
                .or_else(|| near.clone().nth(cpu as usize % near_count.max(1)))
                .or_else(|| open.get(cpu as usize % open.len().max(1)));
            let number = chosen.map_or(PRIMARY, |(number, _)| *number);
            route.store(number.into(), Relaxed);
        }
    }

    /// Counts a breach of the protocol; the channel's message says which.
    pub(crate) fn broke(&self, channel: &Channel, what: fmt::Arguments<'_>) {
        self.stats.protocol_errors.inc();
        channel.bad_packet(what);
    }
}

impl_has_work! {
    impl HasWork<Self, { Controller::SCAN }> for Controller { self.scan }
    impl HasWork<Self, { Controller::LOST }> for Controller { self.lost }
}
