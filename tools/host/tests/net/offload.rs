// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Large segments through a NIC: cut, sent whole, coalesced.

use hvhost::net::backend::{Capabilities, Offload};
use hvhost::net::peer::PEER_MAC;
use hvhost::testing::{FakeGuest, GuestConfig, LIMIT};
use netvsc_wire::nvsp::{self, Capabilities as GuestCapabilities};
use netvsc_wire::ppi::{LargeSend, SendInfo, Verdict, Vlan};

use super::driver::{Driver, Setup};
use super::frames::{checksums_are_right, data, gso, make_partial, segment, tagged, tcp, udp};
use super::{counter, nic, wired, GUEST};

/// A segment of 64 KiB needs pages enough, four times over.
fn large() -> (FakeGuest, Setup) {
    let guest = FakeGuest::with(GuestConfig::default());
    let setup = Setup {
        receive_pages: 1024,
        ..Setup::default()
    };
    (guest, setup)
}

/// A segment as `netvsc_xmit` leaves it: no IP length, no checksums but a pseudo header's.
fn as_left(good: &[u8]) -> Vec<u8> {
    let mut frame = good.to_vec();
    frame[16..18].fill(0);
    frame[24..26].fill(0);
    frame[50..52].copy_from_slice(&[0x12, 0x34]);
    frame
}

fn large_send(mss: u32) -> SendInfo {
    SendInfo {
        large_send: Some(LargeSend {
            mss,
            tcp_offset: 34,
            ipv6: false,
            v2: true,
        }),
        ..SendInfo::default()
    }
}

#[test]
fn large_sends_go_whole_to_who_cuts_them() {
    let (guest, setup) = large();
    let (nic, wire) = wired(&guest, "", 1);
    let mut driver = Driver::start(&guest, &setup);
    let good = tcp(GUEST, PEER_MAC, 1, 2, 1000, &data(60_000));
    let id = driver.send_in_pages(0, &as_left(&good), &large_send(1448));
    assert_eq!(driver.completed(0, id), nvsp::Status::SUCCESS);
    let sent = wire.sent().remove(0);
    // Mended: the length is back, and the pseudo header's sum counts it.
    let mut expected = good.clone();
    make_partial(&mut expected);
    assert_eq!(sent.bytes, expected);
    assert_eq!(sent.offload, gso(1448));
    assert_eq!((counter(&nic, "tx_large"), counter(&nic, "tx_cut")), (1, 0));

    // With a tag everything moves by four bytes.
    let info = SendInfo {
        vlan: Some(Vlan {
            id: 5,
            priority: 0,
            dei: false,
        }),
        ..large_send(1448)
    };
    let id = driver.send_in_pages(0, &as_left(&good), &info);
    driver.completed(0, id);
    let sent = wire.sent().remove(0);
    assert_eq!(sent.bytes, tagged(&expected, 5));
    assert_eq!(sent.offload.gso.unwrap().header, 58);
    assert_eq!(sent.offload.partial.unwrap().start, 38);

    // No larger than a segment: just a checksum.
    let small = tcp(GUEST, PEER_MAC, 1, 2, 1000, &data(1448));
    let id = driver.send_in_pages(0, &as_left(&small), &large_send(1448));
    driver.completed(0, id);
    let sent = wire.sent().remove(0);
    assert_eq!(
        (sent.offload.gso, sent.offload.partial),
        (None, gso(1).partial)
    );

    // What can't be: segments longer than the MTU, or no TCP at all.
    let id = driver.send_in_pages(0, &as_left(&good), &large_send(1461));
    driver.completed(0, id);
    let id = driver.send_in_pages(
        0,
        &udp(GUEST, PEER_MAC, 1, 2, &data(5000)),
        &large_send(1000),
    );
    driver.completed(0, id);
    assert!(wire.sent().is_empty());
    assert_eq!(counter(&nic, "tx_refused"), 2);
    driver.stop();
}

#[test]
fn large_sends_are_cut_for_who_cant() {
    let (guest, setup) = large();
    let (nic, wire) = wired(&guest, "", 1);
    wire.set_capabilities(Capabilities::NONE);
    let mut driver = Driver::start(&guest, &setup);
    let payload = data(10_000);
    let good = tcp(GUEST, PEER_MAC, 1, 2, 1000, &payload);
    for tag in [None, Some(9)] {
        let info = SendInfo {
            vlan: tag.map(|id| Vlan {
                id,
                priority: 0,
                dei: false,
            }),
            ..large_send(1448)
        };
        let id = driver.send_in_pages(0, &as_left(&good), &info);
        driver.completed(0, id);
        let sent = wire.sent();
        assert_eq!(sent.len(), 7);
        let mut joined = Vec::new();
        for segment in &sent {
            assert_eq!(segment.offload, Offload::default());
            assert!(checksums_are_right(&segment.bytes));
            let head = if tag.is_some() { 58 } else { 54 };
            assert_eq!(segment.bytes[12..14] == [0x81, 0], tag.is_some());
            joined.extend_from_slice(&segment.bytes[head..]);
        }
        assert_eq!(joined, payload);
    }
    assert_eq!(counter(&nic, "tx_cut"), 2);
    driver.stop();
}

#[test]
fn large_segments_arrive_as_chains() {
    let (guest, setup) = large();
    let (nic, wire) = wired(&guest, "", 1);
    let mut driver = Driver::start(&guest, &setup);
    assert_eq!(wire.accepts(), Capabilities::ALL);
    for bytes in [1449, 3000, 20_000, 65_495] {
        let frame = segment(&data(bytes));
        for tag in [None, Some(0x6005)] {
            let mut offload = gso(1448);
            let whole = match tag {
                Some(tag) => {
                    offload.partial.as_mut().unwrap().start = 38;
                    offload.gso.as_mut().unwrap().header = 58;
                    tagged(&frame, tag)
                }
                None => frame.clone(),
            };
            wire.deliver_with(0, whole, offload);
            let got = driver.frame(LIMIT).expect("a segment");
            assert_eq!(got.bytes, frame);
            assert_eq!(got.info.vlan, tag.map(Vlan::from_tci));
            let sums = got.info.checksum.unwrap();
            assert_eq!(
                (sums.tcp, sums.tcp_value_invalid, sums.ip_header),
                (Verdict::Good, true, Verdict::Good)
            );
            // As many pieces as it takes, no more.
            let room = driver.section.piece_bytes as usize - 128;
            let read = frame.len() + if tag.is_some() { 4 } else { 0 };
            assert_eq!(got.parts, read.div_ceil(room));
        }
    }
    assert!(counter(&nic, "rx_coalesced") >= 6);
    assert_eq!(counter(&nic, "rx_cut"), 0);
    driver.stop();
}

#[test]
fn no_section_is_lost_over_time() {
    let (guest, setup) = large();
    let (nic, wire) = wired(&guest, "", 1);
    let mut driver = Driver::start(&guest, &setup);
    let frame = segment(&data(9_000));
    // Several times as many as there are sections.
    for _ in 0..driver.section.pieces {
        wire.deliver_all(0, [(frame.clone(), gso(1448)), (frame.clone(), gso(1448))]);
        for _ in 0..2 {
            assert_eq!(
                driver.frame(LIMIT).expect("a segment").bytes.len(),
                frame.len()
            );
        }
    }
    assert_eq!(counter(&nic, "no_section"), 0);
    driver.stop();
}

#[test]
fn segments_of_a_flow_are_joined() {
    let (guest, setup) = large();
    let (nic, wire) = wired(&guest, "", 1);
    let mut driver = Driver::start(&guest, &setup);
    let payload = data(5000);
    let segment = |from: usize, to: usize| {
        tcp(
            PEER_MAC,
            GUEST,
            80,
            9,
            100 + from as u32,
            &payload[from..to],
        )
    };
    let valid = Offload {
        valid: true,
        ..Offload::default()
    };
    // Held back as one burst: the guest has no section free at first.
    let mut last = segment(3000, 3100);
    last[47] |= 8; // PSH
    hvhost::net::checksum::fill(&mut last);
    let burst = [
        segment(0, 1000),
        segment(1000, 2000),
        segment(2000, 3000),
        last,
        // A gap; another flow; what nobody vouches for.
        segment(4000, 4500),
        tcp(PEER_MAC, GUEST, 81, 9, 100, b"other"),
    ];
    wire.deliver_all(0, burst.iter().map(|frame| (frame.clone(), valid)));
    let got = driver.frame(LIMIT).expect("a segment");
    assert_eq!((got.parts, got.bytes.len()), (4, 54 + 3100));
    assert_eq!(got.bytes[54..], payload[..3100]);
    assert_eq!(got.bytes[47], 0x18);
    assert_eq!(got.bytes[16..18], 3140u16.to_be_bytes());
    let sums = got.info.checksum.unwrap();
    assert_eq!((sums.tcp, sums.tcp_value_invalid), (Verdict::Good, true));
    // The IP header is right, the TCP checksum isn't and says so.
    let mut whole = got.bytes.clone();
    hvhost::net::checksum::fill(&mut whole);
    assert_eq!(whole[..34], got.bytes[..34]);
    let got = driver.frame(LIMIT).unwrap();
    assert_eq!((got.parts, &got.bytes), (1, &burst[4]));
    let got = driver.frame(LIMIT).unwrap();
    assert_eq!((got.parts, &got.bytes), (1, &burst[5]));
    assert_eq!(counter(&nic, "rx_merged"), 3);

    let unknown = [segment(0, 1000), segment(1000, 2000)];
    wire.deliver(0, unknown.iter().cloned());
    for frame in &unknown {
        assert_eq!(&driver.frame(LIMIT).unwrap().bytes, frame);
    }
    assert_eq!(counter(&nic, "rx_merged"), 3);
    driver.stop();
}

#[test]
fn guests_without_rsc_get_single_segments() {
    for (setup, csum) in [
        (
            Setup {
                capabilities: GuestCapabilities::IEEE8021Q,
                ..Setup::default()
            },
            "",
        ),
        (
            Setup {
                version: netvsc_wire::Version::V5,
                ..Setup::default()
            },
            ",csum=full",
        ),
        // So few sections that a large segment could block all others.
        (
            Setup {
                receive_pages: 40,
                ..Setup::default()
            },
            "",
        ),
    ] {
        let guest = FakeGuest::new();
        let (nic, wire) = wired(&guest, csum, 1);
        let mut driver = Driver::start(&guest, &setup);
        assert!(!wire.accepts().tso4);
        // One that was on its way when that was agreed.
        let payload = data(1600);
        let frame = segment(&payload);
        wire.deliver_with(0, frame, gso(1448));
        let mut joined = Vec::new();
        for _ in 0..2 {
            let got = driver.frame(LIMIT).expect("a segment");
            assert_eq!(got.parts, 1);
            assert!(checksums_are_right(&got.bytes));
            assert_eq!(got.info.checksum.unwrap().tcp, Verdict::Good);
            joined.extend_from_slice(&got.bytes[54..]);
        }
        assert_eq!(joined, payload);
        assert_eq!(counter(&nic, "rx_cut"), 1);
        driver.stop();
    }
}

#[test]
fn full_checksums_of_large_segments_are_computed() {
    let (guest, setup) = large();
    let (_nic, wire) = wired(&guest, ",csum=full", 1);
    let mut driver = Driver::start(&guest, &setup);
    let good = tcp(PEER_MAC, GUEST, 80, 9, 77, &data(30_001));
    let mut frame = good.clone();
    make_partial(&mut frame);
    wire.deliver_with(0, frame, gso(1448));
    let got = driver.frame(LIMIT).unwrap();
    assert_eq!(got.bytes, good);
    assert!(!got.info.checksum.unwrap().tcp_value_invalid);
    driver.stop();
}

#[test]
fn a_peer_talks_tcp_over_large_sends() {
    // Software all the way: cut here, echoed by the peer segment by segment.
    let guest = FakeGuest::new();
    nic(&guest, "peer=echo");
    let mut driver = Driver::start(&guest, &Setup::default());
    let mut syn = tcp(GUEST, PEER_MAC, 5, 7, 100, b"");
    syn[47] = 2;
    syn[48..50].copy_from_slice(&[0xff, 0xff]);
    hvhost::net::checksum::fill(&mut syn);
    driver.send_in_section(0, 0, &[(&syn, SendInfo::default())]);
    let answer = driver.frame(LIMIT).expect("SYN, ACK").bytes;
    assert_eq!(answer[47], 0x12);
    let theirs = u32::from_be_bytes(answer[38..42].try_into().unwrap()) + 1;
    let payload = data(5000);
    let mut segment = tcp(GUEST, PEER_MAC, 5, 7, 101, &payload);
    segment[42..46].copy_from_slice(&theirs.to_be_bytes());
    segment[48..50].copy_from_slice(&[0xff, 0xff]);
    driver.send_in_pages(0, &as_left(&segment), &large_send(1448));
    let mut echoed = Vec::new();
    while echoed.len() < payload.len() {
        let got = driver.frame(LIMIT).expect("an echo");
        assert!(got.parts > 1 || checksums_are_right(&got.bytes));
        let head = 34 + usize::from(got.bytes[46] >> 4) * 4;
        echoed.extend_from_slice(&got.bytes[head..]);
    }
    assert_eq!(echoed, payload);
    driver.stop();
}
