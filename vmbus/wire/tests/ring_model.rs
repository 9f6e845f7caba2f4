// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Random sequences of reads and writes: beside an honest peer the ring is a queue, beside one
//! that scribbles everywhere it still answers with a packet or an error, and ends.

mod memory;

use memory::HeapRing;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::VecDeque;
use vmbus_wire::packet::{OutHead, OutPacket, PacketBody, PageBuffer, RawPacket, XferRange};
use vmbus_wire::ring::{InRing, OutRing, RingError};
use zerocopy::little_endian::{U32, U64};

const PAGE: u32 = 4096;

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>, usize, bool),
    Read,
    Skip,
    Commit,
    Request(u32),
    Mask,
    Unmask,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (vec(any::<u8>(), 0..700), 1usize..5, any::<bool>())
            .prop_map(|(bytes, pieces, wants)| Step::Write(bytes, pieces, wants)),
        4 => Just(Step::Read),
        1 => Just(Step::Skip),
        2 => Just(Step::Commit),
        1 => (0u32..5000).prop_map(Step::Request),
        1 => Just(Step::Mask),
        1 => Just(Step::Unmask),
    ]
}

/// What the other side writes over.
#[derive(Clone, Debug)]
enum Scribble {
    ReadIndex(u32),
    WriteIndex(u32),
    Pending(u32),
    Features(u32),
    Data(u32, Vec<u8>),
    /// Publishes whatever lies there.
    Publish(u32),
}

fn index() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => (0u32..512).prop_map(|n| n * 8),
        1 => 0u32..5000,
        1 => any::<u32>()
    ]
}

fn scribbles() -> impl Strategy<Value = Scribble> {
    prop_oneof![
        index().prop_map(Scribble::ReadIndex),
        index().prop_map(Scribble::WriteIndex),
        any::<u32>().prop_map(Scribble::Pending),
        any::<u32>().prop_map(Scribble::Features),
        ((0..PAGE), vec(any::<u8>(), 0..64)).prop_map(|(at, bytes)| Scribble::Data(at, bytes)),
        (0u32..64).prop_map(|n| Scribble::Publish(n * 8)),
    ]
}

fn scribble(memory: &HeapRing, what: &Scribble) {
    match what {
        Scribble::ReadIndex(index) => memory.read_index.set(*index),
        Scribble::WriteIndex(index) => memory.write_index.set(*index),
        Scribble::Pending(bytes) => memory.pending_send_size.set(*bytes),
        Scribble::Features(bits) => memory.feature_bits.set(*bits),
        Scribble::Data(at, bytes) => {
            let mut data = memory.data.borrow_mut();
            for (i, byte) in bytes.iter().enumerate() {
                let at = (*at as usize + i) % data.len();
                data[at] = *byte;
            }
        }
        Scribble::Publish(bytes) => {
            let next = memory.write_index.get().wrapping_add(*bytes) % PAGE;
            memory.write_index.set(next);
        }
    }
}

fn pieces(bytes: &[u8], count: usize) -> Vec<&[u8]> {
    let size = bytes.len().div_ceil(count).max(1);
    bytes.chunks(size).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn an_honest_ring_is_a_queue(steps in vec(steps(), 0..120), pages in 1u32..4) {
        let memory = HeapRing::new(pages * PAGE);
        let mut out = OutRing::new(&memory).unwrap();
        let mut incoming = InRing::attach(&memory).unwrap();
        let mut queue: VecDeque<(u64, bool, Vec<u8>)> = VecDeque::new();
        // Read but not committed: their space isn't free yet.
        let mut held = 0u32;
        let mut used = 0u32;
        let mut waiting = None;
        let mut id = 0u64;
        let mut buffer = vec![0; 1024];
        for step in steps {
            match step {
                Step::Write(bytes, count, wants) => {
                    id += 1;
                    let parts = pieces(&bytes, count);
                    let mut packet = OutPacket::in_band(id, &parts);
                    packet.completion_requested = wants;
                    let needed = packet.ring_bytes().unwrap();
                    prop_assert_eq!(needed as usize, 24 + bytes.len().next_multiple_of(8));
                    let empty = used == 0;
                    match out.write(&packet) {
                        Ok(signal) => {
                            prop_assert!(used + needed < pages * PAGE);
                            prop_assert_eq!(signal, empty && memory.interrupt_mask.get() == 0);
                            used += needed;
                            queue.push_back((id, wants, bytes));
                        }
                        Err(RingError::Full { needed: n, free }) => {
                            prop_assert_eq!((n, free), (needed, pages * PAGE - used));
                            prop_assert!(needed >= free);
                        }
                        Err(error) => prop_assert!(false, "{}", error),
                    }
                }
                Step::Read => match incoming.read(&mut buffer).unwrap() {
                    Some(raw) => {
                        let (want_id, wants, bytes) = queue.pop_front().unwrap();
                        let packet = raw.parse().unwrap();
                        prop_assert!(matches!(packet.body, PacketBody::InBand));
                        prop_assert_eq!(packet.transaction_id, want_id);
                        prop_assert_eq!(packet.completion_requested, wants);
                        let (payload, padding) = packet.payload.split_at(bytes.len());
                        prop_assert_eq!(payload, &bytes[..]);
                        prop_assert!(padding.len() < 8 && padding.iter().all(|b| *b == 0));
                        held += 24 + packet.payload.len() as u32;
                    }
                    None => prop_assert!(queue.is_empty()),
                },
                Step::Skip => {
                    let skipped = incoming.skip().unwrap();
                    let dropped = queue.pop_front();
                    prop_assert_eq!(skipped, dropped.is_some());
                    if let Some((_, _, bytes)) = dropped {
                        held += 24 + bytes.len().next_multiple_of(8) as u32;
                    }
                }
                Step::Commit => {
                    let before = pages * PAGE - used;
                    used -= held;
                    let after = pages * PAGE - used;
                    let signal = incoming.commit().unwrap();
                    let want = held != 0 && waiting.is_some_and(|n| before <= n && after > n);
                    prop_assert_eq!(signal, want);
                    held = 0;
                }
                Step::Request(bytes) => match out.request_space(bytes) {
                    Ok(true) => {
                        prop_assert!(pages * PAGE - used > bytes);
                        waiting = None;
                    }
                    Ok(false) => {
                        prop_assert!(pages * PAGE - used <= bytes);
                        waiting = (bytes != 0).then_some(bytes);
                    }
                    Err(error) => {
                        prop_assert_eq!(error, RingError::TooBig { needed: bytes.into() });
                    }
                },
                Step::Mask => incoming.mask_interrupts(),
                Step::Unmask => {
                    prop_assert_eq!(incoming.unmask_interrupts().unwrap(), !queue.is_empty());
                }
            }
        }
    }

    #[test]
    fn a_scribbling_peer_gets_errors_and_nothing_else(
        steps in vec((vec(scribbles(), 0..4), steps()), 0..80),
        noise in vec(any::<u8>(), 64),
    ) {
        let outgoing = HeapRing::new(PAGE);
        let coming = HeapRing::new(PAGE);
        for (i, byte) in coming.data.borrow_mut().iter_mut().enumerate() {
            *byte = noise[i % noise.len()] & if i % 8 < 6 { 7 } else { 0xff };
        }
        let mut out = OutRing::new(&outgoing).unwrap();
        let mut incoming = InRing::new(&coming).unwrap();
        let mut buffer = vec![0; 600];
        for (scribbled, step) in steps {
            for what in &scribbled {
                scribble(&outgoing, what);
                scribble(&coming, what);
            }
            let cursor = out.write_index();
            let position = incoming.read_index();
            match step {
                Step::Write(bytes, count, _) => {
                    let result = out.write(&OutPacket::in_band(1, &pieces(&bytes, count)));
                    if result.is_err() {
                        prop_assert_eq!(out.write_index(), cursor);
                    } else {
                        prop_assert!(out.write_index() != cursor);
                    }
                }
                Step::Read | Step::Skip => {
                    // However much is announced, one pass over the ring is enough.
                    let mut turns = 0;
                    loop {
                        match incoming.read(&mut buffer) {
                            Ok(Some(raw)) => {
                                if let Ok(packet) = raw.parse() {
                                    let _ = walk(&packet.body);
                                }
                            }
                            Ok(None) => break,
                            Err(RingError::BufferTooSmall { .. }) => {
                                prop_assert!(incoming.skip().unwrap());
                            }
                            Err(error) => {
                                prop_assert!(error.is_corrupt());
                                break;
                            }
                        }
                        turns += 1;
                        prop_assert!(turns <= PAGE / 24);
                    }
                }
                Step::Commit => {
                    let _ = incoming.commit();
                    prop_assert_eq!(incoming.read_index(), position);
                }
                Step::Request(bytes) => {
                    let _ = out.request_space(bytes);
                }
                Step::Mask => incoming.mask_interrupts(),
                Step::Unmask => {
                    let _ = incoming.unmask_interrupts();
                }
            }
            prop_assert!(out.write_index() < PAGE && out.write_index() % 8 == 0);
            prop_assert!(incoming.read_index() < PAGE && incoming.read_index() % 8 == 0);
        }
    }

    #[test]
    fn heads_of_any_content_are_answered(
        kind in prop_oneof![Just(6u8), Just(7), Just(9), Just(11), any::<u8>()],
        offset8 in 0u16..40,
        count in prop_oneof![0u32..8, any::<u32>()],
        mut bytes in vec(any::<u8>(), 0..=256),
        small in any::<bool>(),
    ) {
        let length8 = (bytes.len() / 8) as u16;
        let descriptor = [kind, 0, offset8 as u8, 0, length8 as u8, (length8 >> 8) as u8];
        for (to, from) in bytes.iter_mut().zip(descriptor) {
            *to = from;
        }
        for (to, from) in bytes.iter_mut().skip(20).zip(count.to_le_bytes()) {
            *to = from;
        }
        if small {
            // Ranges of a few pages, so that some are well formed.
            for (i, byte) in bytes.iter_mut().enumerate().skip(24) {
                if i % 4 > 1 {
                    *byte = 0;
                }
            }
        }
        if let Ok(raw) = RawPacket::from_bytes(&bytes) {
            match raw.parse() {
                Ok(packet) => {
                    let ranges = walk(&packet.body);
                    match packet.body {
                        PacketBody::XferPages(_) | PacketBody::GpaDirect(_) => {
                            prop_assert_eq!(ranges, count as usize);
                        }
                        _ => prop_assert_eq!(ranges, 0),
                    }
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn range_heads_round_trip(
        ranges in vec((any::<u32>(), any::<u32>()), 0..20),
        buffers in vec((any::<u64>(), 0u32..4095), 0..20),
        set_id in any::<u16>(),
    ) {
        let memory = HeapRing::new(PAGE);
        let mut out = OutRing::new(&memory).unwrap();
        let mut incoming = InRing::attach(&memory).unwrap();
        let mut buffer = vec![0; 2048];

        let ranges: Vec<XferRange> = ranges
            .iter()
            .map(|(count, offset)| XferRange {
                byte_count: U32::new(*count),
                byte_offset: U32::new(*offset),
            })
            .collect();
        out.write(&OutPacket {
            head: OutHead::XferPages { set_id, ranges: &ranges },
            transaction_id: 1,
            completion_requested: true,
            payload: &[&[1, 2, 3]],
        }).unwrap();
        let raw = incoming.read(&mut buffer).unwrap().unwrap();
        let packet = raw.parse().unwrap();
        let PacketBody::XferPages(pages) = packet.body else { panic!() };
        prop_assert_eq!(pages.set_id, set_id);
        prop_assert_eq!(pages.ranges, &ranges[..]);
        for range in pages.ranges {
            if let Some(place) = range.within(1 << 20) {
                prop_assert!(place.start <= place.end && place.end <= 1 << 20);
                prop_assert_eq!(place.len(), range.byte_count.get() as usize);
            } else {
                let end = u64::from(range.byte_offset.get()) + u64::from(range.byte_count.get());
                prop_assert!(end > 1 << 20);
            }
        }

        let buffers: Vec<PageBuffer> = buffers
            .iter()
            .map(|(pfn, offset)| PageBuffer::new(*pfn, *offset, 4096 - offset).unwrap())
            .collect();
        out.write(&OutPacket::page_buffers(2, &buffers, &[&[1]])).unwrap();
        let raw = incoming.read(&mut buffer).unwrap().unwrap();
        let PacketBody::GpaDirect(pages) = raw.parse().unwrap().body else { panic!() };
        let seen: Vec<_> = pages.ranges().map(|r| (r.byte_offset, r.byte_count, r.pfns.to_vec())).collect();
        let want: Vec<_> = buffers
            .iter()
            .map(|b| (b.byte_offset.get(), b.byte_count.get(), vec![U64::new(b.pfn.get())]))
            .collect();
        prop_assert_eq!(seen, want);
    }
}

/// Goes through all ranges; how many there were.
fn walk(body: &PacketBody<'_>) -> usize {
    match body {
        PacketBody::XferPages(pages) => pages
            .ranges
            .iter()
            .inspect(|range| assert!(range.within(4096).is_none_or(|place| place.end <= 4096)))
            .count(),
        PacketBody::GpaDirect(pages) => pages.ranges().count(),
        PacketBody::InBand | PacketBody::Completion => 0,
    }
}
