// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Completions that are wrong, and requests that aren't carried out.

use std::time::{Duration, Instant};

use hvhost::device::Device;
use serde_json::{json, Value};
use storvsc_wire::scsi::{opcode, Command, Sense, SenseKey};
use storvsc_wire::{HostPacket, NtStatus, SrbStatus};
use vmbus_wire::packet::PacketType;

use super::{done, many, misbehave, next, nothing, refused, right, submit};
use crate::guest::{pattern, read, Data, Driver};
use hvhost::testing::Received;

#[test]
fn completions_come_twice() {
    let mut driver = Driver::ready(&["ram:1M", "ram:1M"]);
    let answer = misbehave(
        &driver,
        json!({"kind": "twice", "count": 2, "lun": 0, "opcode": opcode::READ_16}),
    );
    assert_eq!(answer, json!({"waiting": 2}));
    // Neither is what it is to happen to.
    driver.test_unit_ready(0).good();
    driver.read(1, 0, 1, 512).good();
    for _ in 0..2 {
        let pending = submit(&mut driver, 0);
        for _ in 0..2 {
            let received = next(&mut driver, 0);
            right(&driver, &received, pending.id);
        }
    }
    let pending = submit(&mut driver, 0);
    let received = next(&mut driver, 0);
    right(&driver, &received, pending.id);
    nothing(&mut driver, 0);
    assert_eq!(done(&driver, "twice"), 2);
    let waiting = driver.controller.stats()["misbehaviour"]["waiting"].clone();
    assert_eq!(waiting, json!({}));
}

#[test]
fn a_completion_comes_again_when_its_id_may_be_taken() {
    let mut driver = Driver::ready(&["ram:1M"]);
    misbehave(&driver, json!({"kind": "late-twice", "ms": 60}));
    let since = Instant::now();
    let pending = submit(&mut driver, 0);
    let first = next(&mut driver, 0);
    right(&driver, &first, pending.id);
    // Others aren't kept waiting.
    let other = submit(&mut driver, 0);
    let received = next(&mut driver, 0);
    right(&driver, &received, other.id);
    assert!(since.elapsed() < Duration::from_millis(60));
    assert_eq!(next(&mut driver, 0), first);
    assert!(since.elapsed() >= Duration::from_millis(60));
    nothing(&mut driver, 0);

    // Not on a channel that was closed meanwhile.
    misbehave(&driver, json!({"kind": "late-twice", "ms": 150}));
    let pending = submit(&mut driver, 0);
    let received = next(&mut driver, 0);
    right(&driver, &received, pending.id);
    driver.reopen();
    driver.set_up();
    assert_eq!(driver.channels[0].receive(Duration::from_millis(300)), None);
}

#[test]
fn completions_of_nothing_come_before_the_right_one() {
    let mut driver = Driver::ready(&["ram:1M"]);
    let wrong = |driver: &mut Driver, arguments: Value, expected: &dyn Fn(u64) -> Vec<u64>| {
        misbehave(driver, arguments);
        let pending = submit(driver, 0);
        for id in expected(pending.id) {
            let received = next(driver, 0);
            right(driver, &received, id);
        }
        let received = next(driver, 0);
        right(driver, &received, pending.id);
    };
    let beyond = |_| 0xffff_fff0;
    let generation = |id| id | 1 << 32;
    let kind = "unknown-id";
    wrong(&mut driver, json!({"kind": kind}), &|id| {
        vec![0, u64::MAX, generation(id), beyond(id)]
    });
    let shape = |shape: &str| json!({"kind": kind, "shape": shape});
    wrong(&mut driver, shape("zero"), &|_| vec![0]);
    wrong(&mut driver, shape("max"), &|_| vec![u64::MAX]);
    wrong(&mut driver, shape("generation"), &|id| vec![generation(id)]);
    wrong(&mut driver, shape("beyond"), &|id| vec![beyond(id)]);
    wrong(
        &mut driver,
        json!({"kind": kind, "id": "0xfffffffffffffffe"}),
        &|_| vec![u64::MAX - 1],
    );
    nothing(&mut driver, 0);
}

#[test]
fn completions_go_astray() {
    let mut driver = many(2);
    misbehave(&driver, json!({"kind": "other-channel", "count": 3}));
    for (asked, answered) in [(0, 1), (1, 2), (2, 0)] {
        let pending = submit(&mut driver, asked);
        let received = next(&mut driver, answered);
        right(&driver, &received, pending.id);
        nothing(&mut driver, asked);
    }
    assert_eq!(done(&driver, "other-channel"), 3);
    // The others close; what is yet to happen can't any more.
    misbehave(&driver, json!({"kind": "other-channel"}));
    driver.reopen();
    driver.set_up();
    let pending = submit(&mut driver, 0);
    let received = next(&mut driver, 0);
    right(&driver, &received, pending.id);
    assert_eq!(done(&driver, "other-channel"), 3);
    let answer = misbehave(&driver, json!({"kind": "none"}));
    assert_eq!(answer, json!({"forgotten": 1, "held": 0}));
    let error = refused(&driver, json!({"kind": "other-channel"}));
    assert!(error.contains("no other channel"), "{error}");
}

#[test]
fn completions_are_cut_off() {
    let mut driver = Driver::ready(&["ram:1M"]);
    misbehave(&driver, json!({"kind": "short"}));
    for length in [None, Some(63)] {
        let expected = match length {
            // With the ring's padding.
            None => vec![0, 16, 40],
            Some(_) => vec![64],
        };
        if let Some(length) = length {
            misbehave(&driver, json!({"kind": "short", "length": length}));
        }
        let pending = submit(&mut driver, 0);
        let cut: Vec<Received> = expected.iter().map(|_| next(&mut driver, 0)).collect();
        let whole = next(&mut driver, 0);
        right(&driver, &whole, pending.id);
        for (received, bytes) in cut.iter().zip(expected) {
            assert_eq!(received.packet_type, PacketType::COMPLETION);
            assert_eq!(received.transaction_id, pending.id);
            assert_eq!(received.payload.len(), bytes);
            let same = received.payload.len().min(11);
            assert_eq!(received.payload[..same], whole.payload[..same]);
        }
    }
    nothing(&mut driver, 0);
}

#[test]
fn fields_lie() {
    let mut driver = Driver::ready(&["ram:1M"]);
    misbehave(&driver, json!({"kind": "sense-length"}));
    misbehave(&driver, json!({"kind": "sense-length", "length": 19}));
    for length in [255, 19] {
        submit(&mut driver, 0);
        let received = next(&mut driver, 0);
        assert_eq!(received.payload[21], length);
        let HostPacket::Completion(completion) =
            HostPacket::parse(&received.payload, driver.layout).unwrap()
        else {
            panic!("{received:?}")
        };
        let srb = completion.srb().unwrap();
        assert!(srb.srb_status.has_autosense());
        assert_eq!(srb.scsi_status.0, 2);
        let expected = Sense::new(SenseKey::ABORTED_COMMAND, 0, 0);
        assert_eq!(srb.sense.parse(), Some(expected));
    }

    for (by, transferred) in [
        (json!(null), 1024),
        (json!(1), 513),
        (json!("0xffffffff"), u32::MAX),
    ] {
        misbehave(&driver, json!({"kind": "residual", "by": by}));
        let cdb = read(0, 1).encode().unwrap();
        let pending = driver.submit(0, 0, cdb.as_bytes(), Data::In(512), 0);
        let answer = driver.wait(&pending);
        assert_eq!(answer.srb.srb_status, SrbStatus::SUCCESS);
        assert_eq!(answer.srb.transferred, transferred);
    }
    driver.read(0, 0, 1, 512).good();
}

#[test]
fn requests_are_refused() {
    let mut driver = Driver::ready(&["ram:1M"]);
    let data = pattern(512, 1);
    misbehave(&driver, json!({"kind": "refuse", "status": "0xc000009a"}));
    let answer = driver.write(0, 0, &data, 512);
    assert_eq!(answer.status, NtStatus::INSUFFICIENT_RESOURCES);
    assert_eq!(answer.srb.srb_status, SrbStatus::PENDING);
    // It wasn't carried out.
    assert_eq!(driver.read(0, 0, 1, 512).good(), vec![0; 512]);
    misbehave(&driver, json!({"kind": "refuse"}));
    assert_eq!(driver.read(0, 0, 1, 512).status, NtStatus::UNSUCCESSFUL);
    driver.read(0, 0, 1, 512).good();
    assert_eq!(done(&driver, "refuse"), 2);
}

#[test]
fn there_are_no_units() {
    let mut driver = Driver::ready(&["ram:1M", "ram:1M"]);
    misbehave(&driver, json!({"kind": "invalid-lun", "lun": 1}));
    let inquiry = Command::Inquiry {
        page: None,
        allocation: 36,
    };
    for _ in 0..3 {
        let answer = driver.execute(1, inquiry, Data::In(36));
        assert_eq!(answer.srb.srb_status, SrbStatus::INVALID_LUN);
        assert!(!answer.status.is_success());
        assert_eq!(
            driver.test_unit_ready(1).srb.srb_status,
            SrbStatus::INVALID_LUN
        );
        driver.test_unit_ready(0).good();
    }
    assert_eq!(done(&driver, "invalid-lun"), 6);
    misbehave(&driver, json!({"kind": "invalid-lun", "count": 2}));
    let report = Command::ReportLuns {
        select: 0,
        allocation: 64,
    };
    let answer = driver.execute(0, report, Data::In(64));
    assert_eq!(answer.srb.srb_status, SrbStatus::INVALID_LUN);
    misbehave(&driver, json!({"kind": "none"}));
    driver.test_unit_ready(1).good();
    assert_eq!(driver.units(), [0, 1]);
}
