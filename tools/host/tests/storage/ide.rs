// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Disks of the IDE class: each with a channel of its own that is spoken to like any other.

use hvhost::device::Device;
use hvhost::storage::{Controller, ControllerOptions, ProtocolVersion};
use serde_json::json;
use storvsc_wire::scsi::{Command, Sense};
use storvsc_wire::{GuestPacket, NtStatus, SrbStatus};
use vmbus_wire::guid::class;
use vmbus_wire::Guid;

use crate::guest::{pattern, Data, Driver};

fn ide(target: u8, processors: u32, disk: &str) -> Driver {
    let controller = Controller::ide(target, ControllerOptions::default());
    let mut driver = Driver::on(controller, processors, &[disk]);
    driver.target = target;
    driver
}

#[test]
fn the_instance_names_the_target() {
    for (target, instance) in [
        (0, "00000000-0000-8899-0000-000000000000"),
        (1, "00000000-0001-8899-0000-000000000000"),
        (255, "00000000-00ff-8899-0000-000000000000"),
    ] {
        let driver = ide(target, 1, "ram:1M,ide");
        assert_eq!(driver.offer.class, class::IDE);
        assert_eq!(driver.offer.instance, Guid::literal(instance));
        // As the C driver reads it.
        let bytes = driver.offer.instance.to_bytes();
        assert_eq!(
            u16::from(bytes[5]) << 8 | u16::from(bytes[4]),
            u16::from(target)
        );
        assert_eq!(driver.controller.identity().name, format!("ide{target}"));
    }
}

#[test]
fn one_disk_at_one_channel() {
    let mut driver = ide(1, 4, "ram:1M,ide");
    let (version, properties) = driver.set_up();
    assert_eq!(version, ProtocolVersion::WIN10);
    assert!(!properties.multi_channel && properties.max_subchannels == 0);
    let status = driver.ask(GuestPacket::CreateSubChannels { count: 1 });
    assert_eq!(status, NtStatus::INVALID_PARAMETER);
    let data = pattern(8192, 1);
    driver.write(0, 8, &data, 512).good();
    assert_eq!(driver.read(0, 8, 16, 512).good(), data);
    assert_eq!(driver.units(), [0]);
    assert_eq!(
        driver.test_unit_ready(1).srb.srb_status,
        SrbStatus::INVALID_LUN
    );
    driver.target = 0;
    let elsewhere = driver.test_unit_ready(0).srb.srb_status;
    assert_eq!(elsewhere, SrbStatus::SELECTION_TIMEOUT);
    let inquiry = Command::Inquiry {
        page: None,
        allocation: 36,
    };
    let data = driver.execute(0, inquiry, Data::In(36)).good();
    assert_eq!(data[0], 0x7f, "no unit");
    driver.target = 1;
    let serial = driver.controller.stats()["luns"][0]["serial"].clone();
    assert_eq!(serial, json!("hvhost-ide-1-0"));
}

#[test]
fn it_comes_and_goes_like_others() {
    let mut driver = ide(0, 1, "ram:1M,ide");
    driver.set_up();
    let control =
        |driver: &Driver, command: &str, arguments| driver.controller.control(command, &arguments);
    let error = control(&driver, "add-disk", json!({"spec": "ram:1M"})).unwrap_err();
    assert!(error.to_string().contains("taken"), "{error}");
    control(&driver, "resize-disk", json!({"lun": 0, "bytes": "2M"})).unwrap();
    assert_eq!(driver.test_unit_ready(0).sense(), Sense::CAPACITY_CHANGED);
    control(
        &driver,
        "misbehave",
        json!({"kind": "invalid-lun", "count": 1}),
    )
    .unwrap();
    assert_eq!(
        driver.test_unit_ready(0).srb.srb_status,
        SrbStatus::INVALID_LUN
    );
    driver.test_unit_ready(0).good();
    control(&driver, "remove-disk", json!({"lun": 0})).unwrap();
    assert_eq!(
        driver.test_unit_ready(0).srb.srb_status,
        SrbStatus::INVALID_LUN
    );
    control(&driver, "add-disk", json!({"spec": "ram:1M"})).unwrap();
    driver.test_unit_ready(0).good();
    // A SCSI controller takes no IDE disk.
    let scsi = Controller::new(0, ControllerOptions::default());
    let error = scsi.add(&Driver::spec("ram:1M,ide")).unwrap_err();
    assert!(error.to_string().contains("IDE"), "{error}");
}
