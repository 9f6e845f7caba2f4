// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Hyper-V dynamic memory: what host and guest tell each other, and what the guest may do when.
//!
//! The host asks the guest to give memory away (balloon up), gives it back (balloon down) or adds
//! more (hot-add); the guest says how much it could spare, once a second. The crate turns bytes
//! that a host wrote into validated values, builds the bytes that a guest sends, and decides what
//! follows from them. It knows no kernel: the same source is compiled into `vmbus_balloon.ko`,
//! the Cargo tests and the fuzz targets. It holds no `unsafe` code, allocates nothing and never
//! panics on what the host wrote.
//!
//! * [`message`]: messages of the host; [`guest`]: messages to it;
//! * [`range`]: ranges of pages, as both sides name them;
//! * [`session`]: the state machine: versions, capabilities, one transaction at a time;
//! * [`policy`]: how much to give, in which portions.
//!
//! Layouts and numbers are those of `drivers/hv/hv_balloon.c` in Linux and
//! `include/hw/hyperv/dynmem-proto.h` in QEMU (the struct is named at each use). All integers on
//! the wire are little-endian; a page is 4 KiB whatever the guest's own page size is.

// Kbuild passes `no_std` itself, together with `--cfg CONFIG_RUST`.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod guest;
pub mod message;
pub mod policy;
pub mod range;
pub mod session;
pub mod version;

pub use message::{HostMessage, MessageError, MessageType};
pub use range::PageRange;
pub use session::{Session, SessionError, Step};
pub use version::Version;

/// Bytes of the longest message of either side (`HV_HYP_PAGE_SIZE`, as the C driver's buffers).
pub const MAX_MESSAGE_BYTES: usize = 4096;
