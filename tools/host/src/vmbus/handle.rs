// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A device's way back to its bus.

use std::sync::{Arc, Weak};

use serde_json::{Map, Value};

use super::state::{Core, DeviceEntry, Event};

/// What a device may ask of the bus.
#[derive(Clone)]
pub struct DeviceHandle {
    core: Weak<Core>,
    // The device keeps this, so this doesn't keep the device.
    device: Weak<DeviceEntry>,
}

impl DeviceHandle {
    pub(super) fn new(core: &Arc<Core>, device: &Arc<DeviceEntry>) -> Self {
        Self {
            core: Arc::downgrade(core),
            device: Arc::downgrade(device),
        }
    }

    /// Offers `count` further sub-channels; answers how many there now are at all (the primary
    /// not counted). Doesn't wait for the guest to open them.
    ///
    /// The bus withdraws all of them when the guest closes the primary channel.
    ///
    /// # Errors
    ///
    /// When the primary channel isn't open or no ids are left.
    pub fn offer_subchannels(&self, count: u16) -> anyhow::Result<u16> {
        let (Some(core), Some(device)) = (self.core.upgrade(), self.device.upgrade()) else {
            anyhow::bail!("the bus is gone");
        };
        let result = core.state.lock().offer_subchannels(&device, count);
        let _ = core.shared.queue.send(Event::Look);
        result
    }

    /// Virtual processors of the guest.
    pub fn processors(&self) -> u32 {
        self.core
            .upgrade()
            .map_or(1, |core| core.shared.hypervisor.processors())
    }

    /// Tells subscribers what happened at the device ([`super::bus::Bus::events`]); the device's
    /// name is added to `fields`, an object.
    pub fn emit(&self, event: &str, fields: Value) {
        let (Some(core), Some(device)) = (self.core.upgrade(), self.device.upgrade()) else {
            return;
        };
        let mut all = match fields {
            Value::Object(fields) => fields,
            Value::Null => Map::new(),
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        all.insert("device".to_owned(), device.identity.name.as_str().into());
        core.shared.events.emit(event, all.into());
    }

    /// Wakes the thread that serves the channel with this sub-channel index: its
    /// [`super::channel::Channel::wait`] returns with `nudged`.
    pub fn nudge(&self, subchannel: u16) {
        let control = self
            .device
            .upgrade()
            .and_then(|device| device.live.lock().get(&subchannel).cloned());
        if let Some(control) = control {
            control.nudge();
        }
    }
}

impl std::fmt::Debug for DeviceHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.device.upgrade().map(|d| d.identity.name.clone());
        f.debug_tuple("DeviceHandle").field(&name).finish()
    }
}
