// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SKELETON: the connection with the guest and the table of devices.

use std::sync::Arc;

use serde_json::Value;
use vmbus_wire::ProtocolVersion;

use crate::device::Device;
use crate::events::Events;
use crate::hypervisor::{Hypervisor, MessageSink};
use crate::memory::GuestMemory;

/// How the bus behaves.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// The newest version it agrees to.
    pub max_version: ProtocolVersion,
}

/// A VMBus of one guest.
pub struct Bus {}

impl Bus {
    /// A bus without devices, before the guest's first message.
    pub fn new(
        _hypervisor: Arc<dyn Hypervisor>,
        _memory: GuestMemory,
        _config: BusConfig,
    ) -> Arc<Self> {
        todo!()
    }

    /// Takes a device and offers it, now or when the guest asks.
    ///
    /// # Errors
    ///
    /// When name or instance are taken or there is no channel id left.
    pub fn add(&self, _device: Arc<dyn Device>) -> anyhow::Result<()> {
        todo!()
    }

    /// Rescinds a device and forgets it when the guest has let go of it; bounded.
    ///
    /// # Errors
    ///
    /// When there is no such device.
    pub fn remove(&self, _name: &str) -> anyhow::Result<()> {
        todo!()
    }

    /// Rescinds a device's channels but keeps the device, to offer it again.
    ///
    /// # Errors
    ///
    /// When there is no such device.
    pub fn rescind(&self, _name: &str) -> anyhow::Result<()> {
        todo!()
    }

    /// Offers a rescinded device again.
    ///
    /// # Errors
    ///
    /// When there is no such device or it is offered.
    pub fn reoffer(&self, _name: &str) -> anyhow::Result<()> {
        todo!()
    }

    /// Stops (true) or resumes the serving of a device's channels; packets wait in the ring.
    ///
    /// # Errors
    ///
    /// When there is no such device.
    pub fn pause(&self, _name: &str, _paused: bool) -> anyhow::Result<()> {
        todo!()
    }

    /// A device by name.
    pub fn device(&self, _name: &str) -> Option<Arc<dyn Device>> {
        todo!()
    }

    /// Names of all devices.
    pub fn names(&self) -> Vec<String> {
        todo!()
    }

    /// Where what happens on the bus is told: `guest-connected` (version), `guest-unloaded`,
    /// `channel-opened`, `channel-closed` (device, subchannel), `channel-failed` (device,
    /// subchannel, error), `offered`, `rescinded` (device), and what devices tell through their
    /// [`super::handle::DeviceHandle::emit`].
    pub fn events(&self) -> &Events {
        todo!()
    }

    /// State and counters of connection, devices and channels.
    pub fn stats(&self) -> Value {
        todo!()
    }
}

impl MessageSink for Bus {
    fn posted(&self, _connection: u32, _message_type: u32, _payload: &[u8]) -> bool {
        todo!()
    }
    fn reset(&self) {
        todo!()
    }
}
