// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Hyper-V integration services: what host and guest tell each other about heartbeat, shutdown,
//! time and key-value pairs.
//!
//! All of them speak one protocol. The host asks, the guest answers with the very message, some
//! of its fields changed: the status, the flags, and what was asked for. The first message of
//! each service settles two versions, that of the framework and that of the service. The crate
//! reads and writes every message for both sides; it holds no `unsafe` code, allocates nothing
//! and never panics on what the other side wrote.
//!
//! * [`header`]: what every message begins with; [`version`] and [`negotiate`]: versions;
//! * [`heartbeat`], [`shutdown`], [`timesync`], [`kvp`]: one service each; [`text`]: its strings.
//!
//! Layouts and numbers are those of `include/linux/hyperv.h` and `include/uapi/linux/hyperv.h`
//! (the struct is named at each use). All integers on the wire are little-endian, all strings
//! UTF-16.

// Kbuild passes `no_std` itself, together with `--cfg CONFIG_RUST`.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod header;
pub mod heartbeat;
pub mod kvp;
pub mod negotiate;
pub mod shutdown;
pub mod text;
pub mod timesync;
pub mod version;

pub use header::{Flags, Header, Message, MessageError, MessageKind, Status};
pub use version::Version;
