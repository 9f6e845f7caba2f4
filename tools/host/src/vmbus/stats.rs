// SPDX-License-Identifier: GPL-2.0 OR MIT
//! State and counters for the control protocol's `stats`.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use serde_json::{json, Value};
use vmbus_wire::Relid;

use super::connection::Connection;
use super::state::{ChannelEntry, DeviceSlot, Presence, Rescind, State};

impl State {
    pub(super) fn stats(&self) -> Value {
        let (pages, lists, partial) = self.gpadls.sizes();
        let devices: Vec<Value> = self.devices.iter().map(|slot| self.device(slot)).collect();
        let left: Vec<Value> = self
            .channels
            .iter()
            .filter(|(_, channel)| {
                !self
                    .devices
                    .iter()
                    .any(|slot| Arc::ptr_eq(&slot.entry, &channel.device))
            })
            .map(|(relid, channel)| self.channel_stats(*relid, channel))
            .collect();
        let mut connection = json!({
            "state": match &self.connection {
                Connection::Disconnected => "disconnected",
                Connection::Connected(_) => "connected",
                Connection::Resetting(_) => "resetting",
            },
            "version": self.connection.version().map(|version| version.to_string()),
            "message_vp": self.connection.message_vp(),
            "gpadls": lists,
            "gpadls_begun": partial,
            "gpadl_pages": pages,
            "messages_in": self.shared.messages_in.snapshot(),
            "messages_out": self.shared.messages_out.snapshot(),
            "max_version": self.shared.config.max_version.to_string(),
            "monitor": self.shared.config.monitor,
        });
        if let Some(all) = connection.as_object_mut() {
            all.extend(self.shared.counters.snapshot());
        }
        json!({
            "connection": connection,
            "devices": devices,
            // Of devices that were removed: the guest hasn't released them.
            "left": left,
        })
    }

    fn device(&self, slot: &DeviceSlot) -> Value {
        let identity = &slot.entry.identity;
        let channels: Vec<Value> = self
            .channels
            .iter()
            .filter(|(_, channel)| Arc::ptr_eq(&channel.device, &slot.entry))
            .map(|(relid, channel)| self.channel_stats(*relid, channel))
            .collect();
        json!({
            "name": identity.name,
            "class": identity.class.to_string(),
            "instance": identity.instance.to_string(),
            "presence": match slot.presence {
                Presence::New => "new",
                Presence::Offered => "offered",
                Presence::Rescinded => "rescinded",
            },
            "paused": slot.entry.paused.load(Ordering::Relaxed),
            "channels": channels,
        })
    }

    fn channel_stats(&self, relid: Relid, channel: &ChannelEntry) -> Value {
        let state = match (&channel.serving, channel.rescind) {
            (Some(serving), _) if serving.control.is_abandoned() => "abandoned",
            (Some(serving), _) if serving.stopping.is_some() => "closing",
            (None, Rescind::Posted) => "rescinded",
            (_, Rescind::Wanted) => "closing",
            (Some(_), _) => "open",
            (None, _) if channel.open => "dead",
            (None, _) => "offered",
        };
        let mut gpadls: Vec<u32> = self.gpadls.of(relid).collect();
        gpadls.sort_unstable();
        let mut all = json!({
            "relid": relid.get(),
            "subchannel": channel.subchannel,
            "state": state,
            "connection_id": channel.connection_id,
            "monitor_id": channel.monitor.map(|monitor| monitor.get()),
            "gpadls": gpadls,
            "died": channel.died,
        });
        let (Some(serving), Some(all_fields)) = (&channel.serving, all.as_object_mut()) else {
            return all;
        };
        all_fields.extend([
            ("target_vp".to_owned(), serving.control.target_vp().into()),
            ("signals".to_owned(), serving.control.signals().into()),
            ("ring_gpadl".to_owned(), serving.ring_gpadl.into()),
            ("ring_in_bytes".to_owned(), serving.ring_bytes.0.into()),
            ("ring_out_bytes".to_owned(), serving.ring_bytes.1.into()),
        ]);
        all_fields.extend(serving.control.counters.snapshot());
        all
    }
}
