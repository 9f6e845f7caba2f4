// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Page lists of any shape: refused with a reason, or unpacked by a host to the very same pages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmbus_wire::gpadl::{self, GpaRange, GpadlError};
use vmbus_wire::host::GuestMessage;
use vmbus_wire::{OutMessage, Relid};

fuzz_target!(|input: (u32, u32, u16, Vec<(u16, u16)>)| {
    let (offset, count, given, shapes) = input;
    let relid = Relid::new(1).expect("1 is a channel id");
    let pfns = 0..u64::from(given);
    if let Ok(messages) = gpadl::single_range(relid, 9, offset, count, pfns) {
        let words = unpack(messages);
        let want = gpadl::pages_spanned(offset, count);
        match words {
            Ok((1, words)) => {
                assert_eq!(words.len() as u64, want + 1);
                assert!(words.iter().skip(1).copied().eq(0..want));
            }
            Ok((ranges, _)) => panic!("{ranges} ranges"),
            Err(error) => assert_eq!(
                error,
                GpadlError::MissingPages {
                    words: (want - u64::from(given)) as u32
                }
            ),
        }
    }
    let pages: Vec<u64> = (0..64).collect();
    let ranges: Vec<GpaRange<'_>> = shapes
        .iter()
        .map(|(offset, count)| GpaRange {
            byte_offset: (*offset).into(),
            byte_count: (*count).into(),
            pfns: &pages[..gpadl::pages_spanned((*offset).into(), (*count).into()) as usize],
        })
        .collect();
    if let Ok(messages) = gpadl::ranges(relid, 9, &ranges) {
        let (count, words) = unpack(messages).expect("all pages were given");
        assert_eq!(usize::from(count), ranges.len());
        let total: usize = ranges.iter().map(|range| range.pfns.len() + 1).sum();
        assert_eq!(words.len(), total);
    };
});

/// What a host has after all messages: ranges announced, and all words.
fn unpack(
    messages: impl Iterator<Item = Result<OutMessage, GpadlError>>,
) -> Result<(u16, Vec<u64>), GpadlError> {
    let mut ranges = 0;
    let mut words = Vec::new();
    for (n, message) in messages.enumerate() {
        match GuestMessage::parse(message?.as_bytes()) {
            Ok(GuestMessage::GpadlHeader(header)) if n == 0 => {
                ranges = header.range_count;
                words.extend(header.words.iter());
            }
            Ok(GuestMessage::GpadlBody(body)) if n != 0 => words.extend(body.words.iter()),
            other => panic!("message {n} of a list: {other:?}"),
        }
    }
    Ok((ranges, words))
}
