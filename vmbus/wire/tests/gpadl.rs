// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Page lists: what a guest packs is what a host unpacks, with the counts that the structs allow.

use proptest::collection::vec;
use proptest::prelude::*;
use vmbus_wire::gpadl::{self, GpaRange, GpadlError};
use vmbus_wire::host::GuestMessage;
use vmbus_wire::Relid;

fn relid() -> Relid {
    Relid::new(17).unwrap()
}

/// What a host has of a list after all its messages.
struct Received {
    range_bytes: usize,
    range_count: u16,
    words: Vec<u64>,
    messages: usize,
}

fn receive(messages: impl Iterator<Item = Result<vmbus_wire::OutMessage, GpadlError>>) -> Received {
    let mut received = Received {
        range_bytes: 0,
        range_count: 0,
        words: Vec::new(),
        messages: 0,
    };
    for message in messages {
        let message = message.unwrap();
        match GuestMessage::parse(message.as_bytes()).unwrap() {
            GuestMessage::GpadlHeader(header) => {
                assert_eq!(received.messages, 0);
                assert_eq!((header.relid, header.gpadl), (relid(), 0xe1e10));
                received.range_bytes = header.range_bytes.into();
                received.range_count = header.range_count;
                received.words.extend(header.words.iter());
            }
            GuestMessage::GpadlBody(body) => {
                assert_ne!(received.messages, 0);
                assert_eq!(body.gpadl, 0xe1e10);
                received.words.extend(body.words.iter());
            }
            other => panic!("{other:?}"),
        }
        received.messages += 1;
    }
    received
}

#[test]
fn capacities_follow_from_the_structs() {
    // 240 - sizeof(gpadl_header) 20 - sizeof(gpa_range) 8 = 212 = 26.5 pages;
    // 240 - sizeof(gpadl_body) 16 = 224 = 28 pages.
    assert_eq!(gpadl::HEADER_PFNS, 26);
    assert_eq!(gpadl::BODY_WORDS, 28);
    assert_eq!(gpadl::MAX_PFNS, 8190);
    for (pages, messages) in [(1, 1), (26, 1), (27, 2), (54, 2), (55, 3), (8190, 293)] {
        assert_eq!(gpadl::messages_needed(pages), messages, "{pages}");
    }
    assert_eq!(gpadl::pages_spanned(0, 4096), 1);
    assert_eq!(gpadl::pages_spanned(1, 4096), 2);
    assert_eq!(gpadl::pages_spanned(4095, 1), 1);
    assert_eq!(gpadl::pages_spanned(4095, u32::MAX), 1 << 20 | 1);
}

#[test]
fn a_header_has_the_bytes_of_vmbus_channel_gpadl_header() {
    let mut messages = gpadl::single_range(relid(), 0xe1e10, 0, 8192, [0x11, 0x22]).unwrap();
    let header = messages.next().unwrap().unwrap();
    // header, child_relid, gpadl, range_buflen 24 | rangecount 1, byte_count, byte_offset, pfns.
    let mut want = Vec::new();
    for word in [8u32, 0, 17, 0xe1e10, 0x0001_0018, 8192, 0, 0x11, 0, 0x22, 0] {
        want.extend(word.to_le_bytes());
    }
    assert_eq!(header.as_bytes(), want);
    assert!(messages.next().is_none());
}

#[test]
fn a_body_has_the_bytes_of_vmbus_channel_gpadl_body() {
    let mut messages = gpadl::single_range(relid(), 0xe1e10, 0, 27 * 4096, 100u64..).unwrap();
    assert_eq!(
        messages.next().unwrap().unwrap().as_bytes().len(),
        20 + 27 * 8
    );
    let body = messages.next().unwrap().unwrap();
    let mut want = Vec::new();
    for word in [9u32, 0, 0, 0xe1e10, 126, 0] {
        want.extend(word.to_le_bytes());
    }
    assert_eq!(body.as_bytes(), want);
    assert!(messages.next().is_none());
}

#[test]
fn lists_that_cannot_be_sent_are_refused() {
    let none = std::iter::empty;
    let refused = |offset, count| gpadl::single_range(relid(), 1, offset, count, none()).err();
    assert_eq!(refused(0, 0), Some(GpadlError::Empty));
    assert_eq!(
        refused(4096, 1),
        Some(GpadlError::BadOffset { byte_offset: 4096 })
    );
    assert_eq!(
        refused(0, 8191 * 4096),
        Some(GpadlError::TooLong { words: 8192 })
    );
    assert_eq!(refused(0, 8190 * 4096), None);
    assert_eq!(
        refused(4095, u32::MAX),
        Some(GpadlError::TooLong {
            words: (1 << 20) + 2
        })
    );
    assert_eq!(
        gpadl::ranges(relid(), 1, &[]).err(),
        Some(GpadlError::Empty)
    );
    let wrong = [GpaRange {
        byte_offset: 1,
        byte_count: 4096,
        pfns: &[1],
    }];
    assert_eq!(
        gpadl::ranges(relid(), 1, &wrong).err(),
        Some(GpadlError::WrongPageCount { want: 2, got: 1 })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn one_range_arrives(pages in 1u32..400, offset in 0u32..4096, start in any::<u32>()) {
        let count = pages * 4096 - offset;
        let pfns: Vec<u64> = (0..pages).map(|i| u64::from(start) << 20 | u64::from(i)).collect();
        let got = receive(
            gpadl::single_range(relid(), 0xe1e10, offset, count, pfns.iter().copied()).unwrap(),
        );
        prop_assert_eq!(got.messages, gpadl::messages_needed(pages as usize));
        prop_assert_eq!(got.range_count, 1);
        prop_assert_eq!(got.range_bytes, got.words.len() * 8);
        prop_assert_eq!(got.words[0], u64::from(offset) << 32 | u64::from(count));
        prop_assert_eq!(&got.words[1..], &pfns[..]);
    }

    #[test]
    fn several_ranges_arrive(sizes in vec((1u32..60, 0u32..4096), 1..12)) {
        let pfns: Vec<u64> = (0..60).collect();
        let ranges: Vec<GpaRange<'_>> = sizes
            .iter()
            .map(|(pages, offset)| GpaRange {
                byte_offset: *offset,
                byte_count: pages * 4096 - offset,
                pfns: &pfns[..*pages as usize],
            })
            .collect();
        let got = receive(gpadl::ranges(relid(), 0xe1e10, &ranges).unwrap());
        prop_assert_eq!(usize::from(got.range_count), ranges.len());
        prop_assert_eq!(got.range_bytes, got.words.len() * 8);
        let mut rest = &got.words[..];
        for range in ranges {
            let (head, tail) = rest.split_first().unwrap();
            prop_assert_eq!(*head, u64::from(range.byte_offset) << 32 | u64::from(range.byte_count));
            let (pages, tail) = tail.split_at(range.pfns.len());
            prop_assert_eq!(pages, range.pfns);
            rest = tail;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn missing_pages_end_the_list(pages in 1u32..100, given in 0u32..100) {
        prop_assume!(given < pages);
        let messages: Vec<_> =
            gpadl::single_range(relid(), 1, 0, pages * 4096, 0..u64::from(given)).unwrap().collect();
        let (last, before) = messages.split_last().unwrap();
        prop_assert!(before.iter().all(|message| message.is_ok()));
        let missing = GpadlError::MissingPages { words: pages - given };
        prop_assert_eq!(last.as_ref().err(), Some(&missing));
    }
}
