// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What no guest should say.

use proptest::prelude::*;

use super::*;

#[test]
fn offloads_that_the_nic_does_not_have() {
    let mut guest = Guest::new(AdapterConfig {
        offload: Offload::default(),
        ..config(Version::V6_1)
    });
    guest.initialize((1, 0));
    let one = |change: fn(&mut OffloadParameters)| {
        let mut wanted = OffloadParameters::default();
        change(&mut wanted);
        offloads(wanted, Version::V6_1)
    };
    for wanted in [
        one(|p| p.ip4_header = ChecksumSetting::ON),
        one(|p| p.tcp4 = ChecksumSetting::ON),
        one(|p| {
            p.udp6 = ChecksumSetting::Set {
                send: false,
                receive: true,
            }
        }),
        one(|p| p.large_send_v1 = Setting::On),
        one(|p| p.large_send_v2_ip4 = Setting::On),
        one(|p| p.rsc_ip6 = Setting::On),
        one(|p| p.connection_ip4 = Setting::On),
    ] {
        guest.refuses(Oid::TCP_OFFLOAD_PARAMETERS, &wanted, Status::NOT_SUPPORTED);
    }
    // Off is always possible.
    let off = one(|p| p.tcp4 = ChecksumSetting::OFF);
    assert_eq!(
        guest.set(Oid::TCP_OFFLOAD_PARAMETERS, &off).0,
        Status::SUCCESS
    );
}

#[test]
fn records_that_make_no_sense() {
    let mut guest = Guest::running(Version::V6_1);
    let table = |hash: u32, table: &[u32]| spreading(ScaleFlags::NONE, HashTypes(hash), table);
    for (oid, info, status) in [
        (
            Oid::GEN_CURRENT_PACKET_FILTER,
            vec![1, 0, 0],
            Status::INVALID_LENGTH,
        ),
        (
            Oid::GEN_CURRENT_PACKET_FILTER,
            vec![0, 1, 0, 0],
            Status::NOT_SUPPORTED,
        ),
        (
            Oid::ETHERNET_MULTICAST_LIST,
            vec![1; 7],
            Status::INVALID_DATA,
        ),
        (
            Oid::ETHERNET_MULTICAST_LIST,
            vec![2; 6],
            Status::INVALID_DATA,
        ),
        (
            Oid::ETHERNET_MULTICAST_LIST,
            vec![1; 6 * 129],
            Status::MULTICAST_FULL,
        ),
        (
            Oid::GEN_RNDIS_CONFIG_PARAMETER,
            vec![0xff; 72],
            Status::INVALID_DATA,
        ),
        (
            Oid::GEN_RNDIS_CONFIG_PARAMETER,
            vec![0; 19],
            Status::INVALID_LENGTH,
        ),
        (
            Oid::GEN_RNDIS_CONFIG_PARAMETER,
            mac_parameter(&[1, 0, 0, 0, 0, 1]).to_vec(),
            Status::INVALID_DATA,
        ),
        (
            Oid::GEN_RNDIS_CONFIG_PARAMETER,
            mac_parameter(&[0; 6]).to_vec(),
            Status::INVALID_DATA,
        ),
        (
            Oid::GEN_CURRENT_LOOKAHEAD,
            1501u32.to_le_bytes().to_vec(),
            Status::INVALID_DATA,
        ),
        (
            Oid::TCP_OFFLOAD_PARAMETERS,
            vec![0x80, 1, 20, 0],
            Status::INVALID_DATA,
        ),
        (
            Oid::GEN_RECEIVE_SCALE_PARAMETERS,
            vec![0; 27],
            Status::INVALID_LENGTH,
        ),
        (
            Oid::GEN_RECEIVE_SCALE_PARAMETERS,
            table(0x1701, &[0, 4]),
            Status::INVALID_DATA,
        ),
        (
            Oid::GEN_RECEIVE_SCALE_PARAMETERS,
            table(0x1700, &[0]),
            Status::NOT_SUPPORTED,
        ),
        (
            Oid::GEN_RECEIVE_SCALE_PARAMETERS,
            table(0x2001, &[0]),
            Status::NOT_SUPPORTED,
        ),
        // Nothing was set that could stay.
        (
            Oid::GEN_RECEIVE_SCALE_PARAMETERS,
            spreading(ScaleFlags::TABLE_UNCHANGED, HashTypes::LINUX, &[0]),
            Status::INVALID_DATA,
        ),
    ] {
        guest.refuses(oid, &info, status);
    }
    let mut other = mac_parameter(&MAC);
    other[20] = b'M';
    guest.refuses(
        Oid::GEN_RNDIS_CONFIG_PARAMETER,
        &other,
        Status::NOT_SUPPORTED,
    );
}

#[test]
fn an_unknown_revision_is_refused() {
    let mut guest = Guest::running(Version::V6_1);
    let header = ObjectHeader {
        revision: 0,
        ..OffloadRevision::Rev1.header()
    };
    assert_eq!(
        guest.query_with(Oid::TCP_OFFLOAD_HARDWARE_CAPABILITIES, &header.to_bytes()),
        Err(Status::INVALID_DATA)
    );
}

#[test]
fn messages_that_are_none() {
    let mut adapter = Adapter::new(config(Version::V6_1));
    let mut answer = vec![1];
    for bytes in [
        &[][..],
        &[0; 7],
        &[1, 0, 0, 0, 8, 0, 0, 0],
        &[4, 0, 0, 0, 0xff, 0, 0, 0],
    ] {
        assert!(adapter.handle(bytes, &STATISTICS, &mut answer).is_err());
        assert!(answer.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes is answered or refused, and every answer can be read.
    #[test]
    fn any_conversation_is_held(
        messages in proptest::collection::vec(
            (
                prop_oneof![Just(2u32), Just(4), Just(5), Just(9), 1u32..12],
                proptest::sample::select(vec![
                    Oid::GEN_CURRENT_PACKET_FILTER, Oid::ETHERNET_MULTICAST_LIST,
                    Oid::GEN_RNDIS_CONFIG_PARAMETER, Oid::TCP_OFFLOAD_PARAMETERS,
                    Oid::GEN_RECEIVE_SCALE_PARAMETERS, Oid::RECEIVE_FILTER_ENUM_QUEUES,
                    Oid::TCP_OFFLOAD_HARDWARE_CAPABILITIES, Oid::RECEIVE_FILTER_ENUM_FILTERS,
                    Oid::GEN_SUPPORTED_LIST, Oid::OFFLOAD_ENCAPSULATION,
                ]),
                proptest::collection::vec(prop_oneof![0u32..64, any::<u32>()], 0..40),
                any::<bool>(),
            ),
            1..8,
        ),
        max_answer in 0usize..2048,
    ) {
        let mut adapter = Adapter::new(AdapterConfig { max_answer, ..config(Version::V6_1) });
        let mut answer = Vec::new();
        for (kind, oid, words, well_formed) in messages {
            let mut bytes = Vec::new();
            let info: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            if well_formed && kind != 2 {
                for word in [kind, 28 + info.len() as u32, 1, oid.0, info.len() as u32, 20, 0] {
                    bytes.extend(word.to_le_bytes());
                }
                bytes.extend(info);
            } else if well_formed {
                for word in [2u32, 24, 1, 1, 0, 0x4000] {
                    bytes.extend(word.to_le_bytes());
                }
            } else {
                bytes.extend(kind.to_le_bytes());
                bytes.extend((info.len() as u32 + 8).to_le_bytes());
                bytes.extend(info);
            }
            match adapter.handle(&bytes, &STATISTICS, &mut answer) {
                Ok(Outcome::Halted) => prop_assert!(answer.is_empty() && !adapter.running()),
                Ok(_) => {
                    prop_assert!(HostControl::parse(&answer).is_ok());
                    prop_assert!(answer.len() <= max_answer.max(64));
                }
                Err(_) => prop_assert!(answer.is_empty()),
            }
            if let Some(spreading) = adapter.spreading() {
                prop_assert!(spreading.table.iter().all(|&channel| channel < 4));
                prop_assert!(!spreading.table.is_empty());
            }
            prop_assert!(adapter.groups().len() <= MAX_GROUPS);
        }
    }
}
