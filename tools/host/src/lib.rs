// SPDX-License-Identifier: GPL-2.0 OR MIT
//! hvhost: a VMBus host on KVM.
//!
//! Boots a Linux guest that takes this for Hyper-V and offers it synthetic disks, NICs and
//! integration services. Data goes one way: [`machine`] (KVM) knows the bus only as a sink of
//! messages, the bus ([`vmbus`]) knows the machine only as a [`hypervisor::Hypervisor`] and a
//! device only as a [`device::Device`]; devices know their [`vmbus::channel::Channel`].

pub mod args;
pub mod control;
pub mod counters;
pub mod device;
pub mod events;
pub mod hypervisor;
pub mod launch;
pub mod machine;
pub mod memory;
pub mod net;
pub mod services;
pub mod storage;
pub mod testing;
pub mod vmbus;
