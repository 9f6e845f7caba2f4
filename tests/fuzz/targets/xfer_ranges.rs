// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Heads of packets: ranges of shared buffers and of guest pages, counts and sizes at will.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmbus_wire::packet::{PacketBody, RawPacket};

fuzz_target!(|input: (u32, &[u8])| {
    let (buffer_bytes, bytes) = input;
    let Ok(raw) = RawPacket::from_bytes(bytes) else {
        return;
    };
    assert!(16 + raw.head.len() + raw.payload.len() <= bytes.len());
    match raw.parse() {
        Ok(packet) => match packet.body {
            PacketBody::XferPages(pages) => {
                assert!(pages.ranges.len() * 8 + 8 <= raw.head.len());
                for range in pages.ranges {
                    if let Some(place) = range.within(buffer_bytes as usize) {
                        assert!(place.end <= buffer_bytes as usize);
                        assert_eq!(place.len(), range.byte_count.get() as usize);
                    }
                }
            }
            PacketBody::GpaDirect(pages) => {
                let mut head = 8;
                for range in pages.ranges() {
                    head += 8 + range.pfns.len() * 8;
                    let reach = u64::from(range.byte_offset) + u64::from(range.byte_count);
                    assert!(reach <= range.pfns.len() as u64 * 4096);
                }
                assert!(head <= raw.head.len());
            }
            PacketBody::InBand | PacketBody::Completion => {}
        },
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
