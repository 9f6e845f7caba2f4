// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Guests that break the protocol: the NIC stops, everything else goes on.

use std::time::{Duration, Instant};

use hvhost::net::frame::Mac;
use hvhost::net::peer::PEER_MAC;
use hvhost::net::NicSpec;
use hvhost::testing::{Echo, FakeGuest, LIMIT, SHORT};
use netvsc_wire::nvsp::{self, ChannelType, NdisConfig, RndisPacket, SectionUse, SharedBuffer};
use netvsc_wire::ppi::SendInfo;
use netvsc_wire::rndis::GuestControl;
use netvsc_wire::{GuestMessage, HostMessage, Version};
use proptest::prelude::*;
use vmbus_wire::guid::class;
use vmbus_wire::packet::{OutPacket, PageBuffer};
use zerocopy::little_endian::U64;

use super::driver::{transact, Driver, Setup};
use super::frames::udp;
use super::{counter, nic, wired, GUEST};

/// A guest with a NIC and a device that must survive whatever the NIC's driver does.
fn guest() -> FakeGuest {
    let guest = FakeGuest::new();
    guest.bus().add(Echo::new("witness")).unwrap();
    guest
}

/// The bus counts a channel whose device gave up.
fn is_dead(guest: &FakeGuest, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        let stats = guest.bus().stats();
        let devices = stats["devices"].as_array().unwrap();
        let nic = devices
            .iter()
            .find(|device| device["name"] == "net0")
            .unwrap();
        let dead = |channel: &serde_json::Value| channel["state"] == "dead";
        if nic["channels"].as_array().unwrap().iter().any(dead) {
            return true;
        }
        if Instant::now() > deadline {
            eprintln!("{nic}");
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// After whatever happened, the guest can close the channel and start again.
fn starts_again(guest: &FakeGuest, driver: Driver) {
    let offer = *driver.channels[0].offer();
    let relid = driver.channels[0].relid();
    let gpadls = [driver.receive_gpadl, driver.send_gpadl];
    for channel in driver.channels.into_iter().rev() {
        channel.close();
    }
    for gpadl in gpadls {
        guest.teardown(relid, gpadl);
    }
    let setup = Setup::default();
    let mut driver = Driver::open(guest, &offer, &setup);
    driver.initialize(&setup);
    driver.stop();
}

fn send(driver: &mut Driver, queue: usize, message: &GuestMessage) {
    let message = message.encode(driver.version);
    let payload = [message.as_bytes()];
    let packet = OutPacket::in_band(1, &payload).requesting_completion();
    driver.channels[queue].send_all(&packet);
}

fn data(section: Option<SectionUse>) -> GuestMessage {
    GuestMessage::RndisPacket(RndisPacket {
        channel_type: ChannelType::Data,
        section,
    })
}

/// What a driver does wrong.
type Crime = (&'static str, fn(&mut Driver));

const CRIMES: &[Crime] = &[
    ("no NVSP message at all", |driver| {
        driver.channels[0].send_all(&OutPacket::in_band(1, &[b"xx"]));
    }),
    ("a number that no message has", |driver| {
        driver.channels[0].send_all(&OutPacket::in_band(1, &[&[0xee; 40]]));
    }),
    ("a host's message", |driver| {
        let message = HostMessage::SendBufferComplete {
            status: nvsp::Status::SUCCESS,
            section_bytes: 1,
        }
        .encode(driver.version);
        driver.channels[0].send_all(&OutPacket::in_band(1, &[message.as_bytes()]));
    }),
    ("INIT again", |driver| {
        let version = driver.version.to_wire();
        let init = GuestMessage::Init {
            version,
            version2: version,
        };
        send(driver, 0, &init);
    }),
    ("a configuration behind the buffers", |driver| {
        let config = GuestMessage::NdisConfig(NdisConfig {
            frame_bytes: 9000,
            capabilities: nvsp::Capabilities::NONE,
        });
        send(driver, 0, &config);
    }),
    ("chimney, which isn't offered", |driver| {
        let message = GuestMessage::ResumeReceive { handle: 1 };
        send(driver, 0, &message);
    }),
    ("a buffer that nobody asked for", |driver| {
        let message = GuestMessage::ReceiveBufferAllocated {
            status: netvsc_wire::rndis::Status::SUCCESS,
            allocation: netvsc_wire::vmq::AllocationId(1),
            gpadl: driver.receive_gpadl,
            buffer: netvsc_wire::vmq::BufferId(1),
        }
        .encode(driver.version);
        driver.channels[0].send_all(&OutPacket::completion(1, &[message.as_bytes()]));
    }),
    ("a completion in-band", |driver| {
        send(
            driver,
            0,
            &GuestMessage::RndisComplete(nvsp::Status::SUCCESS),
        );
    }),
    ("a completion of nothing", |driver| {
        driver.complete(0, 0x1_0000_0001)
    }),
    ("a completion of number 0", |driver| driver.complete(0, 0)),
    ("a section out of the buffer", |driver| {
        let section = SectionUse {
            index: 1 << 20,
            bytes: 100,
        };
        send(driver, 0, &data(Some(section)));
    }),
    ("more than a section", |driver| {
        let section = SectionUse {
            index: 0,
            bytes: nvsp::SEND_SECTION_BYTES + 1,
        };
        send(driver, 0, &data(Some(section)));
    }),
    ("no bytes at all", |driver| send(driver, 0, &data(None))),
    ("an empty section", |driver| {
        let section = SectionUse { index: 0, bytes: 0 };
        send(driver, 0, &data(Some(section)));
    }),
    ("a section of garbage", |driver| {
        driver.send.write(0, &[0x99; 200]).unwrap();
        let section = SectionUse {
            index: 0,
            bytes: 200,
        };
        send(driver, 0, &data(Some(section)));
    }),
    ("pages that aren't memory", |driver| {
        let message = data(None).encode(driver.version);
        let payload = [message.as_bytes()];
        let pfns = [U64::new(1 << 40)];
        let packet = OutPacket::page_list(1, 0, 4096, &pfns, &payload);
        driver.channels[0].send_all(&packet);
    }),
    ("a message longer than its packet", |driver| {
        let frame = udp(GUEST, PEER_MAC, 1, 2, b"x");
        let mut bytes = Driver::message(&frame, &SendInfo::default(), false);
        bytes[4..8].copy_from_slice(&5000u32.to_le_bytes());
        in_a_page(driver, &bytes, ChannelType::Data);
    }),
    ("a frame outside of its message", |driver| {
        let frame = udp(GUEST, PEER_MAC, 1, 2, b"x");
        let mut bytes = Driver::message(&frame, &SendInfo::default(), false);
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        in_a_page(driver, &bytes, ChannelType::Data);
    }),
    ("per-packet info outside of its message", |driver| {
        let frame = udp(GUEST, PEER_MAC, 1, 2, b"x");
        let info = SendInfo {
            hash: Some(1),
            ..SendInfo::default()
        };
        let mut bytes = Driver::message(&frame, &info, false);
        bytes[32..36].copy_from_slice(&4000u32.to_le_bytes());
        in_a_page(driver, &bytes, ChannelType::Data);
    }),
    ("per-packet info of no size", |driver| {
        let frame = udp(GUEST, PEER_MAC, 1, 2, b"x");
        let info = SendInfo {
            hash: Some(1),
            ..SendInfo::default()
        };
        let mut bytes = Driver::message(&frame, &info, false);
        bytes[44..48].fill(0);
        in_a_page(driver, &bytes, ChannelType::Data);
    }),
    ("a control message that is none", |driver| {
        in_a_page(driver, &[1; 64], ChannelType::Control);
    }),
    ("a control message without an end", |driver| {
        let message = GuestMessage::RndisPacket(RndisPacket {
            channel_type: ChannelType::Control,
            section: None,
        })
        .encode(driver.version);
        let payload = [message.as_bytes()];
        let pfns: Vec<U64> = driver.guest.alloc(17).into_iter().map(U64::new).collect();
        let packet = OutPacket::page_list(1, 0, 17 * 4096, &pfns, &payload);
        driver.channels[0].send_all(&packet);
    }),
    ("answers that nobody takes", |driver| {
        driver.hold = Some(Vec::new());
        for request_id in 0..450 {
            driver.tell(&GuestControl::Keepalive { request_id });
            if request_id % 64 == 0 {
                // Room for completions, but sections stay with the guest.
                driver.pump(0, Duration::from_millis(1));
            }
        }
    }),
    ("a ring that makes no sense", |driver| {
        driver.channels[0].scribble(false, 0, 0xffff_fff0);
        driver.channels[0].signal();
    }),
];

/// Sends bytes as a message in one page.
fn in_a_page(driver: &mut Driver, bytes: &[u8], channel_type: ChannelType) {
    let pfn = driver.guest.alloc(1)[0];
    driver.guest.memory().write(pfn * 4096, bytes).unwrap();
    let message = GuestMessage::RndisPacket(RndisPacket {
        channel_type,
        section: None,
    })
    .encode(driver.version);
    let payload = [message.as_bytes()];
    let buffers = [PageBuffer::new(pfn, 0, bytes.len() as u32).unwrap()];
    driver.channels[0].send_all(&OutPacket::page_buffers(1, &buffers, &payload));
}

#[test]
fn a_crime_stops_the_nic_and_nothing_else() {
    for (name, crime) in CRIMES {
        let guest = guest();
        wired(&guest, "", 2);
        let setup = Setup {
            // Few sections, so that answers can fill them.
            receive_pages: 64,
            ..Setup::default()
        };
        let offers = guest.connect();
        let mut driver = Driver::open(&guest, &FakeGuest::find(&offers, class::NETWORK), &setup);
        driver.initialize(&setup);
        crime(&mut driver);
        assert!(is_dead(&guest, LIMIT), "{name}");
        let witness = offers
            .iter()
            .find(|offer| offer.class != class::NETWORK)
            .unwrap();
        let mut witness = guest.open(witness);
        witness
            .send(&OutPacket::in_band(7, &[b"still there?"]))
            .unwrap();
        assert!(witness.receive(LIMIT).is_some(), "{name}");
        if *name != "a ring that makes no sense" {
            starts_again(&guest, driver);
        }
    }
}

#[test]
fn messages_before_their_time_stop_the_nic() {
    let early: [GuestMessage; 4] = [
        GuestMessage::SendBuffer(SharedBuffer { gpadl: 1, id: 0 }),
        GuestMessage::RndisPacket(RndisPacket {
            channel_type: ChannelType::Control,
            section: None,
        }),
        GuestMessage::NdisConfig(NdisConfig {
            frame_bytes: 1514,
            capabilities: nvsp::Capabilities::NONE,
        }),
        GuestMessage::Subchannels {
            operation: nvsp::SubchannelOperation::ALLOCATE,
            count: 1,
        },
    ];
    for message in early {
        let guest = guest();
        wired(&guest, "", 2);
        let offers = guest.connect();
        let mut channel = guest.open(&FakeGuest::find(&offers, class::NETWORK));
        let bytes = message.encode(Version::V6_1);
        channel.send_all(&OutPacket::in_band(1, &[bytes.as_bytes()]));
        assert!(is_dead(&guest, LIMIT), "{message:?}");
    }
    // Newer than what was agreed on.
    let guest = guest();
    wired(&guest, "", 2);
    let setup = Setup {
        version: Version::V4,
        ..Setup::default()
    };
    let mut driver = Driver::start(&guest, &setup);
    let ask = GuestMessage::Subchannels {
        operation: nvsp::SubchannelOperation::ALLOCATE,
        count: 1,
    };
    send(&mut driver, 0, &ask);
    assert!(is_dead(&guest, LIMIT));
}

#[test]
fn what_cant_be_is_refused_in_the_answer() {
    let guest = guest();
    let (_nic, _wire) = wired(&guest, "", 3);
    let mut driver = Driver::start(&guest, &Setup::default());
    let version = driver.version;
    let mut ask = |message: GuestMessage| transact(&mut driver.channels[0], version, &message);
    for count in [0, 3, u32::MAX] {
        let answer = ask(GuestMessage::Subchannels {
            operation: nvsp::SubchannelOperation::ALLOCATE,
            count,
        });
        assert!(
            matches!(answer, HostMessage::SubchannelsComplete { status, count: 0 } if !status.is_success()),
            "{count}: {answer:?}"
        );
    }
    for gpadl in [0xbad, 0] {
        let answer = ask(GuestMessage::ReceiveBuffer(SharedBuffer { gpadl, id: 1 }));
        assert!(
            matches!(answer, HostMessage::ReceiveBufferComplete { status, .. } if !status.is_success())
        );
        let answer = ask(GuestMessage::SendBuffer(SharedBuffer { gpadl, id: 1 }));
        assert!(
            matches!(answer, HostMessage::SendBufferComplete { status, .. } if !status.is_success())
        );
    }
    let answer = ask(GuestMessage::OidQueryEx(nvsp::OidQueryEx {
        header: netvsc_wire::oid::ObjectHeader {
            object_type: 0x80,
            revision: 1,
            size: 4,
        },
        oid: netvsc_wire::oid::Oid::GEN_LINK_SPEED,
    }));
    assert!(matches!(
        answer,
        HostMessage::OidQueryExComplete { bytes: 0, .. }
    ));
    driver.stop();
}

#[test]
fn split_headers_are_refused_and_the_nic_goes_on() {
    let guest = guest();
    let (nic, wire) = wired(&guest, "", 1);
    let mut driver = Driver::start(&guest, &Setup::default());
    let frame = udp(GUEST, PEER_MAC, 1, 2, b"x");
    let bytes = Driver::message(&frame, &SendInfo::default(), false);
    let pages = guest.alloc_scattered(2);
    let memory = guest.memory();
    memory.write(pages[0] * 4096 + 4076, &bytes[..20]).unwrap();
    memory.write(pages[1] * 4096, &bytes[20..]).unwrap();
    let message = data(None).encode(driver.version);
    let payload = [message.as_bytes()];
    let buffers = [
        PageBuffer::new(pages[0], 4076, 20).unwrap(),
        PageBuffer::new(pages[1], 0, (bytes.len() - 20) as u32).unwrap(),
    ];
    driver.channels[0].send_all(&OutPacket::page_buffers(55, &buffers, &payload));
    assert_eq!(driver.completed(0, 55), nvsp::Status::INVALID_RNDIS_PACKET);
    assert_eq!(counter(&nic, "tx_bad_headers"), 1);
    assert!(wire.sent().is_empty());
    // One range over two pages that don't follow each other is fine.
    let pfns = [U64::new(pages[0]), U64::new(pages[1])];
    let packet = OutPacket::page_list(56, 4076, bytes.len() as u32, &pfns, &payload);
    driver.channels[0].send_all(&packet);
    assert_eq!(driver.completed(0, 56), nvsp::Status::SUCCESS);
    assert_eq!(wire.sent()[0].bytes, frame);
    driver.stop();
}

#[test]
fn a_channel_is_closed_in_mid_transfer() {
    let guest = guest();
    let nic = nic(&guest, "peer=source,queues=2");
    let offer = FakeGuest::find(&guest.connect(), class::NETWORK);
    for _ in 0..4 {
        let setup = Setup {
            receive_pages: 64,
            ..Setup::default()
        };
        let mut driver = Driver::open(&guest, &offer, &setup);
        driver.initialize(&setup);
        driver.hold = Some(Vec::new());
        while driver.frame(SHORT).is_some() {}
        // All sections are with the guest, and more frames wait.
        let relid = driver.channels[0].relid();
        let gpadls = [driver.receive_gpadl, driver.send_gpadl];
        for channel in driver.channels.drain(..) {
            channel.close();
        }
        for gpadl in gpadls {
            guest.teardown(relid, gpadl);
        }
        assert!(counter(&nic, "no_section") > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn garbage_of_any_kind_is_survived(packets in proptest::collection::vec((any::<bool>(), 0u32..140, proptest::collection::vec(any::<u8>(), 0..60), 0u64..5), 1..20)) {
        let guest = FakeGuest::new();
        let (_nic, _wire) = wired(&guest, ",vmq", 2);
        let mut driver = Driver::start(&guest, &Setup::default());
        let relid = driver.channels[0].relid();
        for (completion, kind, bytes, id) in packets {
            let kind = kind.to_le_bytes();
            let payload: [&[u8]; 2] = [&kind, &bytes];
            let packet = if completion {
                OutPacket::completion(id, &payload)
            } else {
                OutPacket::in_band(id, &payload).requesting_completion()
            };
            let _ = driver.channels[0].send(&packet);
        }
        // Whatever it did, the channel can be closed and the buffers come back.
        for channel in driver.channels.drain(..).rev() {
            channel.close();
        }
        guest.teardown(relid, driver.receive_gpadl);
        guest.teardown(relid, driver.send_gpadl);
    }

    #[test]
    fn any_rndis_message_is_survived(bytes in proptest::collection::vec(any::<u8>(), 44..400), kind in prop_oneof![Just(1u32), 2..10u32], length in prop_oneof![Just(None), (0..400u32).prop_map(Some)], control in any::<bool>()) {
        let guest = FakeGuest::new();
        let (_nic, _wire) = wired(&guest, "", 1);
        let mut driver = Driver::start(&guest, &Setup::default());
        let mut bytes = bytes;
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        let length = length.unwrap_or(bytes.len() as u32);
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        // Offsets that have a chance to be inside.
        for at in [8, 12, 28, 32] {
            bytes[at + 1..at + 4].fill(0);
        }
        let kind = if control { ChannelType::Control } else { ChannelType::Data };
        in_a_page(&mut driver, &bytes, kind);
        driver.pump(0, Duration::from_millis(2));
        let relid = driver.channels[0].relid();
        for channel in driver.channels.drain(..) {
            channel.close();
        }
        guest.teardown(relid, driver.receive_gpadl);
        guest.teardown(relid, driver.send_gpadl);
    }
}

#[test]
fn addresses_are_made_from_numbers() {
    let spec = NicSpec::parse("peer").unwrap();
    let options = hvhost::net::NicOptions::default();
    let nic = |number| hvhost::net::Nic::new(number, spec.clone(), options).unwrap();
    use hvhost::device::Device;
    assert_eq!(
        nic(3).stats()["mac"],
        Mac([2, 0x15, 0x5d, 0, 0, 3]).to_string()
    );
    assert_ne!(nic(1).identity().instance, nic(2).identity().instance);
    assert_eq!(nic(1).identity().instance, nic(1).identity().instance);
    assert_eq!(nic(7).identity().name, "net7");
}
