// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What NVSP messages may hold, which way they go, and which version has them.

mod common;

use common::hex;
use netvsc_wire::nvsp::*;
use netvsc_wire::version::Version;

const LONG: usize = 40;
const SHORT: usize = 28;

fn padded(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.resize(length, 0);
    bytes
}

#[test]
fn linux_takes_short_completions() {
    // `send_recv_completions`: header and status, nothing more.
    assert_eq!(
        GuestMessage::parse(&hex("6c00000001000000")),
        Ok(GuestMessage::RndisComplete(Status::SUCCESS))
    );
    assert_eq!(
        GuestMessage::parse(&hex("6c000000010000")),
        Err(NvspError::TooShort {
            message_type: MessageType::SEND_RNDIS_PACKET_COMPLETE,
            got: 7,
            want: 8,
        })
    );
}

#[test]
fn the_first_answer_names_the_oldest_version_only() {
    assert_eq!(
        InitComplete::new(Some(Version::V1), Status::SUCCESS).deprecated,
        2
    );
    assert_eq!(
        InitComplete::new(Some(Version::V2), Status::SUCCESS).deprecated,
        u32::MAX
    );
    assert_eq!(
        InitComplete::new(None, Status::FAILURE).deprecated,
        u32::MAX
    );
}

#[test]
fn directions_and_unknown_numbers() {
    for number in 0..=200u32 {
        let kind = MessageType(number);
        let payload = padded(number.to_le_bytes().to_vec(), 104);
        let guest = GuestMessage::parse(&payload);
        let host = HostMessage::parse(Version::V6_1, &payload);
        let direct = matches!(kind, MessageType::PD_API | MessageType::PD_POST_BATCH);
        match kind.sender() {
            None => {
                assert_eq!(guest, Err(NvspError::UnknownType(kind)));
                assert_eq!(host, Err(NvspError::UnknownType(kind)));
                assert_eq!((kind.name(), kind.since()), (None, None));
            }
            Some(_) if direct => {
                assert_eq!(guest, Err(NvspError::PacketDirect(kind)));
                assert_eq!(host, Err(NvspError::PacketDirect(kind)));
            }
            Some(Sender::Guest) => {
                assert_eq!(guest.map(|m| m.message_type()), Ok(kind));
                assert_eq!(host, Err(NvspError::WrongDirection(kind)));
            }
            Some(Sender::Host) => {
                assert_eq!(guest, Err(NvspError::WrongDirection(kind)));
                // Of these only the table can't be all zero; 130 was never sent.
                match kind {
                    MessageType::SEND_INDIRECTION_TABLE => {
                        assert!(matches!(host, Err(NvspError::BadField { .. })));
                    }
                    MessageType::UPLINK_CONNECT_STATE_DEPRECATED => {
                        assert_eq!(host, Err(NvspError::WrongDirection(kind)));
                    }
                    _ => assert_eq!(host.map(|m| m.message_type()), Ok(kind)),
                }
            }
            Some(Sender::Both) => {
                assert_eq!(guest.map(|m| m.message_type()), Ok(kind));
                assert_eq!(host.map(|m| m.message_type()), Ok(kind));
            }
        }
    }
}

#[test]
fn versions_have_their_messages() {
    assert_eq!(MessageType::SEND_RNDIS_PACKET.since(), Some(Version::V1));
    assert_eq!(MessageType::SEND_NDIS_CONFIG.since(), Some(Version::V2));
    assert_eq!(
        MessageType::ALLOC_CHIMNEY_HANDLE_COMPLETE.since(),
        Some(Version::V2)
    );
    assert_eq!(MessageType::SEND_VF_ASSOCIATION.since(), Some(Version::V4));
    assert_eq!(
        MessageType::SEND_INDIRECTION_TABLE.since(),
        Some(Version::V5)
    );
    assert_eq!(MessageType::PD_API.since(), Some(Version::V6_1));
    for version in Version::OFFERED {
        assert_eq!(Version::from_wire(version.to_wire()), Some(version));
        assert_eq!(version.message_bytes() == LONG, version == Version::V6_1);
        assert_eq!(version.has_subchannels(), version >= Version::V5);
    }
    assert_eq!(Version::from_wire(0x3_0000), None);
    assert_eq!(Version::V6_1.to_string(), "6.1");
    assert_eq!(Version::V1.to_string(), "0.2");
}

#[test]
fn a_receive_buffer_has_as_many_sections_as_it_says() {
    let refused = HostMessage::ReceiveBufferComplete {
        status: Status::FAILURE,
        sections: Sections::NONE,
    };
    let built = refused.encode(Version::V1);
    assert_eq!(
        HostMessage::parse(Version::V1, built.as_bytes()),
        Ok(refused)
    );
    // Two sections in a message that holds one and a bit.
    let mut bytes = built.as_bytes().to_vec();
    bytes[8] = 2;
    assert_eq!(
        HostMessage::parse(Version::V1, &bytes),
        Err(NvspError::TooShort {
            message_type: MessageType::SEND_RECEIVE_BUFFER_COMPLETE,
            got: SHORT,
            want: 44,
        })
    );
    bytes.resize(44, 0);
    assert!(HostMessage::parse(Version::V1, &bytes).is_ok());
    bytes[8..12].fill(0xff);
    assert!(matches!(
        HostMessage::parse(Version::V1, &bytes),
        Err(NvspError::BadField {
            field: "num_sections",
            value: 0xffff_ffff,
            ..
        })
    ));
}

#[test]
fn sections_stay_inside_of_their_buffer() {
    let section = Section {
        offset: 16,
        piece_bytes: 1728,
        pieces: 10,
        end: 17296,
    };
    assert!(section.fits(17296));
    assert!(!section.fits(17295));
    let huge = Section {
        offset: u32::MAX,
        piece_bytes: u32::MAX,
        pieces: u32::MAX,
        end: 0,
    };
    assert!(!huge.fits(u64::from(u32::MAX)));

    let used = SectionUse {
        index: 2,
        bytes: 100,
    };
    assert_eq!(used.within(6144, 3 * 6144), Some(12288..12388));
    assert_eq!(used.within(6144, 3 * 6144 - 1), None);
    assert_eq!(used.within(99, 1 << 20), None);
    let last = SectionUse {
        index: u32::MAX - 1,
        bytes: u32::MAX,
    };
    assert_eq!(last.within(u32::MAX, 1 << 40), None);
    assert!(last.within(u32::MAX, u64::MAX).is_some());
}

#[test]
fn control_packets_come_in_no_vmq_buffer() {
    let mut bytes = hex("7b0000000000000088776655443322113c00000000100000");
    bytes[4] = 1;
    assert!(matches!(
        HostMessage::parse(Version::V2, &bytes),
        Err(NvspError::BadField {
            field: "channel_type",
            value: 1,
            ..
        })
    ));
    bytes[4] = 2;
    assert!(HostMessage::parse(Version::V2, &bytes).is_err());
}

#[test]
fn the_offset_of_the_table_counts_from_6_1_on() {
    let table = SendTable::spread(4);
    let right = HostMessage::SendTable(table).encode(Version::V6_1);
    let mut wrong = right.as_bytes().to_vec();
    wrong[8..12].copy_from_slice(&12u32.to_le_bytes());
    // Hosts up to 6.0 name some offset and place the table behind 40 bytes.
    for version in [Version::V5, Version::V6] {
        assert_eq!(
            HostMessage::parse(version, &wrong),
            Ok(HostMessage::SendTable(table))
        );
    }
    assert_ne!(
        HostMessage::parse(Version::V6_1, &wrong),
        Ok(HostMessage::SendTable(table))
    );
    // In a shorter message the table can't be there, so the offset has to be right.
    let mut short = right.as_bytes()[..12].to_vec();
    short[8] = 12;
    short.extend_from_slice(&right.as_bytes()[40..]);
    assert_eq!(
        HostMessage::parse(Version::V5, &short),
        Ok(HostMessage::SendTable(table))
    );
    short[8] = 13;
    assert!(matches!(
        HostMessage::parse(Version::V5, &short),
        Err(NvspError::BadField {
            field: "offset",
            ..
        })
    ));
    short[4] = 15;
    assert!(matches!(
        HostMessage::parse(Version::V5, &short),
        Err(NvspError::BadField {
            field: "count",
            value: 15,
            ..
        })
    ));
}

#[test]
fn the_table_never_names_a_channel_that_is_not_there() {
    let table = SendTable {
        channels: [u32::MAX; 16],
    };
    for hash in [0, 1, 15, 16, u32::MAX] {
        assert_eq!(table.channel(hash, 0), 0);
        assert!(table.channel(hash, 3) < 3);
    }
    assert_eq!(SendTable::spread(4).channel(6, 4), 2);
    assert_eq!(SendTable::spread(0).channels, [0; 16]);
    assert_eq!((SendTable::index(0x21), SendTable::within(7, 4)), (1, 3));
    assert_eq!(SendTable::within(7, 0), 0);
}

#[test]
fn who_sends_completions() {
    assert!(GuestMessage::RndisComplete(Status::SUCCESS).is_completion());
    assert!(!GuestMessage::Init {
        version: 2,
        version2: 2
    }
    .is_completion());
    assert!(HostMessage::RndisComplete(Status::SUCCESS).is_completion());
    assert!(!HostMessage::SendTable(SendTable::spread(1)).is_completion());
}
