// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Requests that aren't answered, and what resets do to them.

use std::collections::BTreeSet;
use std::time::Duration;

use hvhost::storage::ControllerOptions;
use serde_json::json;
use storvsc_wire::{GuestPacket, SrbStatus};

use super::{becomes, misbehave, next, nothing, submit};
use crate::guest::{image, pattern, read, write, Data, Driver, Pending};

/// Requests of every kind of back end, on two channels, held: two reads and two writes.
fn hold(driver: &mut Driver, data: &[u8]) -> Vec<Pending> {
    let mut pending = Vec::new();
    for channel in 0..2 {
        for lun in 0..2 {
            let lba = 8 * (channel as u64 + 1);
            pending.push(if lun == 0 {
                let cdb = read(lba, 8).encode().unwrap();
                driver.submit(channel, lun, cdb.as_bytes(), Data::In(4096), 0)
            } else {
                let cdb = write(lba, 8, false).encode().unwrap();
                driver.submit(channel, lun, cdb.as_bytes(), Data::Out(data), 0)
            });
        }
    }
    becomes(driver, "/misbehaviour/held", 4);
    pending
}

fn silent(name: &str) -> Driver {
    let file = |lun| {
        image(&format!("{name}-{lun}"), 1 << 20)
            .display()
            .to_string()
    };
    let mut driver = Driver::new(ControllerOptions::default(), 2, &[&file(0), &file(1)]);
    driver.set_up();
    driver.open_subchannels(1);
    driver
}

#[test]
fn requests_are_held_and_carried_out_later() {
    let mut driver = silent("silent");
    let data = pattern(4096, 3);
    driver.write(1, 8, &data, 512).good();
    misbehave(&driver, json!({"kind": "silent"}));
    let pending = hold(&mut driver, &data);
    for channel in 0..2 {
        nothing(&mut driver, channel);
    }
    let answer = misbehave(&driver, json!({"kind": "none"}));
    assert_eq!(answer, json!({"forgotten": u64::MAX, "held": 4}));
    for pending in &pending {
        let answer = driver.wait(pending);
        assert_eq!(answer.srb.srb_status, SrbStatus::SUCCESS);
    }
    assert_eq!(driver.read(1, 16, 8, 512).good(), data);
    becomes(&driver, "/misbehaviour/held", 0);

    // Only so many, only of a unit.
    misbehave(&driver, json!({"kind": "silent", "count": 1, "lun": 1}));
    driver.read(0, 0, 1, 512).good();
    let cdb = read(0, 1).encode().unwrap();
    let held = driver.submit(0, 1, cdb.as_bytes(), Data::In(512), 0);
    driver.read(1, 0, 1, 512).good();
    nothing(&mut driver, 0);
    let answer = misbehave(&driver, json!({"kind": "none", "forget": "true"}));
    assert_eq!(answer, json!({"forgotten": 0, "held": 1}));
    becomes(&driver, "/misbehaviour/held", 0);
    nothing(&mut driver, 0);
    driver.forget(&held);
    // Nobody waits for it any more.
    assert!(driver.ask(GuestPacket::ResetBus).is_success());
}

#[test]
fn a_reset_ends_what_is_held() {
    let mut driver = silent("reset");
    let data = pattern(4096, 5);
    misbehave(&driver, json!({"kind": "silent", "reset": true}));
    let pending = hold(&mut driver, &data);
    assert!(driver.ask(GuestPacket::ResetBus).is_success());
    assert_eq!(driver.count("/misbehaviour/held"), 0);
    // All have been answered before, wherever.
    for pending in &pending {
        let answer = driver
            .wait_within(pending, Duration::ZERO)
            .expect("answered");
        assert_eq!(answer.srb.srb_status, SrbStatus::BUS_RESET);
    }
    // It is as silent as before.
    let held = submit(&mut driver, 1);
    nothing(&mut driver, 1);
    misbehave(&driver, json!({"kind": "none"}));
    driver.wait(&held).good();
    assert_eq!(driver.read(1, 8, 8, 512).good(), vec![0; 4096]);

    misbehave(&driver, json!({"kind": "silent", "reset": "forget"}));
    let pending = hold(&mut driver, &data);
    assert!(driver.ask(GuestPacket::ResetBus).is_success());
    assert_eq!(driver.count("/misbehaviour/held"), 0);
    misbehave(&driver, json!({"kind": "none"}));
    for channel in 0..2 {
        nothing(&mut driver, channel);
    }
    for pending in &pending {
        driver.forget(pending);
    }
    assert_eq!(driver.read(1, 8, 8, 512).good(), vec![0; 4096]);
}

#[test]
fn a_reset_isnt_answered() {
    let mut driver = silent("no-reset");
    let data = pattern(4096, 7);
    misbehave(&driver, json!({"kind": "silent", "reset": "false"}));
    let pending = hold(&mut driver, &data);
    for channel in [0, 1] {
        let out = GuestPacket::ResetBus.encode(driver.layout);
        let payload = [out.as_bytes()];
        let id = 900 + channel as u64;
        let packet = vmbus_wire::packet::OutPacket::in_band(id, &payload);
        driver.channels[channel].send_all(&packet.requesting_completion());
    }
    becomes(&driver, "/misbehaviour/unanswered_resets", 2);
    for channel in 0..2 {
        nothing(&mut driver, channel);
    }
    assert_eq!(driver.count("/misbehaviour/held"), 4);
    misbehave(&driver, json!({"kind": "none"}));
    // Carried out first, then the resets are answered.
    let mut left: BTreeSet<u64> = pending.iter().map(|pending| pending.id).collect();
    left.extend([900, 901]);
    for (channel, reset) in [(0, 900), (1, 901)] {
        for last in [false, false, true] {
            let id = next(&mut driver, channel).transaction_id;
            assert_eq!(id == reset, last, "{id}");
            assert!(left.remove(&id), "{id} twice");
        }
    }
    assert!(left.is_empty());
    assert_eq!(driver.count("/misbehaviour/unanswered_resets"), 0);
    assert!(driver.ask(GuestPacket::ResetBus).is_success());

    // A channel that is closed takes what it holds with it.
    misbehave(&driver, json!({"kind": "silent", "reset": false}));
    let pending = hold(&mut driver, &data);
    driver.reopen();
    for pending in &pending {
        driver.forget(pending);
    }
    becomes(&driver, "/misbehaviour/held", 0);
    driver.set_up();
    let held = submit(&mut driver, 0);
    nothing(&mut driver, 0);
    misbehave(&driver, json!({"kind": "none"}));
    driver.wait(&held).good();
}
