// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Records of objects byte by byte. The bytes were written by a C program that filled in the
//! structs of `drivers/net/hyperv/hyperv_net.h`.

mod common;

use common::hex;
use netvsc_wire::oid::*;
use netvsc_wire::rss::{HashTypes, DEFAULT_KEY, KEY_BYTES};
use netvsc_wire::Version;

fn offload(rsc: bool) -> Offload {
    Offload {
        checksum: ChecksumOffload::ALL,
        large_send_v2: LargeSendV2::up_to(65536),
        rsc: RscOffload { ip4: rsc, ip6: rsc },
        ..Default::default()
    }
}

const OFFLOAD_3: &str = "a7039c000200000055010000020000005501000002000000550000000200000055000000\
         000000000000000000000000000000000000000000000000000000000000000000000000\
         000000000000000002000000000001000200000002000000000001000200000005000000\
         000000000000000000000000000000000000000000000000000000000000000000000000\
         010100000000000000000000";
const OFFLOAD_1: &str = "a70170000200000055010000020000005501000002000000550000000200000055000000\
         000000000000000000000000000000000000000000000000000000000000000000000000\
         000000000000000002000000000001000200000002000000000001000200000005000000\
         00000000";

#[test]
fn offload_is_ndis_offload() {
    let mut out = [0; MAX_OFFLOAD_BYTES];
    assert_eq!(
        offload(true).encode(OffloadRevision::Rev3, &mut out),
        Ok(156)
    );
    assert_eq!(&out[..], hex(OFFLOAD_3));
    assert_eq!(Offload::parse(&out), Ok(offload(true)));
    // Revision 1 has no place for coalescing.
    assert_eq!(
        offload(true).encode(OffloadRevision::Rev1, &mut out),
        Ok(112)
    );
    assert_eq!(&out[..112], hex(OFFLOAD_1));
    assert_eq!(Offload::parse(&out[..112]), Ok(offload(false)));
    assert_eq!(
        offload(true).encode(OffloadRevision::Rev2, &mut out[..143]),
        Err(OidError::NoRoom { need: 144 })
    );
}

#[test]
fn offload_shows_linux_what_it_wants_to_see() {
    // `rndis_netdev_set_hwcaps`.
    let all = ChecksumOffload::ALL;
    assert!(all.sends_tcp4() && all.sends_tcp6() && all.sends_udp4() && all.sends_udp6());
    let large = LargeSendV2::up_to(65536);
    assert!(large.ip4_encap.contains(Encapsulation::ETHERNET));
    assert!(large.ip6_encap.contains(Encapsulation::ETHERNET));
    assert_eq!(large.ip6_options, 0x5);
}

#[test]
fn revisions_go_with_versions() {
    for (version, revision, bytes) in [
        (Version::V1, OffloadRevision::Rev1, 112),
        (Version::V2, OffloadRevision::Rev1, 112),
        (Version::V4, OffloadRevision::Rev2, 144),
        (Version::V5, OffloadRevision::Rev3, 156),
        (Version::V6_1, OffloadRevision::Rev3, 156),
    ] {
        assert_eq!(OffloadRevision::of_version(version), revision);
        assert_eq!(revision.bytes(), bytes);
    }
    assert_eq!(OffloadRevision::Rev3.header().to_bytes(), [0xa7, 3, 156, 0]);
    assert_eq!(OffloadRevision::from_wire(0), None);
    assert_eq!(OffloadRevision::from_wire(9), Some(OffloadRevision::Rev3));
}

#[test]
fn offload_that_makes_no_sense() {
    let good = hex(OFFLOAD_3);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        Offload::parse(&bytes)
    };
    assert!(matches!(
        with(0, 0x80),
        Err(OidError::BadField {
            field: "object type",
            ..
        })
    ));
    assert!(matches!(
        with(1, 0),
        Err(OidError::BadField {
            field: "revision",
            ..
        })
    ));
    assert!(matches!(
        with(2, 157),
        Err(OidError::BadField { field: "size", .. })
    ));
    assert_eq!(
        with(2, 111),
        Err(OidError::TooShort {
            got: 111,
            want: 112
        })
    );
    assert!(Offload::parse(&good[..3]).is_err());
}

#[test]
fn parameters_are_ndis_offload_params() {
    let parameters = OffloadParameters {
        ip4_header: ChecksumSetting::OFF,
        tcp4: ChecksumSetting::ON,
        udp4: ChecksumSetting::ON,
        tcp6: ChecksumSetting::ON,
        udp6: ChecksumSetting::ON,
        large_send_v2_ip4: Setting::On,
        large_send_v2_ip6: Setting::On,
        rsc_ip4: Setting::On,
        rsc_ip6: Setting::Off,
        ..Default::default()
    };
    let mut out = [0; OffloadParameters::MAX_BYTES];
    let bytes = hex("80031c00010404040400000202000000000000000000020100000000");
    assert_eq!(parameters.encode(Version::V5, &mut out), Ok(28));
    assert_eq!(&out[..], bytes);
    assert_eq!(OffloadParameters::parse(&bytes), Ok(parameters));
    // Up to 4.0: 22 bytes that name revision 3, without UDP and coalescing.
    let bytes = hex("80031600010400040000000202000000000000000000");
    assert_eq!(parameters.encode(Version::V4, &mut out), Ok(22));
    assert_eq!(&out[..22], bytes);
    let old = OffloadParameters {
        udp4: ChecksumSetting::NoChange,
        udp6: ChecksumSetting::NoChange,
        rsc_ip4: Setting::NoChange,
        rsc_ip6: Setting::NoChange,
        ..parameters
    };
    assert_eq!(OffloadParameters::parse(&bytes), Ok(old));
}

#[test]
fn parameters_that_make_no_sense() {
    let good = hex("80031c00010404040400000202000000000000000000020100000000");
    for (at, bad) in [(4, 5), (5, 0xff), (9, 3), (11, 4), (13, 3), (22, 3)] {
        let mut bytes = good.clone();
        bytes[at] = bad;
        assert!(
            matches!(
                OffloadParameters::parse(&bytes),
                Err(OidError::BadField { .. })
            ),
            "{at}"
        );
    }
    let mut bytes = good.clone();
    bytes[2] = 29;
    assert!(OffloadParameters::parse(&bytes).is_err());
    bytes[2] = 19;
    assert_eq!(
        OffloadParameters::parse(&bytes),
        Err(OidError::TooShort { got: 19, want: 20 })
    );
}

#[test]
fn settings_apply() {
    let (mut send, mut receive) = (true, false);
    ChecksumSetting::NoChange.apply(&mut send, &mut receive);
    assert_eq!((send, receive), (true, false));
    ChecksumSetting::Set {
        send: false,
        receive: true,
    }
    .apply(&mut send, &mut receive);
    assert_eq!((send, receive), (false, true));
    Setting::On.apply(&mut send);
    Setting::NoChange.apply(&mut send);
    assert!(send);
    Setting::Off.apply(&mut send);
    assert!(!send);
}

#[test]
fn scale_capabilities_are_ndis_recv_scale_cap() {
    let capabilities = ScaleCapabilities {
        flags: ScaleCapabilities::FLAGS,
        interrupts: 64,
        queues: 64,
        table_entries: 128,
    };
    assert_eq!(
        capabilities.to_bytes()[..],
        hex("880212000103000540000000400000008000")
    );
    assert_eq!(
        ScaleCapabilities::parse(&capabilities.to_bytes()),
        Ok(capabilities)
    );
    assert!(ScaleCapabilities::parse(&capabilities.to_bytes()[..17]).is_err());
    assert!(ScaleCapabilities::parse(&[0; 18]).is_err());
}

#[test]
fn scale_parameters_are_ndis_recv_scale_param() {
    let mut out = [0; MAX_SCALE_PARAMETERS_BYTES];
    let table = [0, 1, 2, 3];
    let length = ScaleParameters::encode(
        ScaleFlags::NONE,
        HashTypes::LINUX,
        &table,
        &DEFAULT_KEY,
        &mut out,
    )
    .unwrap();
    assert_eq!(length, 40 + 16 + KEY_BYTES);
    assert_eq!(
        &out[..40],
        hex(
            "890228000000000001170000100000002800000028000000380000000000000000000000\
         00000000"
        )
    );
    let parsed = ScaleParameters::parse(&out[..length]).unwrap();
    assert!(parsed.table.iter().eq(table));
    assert_eq!(
        (parsed.hash, parsed.key),
        (HashTypes::LINUX, Some(DEFAULT_KEY))
    );
    assert_eq!(parsed.table.channel(6), 2);
    assert!(ScaleParameters::parse(&out[..length - 1]).is_err());
    // Linux turns spreading off with the same record and a flag.
    out[4] = 0x10;
    let off = ScaleParameters::parse(&out[..length]).unwrap();
    assert!(off.flags.contains(ScaleFlags::DISABLE));
    assert!(off.table.is_empty() && off.key.is_none());
    assert_eq!(off.table.channel(6), 0);
    // What is unchanged need not be there.
    out[4] = 0xc;
    assert!(ScaleParameters::parse(&out[..40]).is_ok());
    out[4] = 0x4;
    assert!(ScaleParameters::parse(&out[..40]).is_err());
    assert!(ScaleParameters::parse(&out[..27]).is_err());
}

#[test]
fn scale_parameters_that_make_no_sense() {
    let mut good = [0; MAX_SCALE_PARAMETERS_BYTES];
    ScaleParameters::encode(
        ScaleFlags::NONE,
        HashTypes::LINUX,
        &[0; 256],
        &DEFAULT_KEY,
        &mut good,
    )
    .unwrap();
    assert!(ScaleParameters::parse(&good).is_ok());
    // Table size, table offset, key size, key offset.
    for (at, bad) in [
        (12, 0u32),
        (12, 3),
        (12, 1028),
        (16, u32::MAX),
        (20, 41),
        (20, 0),
        (24, u32::MAX),
    ] {
        let mut bytes = good;
        let value = bad.to_le_bytes();
        let width = if at == 12 || at == 20 { 2 } else { 4 };
        bytes[at..at + width].copy_from_slice(&value[..width]);
        assert!(ScaleParameters::parse(&bytes).is_err(), "{at} {bad}");
    }
    let long = [0; 257];
    assert!(ScaleParameters::encode(
        ScaleFlags::NONE,
        HashTypes::LINUX,
        &long,
        &DEFAULT_KEY,
        &mut good
    )
    .is_err());
}

#[test]
fn an_address_is_set_by_name() {
    let address = [0x00, 0x15, 0x5d, 0x0a, 0x0b, 0x0c];
    let bytes = hex(
        "140000001c0000000200000030000000180000004e006500740077006f0072006b004100\
         640064007200650073007300300030003100350035006400300061003000620030006300",
    );
    assert_eq!(mac_parameter(&address)[..], bytes);
    let parameter = ConfigParameter::parse(&bytes).unwrap();
    assert!(parameter.name.is(NETWORK_ADDRESS));
    assert_eq!(parameter.value_type, ValueType::STRING);
    assert_eq!(parameter.address(), Some(address));
    // A digit too many or too few, and what is no digit.
    for (at, value) in [(44, 8), (16, 22), (16, 26)] {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        let parsed = ConfigParameter::parse(&bytes);
        assert_eq!(
            parsed.ok().and_then(|parameter| parameter.address()),
            None,
            "{at}"
        );
    }
    let mut bytes = bytes.clone();
    bytes[70] = b'x';
    assert_eq!(ConfigParameter::parse(&bytes).unwrap().address(), None);
    bytes[4] = 27;
    assert!(matches!(
        ConfigParameter::parse(&bytes),
        Err(OidError::BadField { .. })
    ));
    bytes[0] = 0xff;
    assert!(matches!(
        ConfigParameter::parse(&bytes),
        Err(OidError::OutOfBounds { .. })
    ));
}

#[test]
fn text_is_utf16() {
    let mut out = [0; 16];
    assert_eq!(Utf16::write("N\u{e4}t\u{1f600}", &mut out), Some(10));
    let text = Utf16::new(&out).unwrap();
    assert!(text.chars().eq("N\u{e4}t\u{1f600}".chars()));
    assert!(text.is("n\u{e4}T\u{1f600}"));
    assert_eq!(Utf16::write("123456789", &mut out), None);
    assert_eq!(Utf16::new(&out[..3]), None);
    // Half a character.
    assert!(Utf16::new(&[0, 0xd8]).unwrap().chars().eq(['\u{fffd}']));
}

#[test]
fn groups() {
    let list = hex("01005e000001 3333ff010203");
    let groups: Vec<_> = multicast_list(&list).unwrap().collect();
    assert_eq!(groups, [[1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0xff, 1, 2, 3]]);
    assert!(multicast_list(&list[..11]).is_err());
    assert!(multicast_list(&[2, 0, 0, 0, 0, 1]).is_err());
    assert_eq!(multicast_list(&[]).unwrap().count(), 0);
}

#[test]
fn filters_pass_what_they_name() {
    let own = [2, 0, 0, 0, 0, 1];
    let group = [1, 0, 0x5e, 0, 0, 1];
    let all = [0xff; 6];
    let other = [2, 0, 0, 0, 0, 2];
    let passes = |filter: PacketFilter, to| filter.passes(to, &own, [group].into_iter());
    let linux = PacketFilter::DIRECTED
        .with(PacketFilter::BROADCAST)
        .with(PacketFilter::ALL_MULTICAST);
    assert_eq!(linux.0, 0xd);
    for (filter, mine, grouped, broadcast, others) in [
        (PacketFilter::NONE, false, false, false, false),
        (PacketFilter::DIRECTED, true, false, false, false),
        (PacketFilter::MULTICAST, false, true, false, false),
        (PacketFilter::BROADCAST, false, false, true, false),
        (linux, true, true, true, false),
        (PacketFilter::PROMISCUOUS, true, true, true, true),
    ] {
        assert_eq!(passes(filter, &own), mine);
        assert_eq!(passes(filter, &group), grouped);
        assert_eq!(passes(filter, &all), broadcast);
        assert_eq!(passes(filter, &other), others);
    }
    assert!(!passes(PacketFilter::MULTICAST, &[1, 0, 0x5e, 0, 0, 2]));
    assert!(passes(PacketFilter::ALL_MULTICAST, &[1, 0, 0x5e, 0, 0, 2]));
}

#[test]
fn connection_offload_is_ndis_tcp_connection_offload() {
    let offload = ConnectionOffload {
        encapsulation: Encapsulation::ETHERNET,
        ipv4: true,
        ipv6: true,
        ipv6_extensions: false,
        sack: true,
        capacity: 1024,
    };
    // Pairs of bits: 1 supported.
    assert_eq!(
        offload.to_bytes()[..],
        hex("80011400 02000000 45000000 00040000 00000000")
    );
    assert_eq!(ConnectionOffload::parse(&offload.to_bytes()), Ok(offload));
    assert!(ConnectionOffload::parse(&[0; 20]).is_err());
}

#[test]
fn links() {
    let link = LinkState {
        up: true,
        bits_per_second: 10_000_000_000,
    };
    assert_eq!(
        link.to_bytes()[..],
        hex("80012800 01000000 02000000 00000000 00e40b5402000000 00e40b5402000000 0000000000000000")
    );
    assert_eq!(LinkState::parse(&link.to_bytes()), Ok(link));
    let down = LinkState { up: false, ..link };
    assert_eq!(LinkState::parse(&down.to_bytes()), Ok(down));
    assert_eq!(
        link.speed_bytes()[..],
        hex("00e40b5402000000 00e40b5402000000")
    );
    assert!(LinkState::parse(&[0; 40]).is_err());
    assert!(LinkState::parse(&link.to_bytes()[..39]).is_err());
}

#[test]
fn numbers_have_names() {
    assert_eq!(
        Oid::GEN_MAXIMUM_FRAME_SIZE.to_string(),
        "GEN_MAXIMUM_FRAME_SIZE (0x00010106)"
    );
    assert_eq!(Oid(0x0d01_0101).to_string(), "0x0d010101");
    let name = |info: &[u8]| netvsc_wire::oid::name(info).collect::<String>();
    assert_eq!(name(b"L\0\xe4\0n\0\0\0x\0"), "L\u{e4}n");
    // An odd byte, half of a pair, a line's end; nothing.
    assert_eq!(name(b"a\0\n\0\x00\xd8b\0c"), "a\u{fffd}\u{fffd}b");
    assert_eq!(name(b"\x3d\xd8\x00\xde"), "\u{1f600}");
    assert_eq!(name(b""), "");
    assert_eq!(word(&[1, 0, 1, 0]), Ok(0x1_0001));
    assert!(word(&[1, 0, 1]).is_err());
}
