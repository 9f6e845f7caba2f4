// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A controller that breaks the protocol on request: what it then sends, and that it goes on well.

mod channels;
mod completions;
mod silence;

use std::time::{Duration, Instant};

use hvhost::device::Device;
use hvhost::storage::ControllerOptions;
use hvhost::testing::{Received, LIMIT, SHORT};
use serde_json::{json, Value};
use storvsc_wire::{HostPacket, SrbStatus};
use vmbus_wire::packet::PacketType;

use crate::guest::{read, Data, Driver, Pending};

fn misbehave(driver: &Driver, arguments: Value) -> Value {
    driver
        .controller
        .control("misbehave", &arguments)
        .unwrap_or_else(|error| panic!("{arguments}: {error}"))
}

fn refused(driver: &Driver, arguments: Value) -> String {
    let answer = driver.controller.control("misbehave", &arguments);
    answer.expect_err(&arguments.to_string()).to_string()
}

fn done(driver: &Driver, kind: &str) -> u64 {
    driver.count(&format!("/misbehaviour/done/{kind}"))
}

/// Waits for a number of the statistics.
#[track_caller]
fn becomes(driver: &Driver, pointer: &str, value: u64) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let stats = driver.controller.stats();
        let now = stats.pointer(pointer).and_then(Value::as_u64);
        if now == Some(value) {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{pointer} is {now:?}, not {value}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A read of the first block.
fn submit(driver: &mut Driver, channel: usize) -> Pending {
    let cdb = read(0, 1).encode().unwrap();
    driver.submit(channel, 0, cdb.as_bytes(), Data::In(512), 0)
}

fn next(driver: &mut Driver, channel: usize) -> Received {
    driver.channels[channel].receive(LIMIT).expect("a packet")
}

fn nothing(driver: &mut Driver, channel: usize) {
    assert_eq!(driver.channels[channel].receive(SHORT), None);
}

/// A completion of a request, as it should be.
#[track_caller]
fn right(driver: &Driver, received: &Received, id: u64) {
    assert_eq!(received.packet_type, PacketType::COMPLETION);
    assert_eq!(received.transaction_id, id);
    match HostPacket::parse(&received.payload, driver.layout).unwrap() {
        HostPacket::Completion(completion) => {
            let srb = completion.srb().unwrap();
            assert_eq!(srb.srb_status, SrbStatus::SUCCESS);
            assert_eq!(srb.transferred, 512);
        }
        other => panic!("{other:?}"),
    }
}

/// A guest with sub-channels.
fn many(subchannels: u16) -> Driver {
    let processors = u32::from(subchannels) + 1;
    let mut driver = Driver::new(ControllerOptions::default(), processors, &["ram:1M"]);
    driver.set_up();
    driver.open_subchannels(subchannels);
    for channel in 0..=subchannels {
        // The guest is told before the channel's thread has begun.
        becomes(&driver, &format!("/channels/{channel}/opened"), 1);
    }
    driver
}

#[test]
fn what_is_used_up_is_told() {
    let mut driver = Driver::ready(&["ram:1M"]);
    let told = |driver: &Driver| {
        let events = driver.guest.bus().events().subscribe_since(0).unwrap();
        std::iter::from_fn(|| events.try_next())
            .filter(|event| event.name == "misbehaved")
            .map(|event| event.fields["kind"].clone())
            .collect::<Vec<_>>()
    };
    misbehave(&driver, json!({"kind": "refuse", "count": 2}));
    driver.test_unit_ready(0);
    assert!(told(&driver).is_empty());
    driver.test_unit_ready(0);
    assert_eq!(told(&driver), ["refuse"]);
    misbehave(&driver, json!({"kind": "flip-state"}));
    assert_eq!(told(&driver), ["refuse", "flip-state"]);
}

#[test]
fn nonsense_is_refused() {
    let driver = Driver::ready(&["ram:1M"]);
    for arguments in [
        json!({}),
        json!({"kind": 3}),
        json!({"kind": "evil"}),
        json!({"kind": "twice", "count": 0}),
        json!({"kind": "twice", "lun": 256}),
        json!({"kind": "unknown-id", "shape": "round"}),
        json!({"kind": "short", "length": 64}),
        json!({"kind": "sense-length", "length": 256}),
        json!({"kind": "residual", "by": "0x100000000"}),
        json!({"kind": "refuse", "status": 0}),
        json!({"kind": "silent", "reset": "maybe"}),
        json!({"kind": "storm", "packet": "snow"}),
        json!({"kind": "storm", "channel": 1}),
        json!({"kind": "bad-ring", "channel": 7}),
        json!({"kind": "bad-ring", "index": -1}),
        json!({"kind": "flip-state", "operation": "execute"}),
        json!({"kind": "flip-state", "count": 4097}),
        json!({"kind": "none", "forget": 1}),
        json!({"kind": "late-twice", "ms": 3_600_001}),
    ] {
        assert!(!refused(&driver, arguments.clone()).is_empty());
    }
    let waiting = driver.controller.stats()["misbehaviour"]["waiting"].clone();
    assert_eq!(waiting, json!({}));
}
