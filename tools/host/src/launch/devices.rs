// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Disks and NICs out of their specs: at the start, and while the guest runs.

use std::sync::Arc;

use anyhow::bail;
use serde_json::Value;

use crate::args::Args;
use crate::control::commands::Hotplug;
use crate::vmbus::bus::Bus;

/// Devices that are opened, and how more of them are made.
pub(super) struct Devices {}

impl Devices {
    /// Opens everything the command line names.
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        if !args.disks.is_empty() || !args.nics.is_empty() {
            bail!("disks and NICs are not built in yet");
        }
        Ok(Self {})
    }

    /// Adds them to the bus.
    pub(super) fn plug(self, bus: Arc<Bus>) -> anyhow::Result<Arc<Plugged>> {
        Ok(Arc::new(Plugged { _bus: bus }))
    }
}

/// Devices on a bus, and how more of them come there.
pub(super) struct Plugged {
    _bus: Arc<Bus>,
}

impl Hotplug for Plugged {
    fn add_nic(&self, _spec: &str) -> anyhow::Result<String> {
        bail!("NICs are not built in yet")
    }

    fn add_disk(&self, _spec: &str) -> anyhow::Result<Value> {
        bail!("disks are not built in yet")
    }
}
