// SPDX-License-Identifier: GPL-2.0

//! What the `kernel` crate lacks, one safe abstraction a subsystem.

pub mod acpi;
pub mod atomic;
pub mod barrier;
pub mod bus;
pub mod compat;
pub mod cpuhp;
pub mod hyperv;
pub mod lock;
pub mod log;
pub mod mm;
pub mod notifier;
pub mod pages;
pub mod ratelimit;
pub mod rcu;
pub mod shared;
pub mod slot;
pub mod sysfs;
pub mod tasklet;
pub mod wait;
pub mod workqueue;

/// What messages printed from here start with: this crate is a part of vmbus.ko.
#[allow(non_upper_case_globals, reason = "the name is the print macros'")]
const __LOG_PREFIX: &[u8] = b"vmbus\0";
