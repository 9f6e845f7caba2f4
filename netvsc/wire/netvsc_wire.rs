// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What travels over the channel of a synthetic NIC, and nothing else.
//!
//! Two protocols are stacked there. NVSP messages are the payload of ring packets: they negotiate
//! a version, hand over buffers and say where RNDIS messages are. RNDIS messages lie in those
//! buffers or in guest pages: frames with their per-packet info, and requests for objects (OIDs)
//! of the NIC with their answers.
//!
//! The crate serves both ends. Whatever the other side wrote goes through a `parse` function and
//! comes out as a validated value or a typed error; what is sent is built by `encode` functions.
//! It knows no kernel: the same source is compiled into the guest's module, into the host, the
//! Cargo tests and the fuzz targets. It holds no `unsafe` code, allocates nothing and never
//! panics on what the other side wrote.
//!
//! * [`version`]: NVSP versions and what each brought;
//! * [`nvsp`]: NVSP messages, split by who sends them;
//! * [`rndis`]: RNDIS messages: packets, requests, completions, indications;
//! * [`ppi`]: the info that travels with a frame: checksums, large sends, VLAN tags, hashes;
//! * [`oid`]: numbers of objects and the records behind them;
//! * [`rss`]: the Toeplitz hash and the tables that spread flows over queues;
//! * [`vmq`]: receive buffers that the guest allocates on the host's request.
//!
//! Layouts come from the Linux headers `drivers/net/hyperv/hyperv_net.h` and
//! `include/linux/rndis.h` (the struct is named at each use); the chimney and VMQ messages from
//! FreeBSD's historic `sys/dev/hyperv/netvsc/hv_net_vsc.h`. All integers on the wire are
//! little-endian.

// Kbuild passes `no_std` itself, together with `--cfg CONFIG_RUST`.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(test)]
extern crate std;

mod layout;
pub mod nvsp;
pub mod oid;
pub mod ppi;
pub mod rndis;
pub mod rss;
pub mod version;
pub mod vmq;

pub use nvsp::{GuestMessage, HostMessage, NvspError};
pub use rndis::RndisError;
pub use version::Version;

/// Bytes of an Ethernet address.
pub const ETHERNET_ADDRESS_BYTES: usize = 6;
/// Bytes of an Ethernet header without a VLAN tag.
pub const ETHERNET_HEADER_BYTES: u32 = 14;

/// An Ethernet address.
pub type EthernetAddress = [u8; ETHERNET_ADDRESS_BYTES];
