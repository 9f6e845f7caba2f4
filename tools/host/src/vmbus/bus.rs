// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The connection with the guest and the table of devices, as the rest of the host sees them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use vmbus_wire::host::GuestMessage;
use vmbus_wire::slot::HVMSG_CHANNEL;
use vmbus_wire::version::{MESSAGE_CONNECTION_ID, MESSAGE_CONNECTION_ID_4};
use vmbus_wire::ProtocolVersion;

use super::complaint::complain;
use super::handle::DeviceHandle;
use super::offers::MOST_CHANNELS;
use super::state::{kind, Core, DeviceEntry, DeviceSlot, Event, Presence, State, CLOSE_LIMIT};
use crate::device::Device;
use crate::events::Events;
use crate::hypervisor::{Hypervisor, MessageSink};
use crate::memory::GuestMemory;

/// How long a removed device waits for the guest, its own time to close included.
const REMOVE_LIMIT: Duration = CLOSE_LIMIT.saturating_add(Duration::from_secs(5));
/// How long a reset of the machine waits for the devices.
const MACHINE_RESET_LIMIT: Duration = CLOSE_LIMIT.saturating_add(Duration::from_secs(2));

/// How the bus behaves.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// The newest version it agrees to.
    pub max_version: ProtocolVersion,
    /// Devices that name a latency get a trigger in the guest's monitor pages.
    pub monitor: bool,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            max_version: ProtocolVersion::V6_0,
            monitor: false,
        }
    }
}

/// A VMBus of one guest.
pub struct Bus {
    core: Arc<Core>,
}

impl Bus {
    /// A bus without devices, before the guest's first message.
    ///
    /// # Panics
    ///
    /// When the system has no thread for it.
    pub fn new(
        hypervisor: Arc<dyn Hypervisor>,
        memory: GuestMemory,
        config: BusConfig,
    ) -> Arc<Self> {
        let (core, events) = Core::new(hypervisor, memory, config);
        let worker = core.clone();
        #[allow(clippy::expect_used)] // Before anything of the guest's has started.
        thread::Builder::new()
            .name("vmbus".to_owned())
            .spawn(move || worker.run(&events))
            .expect("no thread for the bus");
        Arc::new(Self { core })
    }

    /// Takes a device and offers it, now or when the guest asks.
    ///
    /// # Errors
    ///
    /// When name or instance are taken or there is no channel id left.
    pub fn add(&self, device: Arc<dyn Device>) -> anyhow::Result<()> {
        let identity = device.identity();
        let entry = Arc::new(DeviceEntry {
            identity,
            device: device.clone(),
            gpadls: RwLock::default(),
            live: Mutex::default(),
            paused: AtomicBool::new(false),
        });
        {
            let mut state = self.core.state.lock();
            let identity = &entry.identity;
            if state.find(&identity.name).is_some() {
                anyhow::bail!("there is a device {} already", identity.name);
            }
            let twin = |slot: &&DeviceSlot| slot.entry.identity.instance == identity.instance;
            if let Some(other) = state.devices.iter().find(twin) {
                anyhow::bail!(
                    "{} has the instance id of {}",
                    identity.name,
                    other.entry.identity.name
                );
            }
            if state.channels.len() >= MOST_CHANNELS || state.devices.len() >= MOST_CHANNELS {
                anyhow::bail!("no channel id left for {}", identity.name);
            }
            state.devices.push(DeviceSlot {
                entry: entry.clone(),
                presence: Presence::New,
                needs_reset: false,
            });
        }
        // Without the lock: the device may ask the bus something.
        device.attached(DeviceHandle::new(&self.core, &entry));
        self.change(|state| {
            for slot in &mut state.devices {
                if Arc::ptr_eq(&slot.entry, &entry) {
                    slot.presence = Presence::Offered;
                }
            }
            state.offer_missing();
        });
        Ok(())
    }

    /// Rescinds a device and forgets it when the guest has let go of it; bounded. Where the guest
    /// doesn't let go, the device is forgotten all the same, its channel ids stay reserved.
    ///
    /// # Errors
    ///
    /// When there is no such device.
    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        let entry = self.change(|state| {
            let entry = state.find(name)?.entry.clone();
            state
                .devices
                .retain(|slot| !Arc::ptr_eq(&slot.entry, &entry));
            state.rescind_device(&entry);
            Some(entry)
        });
        let entry = entry.ok_or_else(|| no_device(name))?;
        let deadline = Instant::now() + REMOVE_LIMIT;
        let mut state = self.core.state.lock();
        let has_channels = |state: &State| {
            state
                .channels
                .values()
                .any(|channel| Arc::ptr_eq(&channel.device, &entry))
        };
        while has_channels(&state) {
            let timeout = self.core.changed.wait_until(&mut state, deadline);
            if timeout.timed_out() && has_channels(&state) {
                complain!(state, "the guest doesn't let go of {name}");
                break;
            }
        }
        Ok(())
    }

    /// Rescinds a device's channels but keeps the device, to offer it again. Doesn't wait for the
    /// guest.
    ///
    /// # Errors
    ///
    /// When there is no such device or it is rescinded.
    pub fn rescind(&self, name: &str) -> anyhow::Result<()> {
        self.change(|state| {
            let slot = state.find(name).ok_or_else(|| no_device(name))?;
            if slot.presence != Presence::Offered {
                anyhow::bail!("{name} isn't offered");
            }
            slot.presence = Presence::Rescinded;
            let entry = slot.entry.clone();
            state.rescind_device(&entry);
            Ok(())
        })
    }

    /// Rescinds one sub-channel of a device, which goes on with the others. Doesn't wait for the guest.
    ///
    /// # Errors
    ///
    /// When there is no such device, or no such sub-channel of it is offered.
    pub fn rescind_subchannel(&self, name: &str, subchannel: u16) -> anyhow::Result<()> {
        self.change(|state| {
            let slot = state.find(name).ok_or_else(|| no_device(name))?;
            let entry = slot.entry.clone();
            if subchannel == 0 || !state.rescind_where(&entry, |number| number == subchannel) {
                anyhow::bail!("{name} has no sub-channel {subchannel}");
            }
            Ok(())
        })
    }

    /// Offers a rescinded device again, as soon as the guest has let go of its last offer.
    ///
    /// # Errors
    ///
    /// When there is no such device or it is offered.
    pub fn reoffer(&self, name: &str) -> anyhow::Result<()> {
        self.change(|state| {
            let slot = state.find(name).ok_or_else(|| no_device(name))?;
            if slot.presence != Presence::Rescinded {
                anyhow::bail!("{name} is offered");
            }
            slot.presence = Presence::Offered;
            state.offer_missing();
            Ok(())
        })
    }

    /// Stops (true) or resumes the serving of a device's channels; packets wait in the ring.
    ///
    /// # Errors
    ///
    /// When there is no such device.
    pub fn pause(&self, name: &str, paused: bool) -> anyhow::Result<()> {
        let mut state = self.core.state.lock();
        let slot = state.find(name).ok_or_else(|| no_device(name))?;
        slot.entry.paused.store(paused, Ordering::Release);
        for control in slot.entry.live.lock().values() {
            control.pause(paused);
        }
        Ok(())
    }

    /// A device by name.
    pub fn device(&self, name: &str) -> Option<Arc<dyn Device>> {
        let mut state = self.core.state.lock();
        state.find(name).map(|slot| slot.entry.device.clone())
    }

    /// Names of all devices.
    pub fn names(&self) -> Vec<String> {
        let state = self.core.state.lock();
        let names = state.devices.iter().map(|slot| &slot.entry.identity.name);
        names.cloned().collect()
    }

    /// Where what happens on the bus is told: `guest-connected` (version), `guest-unloaded`,
    /// `channel-opened`, `channel-closed` (device, subchannel), `channel-failed` (device,
    /// subchannel, error), `offered`, `rescinded` (device), and what devices tell through their
    /// [`super::handle::DeviceHandle::emit`].
    pub fn events(&self) -> &Events {
        &self.core.shared.events
    }

    /// State and counters of connection, devices and channels.
    pub fn stats(&self) -> Value {
        let state = self.core.state.lock();
        state.stats()
    }

    /// Changes the state and has the bus thread look at the time limits.
    fn change<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        let result = with(&mut self.core.state.lock());
        let _ = self.core.shared.queue.send(Event::Look);
        result
    }
}

impl State {
    /// A device by name.
    fn find(&mut self, name: &str) -> Option<&mut DeviceSlot> {
        self.devices
            .iter_mut()
            .find(|slot| slot.entry.identity.name == name)
    }
}

fn no_device(name: &str) -> anyhow::Error {
    anyhow::anyhow!("there is no device {name}")
}

impl MessageSink for Bus {
    fn posted(&self, connection: u32, message_type: u32, payload: &[u8]) -> bool {
        let shared = &self.core.shared;
        // Hosts before 5.0 have no connection 4; a guest that finds none asks for less.
        let known = connection == MESSAGE_CONNECTION_ID
            || (connection == MESSAGE_CONNECTION_ID_4
                && shared.config.max_version.has_connection_id());
        if !known {
            return false;
        }
        if message_type != HVMSG_CHANNEL {
            shared.counters.malformed.inc();
            let mut state = self.core.state.lock();
            complain!(state, "guest posts a message of type {message_type:#x}");
            return true;
        }
        match GuestMessage::parse(payload) {
            Ok(message) => {
                tracing::debug!("from guest: {message:?}");
                shared.messages_in.count(kind(&message));
                let queued = shared.enqueue(message);
                if !queued {
                    // Linux takes this for a lack of resources and tries again.
                    shared.counters.overrun.inc();
                }
                queued
            }
            Err(error) => {
                shared.counters.malformed.inc();
                let mut state = self.core.state.lock();
                complain!(state, "guest posts no message: {error}");
                true
            }
        }
    }

    fn reset(&self) {
        let (done, reset) = mpsc::channel();
        if self.core.shared.queue.send(Event::Reset(done)).is_err() {
            return;
        }
        if reset.recv_timeout(MACHINE_RESET_LIMIT).is_err() {
            tracing::error!("devices hold on to the guest's memory");
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // Channels' threads keep the memory they use; nobody waits for them.
        let _ = self.core.shared.queue.send(Event::Quit);
    }
}
