// SPDX-License-Identifier: GPL-2.0

//! Hyper-V synthetic storage: the disks and drives of a guest, without emulation.
//!
//! `storvsc_wire` knows what travels and what an answer means; this module does it. [`device`] binds
//! a controller and lets go of it, [`connect`] opens its channels and comes to terms with the host,
//! [`queue`] sends commands, [`port`] takes the answers, [`recover`] is for when they don't come,
//! [`scan`] looks for what came and went. [`debug`] shows it all in
//! `/sys/kernel/debug/storvsc/<instance>/`.

mod connect;
mod control;
mod controller;
mod debug;
mod device;
mod module;
mod port;
mod queue;
mod recover;
mod scan;
mod stats;
mod trace;

use kernel::prelude::*;
use vmbus::vmbus_device_table;
use vmbus_wire::guid::class;

vmbus_device_table!(IDS, [class::SCSI, class::IDE]);

module! {
    type: module::Module,
    name: "storvsc",
    authors: ["vmbus-rs developers"],
    description: "Hyper-V synthetic storage",
    license: "GPL",
    params: {
        timeout: u32 {
            default: 180,
            description: "Seconds that a command may take before the controller is reset",
        },
        ring_size: u32 {
            default: 128,
            description: "KiB of each ring of a channel",
        },
        cpus_per_channel: u32 {
            default: 0,
            description: "One channel for so many CPUs, if the host has them; 0: a channel each for up to four CPUs, then one for four",
        },
        queue_depth: u32 {
            default: 512,
            description: "Commands of a CPU's hardware queue at a time",
        },
    },
}
