// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whatever bytes come in, the parsers answer; whatever one side builds, the other side reads.

use proptest::array::uniform16;
use proptest::collection::vec;
use proptest::prelude::*;
use storvsc_wire::fibre::{FibreNames, WorldWideNames};
use storvsc_wire::scsi::{Command, ScsiStatus, Sense, SenseBytes};
use storvsc_wire::srb::{SrbExtension, SrbFlags};
use storvsc_wire::*;

fn layouts() -> impl Strategy<Value = Layout> {
    prop_oneof![Just(Layout::Short), Just(Layout::Long)]
}

fn addresses() -> impl Strategy<Value = Address> {
    any::<[u8; 4]>().prop_map(|[port, path, target, lun]| Address {
        port,
        path,
        target,
        lun,
    })
}

fn requests() -> impl Strategy<Value = Srb> {
    (
        (addresses(), uniform16(any::<u8>()), 0u8..=16, any::<u8>()),
        (0u8..3, any::<u32>(), any::<[u8; 2]>(), any::<[u32; 3]>()),
    )
        .prop_map(|((address, cdb, cdb_length, sense_length), rest)| {
            let (direction, transfer_length, [queue_tag, queue_action], words) = rest;
            let [flags, timeout, queue_sort_key] = words;
            let mut srb = Srb {
                address,
                cdb,
                cdb_length,
                sense_length,
                direction: DataDirection::from_wire(direction).unwrap(),
                transfer_length,
                extension: SrbExtension {
                    queue_tag,
                    queue_action,
                    flags: SrbFlags(flags),
                    timeout,
                    queue_sort_key,
                },
            };
            // Bytes behind the command are zero.
            srb.cdb[usize::from(cdb_length)..].fill(0);
            srb
        })
}

fn guest_packets() -> impl Strategy<Value = GuestPacket> {
    prop_oneof![
        Just(GuestPacket::BeginInitialization),
        any::<u16>().prop_map(|version| {
            GuestPacket::QueryProtocolVersion(ProtocolVersion::from_wire(version))
        }),
        Just(GuestPacket::QueryProperties),
        Just(GuestPacket::FibreChannelData),
        Just(GuestPacket::EndInitialization),
        any::<u16>().prop_map(|count| GuestPacket::CreateSubChannels { count }),
        requests().prop_map(GuestPacket::ExecuteSrb),
        addresses().prop_map(GuestPacket::ResetLun),
        Just(GuestPacket::ResetAdapter),
        Just(GuestPacket::ResetBus),
        (14u32..).prop_map(|operation| GuestPacket::Other(Operation(operation))),
    ]
}

/// Bytes whose operation is likely to exist.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    (
        vec(any::<u8>(), 0..=80),
        prop_oneof![4 => 0u32..16, 1 => any::<u32>()],
    )
        .prop_map(|(mut bytes, operation)| {
            for (to, from) in bytes.iter_mut().zip(operation.to_le_bytes()) {
                *to = from;
            }
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_guest_builds_a_host_reads(packet in guest_packets(), layout in layouts()) {
        let out = packet.encode(layout);
        prop_assert_eq!(out.as_bytes().len(), layout.packet_bytes());
        let read = GuestPacket::parse(out.as_bytes(), layout);
        let expected = match (packet, layout) {
            (GuestPacket::ExecuteSrb(mut srb), Layout::Short) => {
                srb.extension = SrbExtension::default();
                GuestPacket::ExecuteSrb(srb)
            }
            (packet, _) => packet,
        };
        prop_assert_eq!(read, Ok(expected));
    }

    #[test]
    fn what_a_host_builds_a_guest_reads(
        address in addresses(),
        statuses in any::<[u8; 2]>(),
        transferred in any::<u32>(),
        sense in vec(any::<u8>(), 0..=18),
        layout in layouts(),
        properties in (any::<bool>(), any::<u16>(), any::<u32>()),
        names in (any::<bool>(), any::<[u64; 4]>()),
    ) {
        let completion = |out: &OutPacket| match HostPacket::parse(out.as_bytes(), layout) {
            Ok(HostPacket::Completion(completion)) => {
                (completion.status, completion.srb(), completion.properties(), completion.fibre_names())
            }
            other => panic!("{other:?}"),
        };
        let srb = SrbCompletion {
            address,
            srb_status: SrbStatus(statuses[0]),
            scsi_status: ScsiStatus(statuses[1]),
            transferred,
            sense: SenseBytes::new(&sense),
        };
        let (status, read, ..) = completion(&host::complete_srb(layout, &srb));
        prop_assert_eq!(read, Ok(srb));
        prop_assert_eq!(status.is_success(), srb.srb_status.is_success());

        let properties = ChannelProperties {
            multi_channel: properties.0,
            max_subchannels: properties.1,
            max_transfer_bytes: properties.2,
        };
        let out = host::complete_properties(layout, properties);
        prop_assert_eq!(completion(&out).2, Ok(properties));

        let [a, b, c, d] = names.1;
        let names = FibreNames {
            primary_active: names.0,
            primary: WorldWideNames { port: a, node: b },
            secondary: WorldWideNames { port: c, node: d },
        };
        let out = host::complete_fibre_names(layout, names);
        prop_assert_eq!(completion(&out).3, Ok(names));
    }

    #[test]
    fn noise_is_answered(bytes in noise(), layout in layouts()) {
        match GuestPacket::parse(&bytes, layout) {
            Ok(packet) => {
                prop_assert!(bytes.len() >= layout.packet_bytes());
                // What was read can be written, and says the same.
                let again = packet.encode(layout);
                prop_assert_eq!(GuestPacket::parse(again.as_bytes(), layout), Ok(packet));
                if let GuestPacket::ExecuteSrb(srb) = packet {
                    prop_assert!(srb.cdb().len() <= 16);
                    let _ = Command::parse(srb.cdb());
                }
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        match HostPacket::parse(&bytes, layout) {
            Ok(HostPacket::Completion(completion)) => {
                // Long enough for whatever it may be.
                let srb = completion.srb();
                prop_assert!(srb.is_ok());
                prop_assert!(srb.unwrap().sense.as_bytes().len() <= layout.sense_bytes());
                prop_assert!(completion.properties().is_ok());
                prop_assert!(completion.fibre_names().is_ok());
            }
            Ok(_) => {}
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn sense_survives_both_formats(key in 0u8..16, asc in any::<u8>(), ascq in any::<u8>()) {
        let sense = Sense::new(scsi::SenseKey(key), asc, ascq);
        prop_assert_eq!(sense.fixed().parse(), Some(sense));
        prop_assert_eq!(sense.descriptor().parse(), Some(sense));
    }

    #[test]
    fn any_bytes_may_be_sense(bytes in vec(any::<u8>(), 0..40), room in 0usize..30) {
        let _ = Sense::parse(&bytes);
        let cut = SenseBytes::new(&bytes).cut(room);
        prop_assert_eq!(cut.as_bytes(), &bytes[..bytes.len().min(20).min(room)]);
    }
}
