// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Devices and their offers: ids, sub-channels, withdrawal.
//!
//! An id that was withdrawn stays reserved until the guest releases it, and its device isn't
//! offered again before: Linux tells devices apart by their instance ids.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use vmbus_wire::monitor::MonitorId;
use vmbus_wire::{HostMessage, Offer, Relid};

use super::complaint::complain;
use super::state::{ChannelEntry, DeviceEntry, Presence, Rescind, State};

/// Added to a channel's id, this is its event connection's.
const EVENT_CONNECTIONS: u32 = 0x2000;
/// What the offer of a channel without a monitor has as its monitor's id.
const NO_MONITOR: u8 = 0xff;
/// Channels there can be.
pub(super) const MOST_CHANNELS: usize = Relid::LIMIT as usize - 1;

impl State {
    /// REQUEST_OFFERS.
    pub(super) fn request_offers(&mut self) {
        let Some(connected) = self.connection.connected() else {
            return;
        };
        if connected.offers_requested {
            self.refuse(format_args!("guest requests offers twice"));
            return;
        }
        connected.offers_requested = true;
        self.offer_missing();
        self.post(&HostMessage::AllOffersDelivered);
    }

    /// Offers every device that is to be offered and isn't, if the guest has asked for offers.
    pub(super) fn offer_missing(&mut self) {
        if !self
            .connection
            .connected()
            .is_some_and(|connected| connected.offers_requested)
        {
            return;
        }
        let wanted: Vec<_> = self
            .devices
            .iter()
            .filter(|slot| slot.presence == Presence::Offered && !slot.needs_reset)
            .map(|slot| slot.entry.clone())
            .filter(|entry| {
                !self
                    .channels
                    .values()
                    .any(|channel| channel.device.identity.instance == entry.identity.instance)
            })
            .collect();
        for entry in wanted {
            self.offer(&entry, 0);
        }
    }

    /// Offers a channel; false where no id is left.
    fn offer(&mut self, device: &Arc<DeviceEntry>, subchannel: u16) -> bool {
        let Some(relid) = self.free_relid() else {
            complain!(self, "no channel id left for {}", device.identity.name);
            return false;
        };
        let connection_id = EVENT_CONNECTIONS + relid.get();
        let monitor = self.free_monitor(device);
        if let (Some(id), Some(latency)) = (monitor, device.identity.monitor_latency) {
            self.monitors |= 1u128 << id.get();
            self.shared.monitor.publish(id, latency, connection_id);
        }
        tracing::debug!(
            "channel {relid}: {} sub-channel {subchannel}",
            device.identity.name
        );
        self.channels.insert(
            relid,
            ChannelEntry {
                device: device.clone(),
                subchannel,
                connection_id,
                monitor,
                open: false,
                serving: None,
                reopen: None,
                rescind: Rescind::No,
                released: false,
                died: None,
            },
        );
        self.post(&HostMessage::Offer(Offer {
            class: device.identity.class,
            instance: device.identity.instance,
            relid,
            subchannel,
            flags: device.identity.flags,
            mmio_megabytes: 0,
            monitor,
            raw_monitor_id: NO_MONITOR,
            dedicated_interrupt: true,
            connection_id,
            user_data: device.identity.user_data,
        }));
        if subchannel == 0 {
            let name = &device.identity.name;
            self.shared
                .events
                .emit("offered", json!({ "device": name }));
        }
        true
    }

    /// The next id that isn't in use.
    fn free_relid(&mut self) -> Option<Relid> {
        for _ in 0..MOST_CHANNELS {
            let number = self.next_relid;
            self.next_relid = if number + 1 >= Relid::LIMIT {
                1
            } else {
                number + 1
            };
            if let Some(relid) = Relid::new(number) {
                if !self.channels.contains_key(&relid) {
                    return Some(relid);
                }
            }
        }
        None
    }

    /// A trigger for a device that wants one, where the guest gave pages for it.
    fn free_monitor(&mut self, device: &Arc<DeviceEntry>) -> Option<MonitorId> {
        let has_pages = self.connection.connected()?.monitor_pages.is_some();
        if !has_pages || !self.shared.config.monitor {
            return None;
        }
        device.identity.monitor_latency?;
        MonitorId::new(u8::try_from(self.monitors.trailing_ones()).ok()?)
    }

    /// Offers further sub-channels of a device; how many there are then.
    pub(super) fn offer_subchannels(
        &mut self,
        device: &Arc<DeviceEntry>,
        count: u16,
    ) -> anyhow::Result<u16> {
        let name = &device.identity.name;
        if !self.connection.is_connected() {
            anyhow::bail!("{name}: there is no guest");
        }
        let mut highest = None;
        for channel in self.channels.values() {
            if Arc::ptr_eq(&channel.device, device)
                && channel.rescind == Rescind::No
                && !channel.released
            {
                highest = highest.max(Some((channel.subchannel, channel.open)));
                if channel.subchannel == 0 && !channel.open {
                    anyhow::bail!("{name}: the guest hasn't opened the primary channel");
                }
            }
        }
        let (highest, _) = highest.ok_or_else(|| anyhow::anyhow!("{name} isn't offered"))?;
        let last = highest
            .checked_add(count)
            .filter(|_| self.channels.len() + usize::from(count) <= MOST_CHANNELS)
            .ok_or_else(|| anyhow::anyhow!("{name}: no ids left for {count} sub-channels"))?;
        for subchannel in (highest..last).map(|before| before + 1) {
            if !self.offer(device, subchannel) {
                anyhow::bail!("{name}: no ids left");
            }
        }
        Ok(last)
    }

    /// Withdraws all channels of a device, sub-channels before the primary one.
    pub(super) fn rescind_device(&mut self, device: &Arc<DeviceEntry>) {
        let _ = self.rescind_where(device, |_| true);
    }

    /// Withdraws the sub-channels of a device: with the primary channel they belong to, they end.
    pub(super) fn rescind_subchannels(&mut self, device: &Arc<DeviceEntry>) {
        let _ = self.rescind_where(device, |subchannel| subchannel != 0);
    }

    /// Withdraws the channels of a device whose numbers `which` chooses; false when there are none.
    pub(super) fn rescind_where(
        &mut self,
        device: &Arc<DeviceEntry>,
        which: impl Fn(u16) -> bool,
    ) -> bool {
        let now = Instant::now();
        let mut any = false;
        for channel in self.channels.values_mut() {
            if Arc::ptr_eq(&channel.device, device)
                && channel.rescind == Rescind::No
                && !channel.released
                && which(channel.subchannel)
            {
                channel.rescind = Rescind::Wanted;
                channel.reopen = None;
                channel.stop(now);
                any = true;
            }
        }
        self.advance_rescinds(device);
        any
    }

    /// Tells the guest of withdrawn channels as soon as their threads have returned.
    pub(super) fn advance_rescinds(&mut self, device: &Arc<DeviceEntry>) {
        let mut ready: Vec<(u16, Relid)> = Vec::new();
        let mut waiting = false;
        for (relid, channel) in &self.channels {
            if !Arc::ptr_eq(&channel.device, device) || channel.rescind != Rescind::Wanted {
                continue;
            }
            let busy = channel
                .serving
                .as_ref()
                .is_some_and(|serving| !serving.control.is_abandoned());
            if busy {
                waiting |= channel.subchannel != 0;
            } else {
                ready.push((channel.subchannel, *relid));
            }
        }
        // The primary channel comes first in order, so goes last.
        ready.sort_unstable_by(|a, b| b.cmp(a));
        for (subchannel, relid) in ready {
            if subchannel == 0 && waiting {
                continue;
            }
            if let Some(channel) = self.channels.get_mut(&relid) {
                channel.rescind = Rescind::Posted;
                self.post(&HostMessage::Rescind { relid });
                if subchannel == 0 {
                    let name = &device.identity.name;
                    self.shared
                        .events
                        .emit("rescinded", json!({ "device": name }));
                }
            }
        }
    }

    /// RELID_RELEASED.
    pub(super) fn relid_released(&mut self, relid: Relid) {
        let Some(channel) = self.channel(relid) else {
            self.refuse(format_args!(
                "guest releases channel {relid}, which isn't there"
            ));
            return;
        };
        let device = channel.device.clone();
        match channel.rescind {
            Rescind::Posted => {}
            // It couldn't make anything of the offer; a rescind would only repeat that.
            _ if !channel.open => {
                let subchannel = channel.subchannel;
                let name = &device.identity.name;
                self.refuse(format_args!(
                    "guest releases channel {relid} ({name}.{subchannel}) of its own accord"
                ));
                if subchannel == 0 {
                    for slot in &mut self.devices {
                        if Arc::ptr_eq(&slot.entry, &device) {
                            slot.presence = Presence::Rescinded;
                        }
                    }
                    self.rescind_subchannels(&device);
                }
            }
            _ => {
                self.refuse(format_args!(
                    "guest releases channel {relid}, which is open"
                ));
                return;
            }
        }
        self.release(relid);
        self.advance_rescinds(&device);
        self.offer_missing();
    }
}
