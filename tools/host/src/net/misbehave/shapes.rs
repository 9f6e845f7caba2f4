// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the packets of a storm look like. Everything follows from the packet's number, so that a
//! storm can be had again.

use netvsc_wire::nvsp::SEND_TABLE_ENTRIES;
use netvsc_wire::ppi::{PacketId, ReceiveInfo, Vlan, MAX_HEAD_BYTES};
use netvsc_wire::rndis::HEADER_BYTES;
use vmbus_wire::packet::XferRange;

/// Bytes of the frame in a message.
const FRAME: usize = 60;

/// Numbers of RNDIS messages that a host may send, and some that nobody does.
const KINDS: [u32; 10] = [
    0x8000_0002,
    0x8000_0004,
    0x8000_0005,
    0x8000_0006,
    0x8000_0008,
    0x8000_0009,
    7,
    2,
    0,
    0x1234_5678,
];

/// Values that a length or an offset had better not have.
const VALUES: [u32; 9] = [0, 1, 7, 11, 43, 0x1000, 0x7fff_ffff, 0x8000_0000, u32::MAX];

/// The same bytes for the same number.
pub(super) fn noise(number: u64, bytes: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// An NVSP message of any kind, which may be none.
pub(super) fn nvsp(number: u64) -> Vec<u8> {
    let kind = (number % 141) as u32;
    let body = 40 + 4 * SEND_TABLE_ENTRIES;
    let mut message = match number / 141 % 3 {
        0 => vec![0xff; body],
        1 => vec![0; body],
        _ => noise(number, body),
    };
    if let Some(first) = message.first_chunk_mut() {
        *first = kind.to_le_bytes();
    }
    message
}

/// Ranges that aren't in a buffer of `size` bytes, or are hardly any.
pub(super) fn ranges(number: u64, size: u32) -> Vec<XferRange> {
    let range = |offset: u32, bytes: u32| XferRange {
        byte_count: bytes.into(),
        byte_offset: offset.into(),
    };
    match number % 9 {
        0 => vec![range(size, 1)],
        1 => vec![range(size - 1, 2)],
        2 => vec![range(u32::MAX, u32::MAX)],
        3 => vec![range(0, u32::MAX)],
        4 => vec![range(0, 0)],
        5 => vec![range(0, 3)],
        6 => vec![range(size, 0); 375],
        7 => Vec::new(),
        _ => vec![range(4096, size), range(1, 8)],
    }
}

/// An RNDIS message that is wrong in one place, or of a kind that nobody waits for.
pub(super) fn message(number: u64) -> Vec<u8> {
    let which = number as usize;
    let value = VALUES[which % VALUES.len()];
    let field = which / VALUES.len();
    // Ten words of the head, three of each of the two pieces of per-packet info.
    if field % 27 < 16 {
        let info = ReceiveInfo {
            vlan: Some(Vlan::from_tci(0)),
            hash: Some(1),
            ..ReceiveInfo::default()
        };
        let mut message = data(&info, number);
        let word = match field % 27 {
            word @ 0..=9 => word + 1,
            other => 11 + (other - 10) / 3 * 4 + (other - 10) % 3,
        };
        if let Some(place) = message.get_mut(word * 4..word * 4 + 4) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        return message;
    }
    let kind = KINDS[field % KINDS.len()];
    let mut message = noise(number, 96);
    let words = [kind, 96, value];
    for (place, word) in message.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    message
}

/// A message with a frame.
fn data(info: &ReceiveInfo, number: u64) -> Vec<u8> {
    let mut message = vec![0; MAX_HEAD_BYTES];
    // The head fits: that is what the constant says.
    let head = info.encode(FRAME as u32, 0, &mut message).unwrap_or(0);
    message.truncate(head);
    message.extend(noise(number, FRAME));
    message
}

/// Parts of a segment that isn't one: the messages, and how often each comes in the packet.
pub(super) fn segment(number: u64) -> (Vec<Vec<u8>>, usize) {
    let part = |first: bool, last: bool| {
        let info = ReceiveInfo {
            packet_id: Some(PacketId {
                version: PacketId::V1,
                sub_allocated: true,
                first,
                last,
                id: number as u16,
            }),
            ..ReceiveInfo::default()
        };
        data(&info, number)
    };
    match number % 6 {
        // Never ends.
        0 => (vec![part(true, false)], 1),
        // Never begins.
        1 => (vec![part(false, true)], 1),
        2 => (vec![part(false, false)], 20),
        // Begins twice.
        3 => (vec![part(true, false), part(true, false)], 1),
        // Ends, and goes on.
        4 => (
            vec![part(true, false), part(false, true), part(false, true)],
            1,
        ),
        // As long as a packet can be.
        _ => (vec![part(true, false), part(false, false)], 180),
    }
}

const _: () = assert!(HEADER_BYTES as usize <= FRAME);

#[cfg(test)]
mod tests {
    use super::*;
    use netvsc_wire::rndis::PacketHead;

    #[test]
    fn a_storm_can_be_had_again() {
        assert_eq!(noise(7, 40), noise(7, 40));
        assert_ne!(noise(7, 40), noise(8, 40));
        assert_eq!(nvsp(134)[..4], 134u32.to_le_bytes());
    }

    #[test]
    fn most_messages_are_wrong() {
        let wrong = (0..243).filter(|number| {
            let message = message(*number);
            PacketHead::parse(&message, message.len())
                .and_then(|head| {
                    ReceiveInfo::collect(head.ppis.clone()).map_err(|_| {
                        // Any error will do: it is counted only.
                        netvsc_wire::rndis::RndisError::NoRoom { need: 0, have: 0 }
                    })
                })
                .is_err()
        });
        assert!(wrong.count() > 120);
    }

    #[test]
    fn hardly_any_range_is_inside() {
        let inside = (0..9)
            .flat_map(|number| ranges(number, 65_536))
            .filter(|range| range.byte_count.get() > 8 && range.within(65_536).is_some());
        assert_eq!(inside.count(), 0);
    }

    #[test]
    fn parts_say_that_they_are() {
        for number in 0..6 {
            for message in segment(number).0 {
                let head = PacketHead::parse(&message, message.len()).unwrap();
                let info = ReceiveInfo::collect(head.ppis.clone()).unwrap();
                assert!(info.packet_id.unwrap().sub_allocated);
            }
        }
    }
}
