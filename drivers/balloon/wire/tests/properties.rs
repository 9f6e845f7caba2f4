// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whatever the host sends, of every length: no panic, and nothing from behind the end.

use balloon_wire::guest::*;
use balloon_wire::message::HostMessage;
use balloon_wire::range::{PageRange, MAX_COUNT, MAX_PAGE};
use balloon_wire::session::{Session, Step};
use proptest::prelude::*;

/// Bytes of a length from 0 to 256 that often start with a header that makes sense.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..=256);
    (bytes, any::<bool>(), 0u16..16, 0u16..300).prop_map(|(mut bytes, sane, kind, size)| {
        if sane && bytes.len() >= 4 {
            bytes[..2].copy_from_slice(&kind.to_le_bytes());
            let size = size.min(bytes.len() as u16);
            bytes[2..4].copy_from_slice(&size.to_le_bytes());
        }
        // And now and then a range count that fits.
        if sane && bytes.len() >= 16 && bytes[5] < 128 {
            let count = u32::from(bytes[6]) % 40;
            bytes[12..16].copy_from_slice(&count.to_le_bytes());
        }
        bytes
    })
}

/// Does what the step says, without a kernel; the count of ranges seen.
fn take(session: &mut Session, step: Step<'_>) -> usize {
    match step {
        Step::Inflate { .. } => {
            let mut buffer = [0; 64];
            let response = BalloonResponse::new(&mut buffer).unwrap();
            assert!(session.balloon_response(response, false).is_some());
            0
        }
        Step::Deflate { ranges, .. } => ranges
            .map(|range| {
                if let Ok(range) = range {
                    assert!(range.count() >= 1 && range.count() <= MAX_COUNT);
                    assert!(range.end() <= MAX_PAGE);
                }
            })
            .count(),
        Step::HotAdd(request) => {
            assert!(request.range.end() <= MAX_PAGE);
            assert!(session.hot_added(HotAddResult::TryLater).is_some());
            1
        }
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn parser_takes_anything(bytes in payloads()) {
        if let Ok(message) = HostMessage::parse(&bytes) {
            // What lies behind the size that the header names can't matter.
            let size = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
            prop_assert!(size <= bytes.len());
            let mut longer = bytes[..size].to_vec();
            longer.extend([0xa5; 64]);
            prop_assert_eq!(HostMessage::parse(&longer), Ok(message));
        }
    }

    #[test]
    fn session_takes_anything(messages in proptest::collection::vec(payloads(), 0..20)) {
        let mut session = Session::new(Capabilities::new(1 << 15));
        let _ = session.start();
        for bytes in &messages {
            let Ok(message) = HostMessage::parse(bytes) else { continue };
            let before = session.state();
            match session.receive(message) {
                Ok(step) => {
                    let seen = take(&mut session, step);
                    prop_assert!(seen * 8 + 8 <= bytes.len());
                }
                Err(error) => {
                    prop_assert_eq!(error.state, before);
                    prop_assert_eq!(session.state(), before);
                }
            }
        }
    }

    #[test]
    fn ranges_round_trip(wire in any::<u64>(), unit in 0u32..20) {
        let Some(range) = PageRange::from_wire(wire) else { return Ok(()) };
        prop_assert_eq!(range.to_wire(), wire);
        let unit = 1u32 << unit;
        if let Some(whole) = range.whole_units(unit) {
            prop_assert_eq!(range.overlap(whole), Some(whole));
            prop_assert_eq!(whole.start() % u64::from(unit), 0);
            prop_assert_eq!(whole.end() % u64::from(unit), 0);
            prop_assert!(whole.start() - range.start() < u64::from(unit));
            prop_assert!(range.end() - whole.end() < u64::from(unit));
        } else {
            prop_assert!(range.count() < 2 * unit);
        }
    }

    #[test]
    fn responses_hold_what_was_pushed(
        starts in proptest::collection::vec((0..2000u64, 1..5u32), 0..600)
    ) {
        let mut buffer = [0; 4096];
        let mut response = BalloonResponse::new(&mut buffer).unwrap();
        let mut pages = Vec::new();
        for (start, count) in starts {
            let range = PageRange::new(start, count).unwrap();
            let full = response.is_full();
            if response.push(range) {
                pages.extend(range.start()..range.end());
            } else {
                prop_assert!(full);
            }
        }
        prop_assert_eq!(response.pages(), pages.len() as u64);
        let bytes = response.finish(1, false);
        prop_assert_eq!(usize::from(u16::from_le_bytes([bytes[2], bytes[3]])), bytes.len());
        let count = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) >> 1;
        prop_assert_eq!(bytes.len(), 16 + 8 * count as usize);
        prop_assert_eq!(balloon_ranges(bytes).count(), count as usize);
        let sent: Vec<_> = balloon_ranges(bytes)
            .flat_map(|range| range.start()..range.end())
            .collect();
        prop_assert_eq!(sent, pages);
    }
}

#[test]
fn every_length_and_kind_with_all_bits_set_or_clear() {
    for fill in [0u8, 0xff] {
        for length in 0..=256usize {
            for kind in 0..20u16 {
                let mut bytes = vec![fill; length];
                if length >= 4 {
                    bytes[..2].copy_from_slice(&kind.to_le_bytes());
                    bytes[2..4].copy_from_slice(&(length as u16).to_le_bytes());
                }
                let parsed = HostMessage::parse(&bytes);
                assert!(length >= 8 || parsed.is_err());
            }
        }
    }
}
