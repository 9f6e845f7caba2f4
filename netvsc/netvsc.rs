// SPDX-License-Identifier: GPL-2.0

//! Hyper-V synthetic networking: a guest's NICs, without emulation.
//!
//! `netvsc_wire` knows what travels. [`module`] is what all NICs share, [`device`] binds one and lets go of it, [`nic`] is what the stack
//! calls, [`session`] comes to terms with the host and ends it again, [`control`] asks the host
//! questions, [`offload`], [`spread`] and [`link`] those of what it can do, of flows and of the link, [`queue`] is a channel
//! that is polled, [`transmit`] sends frames, [`batch`] several at once, [`receive`] takes them,
//! [`vmq`] from where the stack can use them, and [`owed`] tells the host that their places are free.

mod batch;
mod control;
mod debug;
mod device;
mod link;
mod module;
mod nic;
mod offload;
mod owed;
mod queue;
mod receive;
mod session;
mod slots;
mod spread;
mod stats;
mod transmit;
mod vmq;

use kernel::prelude::*;
use vmbus::vmbus_device_table;
use vmbus_wire::guid::class;

vmbus_device_table!(IDS, [class::NETWORK]);

module! {
    type: module::Module,
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
        vmq: u32 {
            default: 1,
            description: "1: a host that wants to may put frames where the stack uses them; 0: all are copied",
        },
    },
}
