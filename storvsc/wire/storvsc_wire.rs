// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What travels between a synthetic SCSI controller and its driver, and nothing else.
//!
//! A storage channel carries one kind of packet, the vstor packet: an operation, a status and a
//! body. This crate turns the bytes of one into owned, validated values and back, for both ends:
//! [`guest`] is what a guest sends (and a host reads), [`host`] what a host sends (and a guest
//! reads). [`srb`] is the body that matters, a SCSI request block; [`scsi`] has what is in it:
//! command descriptor blocks, sense data, and the data of the commands that a disk needs.
//! [`conversation`] is how both come to terms, [`verdict`] what an answer means to the guest.
//!
//! The crate knows no kernel: the same source is compiled into `storvsc.ko`, into the Cargo
//! tests, the fuzz targets and the host. It holds no `unsafe` code, allocates nothing and never
//! panics on what the other side wrote; each parser reads a byte once and returns a typed error
//! for what it refuses.
//!
//! Layouts of vstor packets come from `drivers/scsi/storvsc_drv.c` of Linux (the struct is named
//! at each use), those of SCSI from the standards SPC, SBC and MMC. vstor packets are
//! little-endian, SCSI data is big-endian.

// Kbuild passes `no_std` itself, together with `--cfg CONFIG_RUST`.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod conversation;
pub mod fibre;
pub mod guest;
pub mod host;
pub mod operation;
pub mod packet;
pub mod properties;
pub mod scsi;
pub mod srb;
pub mod verdict;
pub mod version;

pub use conversation::{Agreement, Conversation};
pub use guest::GuestPacket;
pub use host::HostPacket;
pub use operation::{NtStatus, Operation};
pub use packet::{Layout, OutPacket, PacketError};
pub use properties::ChannelProperties;
pub use srb::{Address, DataDirection, Srb, SrbCompletion, SrbStatus};
pub use verdict::{judge, Asked, Disposition, FollowUp, Verdict};
pub use version::ProtocolVersion;
