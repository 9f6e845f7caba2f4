// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A NIC through real rings: handshakes of every version, frames both ways, offloads, queues.

use std::collections::BTreeSet;
use std::time::Duration;

use hvhost::device::Device;
use hvhost::net::frame::{Mac, TCP, UDP};
use hvhost::net::peer::PEER_MAC;
use hvhost::net::{Nic, NicOptions, NicSpec};
use hvhost::testing::{FakeGuest, GuestConfig, LIMIT, SHORT};
use netvsc_wire::nvsp::Capabilities;
use netvsc_wire::oid::{Oid, PacketFilter};
use netvsc_wire::ppi::{SendChecksum, SendInfo, Verdict, Vlan};
use netvsc_wire::rndis::{GuestControl, HostControl, Status};
use netvsc_wire::{HostMessage, Version};
use serde_json::json;

use super::driver::{Driver, Setup};
use super::frames::{checksums_are_right, ethernet, tcp, udp};
use super::{counter, frames, nic, wired, GUEST};

fn checksum(udp: bool) -> SendInfo {
    SendInfo {
        checksum: Some(SendChecksum {
            ipv4: true,
            ipv6: false,
            tcp: !udp,
            udp,
            ip_header: false,
            transport_offset: 34,
        }),
        ..SendInfo::default()
    }
}

#[test]
fn every_version_is_agreed_on_and_carries_frames() {
    for newest in Version::OFFERED {
        let guest = FakeGuest::new();
        let spec = NicSpec::parse(&format!("peer,mac={GUEST}")).unwrap();
        let options = NicOptions {
            max_version: newest,
            processors: 4,
        };
        guest
            .bus()
            .add(Nic::new(0, spec, options).unwrap())
            .unwrap();
        // The guest asks for the newest there is.
        let mut driver = Driver::start(&guest, &Setup::default());
        assert_eq!(driver.version, newest);
        let mtu = 1500u32;
        assert_eq!(driver.section.piece_bytes, 256 + mtu + 14 + 36);

        let (status, mac) = driver.query(Oid::ETHERNET_PERMANENT_ADDRESS, &[]);
        assert_eq!((status, mac.as_slice()), (Status::SUCCESS, &GUEST.0[..]));
        let (_, frame) = driver.query(Oid::GEN_MAXIMUM_FRAME_SIZE, &[]);
        assert_eq!(frame, mtu.to_le_bytes());
        let (_, link) = driver.query(Oid::GEN_MEDIA_CONNECT_STATUS, &[]);
        assert_eq!(link, 0u32.to_le_bytes());

        let frame = udp(GUEST, PEER_MAC, 1000, 7, b"there and back");
        let id = driver.send_in_section(0, 3, &[(&frame, SendInfo::default())]);
        let echo = driver.frame(LIMIT).expect("an echo");
        assert!(echo.bytes.ends_with(b"there and back"));
        assert!(checksums_are_right(&echo.bytes));
        assert_eq!(driver.completed(0, id), netvsc_wire::nvsp::Status::SUCCESS);
        driver.stop();
    }
}

#[test]
fn arp_and_ping_are_answered() {
    let guest = FakeGuest::new();
    nic(&guest, "peer=discard");
    let mut driver = Driver::start(&guest, &Setup::default());
    let ask = frames::arp_request(GUEST, [10, 0, 0, 1], [10, 0, 0, 9]);
    driver.send_in_section(0, 0, &[(&ask, SendInfo::default())]);
    let answer = driver.frame(LIMIT).expect("an ARP answer").bytes;
    assert_eq!(
        (&answer[..6], &answer[6..12]),
        (&GUEST.0[..], &PEER_MAC.0[..])
    );
    assert_eq!(answer[20..22], [0, 2]);
    assert_eq!(answer[28..32], [10, 0, 0, 9]);

    let ping = frames::ping(GUEST, PEER_MAC, &[0xa5; 1000]);
    driver.send_in_pages(0, &ping, &SendInfo::default());
    let answer = driver.frame(LIMIT).expect("an echo reply");
    assert_eq!((answer.bytes[34], answer.bytes.len()), (0, ping.len()));
    assert_eq!(answer.bytes[42..], ping[42..]);
    assert_eq!(answer.info.checksum.unwrap().ip_header, Verdict::Good);
    // Datagrams are taken without an answer.
    let frame = udp(GUEST, PEER_MAC, 1000, 9, b"into the void");
    let id = driver.send_in_section(0, 1, &[(&frame, SendInfo::default())]);
    driver.completed(0, id);
    assert!(driver.frame(SHORT).is_none());
    driver.stop();
}

#[test]
fn frames_are_batched_both_ways() {
    let guest = FakeGuest::new();
    let (nic, wire) = wired(&guest, "", 1);
    let mut driver = Driver::start(&guest, &Setup::default());
    let frames: Vec<Vec<u8>> = (0..8)
        .map(|n| udp(GUEST, PEER_MAC, n, 9, &vec![n as u8; 100 + n as usize]))
        .collect();
    let batch: Vec<(&[u8], SendInfo)> = frames
        .iter()
        .map(|frame| (frame.as_slice(), SendInfo::default()))
        .collect();
    let id = driver.send_in_section(0, 5, &batch);
    assert_eq!(driver.completed(0, id), netvsc_wire::nvsp::Status::SUCCESS);
    let sent = wire.sent();
    assert_eq!(sent.len(), 8);
    for (sent, frame) in sent.iter().zip(&frames) {
        assert_eq!(&sent.bytes, frame);
    }
    assert_eq!(
        (counter(&nic, "tx_frames"), counter(&nic, "tx_packets")),
        (8, 1)
    );

    // What waits in the back end goes up in one packet.
    let up: Vec<Vec<u8>> = (0..40)
        .map(|n| udp(PEER_MAC, GUEST, n, 9, &vec![n as u8; 60 + 30 * n as usize]))
        .collect();
    wire.deliver(0, up.iter().cloned());
    for frame in &up {
        let got = driver.frame(LIMIT).expect("a frame");
        assert_eq!(&got.bytes, frame);
    }
    assert_eq!(counter(&nic, "rx_frames"), 40);
    assert!(counter(&nic, "rx_packets") < 40);
    driver.stop();
}

#[test]
fn jumbo_frames_pass() {
    for (options, mtu, accepted) in [
        ("", 9000, 9000),
        ("", 9202, 9202),
        // As vmswitch: what it doesn't take becomes the default.
        ("", 9203, 1500),
        (",mtu=20000", 20000, 20000),
        (",mtu=2000", 2001, 1500),
    ] {
        let guest = FakeGuest::new();
        let (nic, wire) = wired(&guest, options, 1);
        let setup = Setup {
            mtu,
            ..Setup::default()
        };
        let mut driver = Driver::start(&guest, &setup);
        assert_eq!(driver.section.piece_bytes, accepted + 14 + 256 + 36);
        let (_, told) = driver.query(Oid::GEN_MAXIMUM_FRAME_SIZE, &[]);
        assert_eq!(told, accepted.to_le_bytes());
        let longest: Vec<u8> = (0..accepted - 28).map(|n| (n % 251) as u8).collect();
        let frame = udp(GUEST, PEER_MAC, 1, 2, &longest);
        assert_eq!(frame.len() as u32, accepted + 14);
        let id = driver.send_in_pages(0, &frame, &SendInfo::default());
        driver.completed(0, id);
        assert_eq!(wire.sent()[0].bytes, frame);
        let mut up = udp(PEER_MAC, GUEST, 1, 2, &longest);
        wire.deliver(0, [up.clone()]);
        assert_eq!(driver.frame(LIMIT).unwrap().bytes, up);
        // One byte more is refused both ways.
        let mut long = frame;
        long.push(0);
        let id = driver.send_in_pages(0, &long, &SendInfo::default());
        driver.completed(0, id);
        assert!(wire.sent().is_empty());
        up.push(0);
        wire.deliver(0, [up]);
        assert!(driver.frame(SHORT).is_none());
        assert_eq!(
            (counter(&nic, "tx_refused"), counter(&nic, "rx_refused")),
            (1, 1)
        );
        driver.stop();
    }
}

#[test]
fn only_frames_that_the_guest_wants_pass() {
    let guest = FakeGuest::new();
    let (nic, wire) = wired(&guest, "", 1);
    let mut driver = Driver::start(&guest, &Setup::default());
    let group = Mac([1, 0, 0x5e, 0, 0, 5]);
    let other = Mac([2, 9, 9, 9, 9, 9]);
    let to = |destination| udp(PEER_MAC, destination, 1, 2, b"x");
    let all = [to(GUEST), to(Mac::BROADCAST), to(group), to(other)];
    let passed = |driver: &mut Driver, wanted: &[Mac]| {
        wire.deliver(0, all.iter().cloned());
        for mac in wanted {
            assert_eq!(driver.frame(LIMIT).unwrap().bytes[..6], mac.0);
        }
        assert!(driver.frame(SHORT).is_none());
    };
    passed(&mut driver, &[GUEST, Mac::BROADCAST, group]);
    driver.set_filter(PacketFilter::DIRECTED);
    passed(&mut driver, &[GUEST]);
    driver.set_filter(PacketFilter::DIRECTED.with(PacketFilter::MULTICAST));
    passed(&mut driver, &[GUEST]);
    driver.set(Oid::ETHERNET_MULTICAST_LIST, &group.0);
    passed(&mut driver, &[GUEST, group]);
    driver.set_filter(PacketFilter::PROMISCUOUS);
    passed(&mut driver, &[GUEST, Mac::BROADCAST, group, other]);
    driver.set_filter(PacketFilter::NONE);
    passed(&mut driver, &[]);
    assert_eq!(counter(&nic, "rx_filtered"), 1 + 3 + 3 + 2 + 4);
    driver.stop();
}

#[test]
fn checksums_are_left_to_who_can() {
    let guest = FakeGuest::new();
    // The peer takes nothing but whole checksums; the wire of the second NIC takes all as it is.
    nic(&guest, "peer=echo");
    let mut driver = Driver::start(&guest, &Setup::default());
    let good = udp(GUEST, PEER_MAC, 1000, 7, &[0x5a; 1200]);
    let mut partial = good.clone();
    frames::make_partial(&mut partial);
    assert!(!checksums_are_right(&partial));
    for info in [checksum(true), {
        // Without the offset, as Windows guests may send it.
        let mut info = checksum(true);
        info.checksum.as_mut().unwrap().transport_offset = 0;
        info
    }] {
        driver.send_in_pages(0, &partial, &info);
        let echo = driver.frame(LIMIT).expect("an echo");
        assert!(checksums_are_right(&echo.bytes));
        assert_eq!(echo.bytes[42..], good[42..]);
        assert_eq!(echo.info.checksum.unwrap().udp, Verdict::Good);
    }
    driver.stop();

    let guest = FakeGuest::new();
    let (nic, wire) = wired(&guest, "", 1);
    let mut driver = Driver::start(&guest, &Setup::default());
    assert!(wire.accepts().checksum);
    let id = driver.send_in_pages(0, &partial, &checksum(true));
    driver.completed(0, id);
    let sent = wire.sent().remove(0);
    assert_eq!(sent.bytes, partial);
    let left = sent.offload.partial.unwrap();
    assert_eq!((left.start, left.offset), (34, 6));
    // The other way: vouched for as it is.
    let mut up = tcp(PEER_MAC, GUEST, 5, 6, 1, &[1; 500]);
    frames::make_partial(&mut up);
    wire.deliver_with(0, up.clone(), sent_partial(16));
    let got = driver.frame(LIMIT).unwrap();
    assert_eq!(got.bytes, up);
    let sums = got.info.checksum.unwrap();
    assert_eq!((sums.tcp, sums.tcp_value_invalid), (Verdict::Good, true));
    assert_eq!(counter(&nic, "rx_checksum"), 0);
    driver.stop();
}

fn sent_partial(offset: u16) -> hvhost::net::backend::Offload {
    hvhost::net::backend::Offload {
        partial: Some(hvhost::net::backend::Partial { start: 34, offset }),
        ..Default::default()
    }
}

#[test]
fn checksums_are_computed_for_guests_that_look() {
    for (options, offloads) in [(",csum=full", true), ("", false)] {
        let guest = FakeGuest::new();
        let (nic, wire) = wired(&guest, options, 1);
        let setup = Setup {
            offloads,
            ..Setup::default()
        };
        let mut driver = Driver::start(&guest, &setup);
        let good = tcp(PEER_MAC, GUEST, 5, 6, 1, &[1; 999]);
        let mut partial = good.clone();
        frames::make_partial(&mut partial);
        wire.deliver_with(0, partial, sent_partial(16));
        let got = driver.frame(LIMIT).unwrap();
        assert_eq!(got.bytes, good);
        let sums = got.info.checksum.unwrap();
        assert_eq!((sums.tcp, sums.tcp_value_invalid), (Verdict::Good, false));
        assert_eq!(counter(&nic, "rx_checksum"), 1);
        // What nobody looked at is for the guest to look at, and a broken header is told.
        let mut broken = good.clone();
        broken[24] ^= 1;
        wire.deliver(0, [broken]);
        let sums = driver.frame(LIMIT).unwrap().info.checksum.unwrap();
        assert_eq!((sums.tcp, sums.ip_header), (Verdict::Unknown, Verdict::Bad));
        driver.stop();
    }
}

#[test]
fn tags_travel_beside_frames() {
    let guest = FakeGuest::new();
    let (_nic, wire) = wired(&guest, "", 1);
    let mut driver = Driver::start(&guest, &Setup::default());
    let frame = udp(GUEST, PEER_MAC, 1, 2, &[3; 300]);
    let vlan = Vlan {
        id: 77,
        priority: 5,
        dei: false,
    };
    let info = SendInfo {
        vlan: Some(vlan),
        ..checksum(true)
    };
    let id = driver.send_in_pages(0, &frame, &info);
    driver.completed(0, id);
    let sent = wire.sent().remove(0);
    assert_eq!(sent.bytes, frames::tagged(&frame, 5 << 13 | 77));
    assert_eq!(sent.offload.partial.unwrap().start, 38);

    wire.deliver(
        0,
        [frames::tagged(
            &udp(PEER_MAC, GUEST, 1, 2, &[4; 1400]),
            5 << 13 | 77,
        )],
    );
    let got = driver.frame(LIMIT).unwrap();
    assert_eq!(got.bytes, udp(PEER_MAC, GUEST, 1, 2, &[4; 1400]));
    assert_eq!(got.info.vlan, Some(vlan));
    assert_eq!(got.info.checksum.unwrap().ip_header, Verdict::Good);
    driver.stop();

    // A guest that doesn't know of tags beside frames gets them inside.
    let guest = FakeGuest::new();
    let (_nic, wire) = wired(&guest, "", 1);
    let setup = Setup {
        capabilities: Capabilities::NONE,
        ..Setup::default()
    };
    let mut driver = Driver::start(&guest, &setup);
    let inside = frames::tagged(&udp(PEER_MAC, GUEST, 1, 2, &[4; 1472]), 77);
    wire.deliver(0, [inside.clone()]);
    let got = driver.frame(LIMIT).unwrap();
    assert_eq!((got.bytes, got.info.vlan), (inside, None));
    driver.stop();
}

#[test]
fn an_access_port_tags_and_untags() {
    let guest = FakeGuest::new();
    let (nic, wire) = wired(&guest, ",vlan=12", 1);
    let mut driver = Driver::start(&guest, &Setup::default());
    let frame = udp(GUEST, PEER_MAC, 1, 2, &[3; 30]);
    let tagged = |id, priority| SendInfo {
        vlan: Some(Vlan {
            id,
            priority,
            dei: false,
        }),
        ..SendInfo::default()
    };
    driver.send_in_section(0, 0, &[(&frame, SendInfo::default())]);
    driver.send_in_section(0, 1, &[(&frame, tagged(0, 3))]);
    let id = driver.send_in_section(0, 2, &[(&frame, tagged(12, 0))]);
    driver.completed(0, id);
    let sent: Vec<Vec<u8>> = wire.sent().into_iter().map(|sent| sent.bytes).collect();
    assert_eq!(
        sent,
        [
            frames::tagged(&frame, 12),
            frames::tagged(&frame, 3 << 13 | 12)
        ]
    );
    assert_eq!(counter(&nic, "tx_refused"), 1);
    let up = udp(PEER_MAC, GUEST, 1, 2, &[3; 30]);
    wire.deliver(
        0,
        [up.clone(), frames::tagged(&up, 13), frames::tagged(&up, 12)],
    );
    let got = driver.frame(LIMIT).unwrap();
    assert_eq!((got.bytes, got.info.vlan), (up, None));
    assert!(driver.frame(SHORT).is_none());
    assert_eq!(counter(&nic, "rx_filtered"), 2);
    driver.stop();
}

#[test]
fn the_link_goes_down_and_up() {
    let guest = FakeGuest::new();
    let (nic, wire) = wired(&guest, "", 1);
    let mut driver = Driver::start(&guest, &Setup::default());
    let answer = nic.control("link", &json!({"state": "down"})).unwrap();
    assert_eq!(answer["link"], "down");
    let indication = |driver: &mut Driver| loop {
        if let Some(message) = driver.control.pop_front() {
            match HostControl::parse(&message).unwrap() {
                HostControl::Indicate(indication) => break indication.status,
                other => panic!("{other:?}"),
            }
        }
        driver.pump(0, LIMIT);
    };
    // The first says which offloads are in force.
    assert_eq!(indication(&mut driver), Status::TASK_OFFLOAD_CURRENT_CONFIG);
    assert_eq!(indication(&mut driver), Status::MEDIA_DISCONNECT);
    assert!(!wire.link());
    let frame = udp(GUEST, PEER_MAC, 1, 2, b"lost");
    let id = driver.send_in_section(0, 0, &[(&frame, SendInfo::default())]);
    driver.completed(0, id);
    assert!(wire.sent().is_empty());
    wire.deliver(0, [udp(PEER_MAC, GUEST, 1, 2, b"lost")]);
    assert!(driver.frame(SHORT).is_none());
    let (_, state) = driver.query(Oid::GEN_MEDIA_CONNECT_STATUS, &[]);
    assert_eq!(state, 1u32.to_le_bytes());

    nic.control("link", &json!({"state": "up"})).unwrap();
    assert_eq!(indication(&mut driver), Status::MEDIA_CONNECT);
    wire.deliver(0, [udp(PEER_MAC, GUEST, 1, 2, b"found")]);
    assert!(driver.frame(LIMIT).unwrap().bytes.ends_with(b"found"));
    nic.control("speed", &json!({"mbps": 2500})).unwrap();
    assert_eq!(indication(&mut driver), Status::LINK_SPEED_CHANGE);
    let (_, speed) = driver.query(Oid::GEN_LINK_SPEED, &[]);
    assert_eq!(speed, 25_000_000u32.to_le_bytes());
    // Nothing that isn't different is told.
    nic.control("link", &json!({"state": "up"})).unwrap();
    driver.pump(0, SHORT);
    assert!(driver.control.is_empty());
    for (command, arguments) in [
        ("link", json!({})),
        ("link", json!({"state": "sideways"})),
        ("speed", json!({"mbps": 0})),
        ("turn", json!({})),
    ] {
        assert!(nic.control(command, &arguments).is_err(), "{command}");
    }
    driver.stop();
}

#[test]
fn flows_are_spread_over_channels() {
    let guest = FakeGuest::with(GuestConfig::default());
    let (nic, wire) = wired(&guest, "", 5);
    let mut driver = Driver::start(&guest, &Setup::default());
    driver.open_subchannels(4);
    driver.pump(0, LIMIT);
    let table = driver.messages.iter().find_map(|message| match message {
        HostMessage::SendTable(table) => Some(table.channels),
        _ => None,
    });
    assert_eq!(table.unwrap()[..6], [0, 1, 2, 3, 4, 0]);
    // Another one, of which the guest may make what it can.
    let arguments = json!({"channels": [7, 2]});
    nic.control("send-table", &arguments).unwrap();
    driver.pump(0, LIMIT);
    let message = driver.messages.last();
    let Some(HostMessage::SendTable(table)) = message else {
        panic!("{message:?}");
    };
    assert_eq!(table.channels[..4], [7, 2, 7, 2]);
    for wrong in [
        json!({}),
        json!({"channels": []}),
        json!({"channels": [-1]}),
        json!({"channels": [1u64 << 40]}),
    ] {
        assert!(nic.control("send-table", &wrong).is_err(), "{wrong}");
    }
    // Without the guest's table everything takes the first channel.
    let flow = |n: u16| tcp(PEER_MAC, GUEST, 1000 + n, 80, 1, &[n as u8; 10]);
    wire.deliver(3, [flow(1)]);
    assert_eq!(driver.frame(LIMIT).unwrap().queue, 0);

    driver.spread(5);
    let mut queues = BTreeSet::new();
    for n in 0..64 {
        wire.deliver(usize::from(n % 5), [flow(n)]);
        let got = driver.frame(LIMIT).unwrap();
        let hash = got.info.hash.unwrap();
        assert_eq!(got.queue as u32, (hash & 127) % 5);
        let expected = netvsc_wire::rss::DEFAULT_KEY
            .hash_flow(&netvsc_wire::rss::Flow::of_frame(&got.bytes).unwrap());
        assert_eq!(hash, expected);
        queues.insert(got.queue);
    }
    assert_eq!(queues.len(), 5);
    assert!(counter(&nic, "rx_passed_on") > 0);
    // Sends go out where the guest sends them.
    for queue in 0..5 {
        let frame = udp(GUEST, PEER_MAC, queue as u16, 2, b"out");
        let id = driver.send_in_section(queue, queue as u32, &[(&frame, SendInfo::default())]);
        driver.completed(queue, id);
        let sent = wire.sent();
        assert_eq!((sent.len(), sent[0].queue), (1, queue as u16));
    }
    driver.stop();
    assert_eq!(nic.stats()["open_queues"], 0);
}

#[test]
fn a_source_fills_the_ring_and_waits_for_the_guest() {
    let guest = FakeGuest::new();
    let nic = nic(&guest, "peer=source,size=600");
    let setup = Setup {
        receive_pages: 32,
        filter: PacketFilter::NONE,
        ..Setup::default()
    };
    let mut driver = Driver::start(&guest, &setup);
    // Every section is with the guest before long, one of them with the answer about the filter.
    driver.hold = Some(Vec::new());
    driver.set_filter(PacketFilter::DIRECTED);
    let mut got = 0;
    while driver.frame(SHORT).is_some() {
        got += 1;
    }
    assert_eq!(got + 1, driver.section.pieces as usize);
    assert!(counter(&nic, "no_section") > 0);
    driver.release();
    for _ in 0..200 {
        let frame = driver.frame(LIMIT).expect("a frame");
        assert_eq!(frame.bytes.len(), 600);
        assert!(checksums_are_right(&frame.bytes));
    }
    driver.stop();
}

#[test]
fn a_nic_is_taken_down_and_up_again() {
    let guest = FakeGuest::new();
    let nic = nic(&guest, "peer,queues=3");
    let offers = guest.connect();
    let offer = FakeGuest::find(&offers, vmbus_wire::guid::class::NETWORK);
    for round in 0..3u8 {
        let setup = Setup::default();
        let mut driver = Driver::open(&guest, &offer, &setup);
        driver.initialize(&setup);
        driver.open_subchannels(2);
        driver.spread(3);
        let frame = udp(GUEST, PEER_MAC, round.into(), 7, &[round; 40]);
        driver.send_in_section(2, 0, &[(&frame, SendInfo::default())]);
        assert_eq!(driver.frame(LIMIT).unwrap().bytes[42..], [round; 40]);
        // RESET forgets the filter.
        let answer = driver.ask(&GuestControl::Reset);
        assert!(matches!(
            HostControl::parse(&answer),
            Ok(HostControl::ResetComplete {
                status: Status::SUCCESS,
                addressing_reset: true
            })
        ));
        driver.send_in_section(2, 0, &[(&frame, SendInfo::default())]);
        assert!(driver.frame(SHORT).is_none());
        let answer = driver.ask(&GuestControl::Keepalive { request_id: 9 });
        assert!(matches!(
            HostControl::parse(&answer),
            Ok(HostControl::KeepaliveComplete { request_id: 9, .. })
        ));
        driver.stop();
        // The bus takes the sub-channels back.
        for _ in 0..2 {
            guest.rescinded();
        }
        assert_eq!(nic.stats()["running"], false);
    }
}

#[test]
fn old_guests_take_buffers_back_while_the_channel_is_open() {
    let guest = FakeGuest::new();
    let (_nic, wire) = wired(&guest, "", 1);
    let mut driver = Driver::start(&guest, &Setup::default());
    wire.deliver(0, [udp(PEER_MAC, GUEST, 1, 2, b"one")]);
    driver.frame(LIMIT).unwrap();
    for message in [
        netvsc_wire::GuestMessage::RevokeReceiveBuffer { id: 0xcafe },
        netvsc_wire::GuestMessage::RevokeSendBuffer { id: 0 },
    ] {
        let message = message.encode(driver.version);
        let payload = [message.as_bytes()];
        driver.channels[0].send_all(&vmbus_wire::packet::OutPacket::in_band(0, &payload));
    }
    let relid = driver.channels[0].relid();
    assert!(guest.teardown_within(relid, driver.receive_gpadl, Duration::from_secs(2)));
    assert!(guest.teardown_within(relid, driver.send_gpadl, Duration::from_secs(2)));
    wire.deliver(0, [udp(PEER_MAC, GUEST, 1, 2, b"two")]);
    assert!(driver.frame(SHORT).is_none());
}

#[test]
fn ethernet_of_any_kind_passes() {
    let guest = FakeGuest::new();
    let (_nic, wire) = wired(&guest, "", 1);
    let mut driver = Driver::start(&guest, &Setup::default());
    for payload in [
        &[][..],
        &[1; 46],
        &[2; 145],
        &[3; 146],
        &[4; 147],
        &[5; 1500],
    ] {
        let frame = ethernet(GUEST, 0x88b5, payload);
        wire.deliver(0, [frame.clone()]);
        let got = driver.frame(LIMIT).unwrap();
        assert_eq!(got.bytes, frame);
        assert_eq!(got.info.checksum, None);
        let id = driver.send_in_pages(0, &frame, &SendInfo::default());
        driver.completed(0, id);
        assert_eq!(wire.sent()[0].bytes, frame);
    }
    assert_eq!((TCP, UDP), (6, 17));
    driver.stop();
}
