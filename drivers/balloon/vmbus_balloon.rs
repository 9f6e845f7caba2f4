// SPDX-License-Identifier: GPL-2.0

//! Hyper-V dynamic memory: the host takes memory from the guest, gives it back, and adds more.
//!
//! `balloon_wire` knows what travels and what may happen when; this module does it: [`device`]
//! binds the device and talks, [`inflate`] gives pages to the host and takes them back, [`hot_add`]
//! adds memory, [`report`] tells the host every second how much the guest needs, [`debug`] shows it
//! all in `/sys/kernel/debug/vmbus_balloon/<instance>`.

mod debug;
mod device;
mod hot_add;
mod inflate;
mod report;
mod stats;

use device::Balloon;
use vmbus::vmbus_device_table;
use vmbus_wire::guid::class;

vmbus_device_table!(IDS, [class::DYNAMIC_MEMORY]);

kernel::module_driver!(<T>, vmbus::Adapter<T>, {
    type: Balloon,
    name: "vmbus_balloon",
    authors: ["vmbus-rs developers"],
    description: "Hyper-V dynamic memory (balloon, hot-add)",
    license: "GPL",
    params: {
        pressure_report_delay: u32 {
            default: 0,
            description: "Seconds before the host is first told how much memory the guest needs",
        },
        keep_ballooned: u8 {
            default: 0,
            description: "1: pages that the host has when the device goes stay unused until reboot",
        },
    },
});
