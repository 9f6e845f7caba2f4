// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages of the integration services, as either side may send them. What is understood is
//! written again, and must then be understood in the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use util_wire::header::HEADER_BYTES;
use util_wire::heartbeat::Heartbeat;
use util_wire::kvp::{self, Exchange};
use util_wire::negotiate;
use util_wire::shutdown::{self, Shutdown};
use util_wire::timesync::TimeSample;
use util_wire::version::FRAMEWORK;
use util_wire::{Message, MessageKind, Version};

fuzz_target!(|data: &[u8]| {
    let Ok(message) = Message::parse(data) else {
        return;
    };
    let body = message.body;
    assert!(body.len() + HEADER_BYTES <= data.len());
    let head = message.header.encode(body.len()).expect("it was no longer");
    let again = [&head[..], body].concat();
    assert_eq!(Message::parse(&again), Ok(message));
    match message.header.kind {
        MessageKind::NEGOTIATE => {
            if let Ok(agreed) = negotiate::parse_answer(body) {
                let answer = negotiate::answer(agreed);
                assert_eq!(negotiate::parse_answer(answer.as_bytes()), Ok(agreed));
            }
            if let Ok(Some(agreed)) = negotiate::choose(body, &FRAMEWORK, &shutdown::VERSIONS) {
                assert!(FRAMEWORK.contains(&agreed.framework));
                assert!(shutdown::VERSIONS.contains(&agreed.service));
            }
        }
        MessageKind::HEARTBEAT => {
            if let Ok(beat) = Heartbeat::parse(body) {
                assert_eq!(Heartbeat::parse(&beat.encode()), Ok(beat));
            }
        }
        MessageKind::SHUTDOWN => {
            if let Ok(request) = Shutdown::parse(body) {
                let mut out = [0; shutdown::BYTES];
                // A text that fills its field to the end leaves no room for the zero.
                if request.encode(&mut out).is_some() {
                    assert_eq!(Shutdown::parse(&out), Ok(request));
                }
            }
        }
        MessageKind::TIMESYNC => {
            for version in [Version::new(4, 0), Version::new(3, 0)] {
                if let Ok(sample) = TimeSample::parse(version, body) {
                    let out = sample.encode(version);
                    assert_eq!(TimeSample::parse(version, out.as_bytes()), Ok(sample));
                }
            }
        }
        MessageKind::KVP => {
            if let Ok(exchange) = Exchange::parse(body) {
                let mut out = [0; kvp::MAX_BYTES];
                if let Some(length) = exchange.encode(&mut out) {
                    assert_eq!(Exchange::parse(&out[..length]), Ok(exchange));
                }
                assert!(!format!("{exchange:?}").is_empty());
            }
        }
        _ => {}
    }
});
