// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A NIC through real rings.

mod bad;
mod basic;
mod driver;
mod frames;
mod offload;
mod tap;
mod vmq;
mod wire;

use std::sync::Arc;

use hvhost::device::Device;
use hvhost::net::frame::Mac;
use hvhost::net::{Nic, NicOptions, NicSpec};
use hvhost::testing::FakeGuest;

use wire::Wire;

/// The NIC's address.
const GUEST: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// A NIC as the command line makes it.
fn nic(guest: &FakeGuest, spec: &str) -> Arc<Nic> {
    let spec = NicSpec::parse(&format!("{spec},mac={GUEST}")).unwrap();
    let nic = Nic::new(0, spec, NicOptions::default()).unwrap();
    guest.bus().add(nic.clone()).unwrap();
    nic
}

/// A NIC whose back end is the test's.
fn wired(guest: &FakeGuest, options: &str, queues: u16) -> (Arc<Nic>, Wire) {
    let spec = format!("peer=sink,queues={queues},mac={GUEST}{options}");
    let wire = Wire::new(queues);
    let nic = Nic::with_backend(
        0,
        NicSpec::parse(&spec).unwrap(),
        NicOptions::default(),
        Arc::new(wire.clone()),
    );
    guest.bus().add(nic.clone()).unwrap();
    (nic, wire)
}

/// A counter, of all queues together.
fn counter(nic: &Nic, name: &str) -> u64 {
    nic.stats()["total"][name].as_u64().unwrap()
}
