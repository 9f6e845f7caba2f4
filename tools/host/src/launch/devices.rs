// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Disks and NICs out of their specs: at the start, and while the guest runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use parking_lot::Mutex;
use serde_json::{json, Value};

use crate::args::spec::DiskSpec;
use crate::args::{Args, Version};
use crate::control::commands::Hotplug;
use crate::device::Device;
use crate::net::spec::BackendSpec;
use crate::net::{Nic, NicOptions, NicSpec};
use crate::storage::{Controller, ControllerOptions, ProtocolVersion};
use crate::vmbus::bus::Bus;

/// How often monitor pages are looked at for disks, in 100 ns.
const DISK_LATENCY: u16 = 500;

/// Devices that are opened, and how more of them are made.
pub(super) struct Devices {
    controllers: BTreeMap<u8, Arc<Controller>>,
    options: ControllerOptions,
    nics: Vec<Arc<Nic>>,
    nic_options: NicOptions,
    /// Number of the next NIC; none is used twice.
    next_nic: u32,
}

impl Devices {
    /// Opens everything the command line names.
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        let version = args.storvsp_version;
        let options = ControllerOptions {
            max_version: ProtocolVersion::new(
                u8::try_from(version.major)?,
                u8::try_from(version.minor)?,
            ),
            monitor_latency: args.monitor.then_some(DISK_LATENCY),
            ..ControllerOptions::default()
        };
        let mut devices = Self {
            controllers: BTreeMap::new(),
            options,
            nics: Vec::new(),
            nic_options: NicOptions {
                max_version: nvsp(args.nvsp_version)?,
                processors: args.cpus.into(),
            },
            next_nic: 0,
        };
        for spec in &args.nics {
            let nic = devices.nic(spec.clone())?;
            devices.nics.push(nic);
        }
        // LUNs that are asked for are taken before others take them.
        let (asked, others): (Vec<_>, Vec<_>) =
            args.disks.iter().partition(|disk| disk.lun.is_some());
        for disk in asked.into_iter().chain(others) {
            devices.controller(disk.controller).add(disk)?;
        }
        Ok(devices)
    }

    /// A controller, made when it is first needed.
    fn controller(&mut self, number: u8) -> Arc<Controller> {
        self.controllers
            .entry(number)
            .or_insert_with(|| Arc::new(Controller::new(number, self.options.clone())))
            .clone()
    }

    /// The next NIC.
    fn nic(&mut self, spec: NicSpec) -> anyhow::Result<Arc<Nic>> {
        if let BackendSpec::Tap { name } = &spec.backend {
            // To open one that isn't there is to make it, for those who may.
            nix::net::if_::if_nametoindex(name.as_str())
                .map_err(|_| anyhow::anyhow!("there is no interface {name} for NIC {spec}"))?;
        }
        let nic = Nic::new(self.next_nic, spec, self.nic_options)?;
        self.next_nic += 1;
        Ok(nic)
    }

    /// Adds them to the bus.
    pub(super) fn plug(mut self, bus: Arc<Bus>) -> anyhow::Result<Arc<Plugged>> {
        for controller in self.controllers.values() {
            bus.add(controller.clone())?;
        }
        for nic in self.nics.drain(..) {
            bus.add(nic)?;
        }
        Ok(Arc::new(Plugged {
            bus,
            devices: Mutex::new(self),
        }))
    }
}

/// The NVSP version of a number on the command line, where the first two go by their own names.
fn nvsp(version: Version) -> anyhow::Result<netvsc_wire::Version> {
    use netvsc_wire::Version as Nvsp;
    Ok(match (version.major, version.minor) {
        (1, 0) => Nvsp::V1,
        (2, 0) => Nvsp::V2,
        (4, 0) => Nvsp::V4,
        (5, 0) => Nvsp::V5,
        (6, 0) => Nvsp::V6,
        (6, 1) => Nvsp::V6_1,
        _ => bail!("NVSP has no version {}.{}", version.major, version.minor),
    })
}

/// Devices on a bus, and how more of them come there.
pub(super) struct Plugged {
    bus: Arc<Bus>,
    devices: Mutex<Devices>,
}

impl Hotplug for Plugged {
    fn add_nic(&self, spec: &str) -> anyhow::Result<String> {
        let spec: NicSpec = spec.parse()?;
        let nic = self.devices.lock().nic(spec)?;
        let name = nic.identity().name;
        self.bus.add(nic)?;
        Ok(name)
    }

    fn add_disk(&self, spec: &str) -> anyhow::Result<Value> {
        let disk: DiskSpec = spec.parse().map_err(anyhow::Error::msg)?;
        let mut devices = self.devices.lock();
        let known = devices.controllers.get(&disk.controller).cloned();
        let known = known.filter(|known| self.bus.device(&known.identity().name).is_some());
        let plugged = known.is_some();
        if !plugged {
            // One that was taken off the bus is gone, with its disks.
            devices.controllers.remove(&disk.controller);
        }
        let controller = devices.controller(disk.controller);
        let name = controller.identity().name;
        let lun = match controller.add(&disk) {
            Ok(lun) => lun,
            Err(error) => {
                if !plugged {
                    devices.controllers.remove(&disk.controller);
                }
                return Err(error);
            }
        };
        if !plugged {
            self.bus.add(controller)?;
        }
        Ok(json!({ "device": name, "lun": lun }))
    }
}
