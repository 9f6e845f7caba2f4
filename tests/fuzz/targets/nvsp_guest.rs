// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A guest sends any NVSP message: the first byte chooses the version, the rest is the payload.
//! What the host accepts, the guest's builder says the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netvsc_wire::nvsp::{message_type, GuestMessage, Sender};
use netvsc_wire::Version;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, payload)) = data.split_first() else {
        return;
    };
    let version = Version::OFFERED[usize::from(choice) % Version::OFFERED.len()];
    let message = match GuestMessage::parse(payload) {
        Ok(message) => message,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let kind = message.message_type();
    assert_eq!(message_type(payload), Ok(kind));
    assert_ne!(kind.sender(), Some(Sender::Host));
    let built = message.encode(version);
    assert_eq!(built.as_bytes().len(), version.message_bytes());
    assert_eq!(GuestMessage::parse(built.as_bytes()), Ok(message));
    if let GuestMessage::RndisPacket(packet) = message {
        if let Some(range) = packet.section.and_then(|used| used.within(6144, 1 << 20)) {
            assert!(range.start <= range.end && range.end <= 1 << 20);
        }
    }
});
