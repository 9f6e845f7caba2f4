// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets that nobody asked for, rings and sub-channels.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hvhost::storage::ControllerOptions;
use hvhost::testing::{Received, LIMIT, SHORT};
use serde_json::json;
use storvsc_wire::{GuestPacket, HostPacket, NtStatus};
use vmbus_wire::packet::PacketType;

use super::{done, many, misbehave, next, nothing, refused, right, submit};
use crate::guest::{read, Data, Driver};

#[test]
fn storms_blow_over() {
    let mut driver = many(1);
    for sort in [
        "enumerate",
        "remove",
        "unknown",
        "garbage",
        "complete",
        "all",
    ] {
        let before = done(&driver, "storm");
        misbehave(
            &driver,
            json!({"kind": "storm", "count": 40, "packet": sort, "channel": 1}),
        );
        let packets: Vec<Received> = (0..40).map(|_| next(&mut driver, 1)).collect();
        assert!(packets
            .iter()
            .all(|packet| packet.packet_type == PacketType::IN_BAND));
        let parsed = |packet: &Received| {
            let parsed = HostPacket::parse(&packet.payload, driver.layout);
            parsed.map(|parsed| match parsed {
                HostPacket::EnumerateBus => "enumerate",
                HostPacket::RemoveDevice => "remove",
                HostPacket::Completion(_) => "complete",
                _ => "unknown",
            })
        };
        for packet in &packets {
            match (sort, parsed(packet)) {
                ("garbage" | "all", _) => {}
                (sort, parsed) => assert_eq!(parsed, Ok(sort)),
            }
        }
        let lengths: BTreeSet<_> = packets.iter().map(|packet| packet.payload.len()).collect();
        assert_eq!(
            lengths.len() > 1,
            matches!(sort, "garbage" | "all"),
            "{sort}"
        );
        assert_eq!(done(&driver, "storm"), before + 40);
        nothing(&mut driver, 1);
    }
    let pending = submit(&mut driver, 1);
    let received = next(&mut driver, 1);
    right(&driver, &received, pending.id);
    // By turns with nobody's id and that of the request.
    misbehave(
        &driver,
        json!({"kind": "storm", "count": 4, "packet": "complete", "channel": 1}),
    );
    let ids: Vec<u64> = (0..4)
        .map(|_| next(&mut driver, 1).transaction_id)
        .collect();
    assert_eq!(ids.iter().filter(|id| **id == pending.id).count(), 2);
    assert_eq!(ids.iter().filter(|id| **id == 0).count(), 2);
}

#[test]
fn a_storm_waits_for_room_and_lets_completions_pass() {
    let mut driver = Driver::ready(&["ram:1M"]);
    misbehave(&driver, json!({"kind": "storm", "count": "0xffffffffffff"}));
    // Nobody reads: the ring gets full and no more comes.
    let mut before = 0;
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let now = done(&driver, "storm");
        if now == before && now > 0 {
            break;
        }
        before = now;
    }
    let pending = submit(&mut driver, 0);
    let mut seen = 0;
    loop {
        let received = next(&mut driver, 0);
        if received.packet_type == PacketType::COMPLETION {
            right(&driver, &received, pending.id);
            break;
        }
        seen += 1;
    }
    assert!(seen >= before && seen < before + 5000, "{seen} of {before}");
    let answer = misbehave(&driver, json!({"kind": "none"}));
    assert!(answer["forgotten"].as_u64().unwrap() > 1 << 40);
    while driver.channels[0].receive(SHORT).is_some() {}
    driver.read(0, 0, 1, 512).good();
}

#[test]
fn answers_come_out_of_the_blue() {
    let mut driver = Driver::new(ControllerOptions::default(), 1, &["ram:1M"]);
    let flip = |operation: &str| json!({"kind": "flip-state", "operation": operation});
    assert!(refused(&driver, flip("properties")).contains("hasn't sent"));
    driver.set_up();
    driver.ask(GuestPacket::ResetBus);
    driver.ask(GuestPacket::CreateSubChannels { count: 1 });
    // The ids in the order of the packets: the driver counts.
    for (operation, id) in [
        ("begin", 2),
        ("version", 3),
        ("properties", 4),
        ("end", 5),
        ("reset", 6),
        ("subchannels", 7),
    ] {
        misbehave(&driver, flip(operation));
        let received = next(&mut driver, 0);
        assert_eq!(received.packet_type, PacketType::COMPLETION);
        assert_eq!(received.transaction_id, id, "{operation}");
        let HostPacket::Completion(completion) =
            HostPacket::parse(&received.payload, driver.layout).unwrap()
        else {
            panic!("{received:?}")
        };
        assert!(completion.status.is_success());
        if operation == "properties" {
            let properties = completion.properties().unwrap();
            assert_eq!(properties.max_subchannels, u16::MAX);
            assert_eq!(properties.max_transfer_bytes, 0);
        }
    }
    misbehave(
        &driver,
        json!({"kind": "flip-state", "count": 3, "status": "0xc0000001"}),
    );
    for _ in 0..3 {
        let received = next(&mut driver, 0);
        assert_eq!(received.payload[8..12], 0xc000_0001u32.to_le_bytes());
    }
    nothing(&mut driver, 0);
    assert_eq!(done(&driver, "flip-state"), 9);
    driver.read(0, 0, 1, 512).good();
    driver.reopen();
    assert!(refused(&driver, flip("end")).contains("hasn't sent"));
}

#[test]
fn a_ring_is_made_corrupt() {
    let mut driver = many(1);
    for (channel, index) in [(1, json!(null)), (0, json!("0x7ff4"))] {
        misbehave(
            &driver,
            json!({"kind": "bad-ring", "channel": channel, "index": index}),
        );
        let expected = if channel == 1 { u32::MAX } else { 0x7ff4 };
        let deadline = Instant::now() + LIMIT;
        // Interrupts of before are among these.
        while driver.channels[channel].word(true, 0) != expected {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(driver.channels[channel].wait(left), "interrupted");
        }
        // That of the index itself may come only now.
        driver.channels[channel].wait(SHORT);
        // Nothing is taken and nothing is sent.
        submit(&mut driver, channel);
        assert!(!driver.channels[channel].wait(SHORT));
        assert_eq!(driver.channels[channel].word(true, 0), expected);
        if channel == 1 {
            driver.read(0, 0, 1, 512).good();
        }
    }
    assert_eq!(done(&driver, "bad-ring"), 2);
    // Closing and opening it again is all it takes.
    driver.reopen();
    driver.set_up();
    driver.read(0, 0, 1, 512).good();
}

#[test]
fn subchannels_are_promised_and_missing() {
    let mut driver = Driver::new(ControllerOptions::default(), 4, &["ram:1M"]);
    misbehave(&driver, json!({"kind": "missing-subchannels", "count": 2}));
    let (_, properties) = driver.set_up();
    assert_eq!(properties.max_subchannels, 3);
    let status = driver.ask(GuestPacket::CreateSubChannels { count: 3 });
    assert_eq!(status, NtStatus::SUCCESS);
    let offer = driver.guest.offer();
    assert_eq!(offer.subchannel, 1);
    let opened = driver.guest.open(&offer);
    driver.channels.push(opened);
    assert!(driver.guest.message(SHORT).is_none());
    assert_eq!(done(&driver, "missing-subchannels"), 2);
    driver.read(0, 0, 1, 512).good();
    driver.reopen();

    misbehave(&driver, json!({"kind": "missing-subchannels"}));
    driver.set_up();
    let status = driver.ask(GuestPacket::CreateSubChannels { count: 3 });
    assert_eq!(status, NtStatus::SUCCESS);
    assert!(driver.guest.message(SHORT).is_none());
    misbehave(&driver, json!({"kind": "none"}));
    driver.reopen();
    driver.set_up();
    driver.open_subchannels(3);
    driver.execute_on(3, 0, read(0, 1), Data::In(512)).good();
}

#[test]
fn subchannels_cant_be_opened() {
    let mut driver = Driver::new(ControllerOptions::default(), 3, &["ram:1M"]);
    misbehave(&driver, json!({"kind": "refused-subchannels", "count": 1}));
    driver.set_up();
    let status = driver.ask(GuestPacket::CreateSubChannels { count: 2 });
    assert_eq!(status, NtStatus::SUCCESS);
    let offers = [driver.guest.offer(), driver.guest.offer()];
    let options = Default::default();
    assert!(driver.guest.open_with(&offers[0], &options).is_err());
    let opened = driver.guest.open_with(&offers[1], &options).unwrap();
    driver.channels.push(opened);
    driver.execute_on(1, 0, read(0, 1), Data::In(512)).good();
    assert_eq!(done(&driver, "refused-subchannels"), 1);
    // Tried again it is opened.
    let opened = driver.guest.open_with(&offers[0], &options).unwrap();
    driver.channels.push(opened);
    driver.execute_on(2, 0, read(0, 1), Data::In(512)).good();
}
