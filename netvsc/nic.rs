// SPDX-License-Identifier: GPL-2.0

//! A NIC: what the stack calls, and what outlives sessions.

use kernel::{
    fmt, new_delayed_work, new_work,
    prelude::*,
    sync::{aref::ARef, rcu, Arc, ArcBorrow, Mutex},
    workqueue::{DelayedWork, Work},
};
use kernel_ext::{
    atomic::{Atomic, Full, Relaxed},
    lock::IrqLock,
    new_irq_lock,
    rcu::RcuSlot,
    shared::Shared,
};
use net::{
    Channels, Dev, Device, Features, Filter, FlowKind, HashFields, Link, NicDriver,
    QueueStatistics, Rings, SkBuff, SpreadSize, Statistics,
};
use netvsc_wire::{
    oid::{Oid, PacketFilter},
    rss::KEY_BYTES,
};
use vmbus_wire::Guid;

use crate::{
    control::Control,
    module,
    queue::Queue,
    session::{Division, Session, Settings},
    spread::{SendSpread, Spread},
    stats::{QueueStats, Stats},
    vmq::Asked,
};

mod look;

/// A NIC.
#[pin_data]
pub(crate) struct Nic {
    pub(crate) module: Arc<Shared>,
    pub(crate) dev: ARef<vmbus::Device>,
    pub(crate) device: Arc<Device>,
    /// The session, between its beginning and its end.
    pub(crate) session: RcuSlot<Session>,
    /// The questions of the session, from before it begins.
    pub(crate) control: RcuSlot<Control>,
    /// What the session began with, or the last one; held while sessions begin and end.
    #[pin]
    settings: Mutex<Settings>,
    /// How flows are spread over channels.
    #[pin]
    pub(crate) spread: Mutex<Spread>,
    pub(crate) send_spread: SendSpread,
    /// 1 while the stack wants frames.
    up: Atomic<u32>,
    /// Which frames it wants: a [`PacketFilter`].
    filter: Atomic<u32>,
    /// 1 when the host may put segments together, if it is told to.
    pub(crate) coalesces: Atomic<u32>,
    /// 1 while the stack may send.
    sending: Atomic<u32>,
    /// The buffer that the host has asked for and not been given yet.
    #[pin]
    asked: IrqLock<Option<Asked>>,
    /// 1 when it has no use for it any more.
    freed: Atomic<u32>,
    /// The least sub-channel that is gone.
    #[pin]
    lost_from: IrqLock<Option<u16>>,
    /// 1 while there is a link.
    pub(crate) link_up: Atomic<u32>,
    /// Its speed in Mbit/s; 0: unknown.
    pub(crate) megabits: Atomic<u32>,
    pub(crate) stats: Stats,
    /// Those of each queue that there could be.
    pub(crate) queue_stats: KVec<Arc<QueueStats>>,
    #[pin]
    look: Work<Nic, { Nic::LOOK }>,
    #[pin]
    returns: DelayedWork<Nic, { Nic::RETURNS }>,
}

impl Nic {
    /// A NIC without a session.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        dev: ARef<vmbus::Device>,
        device: Arc<Device>,
        settings: &Settings,
    ) -> Result<Arc<Self>> {
        let module = module::SHARED.get()?;
        let mut queue_stats = KVec::with_capacity(device.queues().into(), GFP_KERNEL)?;
        for _ in 0..device.queues() {
            queue_stats.push(Arc::new(QueueStats::new(), GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Arc::pin_init(
            pin_init!(Self {
                module,
                dev,
                device,
                session: RcuSlot::new(None),
                control: RcuSlot::new(None),
                settings <- kernel::new_mutex!(*settings, "netvsc_settings"),
                spread <- kernel::new_mutex!(Spread::new(), "netvsc_spread"),
                send_spread: SendSpread::new(),
                up: Atomic::new(0),
                filter: Atomic::new(0),
                coalesces: Atomic::new(0),
                sending: Atomic::new(0),
                asked <- new_irq_lock!(None, "netvsc_asked"),
                freed: Atomic::new(0),
                lost_from <- new_irq_lock!(None, "netvsc_lost"),
                link_up: Atomic::new(0),
                megabits: Atomic::new(0),
                stats: Stats::new(),
                queue_stats,
                look <- new_work!("netvsc_look"),
                returns <- new_delayed_work!("netvsc_returns"),
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
    pub(crate) fn connect(self: &Arc<Self>, settings: &Settings) -> Result<crate::offload::Agreed> {
        let mut now = self.settings.lock();
        // What an earlier session was asked for, and what became of it.
        *self.asked.lock() = None;
        *self.lost_from.lock() = None;
        self.freed.store(0, Relaxed);
        self.send_spread.forget();
        let (session, agreed) = Session::begin(self, settings)?;
        if let Err(error) = self.ask_link(&session) {
            session.end();
            return Err(error);
        }
        *now = *settings;
        drop(self.session.replace(Some(session)));
        Ok(agreed)
    }

    /// Ends the session. Process context, while nobody sends.
    pub(crate) fn disconnect(&self) {
        let _changing = self.settings.lock();
        if let Some(session) = self.session.get() {
            drop(self.session.replace(None));
            session.end();
            for number in 0..self.device.queues() {
                self.device.queue_reset(number);
            }
        }
    }

    /// What the session began with.
    pub(crate) fn settings(&self) -> Settings {
        *self.settings.lock()
    }

    /// Another session with other settings, or one with those of before. Process context, under RTNL.
    fn reconnect(nic: &Arc<Self>, dev: &Dev, settings: &Settings) -> Result {
        let before = nic.settings();
        let up = nic.up.load(Relaxed) != 0;
        nic.stop_sending(dev);
        nic.disconnect();
        let mut changed = nic.connect(settings).map(|_| ());
        if let Err(error) = &changed {
            kernel_ext::log_err!("{}: no session with {settings:?}: {error:?}\n", nic.name());
            nic.connect(&before)?;
        }
        // From here on there is a session, and frames go whatever else fails.
        if let Some(session) = nic.session.get() {
            let used = session.settle() as u16;
            changed = changed.and(session.use_queues(dev, used));
        }
        if up {
            if let Err(error) = nic.tell_filter() {
                kernel_ext::log_warn!("{}: the host has no filter: {error:?}\n", nic.name());
            }
            nic.start_sending(dev);
        }
        // What the host has asked for meanwhile.
        nic.look();
        changed
    }

    /// No frame comes from now on. Process context.
    fn stop_sending(&self, dev: &Dev) {
        // First, so that no poll lets them come again.
        self.sending.xchg(0, Full);
        dev.disable_queues();
    }

    /// Frames may come. Process context.
    fn start_sending(&self, dev: &Dev) {
        self.sending.xchg(1, Full);
        dev.start_queues();
    }

    /// Wakes a queue, unless frames are kept away from all of them. Any context.
    pub(crate) fn wake(&self, dev: &Dev, queue: u16) -> bool {
        if self.sending.load(Relaxed) == 0 {
            return false;
        }
        dev.wake_queue(queue);
        // Both look at what the other does, after they did theirs.
        kernel_ext::barrier::virt_mb();
        if self.sending.load(Relaxed) == 0 {
            dev.stop_queue(queue);
        }
        true
    }

    /// Has the host spread flows in another way. Process context.
    fn respread(&self, change: impl FnOnce(&Spread) -> Result<Spread>) -> Result {
        let session = self.session.get().ok_or(ENODEV)?;
        let mut spread = self.spread.lock();
        let changed = change(&spread)?;
        // With one channel there is nothing to be spread, and it counts from the next session on.
        if session.channels.load(Relaxed) > 1 {
            session.tell_spread(&changed)?;
        }
        *spread = changed;
        Ok(())
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

#[vtable]
impl NicDriver for Nic {
    const NAME: &'static CStr = c"netvsc";

    fn open(this: ArcBorrow<'_, Self>, dev: &Dev) -> Result {
        this.up.store(1, Relaxed);
        this.tell_filter()
            .inspect_err(|_| this.up.store(0, Relaxed))?;
        this.start_sending(dev);
        Ok(())
    }

    fn stop(this: ArcBorrow<'_, Self>, dev: &Dev) {
        this.up.store(0, Relaxed);
        this.stop_sending(dev);
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
            Some(queue) => queue.transmit(dev, frame, more, &guard),
            None => {
                self.stats.tx_gone.inc();
                Ok(())
            }
        }
    }

    fn choose_queue(&self, hash: u32) -> Option<u16> {
        let guard = rcu::read_lock();
        let channels = self.session.read(&guard)?.channels.load(Relaxed);
        let channel = self.send_spread.channel(hash, channels)?;
        u16::try_from(channel).ok()
    }

    fn statistics(&self) -> Statistics {
        let stats = &self.stats;
        let mut sum = Statistics {
            rx_errors: stats.rx_bad.get(),
            tx_dropped: stats.tx_no_memory.get()
                + stats.tx_too_many_pieces.get()
                + stats.tx_gone.get(),
            ..Statistics::default()
        };
        for queue in &self.queue_stats {
            sum.rx_packets += queue.rx_packets.get();
            sum.rx_bytes += queue.rx_bytes.get();
            sum.rx_dropped += queue.rx_no_memory.get();
            sum.multicast += queue.rx_multicast.get();
            sum.tx_packets += queue.tx_packets.get();
            sum.tx_bytes += queue.tx_bytes.get();
        }
        sum
    }

    fn queue_statistics(&self, queue: usize) -> Option<QueueStatistics> {
        let stats = self.queue_stats.get(queue)?;
        Some(QueueStatistics {
            rx_packets: stats.rx_packets.get(),
            rx_bytes: stats.rx_bytes.get(),
            rx_no_memory: stats.rx_no_memory.get(),
            rx_checksum_good: stats.rx_checksum_good.get(),
            tx_packets: stats.tx_packets.get(),
            tx_bytes: stats.tx_bytes.get(),
            tx_stopped: stats.tx_stopped.get(),
            tx_woken: stats.tx_woken.get(),
        })
    }

    fn change_mtu(this: ArcBorrow<'_, Self>, dev: &Dev, mtu: u32) -> Result {
        let settings = Settings {
            mtu,
            ..this.settings()
        };
        Self::reconnect(&this.into(), dev, &settings)
    }

    fn change_features(this: ArcBorrow<'_, Self>, dev: &Dev, features: Features) -> Result {
        let large = features.contains(Features::LARGE_RECEIVE);
        if dev.features().contains(Features::LARGE_RECEIVE) == large {
            return Ok(());
        }
        this.session.get().ok_or(ENODEV)?.tell_coalescing(large)
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

    fn timed_out(this: ArcBorrow<'_, Self>, _dev: &Dev, queue: u16) {
        this.stats.tx_timeouts.inc();
        kernel_ext::log_warn_limited!("{}: queue {queue} was stopped for too long\n", this.name());
        if let Some(session) = this.session.get() {
            if let Some(queue) = session.queues.get(usize::from(queue)) {
                // A signal or an interrupt may have got lost.
                if let Some(channel) = queue.channel.get() {
                    channel.flush();
                }
                // The poll wakes the queue if there is room.
                queue.kick();
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
        let settings = Settings {
            channels: count,
            ..this.settings()
        };
        Self::reconnect(&this.into(), dev, &settings)
    }

    fn counters(&self, show: &mut dyn FnMut(fmt::Arguments<'_>, u64)) {
        self.stats
            .each(|name, value| show(format_args!("{name}"), value));
        for (number, stats) in self.queue_stats.iter().enumerate() {
            stats.each(|name, value| {
                // As the C driver names them: `rx_queue_0_packets`.
                let (way, what) = name.split_once('_').unwrap_or(("", name));
                show(format_args!("{way}_queue_{number}_{what}"), value);
            });
        }
    }

    fn rings(&self) -> Rings {
        let Some(session) = self.session.get() else {
            return Rings::default();
        };
        let (receive, send) = session.divisions();
        let most = |bytes: usize, division: &Division| {
            (bytes as u32)
                .checked_div(division.section_bytes)
                .unwrap_or(0)
        };
        let receive_bytes = session.version.max_receive_buffer_bytes() as usize;
        Rings {
            most_receive: most(receive_bytes, &receive),
            receive: receive.sections,
            most_send: most(Settings::MOST_SEND_BYTES, &send),
            send: send.sections,
        }
    }

    fn change_rings(this: ArcBorrow<'_, Self>, dev: &Dev, receive: u32, send: u32) -> Result {
        let (receive_now, send_now) = this.session.get().ok_or(ENODEV)?.divisions();
        let before = this.settings();
        let settings = Settings {
            receive_bytes: receive_now.bytes_for(receive, before.receive_bytes),
            send_bytes: send_now.bytes_for(send, before.send_bytes),
            ..before
        };
        if (settings.receive_bytes, settings.send_bytes)
            == (before.receive_bytes, before.send_bytes)
        {
            return Ok(());
        }
        Self::reconnect(&this.into(), dev, &settings)
    }

    fn spread_size(&self) -> SpreadSize {
        SpreadSize {
            entries: self.spread.lock().table().len() as u32,
            key: KEY_BYTES as u32,
        }
    }

    fn spread(&self, table: &mut [u32], key: &mut [u8]) {
        let spread = self.spread.lock();
        for (to, from) in table.iter_mut().zip(spread.table()) {
            *to = (*from).into();
        }
        for (to, from) in key.iter_mut().zip(spread.key()) {
            *to = *from;
        }
    }

    fn change_spread(
        this: ArcBorrow<'_, Self>,
        dev: &Dev,
        table: Option<&[u32]>,
        key: Option<&[u8]>,
    ) -> Result {
        let channels = dev.receive_queues();
        this.respread(|spread| spread.with(table, key, channels))
    }

    fn hash_fields(&self, kind: FlowKind) -> HashFields {
        self.spread.lock().fields(kind)
    }

    fn change_hash_fields(this: ArcBorrow<'_, Self>, kind: FlowKind, fields: HashFields) -> Result {
        this.respread(|spread| spread.with_fields(kind, fields))
    }
}
