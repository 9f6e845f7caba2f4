// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Frames placed into buffers that the guest allocated.

use hvhost::device::Device;
use hvhost::memory::Pages;
use hvhost::net::backend::Capabilities;
use hvhost::net::peer::PEER_MAC;
use hvhost::net::Nic;
use hvhost::testing::{FakeGuest, LIMIT, SHORT};
use netvsc_wire::nvsp::{self, Capabilities as GuestCapabilities};
use netvsc_wire::ppi::{ReceiveInfo, Verdict};
use netvsc_wire::vmq::{AllocationId, BufferId, VmqPacket};
use netvsc_wire::{rndis, GuestMessage, HostMessage};
use serde_json::json;
use vmbus_wire::packet::{OutPacket, PacketType};

use super::driver::{Driver, Setup};
use super::frames::{checksums_are_right, data, gso, segment, tcp, udp};
use super::{counter, wired, GUEST};

/// How the guest calls its buffer.
const BUFFER: BufferId = BufferId(0xfeed_0001);

/// A guest that takes part.
fn setup(capabilities: GuestCapabilities) -> Setup {
    Setup {
        capabilities: capabilities.with(GuestCapabilities::VMQ),
        receive_pages: 1024,
        ..Setup::default()
    }
}

/// A buffer that the host has.
struct Allocated {
    pages: Pages,
    bytes: usize,
}

impl Allocated {
    /// Waits until the host asks for a buffer, and gives it one of so many pages.
    fn give(guest: &FakeGuest, nic: &Nic, driver: &mut Driver, count: u32) -> Self {
        let (id, length) = loop {
            let asked = driver.asked.pop();
            if let Some((id, HostMessage::AllocReceiveBuffer { allocation, length })) = asked {
                assert_eq!(allocation, AllocationId(1));
                break (id, length);
            }
            driver.pump(0, LIMIT);
        };
        assert!(length >= 1 << 20);
        let pages = guest.alloc_scattered(count);
        let gpadl = guest
            .create_gpadl(driver.channels[0].relid(), &pages)
            .unwrap();
        let answer = GuestMessage::ReceiveBufferAllocated {
            status: rndis::Status::SUCCESS,
            allocation: AllocationId(1),
            gpadl,
            buffer: BUFFER,
        }
        .encode(driver.version);
        driver.channels[0].send_all(&OutPacket::completion(id, &[answer.as_bytes()]));
        let mut tries = 0;
        while nic.stats()["vmq"] != true {
            tries += 1;
            assert!(tries < 500);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self {
            pages: guest.pages(&pages),
            bytes: pages.len() * 4096,
        }
    }

    /// The next frame: the id of its packet, where in the buffer it is, its bytes, and what is said of it.
    fn frame(&self, driver: &mut Driver) -> (u64, VmqPacket, Vec<u8>, ReceiveInfo) {
        while driver.asked.is_empty() {
            driver.pump(0, LIMIT);
        }
        let (id, message) = driver.asked.remove(0);
        let HostMessage::VmqPacket(packet) = message else {
            panic!("{message:?}");
        };
        assert_eq!(packet.buffer, BUFFER);
        let place = packet.within(self.bytes).expect("inside of the buffer");
        let mut header = [0; 8];
        self.pages.read(place.start as u64, &mut header).unwrap();
        let header = rndis::Header::parse(&header, self.bytes - place.start).unwrap();
        let mut bytes = vec![0; header.length as usize];
        self.pages.read(place.start as u64, &mut bytes).unwrap();
        let message = rndis::Packet::parse(&bytes).unwrap();
        let info = ReceiveInfo::collect(message.ppis).unwrap();
        (id, packet, message.frame.to_vec(), info)
    }
}

/// The guest has no use for a frame any more.
fn complete(driver: &mut Driver, id: u64) {
    let done = GuestMessage::VmqComplete(nvsp::Status::SUCCESS).encode(driver.version);
    driver.channels[0].send_all(&OutPacket::completion(id, &[done.as_bytes()]));
}

#[test]
fn frames_are_placed_into_buffers_that_the_guest_allocated() {
    let guest = FakeGuest::new();
    let (nic, wire) = wired(&guest, ",vmq", 1);
    let mut driver = Driver::start(&guest, &setup(GuestCapabilities::IEEE8021Q));
    let buffer = Allocated::give(&guest, &nic, &mut driver, 64);
    // Nothing that is more than a frame.
    assert!(!wire.accepts().tso4);
    for n in 0..300u16 {
        let frame = udp(PEER_MAC, GUEST, n, 2, &data(usize::from(n) * 4));
        wire.deliver(0, [frame.clone()]);
        let (id, _, bytes, info) = buffer.frame(&mut driver);
        assert_eq!(bytes, frame);
        assert_eq!(info.packet_id, None);
        complete(&mut driver, id);
    }
    assert_eq!(counter(&nic, "rx_vmq"), 300);
    // Control messages go on through the receive buffer.
    let (status, _) = driver.query(netvsc_wire::oid::Oid::GEN_LINK_SPEED, &[]);
    assert_eq!(status, rndis::Status::SUCCESS);
    // It is freed on demand, and another is asked for; frames go to the receive buffer meanwhile.
    nic.control("renew-buffer", &json!({})).unwrap();
    while driver.asked.is_empty() {
        driver.pump(0, LIMIT);
    }
    assert!(driver.messages.iter().any(|message| matches!(
        message,
        HostMessage::FreeReceiveBuffer { buffer } if *buffer == BUFFER
    )));
    let asked = driver.asked.pop();
    assert!(matches!(
        asked,
        Some((_, HostMessage::AllocReceiveBuffer { .. }))
    ));
    assert_eq!(nic.stats()["vmq"], false);
    assert!(nic.control("renew-buffer", &json!({})).is_err());
    let frame = udp(PEER_MAC, GUEST, 1, 2, b"copied");
    wire.deliver(0, [frame.clone()]);
    assert_eq!(driver.frame(LIMIT).unwrap().bytes, frame);
    driver.stop();
    assert_eq!(nic.stats()["vmq"], false);
}

#[test]
fn a_large_segment_has_one_place_in_such_a_buffer() {
    let guest = FakeGuest::new();
    let (nic, wire) = wired(&guest, ",vmq", 1);
    let mut driver = Driver::start(&guest, &setup(GuestCapabilities::RSC));
    let buffer = Allocated::give(&guest, &nic, &mut driver, 17 * 16 + 3);
    while wire.accepts() != Capabilities::ALL {
        driver.pump(0, SHORT);
    }
    // Many times as many as there are places.
    for round in 0..20 {
        for bytes in [1449, 3000, 20_000, 65_495] {
            let frame = segment(&data(bytes));
            wire.deliver_with(0, frame.clone(), gso(1448));
            let (id, packet, got, info) = buffer.frame(&mut driver);
            assert!(got == frame);
            let part = info.packet_id.expect("a segment");
            assert!(part.sub_allocated && part.first && part.last);
            assert_eq!(info.checksum.unwrap().tcp, Verdict::Good);
            // As few pages as it can have: it begins in the first one of its place.
            assert!(packet.offset % (17 * 4096) < 128);
            complete(&mut driver, id);
        }
        // Segments that follow each other stay alone.
        for n in 0..2u32 {
            let frame = tcp(PEER_MAC, GUEST, 80, 9, 77 + n * 100, &data(100));
            wire.deliver(0, [frame.clone()]);
            let (id, _, got, info) = buffer.frame(&mut driver);
            assert_eq!((got, info.packet_id), (frame, None), "round {round}");
            complete(&mut driver, id);
        }
    }
    assert_eq!(counter(&nic, "rx_coalesced"), 80);
    assert_eq!(counter(&nic, "rx_cut"), 0);
    driver.stop();
}

#[test]
fn large_segments_are_cut_for_a_buffer_without_room_for_them() {
    let guest = FakeGuest::new();
    let (nic, wire) = wired(&guest, ",vmq", 1);
    let mut driver = Driver::start(&guest, &setup(GuestCapabilities::RSC));
    let buffer = Allocated::give(&guest, &nic, &mut driver, 64);
    while wire.accepts().tso4 {
        driver.pump(0, SHORT);
    }
    // One that was on its way when that was agreed.
    let payload = data(1600);
    let frame = segment(&payload);
    wire.deliver_with(0, frame, gso(1448));
    let mut joined = Vec::new();
    for _ in 0..2 {
        let (id, _, got, info) = buffer.frame(&mut driver);
        assert!(checksums_are_right(&got));
        assert_eq!(info.packet_id, None);
        joined.extend_from_slice(&got[54..]);
        complete(&mut driver, id);
    }
    assert!(joined == payload);
    assert_eq!(counter(&nic, "rx_cut"), 1);
    driver.stop();
}

#[test]
fn guests_that_dont_allocate_get_frames_as_ever() {
    for (options, capabilities) in [
        (",vmq", GuestCapabilities::NONE),
        ("", GuestCapabilities::VMQ),
    ] {
        let guest = FakeGuest::new();
        let (nic, wire) = wired(&guest, options, 1);
        let setup = Setup {
            capabilities,
            ..Setup::default()
        };
        let mut driver = Driver::start(&guest, &setup);
        let frame = udp(PEER_MAC, GUEST, 1, 2, b"x");
        wire.deliver(0, [frame.clone()]);
        assert_eq!(driver.frame(LIMIT).unwrap().bytes, frame);
        driver.pump(0, SHORT);
        assert!(driver.asked.is_empty());
        assert_eq!(nic.stats()["vmq"], false);
        assert_ne!(PacketType::IN_BAND, PacketType::COMPLETION);
        driver.stop();
    }
}
