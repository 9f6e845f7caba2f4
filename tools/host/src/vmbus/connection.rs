// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The connection with the guest: version, where messages go, and how it ends.
//!
//! Whatever ends a connection (UNLOAD, another INITIATE_CONTACT, a reset of the machine) goes the
//! same way: every channel is told to stop, then its device is told to forget the guest, and only
//! then the guest gets its answer, for with it the guest takes its memory back.

use std::sync::mpsc::Sender;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use vmbus_wire::host::GuestMessage;
use vmbus_wire::message::{
    InitiateContact, MonitorPages, SocketConnect, SocketConnectResult, VersionResponse,
};
use vmbus_wire::version::{FeatureFlags, MESSAGE_CONNECTION_ID_4};
use vmbus_wire::{HostMessage, ProtocolVersion, Status, HV_PAGE_SIZE};

use super::state::{DeviceEntry, Rescind, State, CLOSE_LIMIT, RESET_LIMIT};

/// STATUS_CONNECTION_REFUSED: nobody listens on Hyper-V sockets.
const NO_SOCKETS: Status = Status(0xc000_0236);

/// What follows when everything is closed.
enum Then {
    /// UNLOAD_COMPLETE.
    Unloaded,
    /// The answer to this.
    Contact(InitiateContact),
    /// Nothing: the machine was reset.
    Nothing,
}

/// A connection that is there.
pub(super) struct Connected {
    pub(super) version: ProtocolVersion,
    target_vp: u32,
    /// The guest's monitor pages.
    pub(super) monitor_pages: Option<MonitorPages>,
    pub(super) offers_requested: bool,
}

/// A connection that ends.
pub(super) struct Resetting {
    target_vp: u32,
    then: Then,
    /// Who waits for it on this side.
    waiters: Vec<Sender<()>>,
    since: Instant,
    limit: Duration,
    /// The channels are gone, the devices are being reset.
    closed: bool,
}

/// See the module.
pub(super) enum Connection {
    Disconnected,
    Connected(Connected),
    Resetting(Resetting),
}

impl Connection {
    pub(super) fn is_connected(&self) -> bool {
        matches!(self, Self::Connected(_))
    }

    pub(super) fn is_resetting(&self) -> bool {
        matches!(self, Self::Resetting(_))
    }

    pub(super) fn connected(&mut self) -> Option<&mut Connected> {
        match self {
            Self::Connected(connected) => Some(connected),
            _ => None,
        }
    }

    pub(super) fn version(&self) -> Option<ProtocolVersion> {
        match self {
            Self::Connected(connected) => Some(connected.version),
            _ => None,
        }
    }

    /// The processor that messages go to.
    pub(super) fn message_vp(&self) -> u32 {
        match self {
            Self::Disconnected => 0,
            Self::Connected(connected) => connected.target_vp,
            Self::Resetting(resetting) => resetting.target_vp,
        }
    }
}

/// The processor that messages of a connection go to.
fn message_vp(contact: &InitiateContact) -> u32 {
    if contact.version.has_message_target() {
        contact.target_vp
    } else {
        0
    }
}

impl State {
    /// INITIATE_CONTACT.
    pub(super) fn contact(&mut self, contact: InitiateContact) {
        tracing::info!("guest asks for version {}", contact.version);
        match &self.connection {
            Connection::Disconnected => self.answer_contact(&contact),
            Connection::Connected(_) => {
                tracing::info!("guest connects again: everything is closed");
                self.begin_reset(Then::Contact(contact), RESET_LIMIT);
            }
            Connection::Resetting(_) => self.begin_reset(Then::Contact(contact), RESET_LIMIT),
        }
    }

    /// UNLOAD.
    pub(super) fn unload(&mut self) {
        tracing::info!("guest unloads");
        self.begin_reset(Then::Unloaded, RESET_LIMIT);
    }

    /// The machine is reset or ends.
    pub(super) fn machine_reset(&mut self, done: Sender<()>) {
        self.begin_reset(Then::Nothing, CLOSE_LIMIT);
        if let Connection::Resetting(resetting) = &mut self.connection {
            resetting.waiters.push(done);
        }
    }

    /// The bus is no more: nobody waits for the channels.
    pub(super) fn stop_all(&mut self) {
        self.begin_reset(Then::Nothing, CLOSE_LIMIT);
    }

    fn begin_reset(&mut self, then: Then, limit: Duration) {
        let target_vp = self.connection.message_vp();
        if let Connection::Resetting(resetting) = &mut self.connection {
            // The guest doesn't wait for what it asked for before.
            resetting.then = then;
            resetting.limit = resetting.limit.min(limit);
            return;
        }
        self.shared.counters.resets.inc();
        let now = Instant::now();
        for channel in self.channels.values_mut() {
            channel.reopen = None;
            channel.stop(now);
        }
        self.connection = Connection::Resetting(Resetting {
            target_vp,
            then,
            waiters: Vec::new(),
            since: now,
            limit,
            closed: false,
        });
    }

    /// Once every channel is closed, the next device to be reset.
    pub(super) fn next_reset(&mut self) -> Option<Arc<DeviceEntry>> {
        if let Connection::Resetting(resetting) = &self.connection {
            let late = resetting.since.elapsed() >= resetting.limit;
            let served = self.channels.values().any(|channel| {
                // One that was lost before this connection ended is waited for no more.
                channel.serving.is_some() && !channel.released
            });
            if !resetting.closed && (late || !served) {
                self.drop_channels();
            }
        }
        self.resets.pop_front()
    }

    /// Forgets all channels but those whose thread never returned.
    fn drop_channels(&mut self) {
        if let Connection::Resetting(resetting) = &mut self.connection {
            resetting.closed = true;
        }
        let relids: Vec<_> = self.channels.keys().copied().collect();
        for relid in relids {
            self.abandon(relid);
            self.release(relid);
        }
        self.gpadls.clear();
        self.shared.monitor.set_pages(None);
        self.resets.clear();
        for slot in &mut self.devices {
            slot.needs_reset = true;
            slot.entry.gpadls.write().clear();
            let device = &slot.entry;
            let lost = self
                .channels
                .values()
                .any(|channel| Arc::ptr_eq(&channel.device, device));
            if !lost {
                self.resets.push_back(slot.entry.clone());
            }
        }
    }

    /// A device has forgotten the guest.
    pub(super) fn was_reset(&mut self, entry: &Arc<DeviceEntry>) {
        for slot in &mut self.devices {
            if Arc::ptr_eq(&slot.entry, entry) {
                slot.needs_reset = false;
            }
        }
        self.offer_missing();
    }

    /// Answers whoever waits for the end of the connection, when the devices have been reset.
    pub(super) fn finish_reset(&mut self) {
        if !matches!(&self.connection, Connection::Resetting(resetting) if resetting.closed) {
            return;
        }
        let before = std::mem::replace(&mut self.connection, Connection::Disconnected);
        if let Connection::Resetting(resetting) = before {
            match resetting.then {
                Then::Nothing => {}
                Then::Unloaded => {
                    self.post_to(resetting.target_vp, &HostMessage::UnloadComplete);
                    self.shared.events.emit("guest-unloaded", Value::Null);
                }
                Then::Contact(contact) => self.answer_contact(&contact),
            }
            for waiter in resetting.waiters {
                // Who has given up waiting doesn't mind.
                let _ = waiter.send(());
            }
        }
    }

    /// Says yes or no to a version. No connection is there.
    fn answer_contact(&mut self, contact: &InitiateContact) {
        let refusal = self.why_not(contact);
        let supported = refusal.is_none();
        let version = contact.version;
        let mut target_vp = message_vp(contact);
        if target_vp >= self.shared.hypervisor.processors() {
            target_vp = 0;
        }
        if let Some(why) = refusal {
            tracing::info!("version {version} refused: {why}");
        } else {
            tracing::info!("version {version}, messages to processor {target_vp}");
            self.shared.monitor.set_pages(contact.monitor_pages);
            self.shared
                .events
                .emit("guest-connected", json!({"version": version.to_string()}));
            self.connection = Connection::Connected(Connected {
                version,
                target_vp,
                monitor_pages: contact.monitor_pages,
                offers_requested: false,
            });
        }
        let response = VersionResponse {
            supported,
            state: 0,
            connection_id: version
                .has_connection_id()
                .then_some(MESSAGE_CONNECTION_ID_4),
            // None of the guest's wishes can be granted: there is no paravisor.
            features: version.has_feature_flags().then_some(FeatureFlags::NONE),
        };
        self.post_to(target_vp, &HostMessage::VersionResponse(response));
    }

    fn why_not(&self, contact: &InitiateContact) -> Option<&'static str> {
        let version = contact.version;
        if !ProtocolVersion::OFFERED.contains(&version) {
            return Some("unknown");
        }
        if version > self.shared.config.max_version {
            return Some("newer than allowed");
        }
        if contact.trust_level != 0 {
            return Some("there is only trust level 0");
        }
        if message_vp(contact) >= self.shared.hypervisor.processors() {
            return Some("no such processor");
        }
        let page = u64::from(HV_PAGE_SIZE);
        let bad = |address: u64| {
            address % page != 0
                || self
                    .shared
                    .memory
                    .slice(address, HV_PAGE_SIZE as usize)
                    .is_err()
        };
        if let Some(pages) = contact.monitor_pages {
            if bad(pages.to_guest) || bad(pages.to_host) {
                return Some("the monitor pages are not in its memory");
            }
        }
        None
    }

    /// TL_CONNECT_REQUEST. From 4.1 on the guest hears of a failure; before, it runs into its
    /// time limit, on real hosts as well.
    pub(super) fn socket_connect(&mut self, connect: &SocketConnect) {
        let Some(version) = self.connection.version() else {
            return;
        };
        if !version.has_sockets() {
            self.refuse(format_args!(
                "{} with version {version}",
                super::state::kind(&GuestMessage::SocketConnect(*connect))
            ));
        } else if version.acks_socket_connect() {
            self.post(&HostMessage::SocketConnectResult(SocketConnectResult {
                endpoints: connect.endpoints,
                status: NO_SOCKETS,
            }));
        }
    }

    /// Frees a channel's id, or has it freed when its thread returns.
    pub(super) fn release(&mut self, relid: vmbus_wire::Relid) {
        let Some(channel) = self.channels.get_mut(&relid) else {
            return;
        };
        let device = channel.device.clone();
        channel.open = false;
        channel.reopen = None;
        if channel.serving.is_some() {
            channel.released = true;
            channel.rescind = Rescind::Posted;
            return;
        }
        if let Some(monitor) = channel.monitor {
            self.monitors &= !(1u128 << monitor.get());
        }
        self.channels.remove(&relid);
        let ids = self.gpadls.forget(relid);
        let mut lists = device.gpadls.write();
        for id in ids {
            lists.remove(&id);
        }
    }
}
