// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages byte by byte, laid out by hand from the structs of `drivers/hv/hv_balloon.c` and
//! QEMU's `dynmem-proto.h`.

use balloon_wire::guest::*;
use balloon_wire::message::*;
use balloon_wire::{PageRange, Version, MAX_MESSAGE_BYTES};

/// A header, then `words`.
fn message(kind: u16, words: &[u64]) -> Vec<u8> {
    let size = 8 + 8 * words.len() as u16;
    let mut bytes = Vec::new();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(0x0bad_cafe_u32.to_le_bytes());
    words
        .iter()
        .for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes
}

fn range(start: u64, count: u32) -> PageRange {
    PageRange::new(start, count).unwrap()
}

fn wire(start: u64, count: u64) -> u64 {
    start | count << 40
}

#[test]
fn answers_of_the_host() {
    assert_eq!(
        HostMessage::parse(&message(2, &[1])),
        Ok(HostMessage::VersionResponse { accepted: true })
    );
    assert_eq!(
        HostMessage::parse(&message(2, &[!1])),
        Ok(HostMessage::VersionResponse { accepted: false })
    );
    assert_eq!(
        HostMessage::parse(&message(4, &[0b101])),
        Ok(HostMessage::CapabilitiesResponse(CapabilitiesResponse {
            accepted: true,
            hot_remove: false,
            no_status_reports: true,
        }))
    );
}

#[test]
fn balloon_request_is_dm_balloon() {
    // The upper half is reserved.
    assert_eq!(
        HostMessage::parse(&message(6, &[0xffff_ffff_0001_0000])),
        Ok(HostMessage::BalloonRequest { pages: 65_536 })
    );
}

#[test]
fn unballoon_request_lists_ranges() {
    let bytes = message(8, &[1 | 2 << 32, wire(0x1000, 512), wire(0x1200, 1)]);
    let Ok(HostMessage::UnballoonRequest(request)) = HostMessage::parse(&bytes) else {
        panic!("not an un-balloon request");
    };
    assert!(request.more);
    assert_eq!(request.ranges.len(), 2);
    assert_eq!(
        request.ranges.collect::<Vec<_>>(),
        [Ok(range(0x1000, 512)), Ok(range(0x1200, 1))]
    );

    // Impossible ranges are found one by one; the others stand.
    let empty = wire(7, 0);
    let beyond = wire((1 << 40) - 1, 2);
    let bytes = message(8, &[3 << 32, empty, wire(5, 1), beyond]);
    let Ok(HostMessage::UnballoonRequest(request)) = HostMessage::parse(&bytes) else {
        panic!("not an un-balloon request");
    };
    assert!(!request.more);
    assert_eq!(
        request.ranges.collect::<Vec<_>>(),
        [Err(empty), Ok(range(5, 1)), Err(beyond)]
    );
}

#[test]
fn a_range_count_that_lies_is_refused() {
    for count in [3, 4, 0x1fff_ffff, 0x2000_0000, u32::MAX] {
        let mut bytes = message(8, &[u64::from(count) << 32, wire(1, 1), wire(2, 1)]);
        assert_eq!(
            HostMessage::parse(&bytes),
            Err(MessageError::TooManyRanges { count, size: 32 })
        );
        // Bytes of the packet behind the message's end don't count.
        bytes.extend([0; 64]);
        assert_eq!(
            HostMessage::parse(&bytes),
            Err(MessageError::TooManyRanges { count, size: 32 })
        );
    }
}

#[test]
fn hot_add_request_with_and_without_region() {
    let request = |words: &[u64]| match HostMessage::parse(&message(10, words)) {
        Ok(HostMessage::HotAddRequest(request)) => Ok(request),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    let plain = HotAddRequest {
        range: range(0x10_0000, 0x8000),
        region: None,
    };
    let first = wire(0x10_0000, 0x8000);
    assert_eq!(request(&[first]), Ok(plain));
    assert_eq!(request(&[first, 0]), Ok(plain));
    let region = wire(0x10_0000, 0x1_0000);
    assert_eq!(
        request(&[first, region]),
        Ok(HotAddRequest {
            region: Some(range(0x10_0000, 0x1_0000)),
            ..plain
        })
    );
    let empty = wire(0x10_0000, 0);
    assert_eq!(
        request(&[empty]),
        Err(MessageError::BadRange { wire: empty })
    );
    assert_eq!(
        request(&[first, empty]),
        Err(MessageError::BadRange { wire: empty })
    );
}

#[test]
fn info_message_tells_the_most_pages() {
    // reserved, info_size; type, data_size; data.
    let info = |size: u64, kind: u64, bytes: u64| {
        let bytes = message(12, &[size << 32, kind | bytes << 32, 0x4_0000]);
        match HostMessage::parse(&bytes) {
            Ok(HostMessage::Info(information)) => Ok(information),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    };
    assert_eq!(info(16, 0, 8), Ok(Information::MaxPages(0x4_0000)));
    assert_eq!(info(16, 9, 8), Ok(Information::Other(9)));
    let short = MessageError::TooShort {
        kind: MessageType::INFO,
        size: 32,
    };
    for (size, kind, bytes) in [(17, 0, 8), (16, 0, 9), (16, 0, 7), (7, 9, 0), (15, 0, 8)] {
        assert_eq!(info(size, kind, bytes), Err(short), "{size} {kind} {bytes}");
    }
}

#[test]
fn sizes_are_checked() {
    assert_eq!(
        HostMessage::parse(&[2, 0, 16, 0, 0, 0, 0]),
        Err(MessageError::NoHeader { got: 7 })
    );
    for size in [0u16, 7, 17, 0xffff] {
        let mut bytes = message(2, &[1]);
        bytes[2..4].copy_from_slice(&size.to_le_bytes());
        assert_eq!(
            HostMessage::parse(&bytes),
            Err(MessageError::BadSize {
                kind: MessageType::VERSION_RESPONSE,
                size,
                got: 16
            })
        );
    }
    for (kind, want) in [(2u16, 16), (4, 16), (6, 16), (8, 16), (10, 16), (12, 24)] {
        for size in 8..want {
            let mut bytes = vec![0; 32];
            bytes[..2].copy_from_slice(&kind.to_le_bytes());
            bytes[2..4].copy_from_slice(&u16::to_le_bytes(size));
            assert_eq!(
                HostMessage::parse(&bytes),
                Err(MessageError::TooShort {
                    kind: MessageType::from_wire(kind),
                    size
                })
            );
        }
    }
}

#[test]
fn what_guests_send_is_refused_from_a_host() {
    for kind in [0u16, 1, 3, 5, 7, 9, 11, 13, 14, 15, 0xffff] {
        assert_eq!(
            HostMessage::parse(&message(kind, &[0; 8])),
            Err(MessageError::UnexpectedType(MessageType::from_wire(kind)))
        );
    }
}

/// What [`message`] makes, with a transaction of the guest's.
fn sent(kind: u16, words: &[u64]) -> Vec<u8> {
    let mut bytes = message(kind, words);
    bytes[4..8].copy_from_slice(&77u32.to_le_bytes());
    bytes
}

#[test]
fn fixed_messages_of_the_guest() {
    assert_eq!(
        VersionRequest::new(77, Version::V2_0, false).as_bytes(),
        sent(1, &[0x2_0000])
    );
    assert_eq!(
        VersionRequest::new(77, Version::V0_3, true).as_bytes(),
        sent(1, &[3 | 1 << 32])
    );
    // As stock QEMU logs it for a Linux guest with memory blocks of 128 MiB: 0x1f.
    let capabilities = Capabilities::new(128 << 8);
    assert_eq!(capabilities.to_wire(), 0x1f);
    assert_eq!(
        CapabilitiesReport::new(77, capabilities).as_bytes(),
        sent(3, &[0x1f, 0, u64::MAX])
    );
    assert_eq!(
        StatusReport::new(77, 0x1234, 0x5678).as_bytes(),
        sent(5, &[0x1234, 0x5678, 0, 0, 0])
    );
    assert_eq!(UnballoonResponse::new(77).as_bytes(), sent(9, &[]));
    for (result, word) in [
        (HotAddResult::Added(0x8000), 0x8000 | 1 << 32),
        (HotAddResult::TryLater, 0),
        (HotAddResult::Never, 1 << 32),
    ] {
        assert_eq!(
            HotAddResponse::new(77, result).as_bytes(),
            sent(11, &[word])
        );
    }
}

#[test]
fn alignments_are_powers_of_two_megabytes() {
    for (pages, alignment) in [(1, 0), (256, 0), (257, 1), (512, 1), (0x8_0000, 11)] {
        assert_eq!(Capabilities::new(pages).to_wire() >> 2, alignment);
    }
    assert_eq!(Capabilities::new(u64::MAX).to_wire(), 0x3f);
}

#[test]
fn balloon_response_joins_and_fills() {
    let mut buffer = [0xff; MAX_MESSAGE_BYTES];
    let mut response = BalloonResponse::new(&mut buffer).unwrap();
    assert!(response.is_empty());
    assert!(response.push(range(0x200, 512)));
    assert!(response.push(range(0x400, 512)));
    assert!(response.push(range(0x100, 1)));
    assert_eq!(response.pages(), 1025);
    assert_eq!(
        response.finish(77, true),
        sent(7, &[(1 | 2 << 1) << 32, wire(0x200, 1024), wire(0x100, 1)])
    );

    let mut response = BalloonResponse::new(&mut buffer).unwrap();
    for at in 0..MAX_BALLOON_RANGES {
        assert!(!response.is_full());
        assert!(response.push(range(at as u64 * 2, 1)));
    }
    assert!(response.is_full());
    assert!(!response.push(range(0x10_0000, 1)));
    // What continues the last range finds room all the same.
    assert!(response.push(range(MAX_BALLOON_RANGES as u64 * 2 - 1, 1)));
    let bytes = response.finish(1, false);
    assert_eq!(bytes.len(), MAX_MESSAGE_BYTES);
    assert_eq!(bytes[12..16], (510u32 << 1).to_le_bytes());

    let response = BalloonResponse::new(&mut buffer).unwrap();
    assert_eq!(response.finish(77, false), sent(7, &[0]));
    assert!(BalloonResponse::new(&mut buffer[..23]).is_none());
    // Longer buffers don't make longer messages.
    let mut large = vec![0; 2 * MAX_MESSAGE_BYTES];
    let mut response = BalloonResponse::new(&mut large).unwrap();
    let taken = (0..1000)
        .filter(|at| response.push(range(at * 2, 1)))
        .count();
    assert_eq!(taken, MAX_BALLOON_RANGES);
}

#[test]
fn errors_read_well() {
    let text = |bytes: &[u8]| HostMessage::parse(bytes).unwrap_err().to_string();
    assert_eq!(text(&[0; 3]), "3 bytes are no message");
    assert_eq!(text(&message(99, &[])), "unexpected message of type 99");
    assert_eq!(
        text(&message(6, &[])),
        "8 bytes are too short: balloon request"
    );
    assert_eq!(
        text(&message(8, &[9 << 32])),
        "9 ranges in a message of 16 bytes"
    );
    assert_eq!(text(&message(10, &[5])), "impossible range of pages 0x5");
}
