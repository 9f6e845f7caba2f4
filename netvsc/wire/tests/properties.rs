// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whatever bytes come in, the parsers answer; whatever one side builds, the other side reads.

use netvsc_wire::nvsp::{self, *};
use netvsc_wire::oid::{self, *};
use netvsc_wire::ppi::*;
use netvsc_wire::rndis::{self, *};
use netvsc_wire::rss::{Flow, HashTypes, Key, DEFAULT_KEY, KEY_BYTES};
use netvsc_wire::version::{NdisVersion, Version};
use netvsc_wire::vmq::{AllocationId, BufferId, VmqPacket};
use proptest::collection::vec;
use proptest::prelude::*;

fn versions() -> impl Strategy<Value = Version> {
    proptest::sample::select(&Version::OFFERED[..])
}

fn channel_types() -> impl Strategy<Value = ChannelType> {
    prop_oneof![Just(ChannelType::Data), Just(ChannelType::Control)]
}

fn rndis_packets() -> impl Strategy<Value = nvsp::RndisPacket> {
    let section =
        (0..u32::MAX, any::<u32>()).prop_map(|(index, bytes)| SectionUse { index, bytes });
    (channel_types(), proptest::option::of(section)).prop_map(|(channel_type, section)| {
        nvsp::RndisPacket {
            channel_type,
            section,
        }
    })
}

fn guest_messages() -> impl Strategy<Value = GuestMessage> {
    let buffers = (any::<u32>(), any::<u16>()).prop_map(|(gpadl, id)| SharedBuffer { gpadl, id });
    let stage = prop_oneof![
        any::<u64>().prop_map(|last_accepted| Stage::First { last_accepted }),
        any::<u32>().prop_map(|index| Stage::Final { index }),
    ];
    let setup = prop_oneof![
        (any::<u32>(), any::<u32>())
            .prop_map(|(version, version2)| GuestMessage::Init { version, version2 }),
        (any::<u32>(), any::<u32>())
            .prop_map(|(major, minor)| GuestMessage::NdisVersion(NdisVersion { major, minor })),
        (any::<u32>(), any::<u64>()).prop_map(|(frame_bytes, bits)| {
            GuestMessage::NdisConfig(NdisConfig {
                frame_bytes,
                capabilities: Capabilities(bits),
            })
        }),
        buffers.clone().prop_map(GuestMessage::ReceiveBuffer),
        buffers.prop_map(GuestMessage::SendBuffer),
        any::<u16>().prop_map(|id| GuestMessage::RevokeReceiveBuffer { id }),
        any::<u16>().prop_map(|id| GuestMessage::RevokeSendBuffer { id }),
        any::<u32>().prop_map(|path| GuestMessage::SwitchDataPath(DataPath(path))),
        (any::<u32>(), any::<u32>()).prop_map(|(operation, count)| GuestMessage::Subchannels {
            operation: SubchannelOperation(operation),
            count
        }),
    ];
    let data = prop_oneof![
        rndis_packets().prop_map(GuestMessage::RndisPacket),
        any::<u32>().prop_map(|status| GuestMessage::RndisComplete(nvsp::Status(status))),
        any::<u32>().prop_map(|status| GuestMessage::VmqComplete(nvsp::Status(status))),
        (any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>()).prop_map(
            |(status, allocation, gpadl, buffer)| GuestMessage::ReceiveBufferAllocated {
                status: rndis::Status(status),
                allocation: AllocationId(allocation),
                gpadl,
                buffer: BufferId(buffer),
            }
        ),
    ];
    let chimney = prop_oneof![
        (any::<u16>(), any::<u16>(), any::<u32>()).prop_map(|(object_bytes, revision, gpadl)| {
            GuestMessage::DelegatedBuffer(DelegatedBuffer {
                object_bytes,
                revision,
                gpadl,
            })
        }),
        (any::<u64>(), any::<u32>()).prop_map(|(context, kind)| {
            GuestMessage::AllocHandle(AllocHandle {
                context,
                object_type: ObjectType(kind),
            })
        }),
        (any::<u32>(), stage)
            .prop_map(|(handle, stage)| GuestMessage::Terminate(Terminate { handle, stage })),
        (
            any::<u32>(),
            any::<u16>(),
            any::<u16>(),
            any::<u16>(),
            any::<u32>()
        )
            .prop_map(|(handle, section, section_bytes, disconnect, sequence)| {
                GuestMessage::SendData(SendData {
                    handle,
                    section,
                    section_bytes,
                    disconnect: Disconnect(disconnect.into()),
                    sequence,
                })
            }),
        (any::<u32>(), any::<bool>(), any::<u32>()).prop_map(|(handle, no_push, sequence)| {
            GuestMessage::PostReceive(PostReceive {
                handle,
                no_push,
                sequence,
            })
        }),
    ];
    prop_oneof![setup, data, chimney]
}

fn host_messages() -> impl Strategy<Value = HostMessage> {
    let section = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
        |(offset, piece_bytes, pieces, end)| Section {
            offset,
            piece_bytes,
            pieces,
            end,
        },
    );
    let setup = prop_oneof![
        (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
            |(status, max_mdl_chain, deprecated)| HostMessage::InitComplete(InitComplete {
                status: nvsp::Status(status),
                max_mdl_chain,
                deprecated,
            })
        ),
        (any::<u32>(), proptest::option::of(section)).prop_map(|(status, section)| {
            HostMessage::ReceiveBufferComplete {
                status: nvsp::Status(status),
                sections: section.map_or(Sections::NONE, Sections::one),
            }
        }),
        (any::<u32>(), any::<u32>()).prop_map(|(status, section_bytes)| {
            HostMessage::SendBufferComplete {
                status: nvsp::Status(status),
                section_bytes,
            }
        }),
        (any::<u32>(), any::<u32>()).prop_map(|(status, count)| {
            HostMessage::SubchannelsComplete {
                status: nvsp::Status(status),
                count,
            }
        }),
        any::<[u32; 16]>().prop_map(|channels| HostMessage::SendTable(SendTable { channels })),
        (any::<bool>(), any::<u32>()).prop_map(|(allocated, serial)| {
            HostMessage::VfAssociation(VfAssociation { allocated, serial })
        }),
    ];
    let data = prop_oneof![
        rndis_packets().prop_map(HostMessage::RndisPacket),
        any::<u32>().prop_map(|status| HostMessage::RndisComplete(nvsp::Status(status))),
        (any::<u32>(), any::<u32>()).prop_map(|(allocation, length)| {
            HostMessage::AllocReceiveBuffer {
                allocation: AllocationId(allocation),
                length,
            }
        }),
        (any::<u64>(), any::<u32>(), any::<u32>()).prop_map(|(buffer, offset, bytes)| {
            HostMessage::VmqPacket(VmqPacket {
                buffer: BufferId(buffer),
                offset,
                bytes,
            })
        }),
    ];
    let chimney = prop_oneof![
        (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(status, sends, receives)| {
            HostMessage::Quotas(Quotas {
                status: rndis::Status(status),
                sends,
                receives,
            })
        }),
        (any::<u64>(), any::<bool>()).prop_map(|(context, data_corrupted)| {
            HostMessage::Terminated(Terminated {
                context,
                data_corrupted,
            })
        }),
        (any::<u32>(), any::<u32>(), any::<u64>()).prop_map(|(event, info, context)| {
            HostMessage::ChimneyEvent(ChimneyEvent {
                event,
                info,
                context,
            })
        }),
        (any::<u32>(), any::<u32>()).prop_map(|(status, bytes)| {
            HostMessage::DataSent(ChimneyCompletion {
                status: rndis::Status(status),
                bytes,
            })
        }),
    ];
    prop_oneof![setup, data, chimney]
}

/// Bytes that start like a message of a likely kind.
fn noise(kinds: impl Strategy<Value = u32>) -> impl Strategy<Value = Vec<u8>> {
    (vec(any::<u8>(), 0..=512), kinds, any::<bool>()).prop_map(|(mut bytes, kind, fits)| {
        for (to, from) in bytes.iter_mut().zip(kind.to_le_bytes()) {
            *to = from;
        }
        // RNDIS messages name their length.
        let length = bytes.len() as u32;
        if fits {
            for (to, from) in bytes.iter_mut().skip(4).zip(length.to_le_bytes()) {
                *to = from;
            }
        }
        bytes
    })
}

fn rndis_noise() -> impl Strategy<Value = Vec<u8>> {
    // Small words make offsets and lengths that are nearly right.
    let words = vec(prop_oneof![0u32..300, any::<u32>()], 0..40)
        .prop_map(|words| words.iter().flat_map(|word| word.to_le_bytes()).collect());
    let kinds = prop_oneof![1u32..12, (2u32..12).prop_map(|kind| kind | 1 << 31)];
    let shaped = (kinds.clone(), words).prop_map(|(kind, body): (u32, Vec<u8>)| {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((body.len() as u32 + 8).to_le_bytes());
        bytes.extend(body);
        bytes
    });
    prop_oneof![noise(kinds), shaped]
}

fn inside(part: &[u8], whole: &[u8]) -> bool {
    part.is_empty() || whole.as_ptr_range().contains(&part.as_ptr()) && part.len() <= whole.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_answered(bytes in noise(prop_oneof![0u32..140, any::<u32>()]), version in versions()) {
        if let Ok(message) = GuestMessage::parse(&bytes) {
            let built = message.encode(version);
            prop_assert_eq!(GuestMessage::parse(built.as_bytes()), Ok(message));
        }
        if let Ok(message) = HostMessage::parse(version, &bytes) {
            let built = message.encode(version);
            prop_assert_eq!(HostMessage::parse(version, built.as_bytes()), Ok(message));
        }
    }

    #[test]
    fn what_a_guest_says_a_host_reads(message in guest_messages(), version in versions()) {
        let built = message.encode(version);
        prop_assert_eq!(built.as_bytes().len(), version.message_bytes());
        prop_assert_eq!(GuestMessage::parse(built.as_bytes()), Ok(message));
    }

    #[test]
    fn what_a_host_says_a_guest_reads(message in host_messages(), version in versions()) {
        let built = message.encode(version);
        prop_assert_eq!(HostMessage::parse(version, built.as_bytes()), Ok(message));
    }

    #[test]
    fn short_messages_are_refused(message in guest_messages(), cut in 0usize..28) {
        let built = message.encode(Version::V1);
        // Cut inside of the padding it may still be whole; then it is the same.
        if let Ok(read) = GuestMessage::parse(&built.as_bytes()[..cut]) {
            prop_assert_eq!(read, message);
        }
    }

    #[test]
    fn any_rndis_bytes_are_answered(bytes in rndis_noise()) {
        if let Ok(message) = GuestControl::parse(&bytes) {
            let mut out = [0; 1024];
            let length = message.encode(&mut out).unwrap();
            prop_assert_eq!(GuestControl::parse(&out[..length]), Ok(message));
        }
        if let Ok(message) = HostControl::parse(&bytes) {
            let mut out = [0; 1024];
            let length = message.encode(&mut out).unwrap();
            prop_assert_eq!(HostControl::parse(&out[..length]), Ok(message));
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert!(inside(packet.frame, &bytes));
            prop_assert!(packet.ppis.clone().count() <= bytes.len() / 12 + 1);
            let _ = (SendInfo::collect(packet.ppis.clone()), ReceiveInfo::collect(packet.ppis));
        }
        for available in [0, bytes.len(), bytes.len() + 100, usize::MAX] {
            if let Ok(head) = PacketHead::parse(&bytes, available) {
                prop_assert!(head.data().end <= head.message_bytes as usize);
                prop_assert!(head.message_bytes as usize <= available);
                prop_assert!(inside(head.ppis.as_bytes(), &bytes));
                // As many bytes of it as it says are enough.
                let enough = PacketHead::bytes(&bytes).unwrap().min(bytes.len());
                let again = PacketHead::parse(&bytes[..enough], available).unwrap();
                prop_assert_eq!(again.data(), head.data());
                prop_assert_eq!(again.ppis.as_bytes(), head.ppis.as_bytes());
            }
        }
        let mut total = 0;
        for message in messages(&bytes).flatten() {
            total += message.bytes.len();
        }
        prop_assert!(total <= bytes.len());
    }

    #[test]
    fn info_ends(bytes in vec(prop_oneof![Just(0u8), Just(12), Just(16), any::<u8>()], 0..512)) {
        let pieces: Vec<_> = Ppis::new(&bytes).collect();
        prop_assert!(pieces.len() <= bytes.len() / 12 + 1);
        // Nothing comes after an error.
        let good = pieces.iter().take_while(|piece| piece.is_ok()).count();
        prop_assert!(pieces.len() - good <= 1);
        for piece in pieces.iter().flatten() {
            prop_assert!(inside(piece.value, &bytes));
        }
    }

    #[test]
    fn words_of_info_keep_their_bits(word in any::<u32>()) {
        let again = SendChecksum::from_wire(word);
        prop_assert_eq!(SendChecksum::from_wire(again.to_wire()), again);
        let again = ReceiveChecksum::from_wire(word);
        prop_assert_eq!(ReceiveChecksum::from_wire(again.to_wire()), again);
        prop_assert_eq!(LargeSend::from_wire(word).to_wire(), word);
        let again = Vlan::from_wire(word);
        prop_assert_eq!(again.to_wire(), word & 0xffff);
        prop_assert_eq!(Vlan::from_tci(again.to_tci()), again);
        prop_assert_eq!(PacketId::from_wire(word).to_wire(), word & 0xffff_07ff);
    }

    #[test]
    fn frames_travel(
        words in any::<[Option<u32>; 5]>(),
        frame in vec(any::<u8>(), 0..300),
        padding in 0u32..8,
    ) {
        let [checksum, vlan, hash, hash_info, id] = words;
        let info = ReceiveInfo {
            checksum: checksum.map(ReceiveChecksum::from_wire),
            vlan: vlan.map(Vlan::from_wire),
            hash,
            hash_info: hash_info.map(HashInfo),
            packet_id: id.map(PacketId::from_wire),
        };
        let mut out = [0; 512];
        let head = info.encode(frame.len() as u32, padding, &mut out).unwrap();
        prop_assert_eq!(head, info.head_bytes());
        out[head..head + frame.len()].copy_from_slice(&frame);
        let packet = Packet::parse(&out).unwrap();
        prop_assert_eq!(packet.frame, &frame[..]);
        prop_assert_eq!(ReceiveInfo::collect(packet.ppis), Ok(info));
        let parsed = PacketHead::parse(&out[..head], head + frame.len() + padding as usize).unwrap();
        prop_assert_eq!(parsed.data(), head..head + frame.len());

        let info = SendInfo {
            checksum: checksum.map(SendChecksum::from_wire),
            large_send: id.map(LargeSend::from_wire),
            vlan: vlan.map(Vlan::from_wire),
            hash,
        };
        let head = info.encode(frame.len() as u32, padding, &mut out).unwrap();
        let parsed = PacketHead::parse(&out[..head], head + frame.len() + padding as usize).unwrap();
        prop_assert_eq!(SendInfo::collect(parsed.ppis), Ok(info));
    }

    #[test]
    fn any_record_is_answered(bytes in vec(prop_oneof![4 => 0u8..5, 1 => any::<u8>()], 0..512), kind in 0usize..5) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = [0xa7, 0x80, 0x88, 0x89, *first][kind];
        }
        if let Ok(offload) = Offload::parse(&bytes) {
            let mut out = [0; MAX_OFFLOAD_BYTES];
            offload.encode(OffloadRevision::Rev3, &mut out).unwrap();
            prop_assert_eq!(Offload::parse(&out), Ok(offload));
        }
        if let Ok(parameters) = OffloadParameters::parse(&bytes) {
            let mut out = [0; OffloadParameters::MAX_BYTES];
            parameters.encode(Version::V6, &mut out).unwrap();
            prop_assert_eq!(OffloadParameters::parse(&out), Ok(parameters));
        }
        if let Ok(capabilities) = ScaleCapabilities::parse(&bytes) {
            prop_assert_eq!(ScaleCapabilities::parse(&capabilities.to_bytes()), Ok(capabilities));
        }
        if let Ok(parameters) = ScaleParameters::parse(&bytes) {
            prop_assert!(parameters.table.len() <= MAX_TABLE_ENTRIES);
            let _ = parameters.table.channel(u32::MAX);
        }
        if let Ok(parameter) = ConfigParameter::parse(&bytes) {
            prop_assert!(inside(parameter.value, &bytes));
            let _ = (parameter.address(), parameter.name.chars().count());
        }
        if let Ok(offload) = ConnectionOffload::parse(&bytes) {
            prop_assert_eq!(ConnectionOffload::parse(&offload.to_bytes()), Ok(offload));
        }
        let _ = (multicast_list(&bytes).map(Iterator::count), oid::word(&bytes));
        if let Some(flow) = Flow::of_frame(&bytes) {
            let _ = DEFAULT_KEY.hash_flow(&flow);
        }
    }

    #[test]
    fn spreading_travels(
        table in vec(any::<u32>(), 1..=MAX_TABLE_ENTRIES),
        key in vec(any::<u8>(), KEY_BYTES),
        hash in any::<u32>(),
    ) {
        let key = Key(key.try_into().unwrap());
        let mut out = [0; MAX_SCALE_PARAMETERS_BYTES];
        let length =
            ScaleParameters::encode(ScaleFlags::NONE, HashTypes(hash), &table, &key, &mut out).unwrap();
        let parsed = ScaleParameters::parse(&out[..length]).unwrap();
        prop_assert!(parsed.table.iter().eq(table.iter().copied()));
        prop_assert_eq!((parsed.key, parsed.hash), (Some(key), HashTypes(hash)));
        prop_assert_eq!(parsed.table.channel(hash), table[hash as usize % table.len()]);
    }

    #[test]
    fn the_address_travels(address in any::<[u8; 6]>()) {
        let bytes = mac_parameter(&address);
        prop_assert_eq!(ConfigParameter::parse(&bytes).unwrap().address(), Some(address));
    }

    #[test]
    fn flows_hash_as_their_bytes(source in any::<[u8; 16]>(), destination in any::<[u8; 16]>(), ports: (u16, u16)) {
        let mut bytes = Vec::new();
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(ports.0.to_be_bytes());
        bytes.extend(ports.1.to_be_bytes());
        let flow = Flow::V6 { source, destination, ports: Some(ports) };
        prop_assert_eq!(DEFAULT_KEY.hash_flow(&flow), reference_hash(&bytes));
    }
}

/// The definition, bit by bit, over the whole key.
fn reference_hash(input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1 != 0;
    let mut hash = 0u32;
    for at in (0..input.len() * 8).filter(|&at| bit(input, at)) {
        for offset in (0..32).filter(|offset| bit(&DEFAULT_KEY.0, at + offset)) {
            hash ^= 1 << (31 - offset);
        }
    }
    hash
}
