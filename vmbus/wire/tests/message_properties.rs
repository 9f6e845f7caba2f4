// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whatever bytes come in, the parsers answer; whatever one side builds, the other side reads.

use proptest::array::uniform16;
use proptest::prelude::*;
use vmbus_wire::host::{self, GuestMessage};
use vmbus_wire::message::{guest, *};
use vmbus_wire::monitor::MonitorId;
use vmbus_wire::slot::{PostMessage, Slot};
use vmbus_wire::version::{FeatureFlags, ProtocolVersion};
use vmbus_wire::Guid;
use zerocopy::{FromBytes, IntoBytes};

fn relids() -> impl Strategy<Value = Relid> {
    (1u32..2048).prop_map(|value| Relid::new(value).unwrap())
}

fn guids() -> impl Strategy<Value = Guid> {
    uniform16(any::<u8>()).prop_map(Guid::from_bytes)
}

fn user_data() -> impl Strategy<Value = [u8; USER_DATA_BYTES]> {
    proptest::collection::vec(any::<u8>(), USER_DATA_BYTES)
        .prop_map(|bytes| bytes.try_into().unwrap())
}

fn endpoints() -> impl Strategy<Value = SocketEndpoints> {
    (guids(), guids()).prop_map(|(guest_endpoint, host_service)| SocketEndpoints {
        guest_endpoint,
        host_service,
    })
}

/// A message whose type is likely to exist, of any length from 0 to 256.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    (
        proptest::collection::vec(any::<u8>(), 0..=256),
        prop_oneof![4 => (0u32..32).boxed(), 1 => any::<u32>().boxed()],
        prop_oneof![3 => (0u32..2050).prop_map(Some).boxed(), 1 => Just(None).boxed()],
    )
        .prop_map(|(mut bytes, kind, relid)| {
            for (to, from) in bytes.iter_mut().zip(kind.to_le_bytes()) {
                *to = from;
            }
            let relid = relid.unwrap_or(0).to_le_bytes();
            for (to, from) in bytes.iter_mut().skip(8).zip(relid) {
                *to = from;
            }
            bytes
        })
}

fn offers() -> impl Strategy<Value = Offer> {
    (
        (guids(), guids(), relids(), any::<u16>(), any::<u16>()),
        (
            any::<u16>(),
            proptest::option::of(0u8..128),
            any::<bool>(),
            any::<u32>(),
            user_data(),
        ),
    )
        .prop_map(
            |((class, instance, relid, subchannel, flags), (mmio, monitor, own, id, data))| Offer {
                class,
                instance,
                relid,
                subchannel,
                flags: OfferFlags(flags),
                mmio_megabytes: mmio,
                monitor: monitor.and_then(MonitorId::new),
                raw_monitor_id: monitor.unwrap_or(0xff),
                dedicated_interrupt: own,
                connection_id: id,
                user_data: data,
            },
        )
}

fn host_messages() -> impl Strategy<Value = HostMessage> {
    let status = || any::<u32>().prop_map(Status);
    prop_oneof![
        offers().prop_map(HostMessage::Offer),
        relids().prop_map(|relid| HostMessage::Rescind { relid }),
        Just(HostMessage::AllOffersDelivered),
        (relids(), any::<u32>(), status()).prop_map(|(relid, open_id, status)| {
            HostMessage::OpenResult(OpenResult {
                relid,
                open_id,
                status,
            })
        }),
        (relids(), any::<u32>(), status()).prop_map(|(relid, gpadl, status)| {
            HostMessage::GpadlCreated(GpadlCreated {
                relid,
                gpadl,
                status,
            })
        }),
        any::<u32>().prop_map(|gpadl| HostMessage::GpadlTorndown { gpadl }),
        (
            any::<bool>(),
            any::<u8>(),
            any::<u32>(),
            proptest::option::of(any::<u32>())
        )
            .prop_map(|(supported, state, id, features)| {
                HostMessage::VersionResponse(VersionResponse {
                    supported,
                    state,
                    connection_id: Some(id),
                    features: features.map(FeatureFlags::from_wire),
                })
            }),
        Just(HostMessage::UnloadComplete),
        (relids(), status()).prop_map(|(relid, status)| {
            HostMessage::ModifyResponse(ModifyResponse { relid, status })
        }),
        (endpoints(), status()).prop_map(|(endpoints, status)| {
            HostMessage::SocketConnectResult(SocketConnectResult { endpoints, status })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_answered(bytes in noise()) {
        let from_host = HostMessage::parse(&bytes);
        let from_guest = GuestMessage::parse(&bytes);
        // No number means something in both directions.
        prop_assert!(from_host.is_err() || from_guest.is_err());
        if let Ok(message) = from_host {
            // Accepted means understood: a host that says the same is read the same.
            let again = HostMessage::parse(host::encode(&message).as_bytes()).unwrap();
            match (message, again) {
                (HostMessage::VersionResponse(a), HostMessage::VersionResponse(b)) => {
                    prop_assert_eq!(a.connection_id.unwrap_or(0), b.connection_id.unwrap_or(0));
                    prop_assert_eq!((a.supported, a.state), (b.supported, b.state));
                }
                (a, b) => prop_assert_eq!(a, b),
            }
        }
        if let Err(error) = from_host {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn every_length_of_a_good_message_is_answered(message in host_messages(), cut in 0usize..=240) {
        let bytes = host::encode(&message);
        let bytes = bytes.as_bytes();
        prop_assert_eq!(HostMessage::parse(bytes), Ok(message));
        let cut = cut.min(bytes.len());
        match HostMessage::parse(&bytes[..cut]) {
            Ok(HostMessage::VersionResponse(response)) => prop_assert!(cut >= 9 && cut <= bytes.len(), "{response:?}"),
            Ok(_) => prop_assert_eq!(cut, bytes.len()),
            Err(MessageError::TooShort { got, want, .. }) => prop_assert!(got == cut && cut < want),
            Err(MessageError::NoHeader { got }) => prop_assert!(got == cut && cut < 8),
            Err(other) => prop_assert!(false, "{other}"),
        }
        // Newer hosts add fields at the end.
        let mut longer = bytes.to_vec();
        longer.resize(240, 0);
        prop_assert!(HostMessage::parse(&longer).is_ok());
    }

    #[test]
    fn hosts_read_what_guests_build(
        relid in relids(), numbers in any::<[u32; 4]>(), user_data in user_data(), endpoints in endpoints(),
        pages in proptest::option::of((1u64.., 1u64..)), page in any::<u64>(), vtl in any::<u8>(),
        which in 0usize..9,
    ) {
        let contact = InitiateContact {
            version: ProtocolVersion::OFFERED[which],
            target_vp: numbers[0],
            interrupt_page: page,
            trust_level: vtl,
            features: FeatureFlags::from_wire(numbers[1]),
            monitor_pages: pages.map(|(to_guest, to_host)| MonitorPages { to_guest, to_host }),
        };
        let version = contact.version;
        let seen = InitiateContact {
            interrupt_page: if version.has_interrupt_page() { page } else { 0 },
            trust_level: if version.has_trust_level() { vtl } else { 0 },
            features: if version.has_feature_flags() { contact.features } else { FeatureFlags::NONE },
            ..contact
        };
        let open = OpenChannel {
            relid,
            open_id: numbers[0],
            ring_gpadl: numbers[1],
            target_vp: numbers[2],
            downstream_page_offset: numbers[3],
            user_data,
        };
        let modify = ModifyChannel { relid, target_vp: numbers[0] };
        let socket = SocketConnect { endpoints };
        for (built, want) in [
            (contact.message(), GuestMessage::InitiateContact(seen)),
            (guest::request_offers(), GuestMessage::RequestOffers),
            (open.message(), GuestMessage::Open(open)),
            (guest::close_channel(relid), GuestMessage::Close { relid }),
            (guest::gpadl_teardown(relid, numbers[0]), GuestMessage::GpadlTeardown { relid, gpadl: numbers[0] }),
            (guest::relid_released(relid), GuestMessage::RelidReleased { relid }),
            (guest::unload(), GuestMessage::Unload),
            (modify.message(), GuestMessage::ModifyChannel(modify)),
            (socket.message(), GuestMessage::SocketConnect(socket)),
        ] {
            prop_assert_eq!(GuestMessage::parse(built.as_bytes()), Ok(want));
            prop_assert!(matches!(HostMessage::parse(built.as_bytes()), Err(MessageError::WrongDirection(_))));
            // Cut anywhere it is refused, except where nothing is left out.
            for cut in 0..built.as_bytes().len() {
                prop_assert!(GuestMessage::parse(&built.as_bytes()[..cut]).is_err());
            }
            // Post frame and slot carry it unchanged.
            let post = PostMessage::new(1, &built);
            let mut slot = [0u8; 256];
            slot[0] = 1;
            slot[4] = post.payload_bytes.get() as u8;
            slot[16..].copy_from_slice(&post.as_bytes()[16..]);
            let slot = Slot::read_from_bytes(&slot).unwrap();
            prop_assert_eq!(slot.channel_message().unwrap(), built.as_bytes());
        }
    }

    #[test]
    fn guid_text_round_trips(guid in guids()) {
        prop_assert_eq!(Guid::parse(&guid.to_string()), Some(guid));
    }

    #[test]
    fn guid_text_never_panics(text in ".{0,40}") {
        let _ = Guid::parse(&text);
    }
}

#[test]
fn every_length_with_every_type_is_answered() {
    for kind in 0u32..40 {
        for length in 0..=256usize {
            for fill in [0u8, 1, 0x7f, 0xff] {
                let mut bytes = vec![fill; length];
                for (to, from) in bytes.iter_mut().zip(kind.to_le_bytes()) {
                    *to = from;
                }
                let _ = HostMessage::parse(&bytes);
                let _ = GuestMessage::parse(&bytes);
            }
        }
    }
}
