// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Disks that come, go and change while I/O runs.

use hvhost::device::Device;
use hvhost::storage::{ControllerOptions, ProtocolVersion};
use hvhost::testing::{LIMIT, SHORT};
use serde_json::json;
use storvsc_wire::scsi::{Command, Sense};
use storvsc_wire::{Operation, SrbStatus};

use crate::guest::{image, pattern, read, write, Data, Driver};

#[test]
fn added_and_removed() {
    let mut driver = Driver::ready(&["ram:1M"]);
    assert_eq!(driver.news(SHORT), None, "nothing new");
    let added = driver
        .controller
        .control("add-disk", &json!({"spec": "ram:2M,lun=5"}))
        .unwrap();
    assert_eq!(added["lun"], 5);
    assert_eq!(driver.news(LIMIT), Some(Operation::ENUMERATE_BUS));
    // The other disk tells, once.
    let told = driver.test_unit_ready(0);
    assert_eq!(told.sense(), Sense::REPORTED_LUNS_CHANGED);
    driver.test_unit_ready(0).good();
    assert_eq!(driver.units(), [0, 5]);
    let data = pattern(4096, 5);
    driver.write(5, 0, &data, 512).good();

    driver
        .controller
        .control("remove-disk", &json!({"lun": 5}))
        .unwrap();
    assert_eq!(driver.news(LIMIT), Some(Operation::ENUMERATE_BUS));
    let gone = driver.read(5, 0, 8, 512);
    assert_eq!(gone.srb.srb_status, SrbStatus::INVALID_LUN);
    // REPORT LUNS says it, too.
    assert_eq!(driver.units(), [0]);
    driver.test_unit_ready(0).good();

    let spec = json!({"spec": "ram:2M,lun=5"});
    driver.controller.control("add-disk", &spec).unwrap();
    assert_eq!(driver.news(LIMIT), Some(Operation::ENUMERATE_BUS));
    assert_eq!(driver.read(5, 0, 1, 512).good(), [0; 512], "another disk");
    let remove = json!({"lun": 5, "notify": "remove"});
    driver.controller.control("remove-disk", &remove).unwrap();
    assert_eq!(driver.news(LIMIT), Some(Operation::REMOVE_DEVICE));
    let silently = json!({"lun": 0, "notify": "none"});
    driver.controller.control("remove-disk", &silently).unwrap();
    assert_eq!(driver.news(SHORT), None);
    for (command, arguments) in [
        ("remove-disk", json!({"lun": 5})),
        ("remove-disk", json!({})),
        ("remove-disk", json!({"lun": 300})),
        ("resize-disk", json!({"lun": 9, "bytes": 512})),
        ("inject", json!({"lun": 9, "kind": "none"})),
        ("add-disk", json!({"spec": "ram:1M,colour=red"})),
        ("add-disk", json!({"spec": 5})),
        ("explode", json!({})),
    ] {
        let answer = driver.controller.control(command, &arguments);
        assert!(answer.is_err(), "{command} {arguments}");
    }
}

#[test]
fn the_oldest_version_is_told_in_its_own_way() {
    let options = ControllerOptions {
        max_version: ProtocolVersion::WIN6,
        ..ControllerOptions::default()
    };
    let mut driver = Driver::new(options, 1, &[]);
    driver.set_up();
    driver.controller.add(&Driver::spec("ram:1M")).unwrap();
    assert_eq!(driver.news(LIMIT), Some(Operation::REMOVE_DEVICE));
}

#[test]
fn nobody_is_told_before_the_guest_is_ready() {
    let mut driver = Driver::new(ControllerOptions::default(), 1, &["ram:1M"]);
    driver.controller.add(&Driver::spec("ram:1M")).unwrap();
    driver.set_up();
    driver.test_unit_ready(0).good();
    assert_eq!(driver.units(), [0, 1]);
    assert_eq!(driver.news(SHORT), None);
}

#[test]
fn resized_both_ways() {
    let path = image("resize", 1 << 20);
    let file = path.display().to_string();
    let mut driver = Driver::ready(&["ram:1M", &file]);
    for lun in 0..2u8 {
        let resize = |bytes: serde_json::Value| {
            driver
                .controller
                .control("resize-disk", &json!({"lun": lun, "bytes": bytes}))
        };
        assert!(resize(json!(1000)).is_err());
        assert!(resize(json!(0)).is_err());
        assert_eq!(resize(json!("3M")).unwrap()["bytes"], 3 << 20);
        assert_eq!(driver.news(LIMIT), Some(Operation::ENUMERATE_BUS));
        let told = driver.read(lun, 0, 1, 512);
        assert_eq!(told.sense(), Sense::CAPACITY_CHANGED);
        let data = pattern(512, 9);
        driver.write(lun, 6143, &data, 512).good();
        assert_eq!(driver.read(lun, 6143, 1, 512).good(), data);
        driver
            .controller
            .control("resize-disk", &json!({"lun": lun, "bytes": 1 << 20}))
            .unwrap();
        assert_eq!(driver.test_unit_ready(lun).sense(), Sense::CAPACITY_CHANGED);
        assert_eq!(driver.news(LIMIT), Some(Operation::ENUMERATE_BUS));
        let beyond = driver.read(lun, 6143, 1, 512);
        assert_eq!(beyond.sense(), Sense::LBA_OUT_OF_RANGE);
        // What REQUEST SENSE tells isn't told again.
        driver
            .controller
            .control("resize-disk", &json!({"lun": lun, "bytes": 2 << 20}))
            .unwrap();
        let sense = Command::RequestSense {
            descriptor: false,
            allocation: 18,
        };
        let data = driver.execute(lun, sense, Data::In(18)).good();
        assert_eq!(Sense::parse(&data), Some(Sense::CAPACITY_CHANGED));
        driver.read(lun, 4095, 1, 512).good();
        assert_eq!(driver.news(LIMIT), Some(Operation::ENUMERATE_BUS));
    }
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 << 20);
    // Somebody else made the file bigger.
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(5 << 20).unwrap();
    let now = driver.controller.control("resize-disk", &json!({"lun": 1}));
    assert_eq!(now.unwrap()["bytes"], 5 << 20);
    // A file cut behind our back is no end of the world.
    file.set_len(4096).unwrap();
    driver.test_unit_ready(1).sense();
    let answer = driver.read(1, 100, 1, 512);
    assert_eq!(answer.sense(), Sense::UNRECOVERED_READ_ERROR);
    driver.read(1, 7, 1, 512).good();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn eight_disks_come_and_go_under_load() {
    let path = image("load", 8 << 20);
    let file = path.display().to_string();
    let mut driver = Driver::new(ControllerOptions::default(), 2, &["ram:8M", &file]);
    driver.set_up();
    driver.open_subchannels(1);
    let controller = driver.controller.clone();
    let changes = std::thread::spawn(move || {
        for _ in 0..5 {
            for lun in 2..10 {
                let spec = format!("ram:1M,lun={lun}");
                let spec = json!({ "spec": spec });
                controller.control("add-disk", &spec).unwrap();
            }
            let bigger = json!({"lun": 1, "bytes": "12M"});
            controller.control("resize-disk", &bigger).unwrap();
            for lun in 2..10 {
                let lun = json!({ "lun": lun });
                controller.control("remove-disk", &lun).unwrap();
            }
        }
    });
    let mut attentions = 0;
    for n in 0..200u64 {
        let lun = (n % 2) as u8;
        let data = pattern(16384, n as u32);
        let channel = (n % 2) as usize;
        for (cdb, data) in [
            (write(n * 32, 32, false), Data::Out(&data)),
            (read(n * 32, 32), Data::In(16384)),
        ] {
            let cdb = cdb.encode().unwrap();
            let reading = matches!(data, Data::In(_));
            // As drivers do: again, after having been told of a change.
            let mut again = driver.submit(channel, lun, cdb.as_bytes(), data, 0);
            loop {
                let answer = driver.wait(&again);
                if answer.srb.srb_status.is_success() {
                    if reading {
                        assert!(answer.data == pattern(16384, n as u32));
                    }
                    break;
                }
                assert_eq!(answer.sense().key.0, 6);
                attentions += 1;
                let bytes = pattern(16384, n as u32);
                let data = if reading {
                    Data::In(16384)
                } else {
                    Data::Out(&bytes)
                };
                again = driver.submit(channel, lun, cdb.as_bytes(), data, 0);
            }
        }
        // Disks that may or may not be there.
        let other = driver.read(2 + (n % 8) as u8, 0, 1, 512);
        let status = other.srb.srb_status;
        assert!(
            status.is_success() || status == SrbStatus::INVALID_LUN || other.sense().key.0 == 6,
            "{status}"
        );
    }
    changes.join().unwrap();
    assert!(attentions > 0);
    assert_eq!(driver.units(), [0, 1]);
    std::fs::remove_file(path).unwrap();
}
