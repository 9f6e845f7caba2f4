// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A guest writes to a ring whose control words the host scribbles over. What lands between the
//! cursor before and the cursor after must be the packet, whole, and nothing else may change.
#![no_main]

#[path = "../../../vmbus/wire/tests/memory/mod.rs"]
mod memory;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memory::HeapRing;
use vmbus_wire::packet::{OutPacket, PageBuffer};
use vmbus_wire::ring::{OutRing, RingError};

const BYTES: u32 = 4096;

#[derive(Arbitrary, Debug)]
enum Step {
    ReadIndex(u32),
    Consume,
    WriteIndex(u32),
    MaskBits(u32),
    Pending(u32),
    Write { parts: [u8; 3], wants: bool },
    WritePages { pages: u8, part: u8 },
    Batch { count: u8, part: u8 },
    Request(u32),
    Cancel,
}

fuzz_target!(|steps: Vec<Step>| {
    let memory = HeapRing::new(BYTES);
    let mut ring = OutRing::new(&memory).expect("a page is a ring");
    let source = [0x5a; 8 * 255];
    let piece = |n: u8| &source[..usize::from(n) * 8 - usize::from(n % 7).min(usize::from(n) * 8)];
    for step in steps {
        match step {
            Step::ReadIndex(index) => memory.read_index.set(index),
            Step::Consume => memory.read_index.set(ring.write_index()),
            Step::WriteIndex(index) => memory.write_index.set(index),
            Step::MaskBits(bits) => memory.interrupt_mask.set(bits),
            Step::Pending(bytes) => memory.pending_send_size.set(bytes),
            Step::Write { parts, wants } => {
                let parts = parts.map(piece);
                let mut packet = OutPacket::in_band(1, &parts);
                packet.completion_requested = wants;
                write(&mut ring, &memory, &packet);
            }
            Step::WritePages { pages, part } => {
                let buffers: Vec<_> = (0..pages)
                    .filter_map(|n| PageBuffer::new(n.into(), u32::from(n) * 16, 16))
                    .collect();
                let parts = [piece(part)];
                write(
                    &mut ring,
                    &memory,
                    &OutPacket::page_buffers(2, &buffers, &parts),
                );
            }
            Step::Batch { count, part } => {
                let parts = [piece(part)];
                let packet = OutPacket::in_band(3, &parts);
                let batch = std::iter::repeat_n(packet, count.into());
                if let Ok((written, _)) = ring.write_batch(batch) {
                    assert!(written <= usize::from(count));
                }
            }
            Step::Request(bytes) => drop(ring.request_space(bytes)),
            Step::Cancel => ring.cancel_request(),
        }
        assert!(ring.write_index() < BYTES && ring.write_index() % 8 == 0);
    }
});

fn write(ring: &mut OutRing<&HeapRing>, memory: &HeapRing, packet: &OutPacket<'_>) {
    let before = memory.data.borrow().clone();
    let start = ring.write_index() as usize;
    let free = ring.free();
    let result = ring.write(packet);
    let after = memory.data.borrow();
    let end = ring.write_index() as usize;
    if let Err(error) = result {
        assert_eq!(start, end);
        assert_eq!(*after, before, "a refused packet left traces");
        match error {
            RingError::Full { needed, free: f } => assert!(needed >= f && free == Ok(f)),
            RingError::CorruptIndex { .. } => assert_eq!(free, Err(error)),
            RingError::TooBig { .. } => {}
            other => panic!("{other}"),
        }
        return;
    }
    let size = (BYTES as usize + end - start) % BYTES as usize;
    assert_eq!(Ok(size as u32), packet.ring_bytes());
    assert_eq!(memory.write_index.get() as usize, end);
    let at = |n: usize| after[(start + n) % BYTES as usize];
    let length = usize::from(u16::from_le_bytes([at(4), at(5)])) * 8;
    assert_eq!(length + 8, size);
    let trailer: Vec<u8> = (0..8).map(|n| at(length + n)).collect();
    assert_eq!(trailer, ((start as u64) << 32).to_le_bytes());
    for n in size..BYTES as usize {
        assert_eq!(at(n), before[(start + n) % BYTES as usize]);
    }
}
