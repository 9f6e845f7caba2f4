// SPDX-License-Identifier: GPL-2.0

//! SCSI hosts: drivers of what SCSI devices are attached to.
//!
//! A driver implements [`HostDriver`] and registers a host with [`Registration::new`]; the SCSI
//! mid-layer then finds the devices, and `sd`, `sr` and `sg` make disks of them. Commands come in
//! through [`HostDriver::queue`] as [`Command`]s, values that can't get lost: a driver
//! [maps](Command::map) one, keeps the [`Mapped`] while the hardware works on it, and
//! [completes](Mapped::complete) it, once; one that is dropped is completed with an error.
//!
//! ```text
//! mid-layer → HostDriver::queue(Command) → Command::map → Mapped → Mapped::complete(&Outcome)
//!                     └────────────── Rejected (the command back) ──┘ again later
//! ```
//!
//! A crate of its own, which is linked into the module that uses it: `vmbus.ko` does without the
//! kernel's SCSI code.
//!
//! C headers: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h),
//! [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h),
//! [`include/scsi/scsi_device.h`](srctree/include/scsi/scsi_device.h).

use core::fmt;

mod callbacks;
mod command;
mod data;
mod device;
mod host;

pub use self::{
    command::{
        Busy,
        Command,
        Direction,
        Info,
        Mapped,
        Outcome,
        Rejected,
        Tag, //
    },
    data::Pages,
    device::{
        DeviceRef,
        NewDevice, //
    },
    host::{
        Geometry,
        Host,
        HostDriver,
        Limits,
        Registration,
        Template,
        TimedOut, //
    },
};

/// Where a device is: the host's bus, the target on it, the unit of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Bus of the host; `channel` to the mid-layer.
    pub channel: u32,
    /// Target on the bus; `id` to the mid-layer.
    pub target: u32,
    /// Unit of the target, as the mid-layer counts (`scsilun_to_int`).
    pub lun: u64,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.channel, self.target, self.lun)
    }
}

/// How a command ended on its way to the device and back (`enum scsi_host_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HostByte {
    /// It got there; the device's status says how it ended.
    Ok = hv_bindings::scsi_host_status_DID_OK as u8,
    /// There is nothing there. Not tried again.
    NoConnect = hv_bindings::scsi_host_status_DID_NO_CONNECT as u8,
    /// The host couldn't do it now. Tried again a few times.
    BusBusy = hv_bindings::scsi_host_status_DID_BUS_BUSY as u8,
    /// It took too long.
    TimeOut = hv_bindings::scsi_host_status_DID_TIME_OUT as u8,
    /// The target can't be used.
    BadTarget = hv_bindings::scsi_host_status_DID_BAD_TARGET as u8,
    /// It was aborted. Not tried again.
    Abort = hv_bindings::scsi_host_status_DID_ABORT as u8,
    /// Something failed. Tried again a few times.
    Error = hv_bindings::scsi_host_status_DID_ERROR as u8,
    /// A reset ended it. Tried again.
    Reset = hv_bindings::scsi_host_status_DID_RESET as u8,
    /// It was passed through and failed. Not tried again.
    Passthrough = hv_bindings::scsi_host_status_DID_PASSTHROUGH as u8,
    /// To be sent again, without counting.
    Requeue = hv_bindings::scsi_host_status_DID_REQUEUE as u8,
}
