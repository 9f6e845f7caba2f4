// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The vectors of "Verifying the RSS Hash Calculation" (Windows driver documentation), and flows
//! as they are found in frames.

use netvsc_wire::rss::*;
use std::net::{Ipv4Addr, Ipv6Addr};

#[test]
fn ipv4_vectors() {
    for (destination, destination_port, source, source_port, addresses, with_ports) in [
        (
            "161.142.100.80",
            1766,
            "66.9.149.187",
            2794,
            0x323e_8fc2,
            0x51cc_c178,
        ),
        (
            "65.69.140.83",
            4739,
            "199.92.111.2",
            14230,
            0xd718_262a,
            0xc626_b0ea,
        ),
        (
            "12.22.207.184",
            38024,
            "24.19.198.95",
            12898,
            0xd2d0_a5de,
            0x5c2b_394a,
        ),
        (
            "209.142.163.6",
            2217,
            "38.27.205.30",
            48228,
            0x8298_9176,
            0xafc7_327f,
        ),
        (
            "202.188.127.2",
            1303,
            "153.39.163.191",
            44251,
            0x5d18_09c5,
            0x10e8_28a2,
        ),
    ] {
        let address = |text: &str| text.parse::<Ipv4Addr>().unwrap().octets();
        let flow = |ports| Flow::V4 {
            source: address(source),
            destination: address(destination),
            ports,
        };
        let full = flow(Some((source_port, destination_port)));
        assert_eq!(DEFAULT_KEY.hash_flow(&flow(None)), addresses);
        assert_eq!(DEFAULT_KEY.hash_flow(&full), with_ports);
        assert_eq!(full.restricted(HashTypes::LINUX), Some(full));
        assert_eq!(full.restricted(HashTypes::IPV4), Some(flow(None)));
        assert_eq!(full.restricted(HashTypes::TCP_IPV6), None);
    }
}

#[test]
fn ipv6_vectors() {
    for (destination, destination_port, source, source_port, addresses, with_ports) in [
        (
            "3ffe:2501:200:3::1",
            1766,
            "3ffe:2501:200:1fff::7",
            2794,
            0x2cc1_8cd5,
            0x4020_7d3d,
        ),
        (
            "ff02::1",
            4739,
            "3ffe:501:8::260:97ff:fe40:efab",
            14230,
            0x0f0c_461c,
            0xdde5_1bbf,
        ),
        (
            "fe80::200:f8ff:fe21:67cf",
            38024,
            "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
            44251,
            0x4b61_e985,
            0x02d1_feef,
        ),
    ] {
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let flow = |ports| Flow::V6 {
            source: address(source),
            destination: address(destination),
            ports,
        };
        let full = flow(Some((source_port, destination_port)));
        assert_eq!(DEFAULT_KEY.hash_flow(&flow(None)), addresses);
        assert_eq!(DEFAULT_KEY.hash_flow(&full), with_ports);
        assert_eq!(full.hash_type(), HashTypes::TCP_IPV6);
        assert_eq!(full.restricted(HashTypes::NONE), None);
    }
}

fn ipv4_frame(protocol: u8, fragment: u16, options: usize) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00]);
    let mut head = vec![0; 20 + 4 * options];
    head[0] = 0x45 + options as u8;
    head[6..8].copy_from_slice(&fragment.to_be_bytes());
    head[9] = protocol;
    head[12..16].copy_from_slice(&[66, 9, 149, 187]);
    head[16..20].copy_from_slice(&[161, 142, 100, 80]);
    frame.extend(head);
    frame.extend(2794u16.to_be_bytes());
    frame.extend(1766u16.to_be_bytes());
    frame
}

#[test]
fn flows_of_ipv4_frames() {
    let hash = |frame: &[u8]| DEFAULT_KEY.hash_flow(&Flow::of_frame(frame).unwrap());
    // TCP, with any options, and don't fragment.
    for options in [0, 1, 10] {
        let frame = ipv4_frame(6, 0x4000, options);
        assert_eq!(hash(&frame), 0x51cc_c178);
        assert!(frame.len() <= Flow::FRAME_BYTES);
        // Without the ports the addresses are all there is.
        assert_eq!(hash(&frame[..frame.len() - 1]), 0x323e_8fc2);
    }
    // UDP and fragments: addresses.
    for (protocol, fragment) in [(17, 0), (6, 0x2000), (6, 5)] {
        assert_eq!(hash(&ipv4_frame(protocol, fragment, 0)), 0x323e_8fc2);
    }
    let mut frame = ipv4_frame(6, 0, 0);
    frame[14] = 0x44;
    assert_eq!(Flow::of_frame(&frame), None);
    frame[14] = 0x55;
    assert_eq!(Flow::of_frame(&frame), None);
    frame[13] = 0x06;
    assert_eq!(Flow::of_frame(&frame), None);
    assert_eq!(Flow::of_frame(&ipv4_frame(6, 0, 0)[..33]), None);
    assert_eq!(Flow::of_frame(&[]), None);
}

#[test]
fn flows_of_ipv6_frames() {
    let mut frame = vec![0; 12];
    frame.extend([0x86, 0xdd]);
    let mut head = vec![0; 40];
    head[0] = 0x60;
    head[6] = 6;
    head[8..24].copy_from_slice(
        &"3ffe:2501:200:1fff::7"
            .parse::<Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    head[24..40].copy_from_slice(&"3ffe:2501:200:3::1".parse::<Ipv6Addr>().unwrap().octets());
    frame.extend(head);
    frame.extend(2794u16.to_be_bytes());
    frame.extend(1766u16.to_be_bytes());
    let hash = |frame: &[u8]| Flow::of_frame(frame).map(|flow| DEFAULT_KEY.hash_flow(&flow));
    assert_eq!(hash(&frame), Some(0x4020_7d3d));
    frame[20] = 17;
    assert_eq!(hash(&frame), Some(0x2cc1_8cd5));
    assert_eq!(hash(&frame[..53]), None);
}

#[test]
fn the_hash_takes_in_as_much_as_the_key_allows() {
    let key = Key([0xff; KEY_BYTES]);
    let long = [0x80; 100];
    assert_eq!(key.hash(&long), key.hash(&long[..MAX_INPUT_BYTES]));
    assert_eq!(key.hash(&[]), 0);
    // The first bit selects the first 32 bits of the key.
    assert_eq!(DEFAULT_KEY.hash(&[0x80]), 0x6d5a_56da);
}

#[test]
fn tables_are_never_left() {
    assert_eq!(table_index(u32::MAX, 128), 127);
    assert_eq!(table_index(u32::MAX, 0), 0);
    assert_eq!(table_index(130, 128), 2);
}
