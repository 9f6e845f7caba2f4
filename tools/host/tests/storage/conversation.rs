// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How guest and host come to terms.

use hvhost::device::Device;
use hvhost::storage::{ControllerOptions, ProtocolVersion};
use storvsc_wire::{GuestPacket, Layout, NtStatus, Operation};

use crate::guest::{pattern, Driver};

#[test]
fn every_version_is_spoken_and_none_above_the_cap() {
    for cap in ProtocolVersion::KNOWN {
        let options = ControllerOptions {
            max_version: cap,
            ..ControllerOptions::default()
        };
        let mut driver = Driver::new(options, 4, &["ram:1M"]);
        let (version, properties) = driver.set_up();
        assert_eq!(version, cap);
        assert_eq!(properties.multi_channel, cap.has_multi_channel(), "{cap}");
        let subchannels = if cap.has_multi_channel() { 3 } else { 0 };
        assert_eq!(properties.max_subchannels, subchannels);
        assert_eq!(properties.max_transfer_bytes % 4096, 0);
        let data = pattern(8192, 1);
        driver.write(0, 8, &data, 512).good();
        assert_eq!(driver.read(0, 8, 16, 512).good(), data);
        assert_eq!(
            driver.controller.stats()["version"],
            serde_json::json!(cap.to_string())
        );
    }
}

#[test]
fn unknown_versions_are_refused() {
    let mut driver = Driver::new(ControllerOptions::default(), 1, &[]);
    assert!(driver.ask(GuestPacket::BeginInitialization).is_success());
    for version in [0x0000, 0x0100, 0x0601, 0x0603, 0x0700, 0xffff] {
        let version = ProtocolVersion::from_wire(version);
        let status = driver.ask(GuestPacket::QueryProtocolVersion(version));
        assert_eq!(status, NtStatus::REVISION_MISMATCH, "{version}");
    }
}

#[test]
fn each_step_has_its_time() {
    let mut driver = Driver::new(ControllerOptions::default(), 4, &["ram:1M"]);
    let wrong = NtStatus::INVALID_DEVICE_STATE;
    let version = GuestPacket::QueryProtocolVersion(ProtocolVersion::WIN10);
    assert_eq!(driver.ask(version), wrong);
    assert_eq!(driver.properties(), Err(wrong));
    assert_eq!(driver.ask(GuestPacket::EndInitialization), wrong);
    assert!(driver.ask(GuestPacket::BeginInitialization).is_success());
    assert_eq!(driver.ask(GuestPacket::EndInitialization), wrong);
    let create = |count| GuestPacket::CreateSubChannels { count };
    assert_eq!(driver.ask(create(1)), wrong);
    // No requests before the end of it.
    let pending = driver.submit(0, 0, &[0; 6], crate::guest::Data::None, 0);
    assert_eq!(driver.wait(&pending).status, wrong);
    driver.set_up();
    assert!(driver.test_unit_ready(0).srb.srb_status.is_success());
    assert_eq!(driver.ask(create(0)), NtStatus::INVALID_PARAMETER);
    assert_eq!(driver.ask(create(4)), NtStatus::INVALID_PARAMETER);
    driver.open_subchannels(2);
    assert_eq!(driver.ask(create(2)), NtStatus::INVALID_PARAMETER);
    driver.open_subchannels(1);
    // The device isn't set up on a sub-channel, but requests are welcome.
    let status = driver.ask_on(1, GuestPacket::BeginInitialization);
    assert_eq!(status, NtStatus::INVALID_DEVICE_REQUEST);
    for operation in [0, 1, 2, 11, 14, u32::MAX] {
        let status = driver.ask(GuestPacket::Other(Operation(operation)));
        assert_eq!(status, NtStatus::INVALID_DEVICE_REQUEST, "{operation}");
    }
    let status = driver.ask(GuestPacket::FibreChannelData);
    assert_eq!(status, NtStatus::INVALID_DEVICE_REQUEST);
    assert!(driver.test_unit_ready(0).srb.srb_status.is_success());
}

#[test]
fn a_guest_with_short_packets_is_answered_with_short_ones() {
    let mut driver = Driver::new(ControllerOptions::default(), 1, &["ram:1M"]);
    driver.layout = Layout::Short;
    assert!(driver.ask(GuestPacket::BeginInitialization).is_success());
    let packet = GuestPacket::QueryProtocolVersion(ProtocolVersion::WIN7);
    let out = packet.encode(Layout::Short);
    let answer = driver.transact(0, out.as_bytes());
    assert_eq!(answer.len(), 48);
    driver.properties().unwrap();
    assert!(driver.ask(GuestPacket::EndInitialization).is_success());
    let data = pattern(512, 3);
    driver.write(0, 0, &data, 512).good();
    assert_eq!(driver.read(0, 0, 1, 512).good(), data);
}

#[test]
fn a_channel_opened_again_begins_anew() {
    let mut driver = Driver::new(ControllerOptions::default(), 4, &["ram:1M"]);
    driver.set_up();
    driver.open_subchannels(3);
    let data = pattern(4096, 7);
    driver.write(0, 0, &data, 512).good();
    driver.reopen();
    let pending = driver.submit(0, 0, &[0; 6], crate::guest::Data::None, 0);
    assert_eq!(driver.wait(&pending).status, NtStatus::INVALID_DEVICE_STATE);
    driver.set_up();
    assert_eq!(driver.read(0, 0, 8, 512).good(), data);
    assert_eq!(driver.count("/channels/0/opened"), 2);
}
