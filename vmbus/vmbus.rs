// SPDX-License-Identifier: GPL-2.0

//! The VMBus client of Linux guests on Hyper-V.
//!
//! As a module it drives the ACPI device `VMBUS`: it connects to the host, takes its offers and puts
//! a device on the bus `vmbus` for each. As a crate it is what drivers of those devices are built on:
//!
//! * implement [`Driver`](kernel_ext::bus::Driver) for the bus [`Vmbus`], with a table of class ids
//!   made by [`vmbus_device_table!`];
//! * in `probe`, [claim](device::Payload::claim) the channel and [open](Offered::open) it with a
//!   [`Handler`];
//! * [send](Channel::send) packets, get the host's in [`Handler::packet`];
//! * drop the [`Open`] to close it.
//!
//! `samples/vmbus_sample.rs` is all of it in one small file. What travels is described by the crate
//! `vmbus_wire`, which parses every byte that the host writes.

use kernel::prelude::*;

mod channel;
mod channel_core;
mod connection;
mod control;
pub mod device;
pub mod device_id;
pub mod gpadl;
mod interrupt;
mod offers;
mod relids;
mod requests;
mod ring;
mod root;
pub mod stats;
mod sysfs;
mod tagged;
mod unload;
mod views;

pub use self::{
    channel::{Channel, Delivery, Handler, Load, Offered, Open, OpenConfig, OpenError, SendError},
    channel_core::ChannelStats,
    control::Outcome,
    device::Vmbus,
    gpadl::{Gpadl, Teardown},
    requests::{RequestError, Requests},
    ring::RingSizes,
    tagged::{Reserved, Tagged},
};

/// A device on the bus.
pub type Device<Ctx = kernel::device::Normal> = kernel_ext::bus::Device<Vmbus, Ctx>;

/// A driver of devices on the bus as the kernel crate registers it.
pub type Adapter<T> = kernel_ext::bus::Adapter<Vmbus, T>;

module! {
    type: root::Module,
    name: "vmbus",
    authors: ["vmbus-rs developers"],
    description: "Hyper-V VMBus client",
    license: "GPL",
    params: {
        max_version: u32 {
            default: 0,
            description: "Newest protocol version to ask for, (major << 16) + minor; 0: no limit",
        },
    },
}
