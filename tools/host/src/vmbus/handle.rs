// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SKELETON: a device's way back to its bus.

use serde_json::Value;

/// What a device may ask of the bus.
#[derive(Clone)]
pub struct DeviceHandle {}

impl DeviceHandle {
    /// Offers `count` further sub-channels; answers how many there now are at all (the primary
    /// not counted). Doesn't wait for the guest to open them.
    ///
    /// # Errors
    ///
    /// When the device isn't offered or no ids are left.
    pub fn offer_subchannels(&self, _count: u16) -> anyhow::Result<u16> {
        todo!()
    }

    /// Virtual processors of the guest.
    pub fn processors(&self) -> u32 {
        todo!()
    }

    /// Tells subscribers what happened at the device ([`super::bus::Bus::events`]); the device's
    /// name is added to `fields`, an object.
    pub fn emit(&self, _event: &str, _fields: Value) {
        todo!()
    }

    /// Wakes the thread that serves the channel with this sub-channel index: its
    /// [`super::channel::Channel::wait`] returns with `nudged`.
    pub fn nudge(&self, _subchannel: u16) {
        todo!()
    }
}
