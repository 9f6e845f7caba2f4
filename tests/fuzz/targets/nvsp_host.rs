// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A host sends any NVSP message: the first byte chooses the version, the rest is the payload.
//! What the guest accepts, the host's builder says the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netvsc_wire::nvsp::{message_type, HostMessage, Sender};
use netvsc_wire::Version;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, payload)) = data.split_first() else {
        return;
    };
    let version = Version::OFFERED[usize::from(choice) % Version::OFFERED.len()];
    let message = match HostMessage::parse(version, payload) {
        Ok(message) => message,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let kind = message.message_type();
    assert_eq!(message_type(payload), Ok(kind));
    assert_ne!(kind.sender(), Some(Sender::Guest));
    let built = message.encode(version);
    assert!(built.as_bytes().len() >= version.message_bytes());
    assert_eq!(HostMessage::parse(version, built.as_bytes()), Ok(message));
    match message {
        HostMessage::SendTable(table) => assert!(table.channel(u32::MAX, 3) < 3),
        HostMessage::ReceiveBufferComplete { sections, .. } => {
            for section in sections
                .as_slice()
                .iter()
                .filter(|section| section.fits(1 << 24))
            {
                let bytes = u64::from(section.piece_bytes) * u64::from(section.pieces);
                assert!(bytes + u64::from(section.offset) <= 1 << 24);
            }
        }
        HostMessage::VmqPacket(packet) => {
            assert!(packet
                .within(1 << 20)
                .is_none_or(|range| range.end <= 1 << 20));
        }
        _ => {}
    }
});
