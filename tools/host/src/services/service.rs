// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the services have in common: a device with one channel, versions settled first.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde_json::{json, Map, Value};
use util_wire::negotiate::Agreed;
use util_wire::Version;
use vmbus_wire::message::{OfferFlags, USER_DATA_BYTES};
use vmbus_wire::Guid;

use super::link::Link;
use crate::device::{Device, Identity};
use crate::vmbus::channel::Channel;
use crate::vmbus::handle::DeviceHandle;

crate::counters! {
    /// What a service did.
    pub struct Counters {
        /// Times the guest opened it.
        opened,
        /// Messages to the guest, negotiations included.
        sent,
        /// Messages from the guest.
        received,
        /// Messages for which the ring had no room.
        ring_full,
    }
}

/// What differs between services.
pub trait Kind: Send + Sync + 'static {
    /// Name of the device.
    const NAME: &'static str;
    /// Class of its offer.
    const CLASS: Guid;
    /// Instance of its offer, the one that it has on every Hyper-V host.
    const INSTANCE: Guid;

    /// Versions that can be had, in any order.
    fn versions(&self) -> Vec<Version>;

    /// Serves the channel from the settled version on, until it is told to stop.
    ///
    /// # Errors
    ///
    /// What the guest did wrong.
    fn run(&self, link: &mut Link<'_>) -> anyhow::Result<()>;

    /// The channel is closed: nobody will answer any more.
    fn closed(&self);

    /// Adds what it knows to the device's `stats`.
    fn stats(&self, into: &mut Map<String, Value>);

    /// A control command.
    ///
    /// # Errors
    ///
    /// A sentence for the person who asked.
    fn control(&self, desk: &Desk, command: &str, arguments: &Value) -> anyhow::Result<Value>;
}

/// What a service shares with those who ask something of it.
#[derive(Default)]
pub struct Desk {
    bus: OnceLock<DeviceHandle>,
    /// Versions that were settled; none as long as there is no guest to ask.
    agreed: Mutex<Option<Agreed>>,
    /// What it did.
    pub counters: Counters,
}

impl Desk {
    /// The settled versions.
    pub fn agreed(&self) -> Option<Agreed> {
        *self.agreed.lock()
    }

    /// Versions were settled, or are void.
    pub(super) fn set_agreed(&self, agreed: Option<Agreed>) {
        *self.agreed.lock() = agreed;
    }

    /// Tells subscribers what happened.
    pub fn emit(&self, event: &str, fields: Value) {
        if let Some(bus) = self.bus.get() {
            bus.emit(event, fields);
        }
    }

    /// Wakes the thread that serves the channel.
    pub fn nudge(&self) {
        if let Some(bus) = self.bus.get() {
            bus.nudge(0);
        }
    }
}

/// A service as a device.
pub struct Service<K> {
    kind: K,
    desk: Desk,
}

impl<K: Kind> Service<K> {
    /// A service that nobody has opened yet.
    pub fn new(kind: K) -> Self {
        Self {
            kind,
            desk: Desk::default(),
        }
    }
}

/// Pipes carry messages, not a stream (`VMBUS_PIPE_TYPE_MESSAGE`).
const PIPE_MODE_MESSAGE: u32 = 4;

impl<K: Kind> Device for Service<K> {
    fn identity(&self) -> Identity {
        let mut user_data = [0; USER_DATA_BYTES];
        user_data[..4].copy_from_slice(&PIPE_MODE_MESSAGE.to_le_bytes());
        Identity {
            name: K::NAME.to_owned(),
            class: K::CLASS,
            instance: K::INSTANCE,
            flags: OfferFlags(OfferFlags::ENUMERATE_DEVICE_INTERFACE | OfferFlags::NAMED_PIPE),
            user_data,
            monitor_latency: None,
        }
    }

    fn attached(&self, bus: DeviceHandle) {
        // Once only, says the trait; a second handle would lead to the same bus.
        let _ = self.desk.bus.set(bus);
    }

    fn serve(self: Arc<Self>, channel: Channel) -> anyhow::Result<()> {
        self.desk.counters.opened.inc();
        let mut link = Link::new(channel, &self.desk);
        let result = link
            .negotiate(&self.kind.versions())
            .and_then(|agreed| match agreed {
                Some(agreed) => {
                    self.desk.set_agreed(Some(agreed));
                    tracing::info!(
                        "{}: version {}, framework {}",
                        K::NAME,
                        agreed.service,
                        agreed.framework
                    );
                    self.kind.run(&mut link)
                }
                None => Ok(()),
            });
        self.desk.set_agreed(None);
        self.kind.closed();
        result
    }

    fn stats(&self) -> Value {
        let mut map = self.desk.counters.snapshot();
        let agreed = self.desk.agreed();
        map.insert("ready".to_owned(), agreed.is_some().into());
        if let Some(agreed) = agreed {
            map.insert("version".to_owned(), json!(agreed.service.to_string()));
            map.insert("framework".to_owned(), json!(agreed.framework.to_string()));
        }
        self.kind.stats(&mut map);
        Value::Object(map)
    }

    fn control(&self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        self.kind.control(&self.desk, command, arguments)
    }
}
