// SPDX-License-Identifier: GPL-2.0 OR MIT
//! storvsp: synthetic SCSI controllers.
//!
//! A request goes one way: a channel's thread ([`session`]) takes it out of the ring, the
//! [`controller`] knows the unit ([`lun`]), [`scsi`] makes answer or [`work`] of its command, and
//! the unit's [`backend`] does the work: files with io_uring, memory by copying. Data moves
//! between back end and the guest's own pages ([`buffer`]).

mod backend;
mod buffer;
mod commands;
mod controller;
mod drain;
mod inject;
mod lun;
mod mail;
mod misbehave;
mod ring;
mod scsi;
mod session;
mod stats;
mod work;

pub use controller::{Controller, ControllerOptions, MAX_LUNS};
pub use storvsc_wire::ProtocolVersion;

pub use crate::args::spec::{Backing, DiskPlace, DiskSpec};
