// SPDX-License-Identifier: GPL-2.0

//! A NIC: what the stack calls, and what outlives sessions.

use kernel::{
    impl_has_work, new_work,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        rcu, Arc, ArcBorrow, Mutex,
    },
    workqueue::{self, Work, WorkItem},
};
use kernel_ext::rcu::RcuSlot;
use net::{Channels, Dev, Device, Filter, Link, NicDriver, SkBuff, Statistics};
use netvsc_wire::oid::{Oid, PacketFilter};
use vmbus_wire::Guid;

use crate::{control::Control, queue::Queue, session::Session, stats::Stats};

/// A NIC.
#[pin_data]
pub(crate) struct Nic {
    pub(crate) dev: ARef<vmbus::Device>,
    pub(crate) device: Arc<Device>,
    /// The session, between its beginning and its end.
    pub(crate) session: RcuSlot<Session>,
    /// The questions of the session, from before it begins.
    pub(crate) control: RcuSlot<Control>,
    /// Held while sessions begin and end.
    #[pin]
    changing: Mutex<()>,
    /// Channels of the next session.
    pub(crate) wanted: Atomic<u32>,
    /// 1 while the stack wants frames.
    up: Atomic<u32>,
    /// Which frames it wants: a [`PacketFilter`].
    filter: Atomic<u32>,
    /// 1 while there is a link.
    pub(crate) link_up: Atomic<u32>,
    /// Its speed in Mbit/s; 0: unknown.
    pub(crate) megabits: Atomic<u32>,
    pub(crate) stats: Stats,
    #[pin]
    look: Work<Nic>,
}

impl Nic {
    /// A NIC without a session.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(dev: ARef<vmbus::Device>, device: Arc<Device>) -> Result<Arc<Self>> {
        let most = device.queues().into();
        Arc::pin_init(
            pin_init!(Self {
                dev,
                device,
                session: RcuSlot::new(None),
                control: RcuSlot::new(None),
                changing <- kernel::new_mutex!((), "netvsc_changing"),
                wanted: Atomic::new(most),
                up: Atomic::new(0),
                filter: Atomic::new(0),
                link_up: Atomic::new(0),
                megabits: Atomic::new(0),
                stats: Stats::new(),
                look <- new_work!("netvsc_look"),
            }),
            GFP_KERNEL,
        )
    }

    /// The device's name on the bus, for messages.
    pub(crate) fn name(&self) -> &Guid {
        &self.dev.payload().offer().instance
    }

    /// A completion answers a question; false if it doesn't. Any context.
    pub(crate) fn answered(&self, queue: &Queue, id: u64, payload: &[u8]) -> bool {
        let guard = rcu::read_lock();
        let control = self.control.read(&guard);
        queue.number == 0 && control.is_some_and(|control| control.completed(id, payload))
    }

    /// An RNDIS message answers a question; false if it doesn't. Any context.
    pub(crate) fn rndis_answered(&self, queue: &Queue, id: u32, message: &[u8]) -> bool {
        let guard = rcu::read_lock();
        let control = self.control.read(&guard);
        queue.number == 0 && control.is_some_and(|control| control.rndis_completed(id, message))
    }

    /// The channel is gone: no question is answered any more. The bus removes the device.
    pub(crate) fn lost(&self) {
        if let Some(control) = self.control.get() {
            control.abandon();
        }
    }

    /// Begins a session. Process context.
    ///
    /// # Errors
    ///
    /// Those of [`Session::begin`].
    pub(crate) fn connect(self: &Arc<Self>, mtu: u32) -> Result<crate::offload::Agreed> {
        let _changing = self.changing.lock();
        let (session, agreed) = Session::begin(self, mtu)?;
        if let Err(error) = self.ask_link(&session) {
            session.end();
            return Err(error);
        }
        drop(self.session.replace(Some(session)));
        Ok(agreed)
    }

    /// Ends the session. Process context, while nobody sends.
    pub(crate) fn disconnect(&self) {
        let _changing = self.changing.lock();
        if let Some(session) = self.session.get() {
            drop(self.session.replace(None));
            session.end();
            for number in 0..self.device.queues() {
                self.device.queue_reset(number);
            }
        }
    }

    /// Another session with other settings, or one with those of before. Process context, under RTNL.
    fn reconnect(nic: &Arc<Self>, dev: &Dev, mtu: u32, channels: u32) -> Result {
        let before = (dev.mtu(), nic.wanted.load(Relaxed));
        let up = nic.up.load(Relaxed) != 0;
        dev.disable_queues();
        nic.disconnect();
        nic.wanted.store(channels, Relaxed);
        let changed = nic.connect(mtu);
        if let Err(error) = &changed {
            kernel_ext::log_err!(
                "{}: no session with an MTU of {mtu} and {channels} channels: {error:?}\n",
                nic.name()
            );
            nic.wanted.store(before.1, Relaxed);
            nic.connect(before.0)?;
        }
        if up {
            nic.tell_filter()?;
            dev.start_queues();
        }
        // Frames come on one queue until the other channels are open.
        nic.look();
        changed.map(|_| ())
    }

    /// Has somebody look at what changed. Any context.
    pub(crate) fn look(self: &Arc<Self>) {
        // `Err`: it is queued already.
        let _ = workqueue::system_unbound().enqueue(self.clone());
    }

    /// Tells the host which frames are wanted. Process context.
    fn tell_filter(&self) -> Result {
        let wanted = match self.up.load(Relaxed) {
            0 => PacketFilter::NONE.0,
            _ => self.filter.load(Relaxed),
        };
        let session = self.session.get().ok_or(ENODEV)?;
        session.set(Oid::GEN_CURRENT_PACKET_FILTER, &wanted.to_le_bytes())
    }
}

impl_has_work! {
    impl HasWork<Self> for Nic { self.look }
}

impl WorkItem for Nic {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let _ = this.tell_filter();
        if let Some(session) = this.session.get() {
            let channels = session.channels.load(Relaxed);
            let _ = this.device.use_queues(channels as u16);
        }
    }
}

impl NicDriver for Nic {
    const NAME: &'static CStr = c"netvsc";

    fn open(this: ArcBorrow<'_, Self>, dev: &Dev) -> Result {
        this.up.store(1, Relaxed);
        this.tell_filter()
            .inspect_err(|_| this.up.store(0, Relaxed))?;
        dev.start_queues();
        Ok(())
    }

    fn stop(this: ArcBorrow<'_, Self>, dev: &Dev) {
        this.up.store(0, Relaxed);
        dev.disable_queues();
        // A host that is gone sends nothing anyway.
        let _ = this.tell_filter();
    }

    fn transmit(&self, dev: &Dev, frame: SkBuff, more: bool) -> core::result::Result<(), SkBuff> {
        let guard = rcu::read_lock();
        let Some(session) = self.session.read(&guard) else {
            self.stats.tx_gone.inc();
            return Ok(());
        };
        let open = session.channels.load(Relaxed).max(1);
        let number = u32::from(frame.queue()).checked_rem(open).unwrap_or(0);
        match session.queues.get(number as usize) {
            Some(queue) => queue.transmit(dev, frame, more),
            None => {
                self.stats.tx_gone.inc();
                Ok(())
            }
        }
    }

    fn statistics(&self) -> Statistics {
        let stats = &self.stats;
        Statistics {
            rx_packets: stats.rx_packets.get(),
            rx_bytes: stats.rx_bytes.get(),
            rx_dropped: stats.rx_no_memory.get(),
            rx_errors: stats.rx_bad.get(),
            multicast: stats.rx_multicast.get(),
            tx_packets: stats.tx_packets.get(),
            tx_bytes: stats.tx_bytes.get(),
            tx_dropped: stats.tx_no_memory.get()
                + stats.tx_too_many_pieces.get()
                + stats.tx_gone.get(),
        }
    }

    fn change_mtu(this: ArcBorrow<'_, Self>, dev: &Dev, mtu: u32) -> Result {
        let channels = this.wanted.load(Relaxed);
        Self::reconnect(&this.into(), dev, mtu, channels)
    }

    fn change_address(this: ArcBorrow<'_, Self>, address: [u8; 6]) -> Result {
        let session = this.session.get().ok_or(ENODEV)?;
        let record = netvsc_wire::oid::mac_parameter(&address);
        session.set(Oid::GEN_RNDIS_CONFIG_PARAMETER, &record)
    }

    fn change_filter(this: ArcBorrow<'_, Self>, filter: Filter) {
        let mut wanted = PacketFilter::DIRECTED.with(PacketFilter::BROADCAST);
        if filter.promiscuous {
            wanted = PacketFilter::PROMISCUOUS;
        } else if filter.all_multicast || filter.multicast {
            wanted = wanted.with(PacketFilter::ALL_MULTICAST);
        }
        this.filter.store(wanted.0, Relaxed);
        let nic: Arc<Self> = this.into();
        nic.look();
    }

    fn timed_out(this: ArcBorrow<'_, Self>, dev: &Dev, queue: u16) {
        this.stats.tx_timeouts.inc();
        kernel_ext::log_warn_limited!("{}: queue {queue} was stopped for too long\n", this.name());
        if let Some(session) = this.session.get() {
            if let Some(queue) = session.queues.get(usize::from(queue)) {
                // A signal or an interrupt may have got lost.
                if let Some(channel) = queue.channel.get() {
                    channel.flush();
                }
                queue.kick();
                queue.wake(dev);
            }
        }
    }

    fn link(&self) -> Link {
        let megabits = self.megabits.load(Relaxed);
        Link {
            megabits: (megabits != 0 && self.link_up.load(Relaxed) != 0).then_some(megabits),
        }
    }

    fn channels(&self) -> Channels {
        let session = self.session.get();
        Channels {
            most: self.device.queues().into(),
            used: session.map_or(0, |session| session.granted()),
        }
    }

    fn change_channels(this: ArcBorrow<'_, Self>, dev: &Dev, count: u32) -> Result {
        if count > this.device.queues().into() {
            return Err(EINVAL);
        }
        Self::reconnect(&this.into(), dev, dev.mtu(), count)
    }

    fn counter_names(&self) -> &'static [&'static str] {
        Stats::NAMES
    }

    fn counters(&self, out: &mut [u64]) {
        for (to, value) in out.iter_mut().zip(self.stats.values()) {
            *to = value;
        }
    }
}
