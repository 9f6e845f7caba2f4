// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What travels over a VMBus, and nothing else.
//!
//! The crate turns bytes that a Hyper-V style host wrote into owned, validated values, and builds
//! the bytes that a guest sends: channel messages, ring packets, GPADL page lists. It knows no
//! kernel: the same source is compiled into `vmbus.ko`, into the Cargo tests, the fuzz targets
//! and host-side tools. It holds no `unsafe` code, allocates nothing and never panics on what the
//! other side wrote; each parser reads a byte once and returns a typed error for what it refuses.
//!
//! * [`guid`], [`version`]: names of devices and protocol versions;
//! * [`message`]: channel messages, both directions; [`host`] is the host's view of the same;
//! * [`slot`]: the hypervisor's message slot and post-message frames around them;
//! * [`gpadl`]: how page lists are packed into messages;
//! * [`packet`], [`ring`]: ring packets and the ring buffer they travel in;
//! * [`waiting`], [`pending`], [`tagged`]: who waits for which message, which packet;
//! * [`events`], [`monitor`]: bit positions in the pages shared with the hypervisor.
//!
//! Layouts come from the Linux headers `include/linux/hyperv.h` and `drivers/hv/hyperv_vmbus.h`
//! (the struct is named at each use). All integers on the wire are little-endian.

// Kbuild passes `no_std` itself, together with `--cfg CONFIG_RUST`.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod events;
pub mod gpadl;
pub mod guid;
pub mod host;
pub mod message;
pub mod monitor;
pub mod packet;
pub mod pending;
pub mod ring;
pub mod slot;
pub mod tagged;
pub mod version;
pub mod waiting;

pub use guid::Guid;
pub use message::{HostMessage, MessageError, Offer, OutMessage, Relid, Status};
pub use version::ProtocolVersion;

/// Bytes of a page as the hypervisor counts them (`HV_HYP_PAGE_SIZE`), whatever the guest's own
/// page size is.
pub const HV_PAGE_SIZE: u32 = 4096;

/// Largest payload of a hypervisor message, in bytes (`HV_MESSAGE_PAYLOAD_BYTE_COUNT`); no channel
/// message is longer.
pub const MAX_MESSAGE_BYTES: usize = 240;
