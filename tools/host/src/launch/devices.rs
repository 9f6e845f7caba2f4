// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Disks and NICs out of their specs: at the start, and while the guest runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{bail, Context};
use parking_lot::Mutex;
use serde_json::{json, Value};

use crate::args::spec::{DiskPlace, DiskSpec};
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
    /// Those of the IDE class, by target.
    ide: BTreeMap<u8, Arc<Controller>>,
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
            ide: BTreeMap::new(),
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
        // Places that are asked for are taken before others take them.
        let (asked, others): (Vec<_>, Vec<_>) = args.disks.iter().partition(|disk| {
            matches!(
                disk.place,
                DiskPlace::Scsi(_, Some(_)) | DiskPlace::Ide(Some(_))
            )
        });
        for disk in asked.into_iter().chain(others) {
            match disk.place {
                DiskPlace::Scsi(number, _) => devices.controller(number).add(disk).map(drop)?,
                DiskPlace::Ide(target) => devices.ide(target, disk).map(drop)?,
            }
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

    /// The controller of an IDE disk, with the disk.
    fn ide(&mut self, target: Option<u8>, disk: &DiskSpec) -> anyhow::Result<Arc<Controller>> {
        let target = match target {
            Some(target) if self.ide.contains_key(&target) => bail!("ide{target} is taken"),
            Some(target) => target,
            None => (0..=u8::MAX)
                .find(|target| !self.ide.contains_key(target))
                .context("there is no IDE target left")?,
        };
        let controller = Arc::new(Controller::ide(target, self.options.clone()));
        controller.add(disk)?;
        self.ide.insert(target, controller.clone());
        Ok(controller)
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
        for controller in self.controllers.values().chain(self.ide.values()) {
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
        // One that was taken off the bus is gone, with its disks.
        let is_there = |known: &Controller| self.bus.device(&known.identity().name).is_some();
        let number = match disk.place {
            DiskPlace::Scsi(number, _) => number,
            DiskPlace::Ide(target) => {
                devices.ide.retain(|_, known| is_there(known));
                let controller = devices.ide(target, &disk)?;
                let name = controller.identity().name;
                self.bus.add(controller)?;
                return Ok(json!({ "device": name, "lun": 0 }));
            }
        };
        let known = devices.controllers.get(&number).cloned();
        let known = known.filter(|known| is_there(known));
        let plugged = known.is_some();
        if !plugged {
            devices.controllers.remove(&number);
        }
        let controller = devices.controller(number);
        let name = controller.identity().name;
        let lun = match controller.add(&disk) {
            Ok(lun) => lun,
            Err(error) => {
                if !plugged {
                    devices.controllers.remove(&number);
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::testing::FakeGuest;

    fn devices(words: &str) -> anyhow::Result<Devices> {
        let words = format!("hvhost --kernel k {words}");
        let args = Args::read(words.split_whitespace().map(OsString::from));
        Devices::new(&args.map_err(|refused| anyhow::anyhow!("{refused:?}"))?)
    }

    #[test]
    fn ide_disks_have_controllers_of_their_own() {
        let disks = "--disk ram:1M,ide --disk ram:1M --disk ram:1M,ide=0 --disk ram:1M,ide";
        let guest = FakeGuest::new();
        let plugged = devices(disks).unwrap().plug(guest.bus().clone()).unwrap();
        assert_eq!(guest.bus().names(), ["scsi0", "ide0", "ide1", "ide2"]);
        let added = plugged.add_disk("ram:1M,ide").unwrap();
        assert_eq!(added, json!({"device": "ide3", "lun": 0}));
        let error = plugged.add_disk("ram:1M,ide=1").unwrap_err();
        assert_eq!(error.to_string(), "ide1 is taken");
        // What was taken away can be had again.
        guest.bus().remove("ide1").unwrap();
        let added = plugged.add_disk("ram:1M,ide").unwrap();
        assert_eq!(added, json!({"device": "ide1", "lun": 0}));
        let added = plugged.add_disk("ram:1M").unwrap();
        assert_eq!(added, json!({"device": "scsi0", "lun": 1}));
        assert!(plugged.add_disk("/nowhere/at/all,ide=9").is_err());
        plugged.add_disk("ram:1M,ide=9").unwrap();
        let error = devices("--disk ram:1M,ide=2 --disk ram:1M,ide=2")
            .err()
            .unwrap();
        assert_eq!(error.to_string(), "ide2 is taken");
    }
}
