// SPDX-License-Identifier: GPL-2.0

//! The device: bound and gone.

use kernel::{
    device::{self, Core},
    prelude::*,
    sync::{aref::ARef, Arc},
};
use kernel_ext::{
    atomic::Relaxed,
    bus::{Driver, ProbeType},
    workqueue::cancel_sync,
};
use scsi::{Address, HostByte, Limits, Registration, Template};
use storvsc_wire::srb::MAX_CDB_BYTES;
use vmbus::{device_id::IdTable, Vmbus};

use crate::{
    controller::{Controller, Kind, State},
    debug,
};

static TEMPLATE: Template<Controller> = Template::new();

/// Bytes of a page as hosts count them.
const PAGE_BYTES: u32 = 4096;

/// Buses, targets and units of a kind (`STORVSC_MAX_*`).
const fn addresses(kind: Kind) -> (u16, u16, u16) {
    match kind {
        Kind::Scsi => (8, 2, 255),
        Kind::Ide => (1, 1, 64),
    }
}

/// A bound controller. Dropping it removes its disks and closes its channels.
pub(crate) struct Bound {
    controller: Arc<Controller>,
    registration: Option<Registration<Controller>>,
    /// Gone before everything else: they look at the rest.
    files: Option<debug::Files>,
}

impl Bound {
    fn bind(dev: &vmbus::Device<Core<'_>>) -> Result<Self> {
        let controller = Controller::new(ARef::from(dev))?;
        // From here on dropping undoes it all.
        let mut this = Self {
            controller: controller.clone(),
            registration: None,
            files: None,
        };
        controller.connect()?;
        let agreement = controller.agreement.lock().ok_or(ENODEV)?;
        let (channels, targets, luns) = addresses(controller.kind);
        let limits = Limits {
            queues: controller.queues,
            queue_depth: controller.queue_depth,
            // The block layer divides them among the devices that are busy.
            device_depth: controller.queue_depth,
            channels,
            targets,
            luns,
            cdb_bytes: MAX_CDB_BYTES as u8,
            transfer_bytes: agreement.max_transfer_bytes,
            page_boundary: PAGE_BYTES,
        };
        let base: &device::Device<Core<'_>> = dev.as_ref();
        let registration = Registration::new(&TEMPLATE, base, &limits, controller.clone())?;
        let host = registration.host().clone();
        controller.host_number.store(host.number(), Relaxed);
        *controller.host.lock() = Some(host.clone());
        this.registration = Some(registration);
        this.files = Some(debug::Files::new(&controller)?);
        kernel_ext::log_info!(
            "host{}: {}, protocol {}, {} KiB a request\n",
            host.number(),
            controller.name(),
            agreement.version,
            agreement.max_transfer_bytes / 1024,
        );
        match controller.kind {
            Kind::Scsi => host.scan(),
            Kind::Ide => {
                let disk = Address {
                    channel: 0,
                    target: target(dev),
                    lun: 0,
                };
                if host.add_device(disk).is_err() {
                    kernel_ext::log_warn!("host{}: there is no disk\n", host.number());
                }
            }
        }
        // What the host said meanwhile.
        controller.look();
        Ok(this)
    }
}

/// The target of an IDE controller's disk: bytes 4 and 5 of the instance (`storvsc_probe()`).
fn target(dev: &vmbus::Device<Core<'_>>) -> u32 {
    let instance = dev.payload().offer().instance.to_bytes();
    u32::from(u16::from_le_bytes([instance[4], instance[5]]))
}

impl Driver<Vmbus> for Bound {
    const INFO: &'static IdTable = &crate::IDS;

    // The sub-channels come while it runs, and several controllers need not wait for each other.
    const PROBE_TYPE: ProbeType = ProbeType::PreferAsynchronous;

    fn probe(dev: &vmbus::Device<Core<'_>>) -> impl PinInit<Self, Error> {
        Self::bind(dev)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let controller = &self.controller;
        drop(self.files.take());
        controller.dev.payload().watch_subchannels(None);
        if controller.state() == State::Failed {
            // Nothing is answered any more, and what comes next waits for what is under way.
            controller.disconnect();
            controller.end_commands(None, HostByte::NoConnect);
        }
        controller.stop_looking();
        drop(controller.host.lock().take());
        // Writes back the disks' caches, if the controller still runs.
        drop(self.registration.take());
        {
            // A reset that somebody asked for by hand has ended, and the next finds it gone.
            let _resetting = controller.resetting.lock();
            controller.stop(State::Gone);
            controller.disconnect();
        }
        controller.end_commands(None, HostByte::NoConnect);
        // No channel is left to queue them again.
        cancel_sync::<_, { Controller::SCAN }>(controller);
        cancel_sync::<_, { Controller::LOST }>(controller);
    }
}
