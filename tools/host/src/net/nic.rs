// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The NIC as the bus and the control socket see it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use netvsc_wire::nvsp::{NdisConfig, SendTable, SEND_TABLE_ENTRIES};
use netvsc_wire::Version;
use parking_lot::Mutex;
use serde_json::{json, Map, Value};
use vmbus_wire::guid::class;
use vmbus_wire::message::{OfferFlags, USER_DATA_BYTES};
use vmbus_wire::Guid;

use super::backend::{Backend, Capabilities};
use super::frame::Mac;
use super::misbehave::{self, Misdeed, Misdeeds};
use super::peer::Peer;
use super::plane::{Plane, QueueCounters, Shared};
use super::rndis_control::Adapter;
use super::spec::{BackendSpec, NicSpec};
use super::tap::Tap;
use super::worker::Worker;
use crate::device::{Device, Identity};
use crate::vmbus::channel::Channel;
use crate::vmbus::handle::DeviceHandle;

/// Queues of a NIC whose specification doesn't say, at most.
const DEFAULT_QUEUES: u32 = 8;
/// Speed of the link in Mbit/s, until told otherwise.
const DEFAULT_SPEED: u32 = 10_000;
/// Namespace of the instance ids of NICs.
const NAMESPACE: uuid::Uuid = uuid::uuid!("3d5f6a52-7c1e-4d0c-9c0b-6f1d5a0f3b61");

/// What all NICs of a host have in common.
#[derive(Clone, Copy, Debug)]
pub struct NicOptions {
    /// The newest NVSP version it agrees to.
    pub max_version: Version,
    /// Processors of the guest.
    pub processors: u32,
}

impl Default for NicOptions {
    fn default() -> Self {
        Self {
            max_version: Version::V6_1,
            processors: 1,
        }
    }
}

/// The link as the guest is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) up: bool,
    pub(super) megabits: u32,
}

/// A synthetic NIC.
pub struct Nic {
    name: String,
    instance: Guid,
    spec: NicSpec,
    mac: Mac,
    options: NicOptions,
    backend: Arc<dyn Backend>,
    /// What its threads share.
    pub(super) shared: Shared,
    handle: OnceLock<DeviceHandle>,
    /// The control plane, as long as a guest speaks with it.
    pub(super) adapter: Mutex<Option<Adapter>>,
    link: Mutex<Link>,
    /// What it is to do wrong.
    pub(super) misdeeds: Misdeeds,
}

impl Nic {
    /// Makes a NIC with its back end; `number` is that of `netN`.
    ///
    /// # Errors
    ///
    /// When the back end can't be had, as one sentence.
    pub fn new(number: u32, spec: NicSpec, options: NicOptions) -> anyhow::Result<Arc<Self>> {
        let mac = spec.mac.unwrap_or_else(|| default_mac(number));
        let queues = queues(&spec, &options);
        let backend: Arc<dyn Backend> = match &spec.backend {
            BackendSpec::Tap { name } => Arc::new(Tap::open(name, queues)?),
            BackendSpec::Peer { mode, rate, size } => {
                let size = size.unwrap_or(NdisConfig::DEFAULT_FRAME_BYTES);
                Arc::new(Peer::new(*mode, queues, *rate, size, mac))
            }
        };
        Ok(Self::with_backend(number, spec, options, backend))
    }

    /// The same with a back end of the caller's.
    pub fn with_backend(
        number: u32,
        spec: NicSpec,
        options: NicOptions,
        backend: Arc<dyn Backend>,
    ) -> Arc<Self> {
        let mac = spec.mac.unwrap_or_else(|| default_mac(number));
        let queues = queues(&spec, &options);
        let seed = format!("net{number} {mac}");
        let instance = uuid::Uuid::new_v5(&NAMESPACE, seed.as_bytes());
        Arc::new(Self {
            name: format!("net{number}"),
            instance: Guid::from_bytes(instance.to_bytes_le()),
            shared: Shared::new(Plane::new(&spec, mac), queues),
            spec,
            mac,
            options,
            backend,
            handle: OnceLock::new(),
            adapter: Mutex::new(None),
            link: Mutex::new(Link {
                up: true,
                megabits: DEFAULT_SPEED,
            }),
            misdeeds: Misdeeds::default(),
        })
    }

    /// `netN`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its frames go.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(super) fn spec(&self) -> &NicSpec {
        &self.spec
    }

    pub(super) fn mac(&self) -> Mac {
        self.mac
    }

    pub(super) fn link(&self) -> Link {
        *self.link.lock()
    }

    pub(super) fn max_version(&self) -> Version {
        self.options.max_version
    }

    /// Channels it may have.
    pub fn queues(&self) -> u16 {
        self.shared.queues.len() as u16
    }

    /// What a queue moved; the first's for one that there isn't.
    pub(super) fn counters(&self, queue: u16) -> &QueueCounters {
        let queues = &self.shared.queues;
        let shared = queues.get(usize::from(queue)).or(queues.first());
        // There is at least one queue.
        #[allow(clippy::expect_used)]
        &shared.expect("a NIC has a queue").counters
    }

    /// Wakes the threads of the queues whose bits are set.
    pub(super) fn nudge(&self, queues: u64) {
        if queues == 0 {
            return;
        }
        let Some(handle) = self.handle.get() else {
            return;
        };
        for queue in 0..self.queues() {
            if queues >> (queue & 63) & 1 != 0 {
                handle.nudge(queue);
            }
        }
    }

    /// A queue's channel was opened.
    pub(super) fn opened(&self, queue: u16) {
        let wanted = self.shared.wanted.load(Ordering::Acquire);
        if queue != 0 && self.shared.open.load(Ordering::Acquire) > wanted {
            // The primary channel's thread sends the table.
            self.nudge(1);
        }
    }

    pub(super) fn offer_subchannels(&self, count: u16) -> anyhow::Result<u16> {
        let handle = self.handle.get().context("no bus")?;
        let missing = |what| what == Misdeed::MissingSubchannels;
        if self.misdeeds.take(missing).is_some() {
            return Ok(count);
        }
        Ok(handle.offer_subchannels(count)?.min(count))
    }

    /// Forgets what the guest agreed to.
    pub(super) fn end_session(&self) {
        *self.adapter.lock() = None;
        self.shared.plane.write().reset();
        self.shared.control.lock().clear();
        self.shared.wanted.store(0, Ordering::Release);
        *self.shared.send_table.lock() = None;
        self.shared.renew_buffer.store(false, Ordering::Release);
        self.tell_backend(Capabilities::NONE);
        // Threads of sub-channels still know pages of the buffers.
        self.nudge(!1);
    }

    /// The guest is told which channels flows shall be sent on: `channels` are repeated to fill the table. They
    /// needn't exist: a guest has to bear that.
    fn change_send_table(&self, arguments: &Value) -> anyhow::Result<Value> {
        let channels: Vec<u32> = arguments
            .get("channels")
            .and_then(Value::as_array)
            .filter(|list| (1..=SEND_TABLE_ENTRIES).contains(&list.len()))
            .and_then(|list| list.iter().map(Value::as_u64).collect::<Option<Vec<_>>>())
            .and_then(|list| list.into_iter().map(|n| u32::try_from(n).ok()).collect())
            .context("send-table needs `channels`: 1 to 16 numbers")?;
        anyhow::ensure!(
            self.shared.wanted.load(Ordering::Acquire) > 0,
            "the guest has no sub-channels that a table could name"
        );
        let mut table = SendTable::spread(1);
        for (entry, channel) in table.channels.iter_mut().zip(channels.iter().cycle()) {
            *entry = *channel;
        }
        *self.shared.send_table.lock() = Some(table);
        self.nudge(1);
        Ok(json!({ "table": table.channels }))
    }

    /// The buffer that the guest allocated for its queues is freed, whatever it has of it, and another asked for.
    fn renew_buffer(&self) -> anyhow::Result<Value> {
        anyhow::ensure!(
            self.shared.plane.read().allocated.is_some(),
            "the guest has allocated no buffer"
        );
        self.shared.renew_buffer.store(true, Ordering::Release);
        self.nudge(1);
        Ok(json!({}))
    }

    /// The link changes; the guest is told.
    fn change_link(&self, up: Option<bool>, megabits: Option<u32>) -> Link {
        let link = {
            let mut link = self.link.lock();
            link.up = up.unwrap_or(link.up);
            link.megabits = megabits.unwrap_or(link.megabits);
            *link
        };
        if let Some(up) = up {
            self.shared.plane.write().link = up;
            self.backend.set_link(up);
        }
        self.tell_link(up, megabits);
        self.nudge(u64::MAX);
        if let Some(handle) = self.handle.get() {
            handle.emit("link", json!({"up": link.up, "speed": link.megabits}));
        }
        link
    }
}

/// Microsoft's prefix for addresses of virtual NICs, with the local bit, and the number.
fn default_mac(number: u32) -> Mac {
    let [_, a, b, c] = number.to_be_bytes();
    Mac([0x02, 0x15, 0x5d, a, b, c])
}

fn queues(spec: &NicSpec, options: &NicOptions) -> u16 {
    let default = options.processors.clamp(1, DEFAULT_QUEUES) as u16;
    spec.queues.unwrap_or(default)
}

impl Device for Nic {
    fn identity(&self) -> Identity {
        Identity {
            name: self.name.clone(),
            class: class::NETWORK,
            instance: self.instance,
            flags: OfferFlags(OfferFlags::ENUMERATE_DEVICE_INTERFACE),
            user_data: [0; USER_DATA_BYTES],
            monitor_latency: None,
        }
    }

    fn attached(&self, bus: DeviceHandle) {
        // A NIC is given to one bus only, once.
        let _ = self.handle.set(bus);
    }

    fn serve(self: Arc<Self>, channel: Channel) -> anyhow::Result<()> {
        let primary = channel.subchannel() == 0;
        let result = Worker::new(&self, channel).and_then(|mut worker| worker.run());
        if primary {
            self.end_session();
        }
        result
    }

    fn reset(&self) {
        self.end_session();
    }

    fn stats(&self) -> Value {
        let mut total = Map::new();
        let mut queues = Vec::new();
        for shared in &self.shared.queues {
            let mut counters = shared.counters.snapshot();
            for (name, value) in &counters {
                let sum = total.get(name).and_then(Value::as_u64).unwrap_or(0);
                let sum = sum + value.as_u64().unwrap_or(0);
                total.insert(name.clone(), sum.into());
            }
            counters.insert(
                "open".to_owned(),
                shared.open.load(Ordering::Relaxed).into(),
            );
            queues.push(Value::Object(counters));
        }
        let link = *self.link.lock();
        let plane = self.shared.plane.read();
        let receive = plane.receive.as_ref();
        json!({
            "spec": self.spec.to_string(),
            "mac": plane.mac.to_string(),
            "backend": { "name": self.backend.name(), "counters": self.backend.stats() },
            "link": if link.up { "up" } else { "down" },
            "speed": link.megabits,
            "nvsp": plane.version.to_string(),
            "running": plane.running,
            "frame_bytes": plane.frame_bytes,
            "packet_filter": plane.filter.0,
            "groups": plane.groups.len(),
            "rss": plane.steering.is_some(),
            "rsc": plane.accepts.tso4 || plane.accepts.tso6,
            "receive_checksums": plane.accepts.checksum,
            "receive_sections": receive.map_or(0, |buffer| buffer.pieces()),
            "vmq": plane.allocated.is_some(),
            "open_queues": self.shared.open.load(Ordering::Relaxed),
            "misbehaviour": self.misdeeds.stats(),
            "total": total,
            "queues": queues,
        })
    }

    fn control(&self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        let link = match command {
            "link" => {
                let state = arguments.get("state").or(arguments.get("link"));
                let up = match state.and_then(Value::as_str) {
                    Some("up") => true,
                    Some("down") => false,
                    _ => anyhow::bail!("link needs `state`: up or down"),
                };
                self.change_link(Some(up), None)
            }
            "speed" => {
                let megabits = arguments
                    .get("mbps")
                    .and_then(Value::as_u64)
                    .and_then(|speed| u32::try_from(speed).ok())
                    .filter(|speed| (1..=400_000).contains(speed))
                    .context("speed needs `mbps`: 1 to 400000")?;
                self.change_link(None, Some(megabits))
            }
            "send-table" => return self.change_send_table(arguments),
            "renew-buffer" => return self.renew_buffer(),
            "misbehave" => return misbehave::carry_out(self, arguments),
            _ => anyhow::bail!(
                "{} knows no command `{command}`: link, speed, send-table, renew-buffer, misbehave",
                self.name
            ),
        };
        Ok(json!({
            "link": if link.up { "up" } else { "down" },
            "speed": link.megabits,
        }))
    }
}
