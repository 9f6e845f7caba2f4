// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets byte for byte, against the structs of `drivers/scsi/storvsc_drv.c`: each field at the
//! offset that `offsetof()` gives it there.

use storvsc_wire::fibre::{FibreNames, WorldWideNames};
use storvsc_wire::host;
use storvsc_wire::scsi::cdb::Extent;
use storvsc_wire::scsi::{Command, ScsiStatus, Sense, SenseBytes, Width};
use storvsc_wire::srb::{SrbExtension, SrbFlags};
use storvsc_wire::*;

/// `offsetof(struct vstor_packet, ...)`.
mod vstor_packet {
    pub(crate) const OPERATION: usize = 0;
    pub(crate) const FLAGS: usize = 4;
    pub(crate) const STATUS: usize = 8;
    pub(crate) const BODY: usize = 12;
    pub(crate) const SIZE: usize = 64;
}

/// `offsetof(struct vmscsi_request, ...)`.
mod vmscsi_request {
    pub(crate) const LENGTH: usize = 0;
    pub(crate) const SRB_STATUS: usize = 2;
    pub(crate) const SCSI_STATUS: usize = 3;
    pub(crate) const PORT_NUMBER: usize = 4;
    pub(crate) const PATH_ID: usize = 5;
    pub(crate) const TARGET_ID: usize = 6;
    pub(crate) const LUN: usize = 7;
    pub(crate) const CDB_LENGTH: usize = 8;
    pub(crate) const SENSE_INFO_LENGTH: usize = 9;
    pub(crate) const DATA_IN: usize = 10;
    pub(crate) const DATA_TRANSFER_LENGTH: usize = 12;
    pub(crate) const CDB: usize = 16;
    pub(crate) const QUEUE_TAG: usize = 38;
    pub(crate) const QUEUE_ACTION: usize = 39;
    pub(crate) const SRB_FLAGS: usize = 40;
    pub(crate) const TIME_OUT_VALUE: usize = 44;
    pub(crate) const QUEUE_SORT_KEY: usize = 48;
    pub(crate) const SIZE: usize = 52;
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn request() -> Srb {
    let cdb = Command::Read {
        width: Width::Ten,
        extent: Extent {
            lba: 0x0102_0304,
            blocks: 0x0506,
        },
        fua: true,
    }
    .encode()
    .unwrap();
    Srb {
        address: Address {
            port: 0xa1,
            path: 0xa2,
            target: 0xa3,
            lun: 0xa4,
        },
        cdb: cdb.padded(),
        cdb_length: cdb.length(),
        sense_length: 20,
        direction: DataDirection::In,
        transfer_length: 0xb1b2_b3b4,
        extension: SrbExtension {
            queue_tag: SrbExtension::UNTAGGED,
            queue_action: SrbExtension::SIMPLE_TAG,
            flags: SrbFlags::DISABLE_SYNCH_TRANSFER.with(SrbFlags::DATA_IN),
            timeout: 60,
            queue_sort_key: 0xc1c2_c3c4,
        },
    }
}

#[test]
fn a_request_is_a_vmscsi_request() {
    use vmscsi_request as at;
    let packet = GuestPacket::ExecuteSrb(request()).encode(Layout::Long);
    let bytes = packet.as_bytes();
    assert_eq!(bytes.len(), vstor_packet::SIZE);
    assert_eq!(u32_at(bytes, vstor_packet::OPERATION), 3);
    assert_eq!(u32_at(bytes, vstor_packet::FLAGS), 1);
    assert_eq!(u32_at(bytes, vstor_packet::STATUS), 0);
    let srb = &bytes[vstor_packet::BODY..];
    assert_eq!(srb.len(), at::SIZE);
    assert_eq!(usize::from(u16_at(srb, at::LENGTH)), at::SIZE);
    assert_eq!((srb[at::SRB_STATUS], srb[at::SCSI_STATUS]), (0, 0));
    assert_eq!(srb[at::PORT_NUMBER], 0xa1);
    assert_eq!(srb[at::PATH_ID], 0xa2);
    assert_eq!(srb[at::TARGET_ID], 0xa3);
    assert_eq!(srb[at::LUN], 0xa4);
    assert_eq!(srb[at::CDB_LENGTH], 10);
    assert_eq!(srb[at::SENSE_INFO_LENGTH], 20);
    assert_eq!(srb[at::DATA_IN], 1);
    assert_eq!(u32_at(srb, at::DATA_TRANSFER_LENGTH), 0xb1b2_b3b4);
    assert_eq!(
        srb[at::CDB..at::CDB + 10],
        [0x28, 8, 1, 2, 3, 4, 0, 5, 6, 0]
    );
    assert_eq!(srb[at::CDB + 10..at::QUEUE_TAG], [0; 12]);
    assert_eq!(srb[at::QUEUE_TAG], 0xff);
    assert_eq!(srb[at::QUEUE_ACTION], 0x20);
    assert_eq!(u32_at(srb, at::SRB_FLAGS), 0x48);
    assert_eq!(u32_at(srb, at::TIME_OUT_VALUE), 60);
    assert_eq!(u32_at(srb, at::QUEUE_SORT_KEY), 0xc1c2_c3c4);
}

#[test]
fn before_5_1_the_request_ends_earlier() {
    let packet = GuestPacket::ExecuteSrb(request()).encode(Layout::Short);
    let bytes = packet.as_bytes();
    assert_eq!(bytes.len(), 48);
    assert_eq!(u16_at(bytes, 12), 36);
    let long = GuestPacket::ExecuteSrb(request()).encode(Layout::Long);
    assert_eq!(bytes[14..], long.as_bytes()[14..48]);
    let mut expected = request();
    expected.extension = SrbExtension::default();
    assert_eq!(
        GuestPacket::parse(bytes, Layout::Short),
        Ok(GuestPacket::ExecuteSrb(expected))
    );
}

#[test]
fn an_answer_carries_sense_where_the_command_was() {
    use vmscsi_request as at;
    let completion = SrbCompletion {
        address: request().address,
        srb_status: SrbStatus::ERROR.with_autosense(),
        scsi_status: ScsiStatus::CHECK_CONDITION,
        transferred: 0x1234,
        sense: Sense::CAPACITY_CHANGED.fixed(),
    };
    for layout in [Layout::Short, Layout::Long] {
        let packet = host::complete_srb(layout, &completion);
        let bytes = packet.as_bytes();
        assert_eq!(bytes.len(), layout.packet_bytes());
        assert_eq!(u32_at(bytes, vstor_packet::OPERATION), 1);
        assert_eq!(u32_at(bytes, vstor_packet::FLAGS), 0);
        assert_eq!(u32_at(bytes, vstor_packet::STATUS), 0xc000_0001);
        let srb = &bytes[vstor_packet::BODY..];
        assert_eq!(srb[at::SRB_STATUS], 0x84);
        assert_eq!(srb[at::SCSI_STATUS], 2);
        assert_eq!(srb[at::LUN], 0xa4);
        assert_eq!(srb[at::SENSE_INFO_LENGTH], 18);
        assert_eq!(u32_at(srb, at::DATA_TRANSFER_LENGTH), 0x1234);
        assert_eq!(srb[at::CDB], 0x70);
        assert_eq!(srb[at::CDB + 2], 6);
        assert_eq!(srb[at::CDB + 12..at::CDB + 14], [0x2a, 9]);
        let Ok(HostPacket::Completion(answer)) = HostPacket::parse(bytes, layout) else {
            panic!("a completion");
        };
        assert_eq!(answer.srb(), Ok(completion));
    }
}

#[test]
fn more_sense_than_there_is_room_for_is_cut() {
    let mut completion = SrbCompletion {
        address: Address::default(),
        srb_status: SrbStatus::ERROR,
        scsi_status: ScsiStatus::CHECK_CONDITION,
        transferred: 0,
        sense: SenseBytes::new(&[0x70; 20]),
    };
    let packet = host::complete_srb(Layout::Short, &completion);
    assert_eq!(packet.as_bytes()[21], 18);
    // A host that says more than there is.
    let mut bytes = host::complete_srb(Layout::Long, &completion)
        .as_bytes()
        .to_vec();
    bytes[21] = 252;
    let Ok(HostPacket::Completion(answer)) = HostPacket::parse(&bytes, Layout::Long) else {
        panic!("a completion");
    };
    assert_eq!(answer.srb().unwrap().sense.as_bytes().len(), 20);
    completion.sense = SenseBytes::EMPTY;
    assert!(answer.srb().unwrap() != completion);
}

#[test]
fn the_conversation() {
    let bytes = |packet: GuestPacket| packet.encode(Layout::Long).as_bytes().to_vec();
    for (packet, operation) in [
        (GuestPacket::ResetLun(Address::default()), 4),
        (GuestPacket::ResetAdapter, 5),
        (GuestPacket::ResetBus, 6),
        (GuestPacket::BeginInitialization, 7),
        (GuestPacket::EndInitialization, 8),
        (GuestPacket::QueryProperties, 10),
        (GuestPacket::FibreChannelData, 12),
    ] {
        let bytes = bytes(packet);
        assert_eq!(bytes.len(), 64);
        assert_eq!(bytes[..8], [operation, 0, 0, 0, 1, 0, 0, 0]);
    }
    let version = bytes(GuestPacket::QueryProtocolVersion(ProtocolVersion::WIN10));
    assert_eq!(
        version[..16],
        [9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 6, 0, 0]
    );
    let channels = bytes(GuestPacket::CreateSubChannels { count: 0x0102 });
    assert_eq!(channels[..14], [13, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1]);
    let mut reset = bytes(GuestPacket::ResetLun(request().address));
    assert_eq!(reset[16..20], [0xa1, 0xa2, 0xa3, 0xa4]);
    reset[0] = 77;
    assert_eq!(
        GuestPacket::parse(&reset, Layout::Long),
        Ok(GuestPacket::Other(Operation(77)))
    );
}

#[test]
fn properties_are_vmstorage_channel_properties() {
    let properties = ChannelProperties {
        multi_channel: true,
        max_subchannels: 0x0304,
        max_transfer_bytes: 0x0040_0000,
    };
    let packet = host::complete_properties(Layout::Long, properties);
    let bytes = packet.as_bytes();
    assert_eq!(bytes[..12], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let body = &bytes[12..36];
    assert_eq!(body[..4], [0; 4], "reserved");
    assert_eq!(body[4..8], [4, 3, 0, 0], "max_channel_cnt");
    assert_eq!(body[8..12], [1, 0, 0, 0], "flags");
    assert_eq!(body[12..16], [0, 0, 0x40, 0], "max_transfer_bytes");
    assert_eq!(body[16..], [0; 8], "reserved2");
    let Ok(HostPacket::Completion(answer)) = HostPacket::parse(bytes, Layout::Long) else {
        panic!("a completion");
    };
    assert_eq!(answer.properties(), Ok(properties));
}

#[test]
fn names_are_a_hv_fc_wwn_packet() {
    let names = FibreNames {
        primary_active: true,
        primary: WorldWideNames {
            port: 0xc003_ff00_0000_0001,
            node: 0xc003_ff00_0000_0002,
        },
        secondary: WorldWideNames {
            port: 0xc003_ff00_0000_0003,
            node: 0xc003_ff00_0000_0004,
        },
    };
    let packet = host::complete_fibre_names(Layout::Long, names);
    let body = &packet.as_bytes()[12..48];
    assert_eq!(body[..4], [1, 0, 0, 0]);
    assert_eq!(body[4..12], [0xc0, 3, 0xff, 0, 0, 0, 0, 1]);
    assert_eq!(body[28..36], [0xc0, 3, 0xff, 0, 0, 0, 0, 4]);
    let Ok(HostPacket::Completion(answer)) = HostPacket::parse(packet.as_bytes(), Layout::Long)
    else {
        panic!("a completion");
    };
    assert_eq!(answer.fibre_names(), Ok(names));
    assert_eq!(names.active(), names.primary);
    let news = host::fibre_names_changed(Layout::Long, names);
    assert_eq!(
        HostPacket::parse(news.as_bytes(), Layout::Long),
        Ok(HostPacket::FibreChannelData(names))
    );
}

#[test]
fn news_may_be_short() {
    for layout in [Layout::Short, Layout::Long] {
        let add = host::enumerate_bus(layout);
        let remove = host::remove_device(layout);
        assert_eq!(add.as_bytes()[0], 11);
        assert_eq!(remove.as_bytes()[0], 2);
        for length in [4, 11, 12, layout.packet_bytes()] {
            assert_eq!(
                HostPacket::parse(&add.as_bytes()[..length], layout),
                Ok(HostPacket::EnumerateBus)
            );
            assert_eq!(
                HostPacket::parse(&remove.as_bytes()[..length], layout),
                Ok(HostPacket::RemoveDevice)
            );
        }
        assert!(HostPacket::parse(&add.as_bytes()[..3], layout).is_err());
        // Completions and names may not.
        let done = host::complete(layout, NtStatus::SUCCESS);
        let short = &done.as_bytes()[..layout.packet_bytes() - 1];
        assert!(HostPacket::parse(short, layout).is_err());
        let names = host::fibre_names_changed(layout, FibreNames::default());
        assert!(HostPacket::parse(&names.as_bytes()[..47], layout).is_err());
    }
}

#[test]
fn fields_that_make_no_sense_are_named() {
    let good = GuestPacket::ExecuteSrb(request()).encode(Layout::Long);
    for (at, value, field) in [
        (12 + vmscsi_request::CDB_LENGTH, 17, "cdb_length"),
        (12 + vmscsi_request::DATA_IN, 3, "data_in"),
    ] {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = value;
        let error = GuestPacket::parse(&bytes, Layout::Long).unwrap_err();
        assert_eq!(
            error,
            PacketError::BadField {
                operation: Operation::EXECUTE_SRB,
                field,
                value: value.into(),
            }
        );
        assert!(error.to_string().contains(field));
    }
    for length in 0..64 {
        let error = GuestPacket::parse(&good.as_bytes()[..length], Layout::Long);
        let expected = PacketError::Short {
            needed: 64,
            got: length,
        };
        assert_eq!(error, Err(expected));
    }
}
