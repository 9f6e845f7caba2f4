// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A host says anything. What the guest accepts, it must have understood.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmbus_wire::{host, HostMessage};

fuzz_target!(|payload: &[u8]| {
    match HostMessage::parse(payload) {
        Ok(message) => {
            let encoded = host::encode(&message);
            let again = HostMessage::parse(encoded.as_bytes()).expect("own encoding is refused");
            match (message, again) {
                // A short response lacks fields that the encoding always has.
                (HostMessage::VersionResponse(a), HostMessage::VersionResponse(b)) => {
                    assert_eq!((a.supported, a.state), (b.supported, b.state));
                    assert_eq!(a.connection_id.unwrap_or(0), b.connection_id.unwrap_or(0));
                    assert_eq!(a.features, b.features);
                }
                (a, b) => assert_eq!(a, b),
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
