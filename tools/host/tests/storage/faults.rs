// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Failures on request.

use std::time::{Duration, Instant};

use hvhost::device::Device;
use serde_json::json;
use storvsc_wire::scsi::{Sense, SenseKey};
use storvsc_wire::SrbStatus;

use crate::guest::{read, Data, Driver};

#[test]
fn sense_status_and_delay() {
    let mut driver = Driver::ready(&["ram:1M", "ram:1M"]);
    let inject = |driver: &Driver, arguments| {
        driver.controller.control("inject", &arguments).unwrap();
    };
    inject(
        &driver,
        json!({"lun": 0, "kind": "sense", "key": 3, "asc": "0x11", "count": 2}),
    );
    driver.test_unit_ready(0).good();
    driver.read(1, 0, 1, 512).good();
    for _ in 0..2 {
        let answer = driver.read(0, 0, 1, 512);
        assert_eq!(answer.sense(), Sense::UNRECOVERED_READ_ERROR);
    }
    driver.read(0, 0, 1, 512).good();
    inject(
        &driver,
        json!({"lun": 0, "kind": "sense", "key": 2, "asc": 4, "ascq": 1, "opcode": 0}),
    );
    driver.read(0, 0, 1, 512).good();
    let expected = Sense::new(SenseKey::NOT_READY, 4, 1);
    assert_eq!(driver.test_unit_ready(0).sense(), expected);

    inject(
        &driver,
        json!({"lun": 0, "kind": "srb-status", "status": 0x0e, "scsi": 8}),
    );
    let answer = driver.read(0, 0, 1, 512);
    assert_eq!(answer.srb.srb_status, SrbStatus::BUS_RESET);
    assert_eq!(answer.srb.scsi_status.0, 8);
    assert!(answer.srb.sense.as_bytes().is_empty());

    inject(&driver, json!({"lun": 0, "kind": "delay", "ms": 80}));
    let since = Instant::now();
    let cdb = read(0, 1).encode().unwrap();
    let slow = driver.submit(0, 0, cdb.as_bytes(), Data::In(512), 0);
    // Others pass it.
    driver.read(0, 0, 1, 512).good();
    driver.read(1, 0, 1, 512).good();
    assert!(since.elapsed() < Duration::from_millis(80));
    driver.wait(&slow).good();
    assert!(since.elapsed() >= Duration::from_millis(80));
    assert_eq!(driver.count("/luns/0/injected"), 5);
    assert_eq!(driver.count("/luns/0/errors"), 4);
    assert_eq!(driver.count("/luns/1/errors"), 0);
}
