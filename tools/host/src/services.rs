// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The integration services: heartbeat, shutdown, time, key-value pairs.
//!
//! Each is a device of the bus with one channel and one protocol ([`util_wire`]): the host asks,
//! the guest answers. [`service`] is what they have in common.

use std::sync::Arc;

use crate::device::Device;
use crate::hypervisor::Hypervisor;

pub mod heartbeat;
pub mod jobs;
pub mod kvp;
pub mod link;
pub mod service;
pub mod shutdown;
pub mod timesync;

use service::Service;

/// All services, ready to be added to a bus.
pub fn all(hypervisor: &Arc<dyn Hypervisor>) -> Vec<Arc<dyn Device>> {
    vec![
        Arc::new(Service::new(heartbeat::Heartbeat::default())),
        Arc::new(Service::new(shutdown::Shutdown::default())),
        Arc::new(Service::new(timesync::TimeSync::new(hypervisor.clone()))),
        Arc::new(Service::new(kvp::Pairs::default())),
    ]
}
