// SPDX-License-Identifier: GPL-2.0 OR MIT

//! RNDIS messages byte by byte. The bytes were written by a C program that filled in the structs
//! of `drivers/net/hyperv/hyperv_net.h`.

mod common;

use common::hex;
use netvsc_wire::oid::Oid;
use netvsc_wire::ppi::*;
use netvsc_wire::rndis::{self, *};

#[track_caller]
fn guest(bytes: &str, message: GuestControl<'_>) {
    let bytes = hex(bytes);
    assert_eq!(GuestControl::parse(&bytes), Ok(message));
    let mut out = [0xaa; 128];
    let length = message.encode(&mut out).unwrap();
    assert_eq!(&out[..length], bytes);
    for short in 0..length {
        assert_eq!(
            message.encode(&mut out[..short]),
            Err(RndisError::NoRoom {
                need: length,
                have: short
            })
        );
        assert!(GuestControl::parse(&bytes[..short]).is_err());
    }
    assert_eq!(
        HostControl::parse(&bytes),
        Err(RndisError::Unexpected(message.message_type()))
    );
}

#[track_caller]
fn host(bytes: &str, message: HostControl<'_>) {
    let bytes = hex(bytes);
    assert_eq!(HostControl::parse(&bytes), Ok(message));
    let mut out = [0xaa; 128];
    let length = message.encode(&mut out).unwrap();
    assert_eq!(&out[..length], bytes);
    for short in 0..length {
        assert_eq!(
            message.encode(&mut out[..short]),
            Err(RndisError::NoRoom {
                need: length,
                have: short
            })
        );
        assert!(HostControl::parse(&bytes[..short]).is_err());
    }
    assert_eq!(
        GuestControl::parse(&bytes),
        Err(RndisError::Unexpected(message.message_type()))
    );
}

#[test]
fn guest_init() {
    guest(
        "020000001800000001000000010000000000000000400000",
        GuestControl::Initialize(Initialize {
            request_id: 1,
            version: rndis::VERSION,
            max_transfer_bytes: rndis::MAX_TRANSFER_BYTES,
        }),
    );
}

#[test]
fn guest_halt() {
    guest(
        "030000000c00000009000000",
        GuestControl::Halt { request_id: 9 },
    );
}

#[test]
fn guest_query() {
    guest(
        "0400000020000000020000000d0201fc040000001400000000000000a7039c00",
        GuestControl::Query(Query {
            request_id: 2,
            oid: Oid::TCP_OFFLOAD_HARDWARE_CAPABILITIES,
            info: &[0xa7, 3, 156, 0],
        }),
    );
}

#[test]
fn guest_set() {
    guest(
        "0500000020000000030000000e0101000400000014000000000000000d000000",
        GuestControl::Set(Set {
            request_id: 3,
            oid: Oid::GEN_CURRENT_PACKET_FILTER,
            info: &[13, 0, 0, 0],
        }),
    );
}

#[test]
fn guest_reset() {
    guest("060000000c00000000000000", GuestControl::Reset);
}

#[test]
fn guest_keepalive() {
    guest(
        "080000000c00000005000000",
        GuestControl::Keepalive { request_id: 5 },
    );
}

#[test]
fn host_init_complete() {
    host(
        "020000803400000001000000000000000100000000000000010000000000000008000000\
         ffffffff030000000000000000000000",
        HostControl::InitializeComplete(InitializeComplete {
            request_id: 1,
            status: Status::SUCCESS,
            version: rndis::VERSION,
            device_flags: InitializeComplete::CONNECTIONLESS,
            medium: InitializeComplete::MEDIUM_802_3,
            max_packets: 8,
            max_transfer_bytes: u32::MAX,
            alignment_shift: 3,
        }),
    );
}

#[test]
fn host_query_complete() {
    host(
        "040000801e0000000200000000000000060000001000000000155d010203",
        HostControl::QueryComplete(QueryComplete {
            request_id: 2,
            status: Status::SUCCESS,
            info: &[0, 0x15, 0x5d, 1, 2, 3],
        }),
    );
}

#[test]
fn host_set_complete() {
    host(
        "050000801000000003000000bb0000c0",
        HostControl::SetComplete(SetComplete {
            request_id: 3,
            status: Status::NOT_SUPPORTED,
        }),
    );
}

#[test]
fn host_reset_complete() {
    host(
        "06000080100000000000000001000000",
        HostControl::ResetComplete {
            status: Status::SUCCESS,
            addressing_reset: true,
        },
    );
}

#[test]
fn host_keepalive_complete() {
    host(
        "08000080100000000500000000000000",
        HostControl::KeepaliveComplete {
            request_id: 5,
            status: Status::SUCCESS,
        },
    );
}

#[test]
fn host_link_up() {
    host(
        "07000000140000000b0001400000000000000000",
        HostControl::Indicate(Indication::link(true)),
    );
}

#[test]
fn host_speed() {
    host(
        "070000001800000013000140040000000c00000000e1f505",
        HostControl::Indicate(Indication::speed(&Indication::speed_info(10_000))),
    );
}

#[test]
fn methods_are_answered_with_data() {
    let call = GuestControl::SetEx(Set {
        request_id: 4,
        oid: Oid::RECEIVE_FILTER_ALLOCATE_QUEUE,
        info: &[1, 2, 3],
    });
    guest(
        "090000001f00000004000000230201000300000014000000000000000102 03",
        call,
    );
    let answer = HostControl::SetExComplete(SetExComplete {
        request_id: 4,
        status: Status::SUCCESS,
        info: &[7],
    });
    host("09000080190000000400000000000000010000001000000007", answer);
}

#[test]
fn parts_have_to_be_inside() {
    let query = hex("0400000020000000020000000d0201fc040000001400000000000000a7039c00");
    // The information buffer starts 20 bytes into the body and has 4.
    for (offset, length, good) in [
        (20u32, 4u32, true),
        (21, 4, false),
        (24, 0, true),
        (u32::MAX, 0, true),
        (u32::MAX, 1, false),
        (u32::MAX - 7, 8, false),
        (0, 24, true), // Overlaps the fixed part: of no harm.
        (0, 25, false),
        (20, u32::MAX, false),
    ] {
        let mut bytes = query.clone();
        bytes[16..20].copy_from_slice(&length.to_le_bytes());
        bytes[20..24].copy_from_slice(&offset.to_le_bytes());
        assert_eq!(
            GuestControl::parse(&bytes).is_ok(),
            good,
            "{offset} {length}"
        );
    }
    // Longer than what is there, or than a header.
    for length in [0u32, 7, 33, u32::MAX] {
        let mut bytes = query.clone();
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(
            GuestControl::parse(&bytes),
            Err(RndisError::BadLength { .. })
        ));
    }
}

#[test]
fn some_hosts_do_not_count_the_status_buffer() {
    let mut bytes = hex("070000001800000013000140040000000c00000000e1f505");
    bytes[4] = 20;
    let Ok(HostControl::Indicate(indication)) = HostControl::parse(&bytes) else {
        panic!("no indication");
    };
    assert_eq!(indication.megabits(), Some(10_000));
    assert_eq!(Indication::link(false).megabits(), None);
}

#[test]
fn messages_follow_one_another() {
    let mut bytes = hex("030000000c00000009000000");
    bytes.extend(hex("080000000c00000005000000"));
    let all: Vec<_> = messages(&bytes)
        .map(|m| m.unwrap().header.message_type)
        .collect();
    assert_eq!(all, [MessageType::HALT, MessageType::KEEPALIVE]);
    bytes.push(0);
    let mut rest = messages(&bytes).skip(2);
    assert_eq!(rest.next(), Some(Err(RndisError::NoHeader { got: 1 })));
    assert_eq!(rest.next(), None);
}

/// A frame as Linux sends it: hash, tag, cut and checksum, with 6 bytes of padding behind it.
const SENT: &str = "010000005c06000064000000ea0500000000000000000000000000002400000040000000\
         000000000000000010000000080000000c000000efbeadde10000000060000000c000000\
         cdab000010000000020000000c000000a80520c210000000000000000c00000005002200";

fn sent_info() -> SendInfo {
    SendInfo {
        checksum: Some(SendChecksum {
            ipv4: true,
            tcp: true,
            transport_offset: 34,
            ..Default::default()
        }),
        large_send: Some(LargeSend {
            mss: 1448,
            tcp_offset: 34,
            ipv6: true,
            v2: true,
        }),
        vlan: Some(Vlan {
            id: 0xabc,
            priority: 5,
            dei: true,
        }),
        hash: Some(0xdead_beef),
    }
}

#[test]
fn a_sent_frame() {
    let head = hex(SENT);
    let parsed = PacketHead::parse(&head, 108 + 1514 + 6).unwrap();
    assert_eq!((parsed.data_offset, parsed.data_bytes), (108, 1514));
    assert_eq!(parsed.message_bytes, 108 + 1514 + 6);
    assert_eq!(parsed.data(), 108..1622);
    // The fixed part says where all of it ends.
    assert_eq!(PacketHead::bytes(&head), Some(108));
    assert_eq!(PacketHead::bytes(&head[..44]), Some(108));
    assert_eq!(PacketHead::bytes(&head[..43]), None);
    assert_eq!(SendInfo::collect(parsed.ppis), Ok(sent_info()));

    let mut out = [0; MAX_HEAD_BYTES];
    assert_eq!(sent_info().encode(1514, 6, &mut out), Ok(108));
    assert_eq!(sent_info().head_bytes(), 108);
    assert_eq!(&out[..108], head);
    // One byte less than the message needs, or than its head.
    assert!(PacketHead::parse(&head, 108 + 1514 + 5).is_err());
    assert!(PacketHead::parse(&head[..107], 108 + 1514 + 6).is_err());
    assert!(sent_info().encode(1514, 6, &mut out[..107]).is_err());
    assert!(sent_info().encode(u32::MAX, 0, &mut out).is_err());
}

#[test]
fn a_received_frame() {
    let info = ReceiveInfo {
        checksum: Some(ReceiveChecksum {
            tcp: Verdict::Good,
            ip_header: Verdict::Good,
            ip_value_invalid: true,
            ..Default::default()
        }),
        vlan: Some(Vlan {
            id: 100,
            ..Default::default()
        }),
        hash: Some(0x1234_5678),
        hash_info: Some(HashInfo(0x201)),
        packet_id: Some(PacketId {
            version: PacketId::V1,
            sub_allocated: true,
            first: true,
            last: false,
            id: 0x77,
        }),
    };
    let head = hex(
        "01000000b8000000740000003c0000000000000000000000000000002400000050000000\
         000000000000000010000000060000000c0000004006000010000000000000000c000000\
         2801000010000000080000000c0000007856341210000000090000000c00000001020000\
         10000000010000800c00000001037700",
    );
    let mut out = [0x55; MAX_HEAD_BYTES + 60];
    assert_eq!(info.encode(60, 0, &mut out), Ok(head.len()));
    assert_eq!(&out[..head.len()], head);
    assert_eq!(head.len(), MAX_HEAD_BYTES);
    let packet = Packet::parse(&out).unwrap();
    assert_eq!(packet.frame, [0x55; 60]);
    assert_eq!(ReceiveInfo::collect(packet.ppis), Ok(info));
}

#[test]
fn a_frame_without_info() {
    let mut out = [0; 44 + 3];
    assert_eq!(ReceiveInfo::default().encode(3, 0, &mut out), Ok(44));
    // Linux complains of a length of 0 at any offset but 0 (`rndis_get_ppi`).
    assert_eq!(out[28..36], [0; 8]);
    out[44..].copy_from_slice(b"abc");
    let packet = Packet::parse(&out).unwrap();
    assert_eq!((packet.frame, packet.ppis.count()), (&b"abc"[..], 0));
    // Linux itself sends the offset and no length.
    out[28] = 36;
    assert_eq!(Packet::parse(&out).unwrap().ppis.count(), 0);
}

#[test]
fn frames_stay_inside_of_their_message() {
    let mut good = vec![0; 44 + 20];
    ReceiveInfo::default().encode(20, 0, &mut good).unwrap();
    for (offset, length, inside) in [
        (36u32, 20u32, true),
        (36, 0, true),
        (56, 0, true),
        (57, 0, false),
        (36, 21, false),
        (35, 20, false), // in the fixed part
        (0, 4, false),
        (u32::MAX, 1, false),
        (u32::MAX - 7, 8, false),
        (36, u32::MAX, false),
    ] {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(&offset.to_le_bytes());
        bytes[12..16].copy_from_slice(&length.to_le_bytes());
        assert_eq!(Packet::parse(&bytes).is_ok(), inside, "{offset} {length}");
    }
    for (offset, length, inside) in [
        (36u32, 20u32, true),
        (36, 21, false),
        (35, 8, false),
        (u32::MAX, 1, false),
        (40, u32::MAX, false),
    ] {
        let mut bytes = good.clone();
        bytes[28..32].copy_from_slice(&offset.to_le_bytes());
        bytes[32..36].copy_from_slice(&length.to_le_bytes());
        assert_eq!(
            Packet::parse(&bytes).is_ok(),
            inside,
            "info {offset} {length}"
        );
    }
}

#[test]
fn info_that_makes_no_sense() {
    let piece = |size: u32, kind: u32, offset: u32, rest: usize| {
        let mut bytes = Vec::new();
        for word in [size, kind, offset] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.resize(12 + rest, 0);
        bytes
    };
    fn first(bytes: &[u8]) -> Option<Result<Ppi<'_>, PpiError>> {
        Ppis::new(bytes).next()
    }
    assert_eq!(first(&[]), None);
    assert_eq!(first(&[0; 11]), Some(Err(PpiError::NoHead { left: 11 })));
    for size in [0, 11, 17, u32::MAX] {
        let bytes = piece(size, 0, 12, 4);
        assert_eq!(
            first(&bytes),
            Some(Err(PpiError::BadSize { size, left: 16 }))
        );
        assert_eq!(Ppis::new(&bytes).count(), 1);
    }
    for offset in [0, 11, 17, u32::MAX] {
        let bytes = piece(16, 0, offset, 4);
        assert_eq!(
            first(&bytes),
            Some(Err(PpiError::BadOffset { offset, size: 16 }))
        );
    }
    // A value that is too short counts only where somebody wants it.
    let bytes = piece(15, PpiType::VLAN.0, 12, 3);
    assert!(first(&bytes).unwrap().is_ok());
    let short = PpiError::TooShort {
        kind: PpiType::VLAN,
        got: 3,
        want: 4,
    };
    assert_eq!(SendInfo::collect(Ppis::new(&bytes)), Err(short));
    assert_eq!(ReceiveInfo::collect(Ppis::new(&bytes)), Err(short));
    let internal = piece(15, PpiType::VLAN.0 | 0x8000_0000, 12, 3);
    assert_eq!(
        SendInfo::collect(Ppis::new(&internal)),
        Ok(SendInfo::default())
    );
}

#[test]
fn vlan_tags_of_frames_and_of_info() {
    let vlan = Vlan {
        id: 0xabc,
        priority: 5,
        dei: true,
    };
    assert_eq!((vlan.to_wire(), vlan.to_tci()), (0xabcd, 0xbabc));
    assert_eq!(Vlan::from_tci(0xbabc), vlan);
}

#[test]
fn a_bad_checksum_wins() {
    assert_eq!(ReceiveChecksum::from_wire(0b1001).tcp, Verdict::Bad);
    assert_eq!(ReceiveChecksum::from_wire(0).tcp, Verdict::Unknown);
}
