// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages byte by byte, laid out by hand from the structs of `include/linux/hyperv.h`.

use vmbus_wire::guid::class;
use vmbus_wire::host;
use vmbus_wire::message::{guest, *};
use vmbus_wire::version::{FeatureFlags, ProtocolVersion};
use vmbus_wire::Guid;

fn relid(value: u32) -> Relid {
    Relid::new(value).unwrap()
}

/// Little-endian words.
fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// `struct vmbus_channel_offer_channel`: header 0, if_type 8, if_instance 24, reserved 40,
/// chn_flags 56, mmio_megabytes 58, user data 60, sub_channel_index 180, reserved3 182,
/// child_relid 184, monitorid 188, monitor_allocated 189, is_dedicated_interrupt 190,
/// connection_id 192; 196 bytes.
fn offer_bytes() -> Vec<u8> {
    let mut b = vec![0u8; 196];
    b[0] = 1;
    b[8..24].copy_from_slice(&[
        0x63, 0x51, 0x61, 0xf8, 0x3e, 0xdf, 0xc5, 0x46, 0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed,
        0x0e,
    ]);
    b[24..40].copy_from_slice(&[7; 16]);
    b[56..58].copy_from_slice(&0x2010u16.to_le_bytes());
    b[58..60].copy_from_slice(&64u16.to_le_bytes());
    b[60] = 4;
    b[179] = 0xee;
    b[180..182].copy_from_slice(&3u16.to_le_bytes());
    b[184..188].copy_from_slice(&21u32.to_le_bytes());
    b[188] = 33;
    b[189] = 1;
    b[190] = 1;
    b[192..196].copy_from_slice(&0x10015u32.to_le_bytes());
    b
}

#[test]
fn offer_is_vmbus_channel_offer_channel() {
    let bytes = offer_bytes();
    let HostMessage::Offer(offer) = HostMessage::parse(&bytes).unwrap() else {
        panic!("not an offer");
    };
    assert_eq!(offer.class, class::NETWORK);
    assert_eq!(offer.instance, Guid::from_bytes([7; 16]));
    assert_eq!(offer.relid.get(), 21);
    assert_eq!(offer.subchannel, 3);
    assert!(!offer.is_primary());
    assert!(offer.flags.is_socket() && offer.flags.is_pipe());
    assert!(!offer.flags.has_confidential_ring());
    assert!(!offer.flags.has_confidential_external_memory());
    assert_eq!(offer.pipe_mode(), Some(4));
    assert_eq!(offer.mmio_megabytes, 64);
    let monitor = offer.monitor.unwrap();
    assert_eq!((monitor.group(), monitor.mask()), (1, 2));
    assert!(offer.dedicated_interrupt);
    assert_eq!(offer.connection_id, 0x10015);
    assert_eq!(offer.user_data[119], 0xee);
    // What a host builds from it are the same bytes.
    assert_eq!(host::encode(&HostMessage::Offer(offer)).as_bytes(), bytes);
}

#[test]
fn offers_that_cannot_be_used_are_refused() {
    for bad in [0u32, 2048, 0xffff, u32::MAX] {
        let mut bytes = offer_bytes();
        bytes[184..188].copy_from_slice(&bad.to_le_bytes());
        assert_eq!(
            HostMessage::parse(&bytes),
            Err(MessageError::BadField {
                message_type: MessageType::OFFER_CHANNEL,
                field: "child_relid",
                value: bad.into()
            })
        );
    }
    let mut bytes = offer_bytes();
    bytes[188] = 128;
    assert!(matches!(
        HostMessage::parse(&bytes),
        Err(MessageError::BadField {
            field: "monitorid",
            value: 128,
            ..
        })
    ));
    // Without the bit the id means nothing.
    bytes[189] = 0xfe;
    let HostMessage::Offer(offer) = HostMessage::parse(&bytes).unwrap() else {
        panic!("not an offer");
    };
    assert_eq!((offer.monitor, offer.raw_monitor_id), (None, 128));
    for length in 8..196 {
        assert_eq!(
            HostMessage::parse(&offer_bytes()[..length]),
            Err(MessageError::TooShort {
                message_type: MessageType::OFFER_CHANNEL,
                got: length,
                want: 196
            })
        );
    }
}

#[test]
fn answers_are_read_field_by_field() {
    // rescind_offer: child_relid at 8.
    assert_eq!(
        HostMessage::parse(&words(&[2, 0, 9])),
        Ok(HostMessage::Rescind { relid: relid(9) })
    );
    assert_eq!(
        HostMessage::parse(&words(&[4, 0])),
        Ok(HostMessage::AllOffersDelivered)
    );
    // open_result: child_relid 8, openid 12, status 16.
    assert_eq!(
        HostMessage::parse(&words(&[6, 0, 9, 77, 0xc000_0001])),
        Ok(HostMessage::OpenResult(OpenResult {
            relid: relid(9),
            open_id: 77,
            status: Status(0xc000_0001)
        }))
    );
    // gpadl_created: child_relid 8, gpadl 12, creation_status 16.
    assert_eq!(
        HostMessage::parse(&words(&[10, 0, 2047, 0xe1e10, 0])),
        Ok(HostMessage::GpadlCreated(GpadlCreated {
            relid: relid(2047),
            gpadl: 0xe1e10,
            status: Status::SUCCESS
        }))
    );
    // gpadl_torndown: gpadl at 8.
    assert_eq!(
        HostMessage::parse(&words(&[12, 0, 0xe1e10])),
        Ok(HostMessage::GpadlTorndown { gpadl: 0xe1e10 })
    );
    assert_eq!(
        HostMessage::parse(&words(&[17, 0])),
        Ok(HostMessage::UnloadComplete)
    );
    // modifychannel_response: child_relid 8, status 12.
    assert_eq!(
        HostMessage::parse(&words(&[24, 0, 5, 1])),
        Ok(HostMessage::ModifyResponse(ModifyResponse {
            relid: relid(5),
            status: Status(1)
        }))
    );
}

#[test]
fn version_responses_of_all_ages() {
    let parse = |bytes: &[u8]| match HostMessage::parse(bytes) {
        Ok(HostMessage::VersionResponse(response)) => response,
        other => panic!("{other:?}"),
    };
    // version_supported is at 8, connection_state at 9, msg_conn_id at 12, 6.0's features at 16.
    let oldest = parse(&[15, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert!(oldest.supported);
    assert_eq!((oldest.state, oldest.connection_id), (0, None));
    let with_id = parse(&[15, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 4, 0, 0, 0]);
    assert_eq!((with_id.state, with_id.connection_id), (2, Some(4)));
    assert_eq!(with_id.features, None);
    let newest = parse(&[
        15, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0x10, 0, 0, 0,
    ]);
    assert!(newest
        .features
        .unwrap()
        .contains(FeatureFlags::CONFIDENTIAL_CHANNELS));
    assert!(!parse(&[15, 0, 0, 0, 0, 0, 0, 0, 0]).supported);
}

#[test]
fn messages_that_are_not_for_the_guest() {
    for number in [3u32, 5, 7, 8, 9, 11, 13, 14, 16, 21, 22] {
        let error = HostMessage::parse(&words(&[number, 0])).unwrap_err();
        assert_eq!(
            error,
            MessageError::WrongDirection(MessageType::from_wire(number))
        );
    }
    for number in [0u32, 18, 19, 20, 25, 26, 27, 28, 29, 30, u32::MAX] {
        let error = HostMessage::parse(&words(&[number, 0])).unwrap_err();
        assert_eq!(
            error,
            MessageError::UnknownType(MessageType::from_wire(number))
        );
    }
    for length in 0..8 {
        assert_eq!(
            HostMessage::parse(&[1; 8][..length]),
            Err(MessageError::NoHeader { got: length })
        );
    }
    assert_eq!(
        HostMessage::parse(&[1; 241]),
        Err(MessageError::TooLong { got: 241 })
    );
}

#[test]
fn errors_say_what_was_wrong() {
    let text = |bytes: &[u8]| HostMessage::parse(bytes).unwrap_err().to_string();
    assert_eq!(text(&[0; 3]), "message of 3 bytes has no header");
    assert_eq!(
        text(&words(&[6, 0, 1])),
        "OPEN_RESULT (6) of 12 bytes is shorter than 20"
    );
    assert_eq!(
        text(&words(&[2, 0, 4096])),
        "RESCIND_OFFER (2) has child_relid 0x1000"
    );
    assert_eq!(text(&words(&[99, 0])), "unknown message type 99");
    assert_eq!(
        text(&words(&[16, 0])),
        "UNLOAD (16) is never sent in this direction"
    );
}

fn contact(version: ProtocolVersion) -> Vec<u8> {
    InitiateContact {
        version,
        target_vp: 5,
        interrupt_page: 0x1122_3344_5566_7000,
        trust_level: 2,
        features: FeatureFlags::CONFIDENTIAL_CHANNELS,
        monitor_pages: Some(MonitorPages {
            to_guest: 0x1000,
            to_host: 0x2000,
        }),
    }
    .message()
    .as_bytes()
    .to_vec()
}

#[test]
fn initiate_contact_follows_the_version() {
    // vmbus_version_requested 8, target_vcpu 12, union 16, monitor_page1 24, monitor_page2 32.
    let tail = [[0x1000u64.to_le_bytes(), 0x2000u64.to_le_bytes()].concat()].concat();
    for version in ProtocolVersion::OFFERED {
        let bytes = contact(version);
        assert_eq!(bytes[..16], words(&[14, 0, version.to_wire(), 5]));
        assert_eq!(bytes[24..], tail);
        let union = &bytes[16..24];
        if version >= ProtocolVersion::V6_0 {
            assert_eq!(union, [2, 2, 0, 0, 0x10, 0, 0, 0]);
        } else if version >= ProtocolVersion::V5_1 {
            assert_eq!(union, [2, 2, 0, 0, 0, 0, 0, 0]);
        } else if version >= ProtocolVersion::V5_0 {
            assert_eq!(union, [2, 0, 0, 0, 0, 0, 0, 0]);
        } else {
            assert_eq!(union, 0x1122_3344_5566_7000u64.to_le_bytes());
        }
        let want = if version >= ProtocolVersion::V5_0 {
            4
        } else {
            1
        };
        assert_eq!(version.contact_connection_id(), want);
    }
}

#[test]
fn guest_messages_have_the_layout_of_their_structs() {
    let bytes = |message: OutMessage| message.as_bytes().to_vec();
    assert_eq!(bytes(guest::request_offers()), words(&[3, 0]));
    assert_eq!(bytes(guest::unload()), words(&[16, 0]));
    assert_eq!(bytes(guest::close_channel(relid(3))), words(&[7, 0, 3]));
    assert_eq!(bytes(guest::relid_released(relid(3))), words(&[13, 0, 3]));
    assert_eq!(
        bytes(guest::gpadl_teardown(relid(3), 8)),
        words(&[11, 0, 3, 8])
    );
    let modify = ModifyChannel {
        relid: relid(3),
        target_vp: 6,
    };
    assert_eq!(bytes(modify.message()), words(&[22, 0, 3, 6]));
    // open_channel: child_relid 8, openid 12, gpadl 16, target_vp 20, pageoffset 24, userdata 28.
    let open = OpenChannel {
        relid: relid(3),
        open_id: 4,
        ring_gpadl: 5,
        target_vp: 6,
        downstream_page_offset: 7,
        user_data: [9; 120],
    };
    let mut want = words(&[5, 0, 3, 4, 5, 6, 7]);
    want.extend([9; 120]);
    assert_eq!(bytes(open.message()), want);
    let connect = SocketConnect {
        endpoints: SocketEndpoints {
            guest_endpoint: Guid::from_bytes([1; 16]),
            host_service: Guid::from_bytes([2; 16]),
        },
    };
    let mut want = words(&[21, 0]);
    want.extend([1; 16]);
    want.extend([2; 16]);
    assert_eq!(bytes(connect.message()), want);
}

#[test]
fn versions_bring_what_they_bring() {
    use ProtocolVersion as V;
    assert_eq!(V::V5_3.to_wire(), 0x0005_0003);
    assert_eq!(V::V5_3.to_string(), "5.3");
    assert!(V::OFFERED.windows(2).all(|pair| pair[0] > pair[1]));
    assert!(V::V5_0.has_connection_id() && !V::V4_1.has_connection_id());
    assert!(V::V4_1.has_modify_channel() && !V::WIN10.has_modify_channel());
    assert!(V::V5_3.acks_modify_channel() && !V::V5_2.acks_modify_channel());
    assert!(V::V6_0.has_feature_flags() && !V::V5_3.has_feature_flags());
    assert!(V::V5_2.fit_for_isolation() && !V::V5_1.fit_for_isolation());
    assert!(V::WIN8.acks_unload() && !V::WIN7.acks_unload());
    assert!(V::WIN10.has_sockets() && !V::WIN8_1.has_sockets());
}

#[test]
fn guids_read_and_show() {
    let text = "525074dc-8985-46e2-8057-a307dc18a502";
    let guid = Guid::parse(text).unwrap();
    assert_eq!(guid, class::DYNAMIC_MEMORY);
    assert_eq!(guid.to_string(), text);
    assert_eq!(
        guid.to_bytes(),
        [
            0xdc, 0x74, 0x50, 0x52, 0x85, 0x89, 0xe2, 0x46, 0x80, 0x57, 0xa3, 0x07, 0xdc, 0x18,
            0xa5, 0x02
        ]
    );
    // As drivers/hv prints "%*phN" of a guid_t.
    assert_eq!(
        guid.modalias().to_string(),
        "dc7450528589e2468057a307dc18a502"
    );
    assert_eq!(Guid::parse(&text.to_uppercase()), Some(guid));
    for bad in [
        "",
        "525074dc-8985-46e2-8057-a307dc18a50",
        "525074dc-8985-46e2-8057-a307dc18a5022",
        "525074dc-8985-46e2-8057-a307dc18a50g",
        "525074dc_8985-46e2-8057-a307dc18a502",
        "{25074dc-8985-46e2-8057-a307dc18a502",
        "525074dc-8985-46e2-8057-a307dc18a5\u{e9}",
    ] {
        assert_eq!(Guid::parse(bad), None, "{bad}");
    }
    assert_eq!(class::find(&guid).unwrap().name, "dynamic-memory");
    assert!(!class::find(&class::RDV).unwrap().supported);
    assert!(class::find(&class::SCSI).unwrap().allowed_in_isolated);
    assert!(class::find(&Guid::NULL).is_none());
}
