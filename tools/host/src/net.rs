// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Synthetic NICs.

mod adapter;
pub mod backend;
mod chain;
pub mod checksum;
pub mod frame;
mod nic;
pub mod peer;
mod plane;
mod receive;
pub mod rndis_control;
pub mod scatter;
mod sections;
pub mod segment;
mod session;
pub mod spec;
mod steering;
pub mod tap;
mod transmit;
mod worker;

pub use nic::{Nic, NicOptions};
pub use spec::NicSpec;
