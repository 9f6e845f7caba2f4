// SPDX-License-Identifier: GPL-2.0

//! What the `kernel` crate lacks, one safe abstraction a subsystem.

pub mod hyperv;
pub mod lock;
