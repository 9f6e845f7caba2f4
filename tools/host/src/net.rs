// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Synthetic NICs.

pub mod backend;
pub mod checksum;
pub mod frame;
pub mod peer;
pub mod rndis_control;
pub mod scatter;
pub mod segment;
pub mod spec;
pub mod tap;

pub use spec::NicSpec;
