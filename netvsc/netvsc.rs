// SPDX-License-Identifier: GPL-2.0

//! Hyper-V synthetic networking: a guest's NICs, without emulation.
//!
//! `netvsc_wire` knows what travels. [`device`] binds a NIC and lets go of it, [`nic`] is what the stack
//! calls, [`session`] comes to terms with the host and ends it again, [`control`] asks the host
//! questions, [`offload`] and [`link`] ask what it can do and how the link is, [`queue`] is a channel
//! that is polled, [`transmit`] sends frames and [`receive`] takes them.

mod control;
mod device;
mod link;
mod nic;
mod offload;
mod queue;
mod receive;
mod session;
mod slots;
mod stats;
mod transmit;

use vmbus::vmbus_device_table;
use vmbus_wire::guid::class;

vmbus_device_table!(IDS, [class::NETWORK]);

kernel::module_driver!(<T>, vmbus::Adapter<T>, {
    type: device::Bound,
    name: "netvsc",
    authors: ["vmbus-rs developers"],
    description: "Hyper-V synthetic networking",
    license: "GPL",
    params: {
        ring_size: u32 {
            default: 512,
            description: "KiB of each ring of a channel",
        },
        channels: u32 {
            default: 0,
            description: "Most channels of a NIC; 0: one for each CPU, at most 16",
        },
    },
});
