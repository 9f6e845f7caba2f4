// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The conversation before the first request: with a host that agrees, with hosts that don't, and
//! with anything that could be taken for a host.

use proptest::prelude::*;
use storvsc_wire::conversation::{Refusal, MOST_SUBCHANNELS, MOST_TRANSFER_BYTES};
use storvsc_wire::{
    host, Agreement, ChannelProperties, Conversation, GuestPacket, HostPacket, Layout, NtStatus,
    Operation, OutPacket, ProtocolVersion,
};

const GOOD: ChannelProperties = ChannelProperties {
    multi_channel: true,
    max_subchannels: 3,
    max_transfer_bytes: 0x4_0123,
};

/// Has a conversation with a host that speaks versions up to `newest`; what was said by the guest.
fn talk(
    newest: ProtocolVersion,
    properties: ChannelProperties,
) -> (Vec<GuestPacket>, Result<Option<Agreement>, Refusal>) {
    let mut conversation = Conversation::new();
    let mut said = Vec::new();
    while let Some(packet) = conversation.next() {
        said.push(packet);
        assert!(said.len() < 20, "it ends");
        let answer = match packet {
            GuestPacket::QueryProtocolVersion(version) if version > newest => {
                host::complete(Layout::Long, NtStatus::REVISION_MISMATCH)
            }
            GuestPacket::QueryProperties => host::complete_properties(Layout::Long, properties),
            _ => host::complete(Layout::Long, NtStatus::SUCCESS),
        };
        if let Err(refusal) = hear(&mut conversation, &answer) {
            assert_eq!(conversation.next(), None);
            assert_eq!(conversation.agreement(), None);
            return (said, Err(refusal));
        }
    }
    (said, Ok(conversation.agreement()))
}

fn hear(conversation: &mut Conversation, answer: &OutPacket) -> Result<(), Refusal> {
    match HostPacket::parse(answer.as_bytes(), Layout::Long) {
        Ok(HostPacket::Completion(completion)) => conversation.answered(&completion),
        other => panic!("{other:?} is no completion"),
    }
}

#[test]
fn the_newest_version_that_both_speak() {
    let (said, agreed) = talk(ProtocolVersion::WIN10, GOOD);
    assert_eq!(
        said,
        [
            GuestPacket::BeginInitialization,
            GuestPacket::QueryProtocolVersion(ProtocolVersion::WIN10),
            GuestPacket::QueryProperties,
            GuestPacket::EndInitialization,
        ]
    );
    let wanted = Agreement {
        version: ProtocolVersion::WIN10,
        max_transfer_bytes: 0x4_0000,
        max_subchannels: 3,
    };
    assert_eq!(agreed, Ok(Some(wanted)));
    let (said, agreed) = talk(ProtocolVersion::WIN8, GOOD);
    assert_eq!(said.len(), 6, "three versions were asked for");
    assert_eq!(agreed.unwrap().unwrap().version, ProtocolVersion::WIN8);
}

#[test]
fn hosts_that_are_too_old_or_can_do_nothing() {
    let (_, agreed) = talk(ProtocolVersion::WIN7, GOOD);
    assert_eq!(agreed, Err(Refusal::NoVersion));
    for bytes in [0, 511, 4095] {
        let properties = ChannelProperties {
            max_transfer_bytes: bytes,
            ..GOOD
        };
        let (_, agreed) = talk(ProtocolVersion::WIN10, properties);
        assert_eq!(agreed, Err(Refusal::NoTransfer { bytes }));
    }
}

#[test]
fn figures_that_are_too_good_are_cut() {
    let properties = ChannelProperties {
        multi_channel: true,
        max_subchannels: u16::MAX,
        max_transfer_bytes: u32::MAX,
    };
    let agreed = talk(ProtocolVersion::WIN10, properties).1.unwrap().unwrap();
    assert_eq!(agreed.max_transfer_bytes, MOST_TRANSFER_BYTES);
    assert_eq!(agreed.max_subchannels, MOST_SUBCHANNELS);
    let properties = ChannelProperties {
        multi_channel: false,
        ..properties
    };
    let agreed = talk(ProtocolVersion::WIN10, properties).1.unwrap().unwrap();
    assert_eq!(agreed.max_subchannels, 0);
}

#[test]
fn a_refused_step_ends_it() {
    let mut conversation = Conversation::new();
    let status = NtStatus::INVALID_DEVICE_STATE;
    let refused = hear(&mut conversation, &host::complete(Layout::Long, status));
    let operation = Operation::BEGIN_INITIALIZATION;
    assert_eq!(refused, Err(Refusal::Step { operation, status }));
    assert!(refused.unwrap_err().to_string().contains("BEGIN"));
    let again = hear(
        &mut conversation,
        &host::complete(Layout::Long, NtStatus::SUCCESS),
    );
    assert_eq!(again, Err(Refusal::Unasked));
}

proptest! {
    /// Whatever comes back, the conversation ends after a few steps, and what is agreed on makes sense.
    #[test]
    fn any_answers_end_it(answers in proptest::collection::vec(any::<[u8; 64]>(), 12)) {
        let mut conversation = Conversation::new();
        let mut steps = 0;
        for mut bytes in answers {
            if conversation.next().is_none() {
                break;
            }
            steps += 1;
            // A completion, often a good one.
            bytes[..4].copy_from_slice(&1u32.to_le_bytes());
            if bytes[63] & 3 != 0 {
                bytes[8..12].fill(0);
            }
            let Ok(HostPacket::Completion(completion)) = HostPacket::parse(&bytes, Layout::Long) else {
                panic!("a completion");
            };
            if conversation.answered(&completion).is_err() {
                prop_assert_eq!(conversation.next(), None);
            }
        }
        prop_assert!(steps <= 6);
        if let Some(agreed) = conversation.agreement() {
            prop_assert!(ProtocolVersion::OFFERED.contains(&agreed.version));
            prop_assert!(agreed.max_transfer_bytes >= 4096);
            prop_assert!(agreed.max_transfer_bytes <= MOST_TRANSFER_BYTES);
            prop_assert_eq!(agreed.max_transfer_bytes % 4096, 0);
            prop_assert!(agreed.max_subchannels <= MOST_SUBCHANNELS);
        }
    }
}
