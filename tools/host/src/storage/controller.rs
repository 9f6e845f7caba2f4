// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A synthetic SCSI controller, or the disk of an IDE one: its units, and what guest and host have
//! agreed on.

mod misconduct;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use parking_lot::{Mutex, RwLock};
use serde_json::{json, Map, Value};
use storvsc_wire::packet::Layout;
use storvsc_wire::scsi::Sense;
use storvsc_wire::{Address, ChannelProperties, NtStatus, ProtocolVersion};
use uuid::Uuid;
use vmbus_wire::guid::class;
use vmbus_wire::message::{OfferFlags, USER_DATA_BYTES};
use vmbus_wire::Guid;

use super::drain::Drain;
use super::lun::Lun;
use super::mail::Mailbox;
use super::misbehave::Misdeeds;
use super::session;
use super::stats::{ChannelCounters, Depth};
pub use crate::args::spec::MAX_LUNS;
use crate::args::spec::{DiskPlace, DiskSpec};
use crate::device::{Device, Identity};
use crate::vmbus::channel::Channel;
use crate::vmbus::handle::DeviceHandle;

/// Namespace of the instance ids of SCSI controllers.
const NAMESPACE: Uuid = Uuid::from_u128(0x2a3f_91c4_7d18_4e0b_8c55_c1e0_96ab_44d2);
/// Instance id of the disk at the first place of the first IDE controller; the place is in bytes 4
/// and 5, the controller in the first four.
const IDE_INSTANCE: Guid = Guid::literal("00000000-0000-8899-0000-000000000000");
/// Largest transfer that Linux makes of its own accord (`BLK_DEF_MAX_SECTORS_CAP`); more would
/// only let few requests fill a ring.
const DEFAULT_TRANSFER_BYTES: u32 = 4 << 20;
/// Sub-channels that a guest may have, however many processors it has.
const MAX_SUBCHANNELS: u16 = 63;

/// How long the removal of a disk waits for what is under way on it.
const REMOVE_LIMIT: Duration = Duration::from_secs(5);

/// How a controller behaves.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// The newest version of the storage protocol that it agrees to.
    pub max_version: ProtocolVersion,
    /// Most bytes of a request's data.
    pub max_transfer_bytes: u32,
    /// Most sub-channels; none: one channel for each of the guest's processors.
    pub max_subchannels: Option<u16>,
    /// The guest signals through monitor pages, looked at so often (in 100 ns).
    pub monitor_latency: Option<u16>,
    /// Use io_uring for files where there is one.
    pub io_uring: bool,
}

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            max_version: ProtocolVersion::WIN10,
            max_transfer_bytes: DEFAULT_TRANSFER_BYTES,
            max_subchannels: None,
            monitor_latency: None,
            io_uring: true,
        }
    }
}

/// How far the conversation with the guest is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// It hasn't begun.
    #[default]
    Idle,
    /// The guest began it.
    Begun,
    /// There is a version.
    Versioned,
    /// Requests are welcome.
    Ready,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Begun => "begun",
            Self::Versioned => "versioned",
            Self::Ready => "ready",
        }
    }
}

#[derive(Debug, Default)]
struct Conversation {
    phase: Phase,
    subchannels: u16,
    /// Transaction ids of the guest's latest packets, by operation; requests aren't among them.
    asked: BTreeMap<u32, (u64, Layout)>,
}

/// What a controller is to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A SCSI controller: units of target 0.
    Scsi,
    /// One disk at an IDE controller: unit 0 of this target, one channel.
    Ide(u8),
}

/// What the guest is to be told: bits of [`Controller::news`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Units came or went.
    Enumerate = 1,
    /// A unit went.
    Remove = 2,
}

/// What there is at an address.
pub(super) enum Target {
    /// A unit.
    Unit(Arc<Lun>),
    /// None, but there may be others.
    Missing,
    /// None, and never any other.
    Nowhere,
}

/// What a channel did, whether it is open or not.
#[derive(Debug, Default)]
pub(super) struct ChannelStats {
    pub(super) counters: ChannelCounters,
    pub(super) depth: Depth,
    pub(super) open: AtomicBool,
    pub(super) mail: Mailbox,
}

/// A synthetic SCSI controller.
pub struct Controller {
    place: Place,
    name: String,
    /// What serial numbers of its units begin with.
    serials: String,
    options: ControllerOptions,
    luns: RwLock<BTreeMap<u8, Arc<Lun>>>,
    bus: OnceLock<DeviceHandle>,
    conversation: Mutex<Conversation>,
    /// The version agreed on, as on the wire; 0: none. Changed under the conversation's lock.
    version: AtomicU16,
    ready: AtomicBool,
    news: AtomicU8,
    channels: Mutex<BTreeMap<u16, Arc<ChannelStats>>>,
    drain: Drain,
    misdeeds: Misdeeds,
}

impl Controller {
    /// A controller without units; it is called `scsi` and its number.
    pub fn new(number: u8, options: ControllerOptions) -> Self {
        let (name, serials) = (format!("scsi{number}"), format!("hvhost-{number}"));
        Self::at(Place::Scsi, name, serials, options)
    }

    /// A controller of the IDE class without its disk; it is called `ide` and the target's number.
    pub fn ide(target: u8, options: ControllerOptions) -> Self {
        let (name, serials) = (format!("ide{target}"), format!("hvhost-ide-{target}"));
        Self::at(Place::Ide(target), name, serials, options)
    }

    fn at(place: Place, name: String, serials: String, options: ControllerOptions) -> Self {
        Self {
            place,
            name,
            serials,
            options,
            luns: RwLock::default(),
            bus: OnceLock::new(),
            conversation: Mutex::default(),
            version: AtomicU16::new(0),
            ready: AtomicBool::new(false),
            news: AtomicU8::new(0),
            channels: Mutex::default(),
            drain: Drain::default(),
            misdeeds: Misdeeds::default(),
        }
    }

    /// Opens a disk and adds it, at the LUN the spec says or the first one free. A guest that is
    /// there is told.
    ///
    /// # Errors
    ///
    /// A sentence that says which disk and why not.
    pub fn add(&self, spec: &DiskSpec) -> anyhow::Result<u8> {
        let limit = match self.place {
            Place::Scsi => MAX_LUNS,
            Place::Ide(_) => 1,
        };
        let wanted = match (self.place, spec.place) {
            (Place::Scsi, DiskPlace::Scsi(_, lun)) => lun,
            (Place::Scsi, DiskPlace::Ide(_)) => bail!("{} isn't of the IDE class", self.name),
            (Place::Ide(_), _) => Some(0),
        };
        let number = {
            let luns = self.luns.read();
            match wanted {
                Some(number) if number >= limit => {
                    bail!("LUN {number} of {}: {} at most", self.name, limit - 1)
                }
                Some(number) if luns.contains_key(&number) => {
                    bail!("LUN {number} of {} is taken", self.name)
                }
                Some(number) => number,
                None => (0..limit)
                    .find(|number| !luns.contains_key(number))
                    .with_context(|| format!("{} has no LUN left", self.name))?,
            }
        };
        // Opening may take a while, which I/O on other units needn't.
        let lun = Arc::new(Lun::open(&self.serials, number, spec)?);
        {
            let mut luns = self.luns.write();
            if luns.contains_key(&number) {
                bail!("LUN {number} of {} is taken", self.name);
            }
            if self.is_ready() {
                tell_others(&luns);
            }
            luns.insert(number, lun);
        }
        self.tell(News::Enumerate);
        self.emit("disk-added", json!({ "lun": number }));
        Ok(number)
    }

    /// Takes a disk away; what is under way on it is finished, which is waited for (not for ever)
    /// so that its file can be had again. The guest is told with this, if with anything.
    ///
    /// # Errors
    ///
    /// When there is no such disk.
    pub(super) fn remove(&self, number: u8, news: Option<News>) -> anyhow::Result<()> {
        let lun = {
            let mut luns = self.luns.write();
            let lun = luns
                .remove(&number)
                .with_context(|| format!("{} has no LUN {number}", self.name))?;
            if news.is_some() && self.is_ready() {
                tell_others(&luns);
            }
            lun
        };
        if let Some(news) = news {
            self.tell(news);
        }
        self.emit("disk-removed", json!({ "lun": number }));
        let deadline = Instant::now() + REMOVE_LIMIT;
        while Arc::strong_count(&lun) > 1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Makes a disk bigger or smaller, or looks how big its file has become.
    ///
    /// # Errors
    ///
    /// When there is no such disk or it can't be resized.
    pub(super) fn resize(&self, number: u8, bytes: Option<u64>) -> anyhow::Result<u64> {
        let bytes = self.lun(number)?.resize(bytes)?;
        // The guest then asks each unit whether it is ready, and is told that this one changed.
        self.tell(News::Enumerate);
        self.emit("disk-resized", json!({ "lun": number, "bytes": bytes }));
        Ok(bytes)
    }

    /// A unit by its number.
    ///
    /// # Errors
    ///
    /// When there is no such unit.
    pub(super) fn lun(&self, number: u8) -> anyhow::Result<Arc<Lun>> {
        self.luns
            .read()
            .get(&number)
            .cloned()
            .with_context(|| format!("{} has no LUN {number}", self.name))
    }

    /// What there is at an address. All units are at one target of the first path.
    pub(super) fn target(&self, address: Address) -> Target {
        let target = match self.place {
            Place::Scsi => 0,
            Place::Ide(target) => target,
        };
        if address.path != 0 || address.target != target {
            return Target::Nowhere;
        }
        match self.luns.read().get(&address.lun) {
            Some(lun) => Target::Unit(lun.clone()),
            None => Target::Missing,
        }
    }

    /// Numbers of all units.
    pub(super) fn unit_numbers(&self) -> Vec<u8> {
        self.luns.read().keys().copied().collect()
    }

    pub(super) fn options(&self) -> &ControllerOptions {
        &self.options
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn drain(&self) -> &Drain {
        &self.drain
    }

    fn emit(&self, event: &str, fields: Value) {
        if let Some(bus) = self.bus.get() {
            bus.emit(event, fields);
        }
    }

    /// Has the primary channel tell the guest.
    fn tell(&self, news: News) {
        // A guest that is yet to look will find what there is.
        if self.is_ready() {
            self.news.fetch_or(news as u8, Ordering::AcqRel);
            if let Some(bus) = self.bus.get() {
                bus.nudge(0);
            }
        }
    }

    /// What the guest is to be told, which is then told or put back with [`Self::untold`].
    pub(super) fn take_news(&self) -> Option<News> {
        if self.news.load(Ordering::Acquire) == 0 {
            return None;
        }
        [News::Remove, News::Enumerate].into_iter().find(|news| {
            let bit = *news as u8;
            self.news.fetch_and(!bit, Ordering::AcqRel) & bit != 0
        })
    }

    pub(super) fn untold(&self, news: News) {
        self.news.fetch_or(news as u8, Ordering::AcqRel);
    }

    /// Wakes the threads of all open channels.
    pub(super) fn nudge_all(&self) {
        let Some(bus) = self.bus.get() else { return };
        for (index, channel) in self.channels.lock().iter() {
            if channel.open.load(Ordering::Acquire) {
                bus.nudge(*index);
            }
        }
    }

    /// Statistics of a channel, which is now open.
    pub(super) fn channel_opened(&self, index: u16) -> Arc<ChannelStats> {
        let stats = self.channels.lock().entry(index).or_default().clone();
        // Nothing that was meant for who had it open before.
        drop(stats.mail.take());
        stats.open.store(true, Ordering::Release);
        stats.counters.opened.inc();
        stats
    }

    // The conversation.

    /// Requests are welcome.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The version agreed on.
    pub(super) fn version(&self) -> Option<ProtocolVersion> {
        match self.version.load(Ordering::Acquire) {
            0 => None,
            version => Some(ProtocolVersion::from_wire(version)),
        }
    }

    /// As before the first packet.
    pub(super) fn forget_conversation(&self) {
        let mut conversation = self.conversation.lock();
        *conversation = Conversation::default();
        self.version.store(0, Ordering::Release);
        self.ready.store(false, Ordering::Release);
        self.news.store(0, Ordering::Release);
    }

    /// BEGIN_INITIALIZATION.
    pub(super) fn begin(&self) -> NtStatus {
        let mut conversation = self.conversation.lock();
        self.ready.store(false, Ordering::Release);
        conversation.phase = Phase::Begun;
        self.version.store(0, Ordering::Release);
        NtStatus::SUCCESS
    }

    /// QUERY_PROTOCOL_VERSION.
    pub(super) fn agree(&self, version: ProtocolVersion) -> NtStatus {
        let mut conversation = self.conversation.lock();
        if !matches!(conversation.phase, Phase::Begun | Phase::Versioned) {
            return NtStatus::INVALID_DEVICE_STATE;
        }
        if !version.is_known() || version > self.options.max_version {
            return NtStatus::REVISION_MISMATCH;
        }
        conversation.phase = Phase::Versioned;
        self.version.store(version.to_wire(), Ordering::Release);
        NtStatus::SUCCESS
    }

    /// QUERY_PROPERTIES.
    ///
    /// # Errors
    ///
    /// When it isn't time to ask.
    pub(super) fn properties(&self) -> Result<ChannelProperties, NtStatus> {
        let version = self.version().ok_or(NtStatus::INVALID_DEVICE_STATE)?;
        let max_subchannels = self.max_subchannels(version);
        Ok(ChannelProperties {
            multi_channel: max_subchannels > 0,
            max_subchannels,
            max_transfer_bytes: self.options.max_transfer_bytes,
        })
    }

    /// END_INITIALIZATION.
    pub(super) fn end(&self) -> NtStatus {
        let mut conversation = self.conversation.lock();
        let versioned = conversation.phase == Phase::Versioned;
        let Some(version) = self.version().filter(|_| versioned) else {
            return NtStatus::INVALID_DEVICE_STATE;
        };
        conversation.phase = Phase::Ready;
        self.ready.store(true, Ordering::Release);
        tracing::info!("{}: the guest speaks storvsp {version}", self.name);
        NtStatus::SUCCESS
    }

    fn max_subchannels(&self, version: ProtocolVersion) -> u16 {
        if !version.has_multi_channel() || matches!(self.place, Place::Ide(_)) {
            return 0;
        }
        let others = self
            .bus
            .get()
            .map_or(1, DeviceHandle::processors)
            .saturating_sub(1);
        let others = u16::try_from(others).unwrap_or(u16::MAX);
        self.options
            .max_subchannels
            .unwrap_or(others)
            .min(MAX_SUBCHANNELS)
    }

    /// CREATE_SUB_CHANNELS.
    pub(super) fn create_subchannels(&self, count: u16) -> NtStatus {
        let mut conversation = self.conversation.lock();
        let Some(version) = self.version() else {
            return NtStatus::INVALID_DEVICE_STATE;
        };
        let room = self
            .max_subchannels(version)
            .saturating_sub(conversation.subchannels);
        if count == 0 || count > room {
            return NtStatus::INVALID_PARAMETER;
        }
        let Some(bus) = self.bus.get() else {
            return NtStatus::INSUFFICIENT_RESOURCES;
        };
        let offered = match count.saturating_sub(self.missing_subchannels(count)) {
            0 => Ok(0),
            some => bus.offer_subchannels(some),
        };
        match offered {
            Ok(_) => {
                conversation.subchannels = conversation.subchannels.saturating_add(count);
                NtStatus::SUCCESS
            }
            Err(error) => {
                tracing::warn!("{}: no sub-channels: {error:#}", self.name);
                NtStatus::INSUFFICIENT_RESOURCES
            }
        }
    }
}

/// Other disks tell with their next command that the list of units has changed. DVD drives don't:
/// Linux takes any news from a drive for a change of its medium and refuses further access.
fn tell_others(luns: &BTreeMap<u8, Arc<Lun>>) {
    for lun in luns.values().filter(|lun| !lun.cdrom) {
        lun.attend(Sense::REPORTED_LUNS_CHANGED);
    }
}

impl Device for Controller {
    fn identity(&self) -> Identity {
        let (class, instance) = match self.place {
            Place::Scsi => {
                let instance = Uuid::new_v5(&NAMESPACE, self.name.as_bytes());
                (class::SCSI, Guid::from_bytes(instance.to_bytes_le()))
            }
            Place::Ide(target) => {
                let mut instance = IDE_INSTANCE.to_bytes();
                instance[4] = target;
                (class::IDE, Guid::from_bytes(instance))
            }
        };
        Identity {
            name: self.name.clone(),
            class,
            instance,
            flags: OfferFlags(OfferFlags::ENUMERATE_DEVICE_INTERFACE),
            user_data: [0; USER_DATA_BYTES],
            monitor_latency: self.options.monitor_latency,
        }
    }

    fn attached(&self, bus: DeviceHandle) {
        if self.bus.set(bus).is_err() {
            tracing::error!("{} was attached twice", self.name);
        }
    }

    fn may_open(&self, subchannel: u16) -> bool {
        self.lets_open(subchannel)
    }

    fn serve(self: Arc<Self>, channel: Channel) -> anyhow::Result<()> {
        session::serve(self, channel)
    }

    fn reset(&self) {
        self.forget_conversation();
        for lun in self.luns.read().values() {
            lun.reset();
        }
    }

    fn stats(&self) -> Value {
        let phase = self.conversation.lock().phase;
        let version = self.version();
        let units: Vec<Value> = self.luns.read().values().map(|lun| lun.stats()).collect();
        let mut channels = Map::new();
        for (index, channel) in self.channels.lock().iter() {
            let mut map = channel.counters.snapshot();
            channel.depth.add_to(&mut map);
            map.insert(
                "open".to_owned(),
                channel.open.load(Ordering::Acquire).into(),
            );
            channels.insert(index.to_string(), map.into());
        }
        json!({
            "phase": phase.name(),
            "version": version.map(|version| version.to_string()),
            "luns": units,
            "channels": channels,
            "misbehaviour": self.misdeeds.stats(),
        })
    }

    fn control(&self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        super::commands::carry_out(self, command, arguments)
    }
}
