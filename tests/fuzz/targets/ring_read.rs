// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A guest drains a ring of which the host controls every byte and every index.
#![no_main]

#[path = "../../../vmbus/wire/tests/memory/mod.rs"]
mod memory;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memory::HeapRing;
use vmbus_wire::packet::PacketBody;
use vmbus_wire::ring::{InRing, RingError};

const BYTES: u32 = 4096;

#[derive(Arbitrary, Debug)]
enum Step {
    Publish(u32),
    ReadIndex(u32),
    Pending(u32),
    Features(u32),
    Poke(u16, u64),
    Read,
    Skip,
    Peek,
    Commit,
    Mask,
    Unmask,
}

fuzz_target!(|input: (Vec<Step>, &[u8])| {
    let (steps, content) = input;
    let memory = HeapRing::new(BYTES);
    let mut ring = InRing::new(&memory).expect("a page is a ring");
    for (to, from) in memory.data.borrow_mut().iter_mut().zip(content) {
        *to = *from;
    }
    let mut buffer = [0; 1024];
    for step in steps {
        match step {
            Step::Publish(index) => memory.write_index.set(index),
            Step::ReadIndex(index) => memory.read_index.set(index),
            Step::Pending(bytes) => memory.pending_send_size.set(bytes),
            Step::Features(bits) => memory.feature_bits.set(bits),
            Step::Poke(at, word) => {
                let at = usize::from(at) & 0xff8;
                memory.data.borrow_mut()[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            Step::Read => drain(&mut ring, &mut buffer),
            Step::Skip => drop(ring.skip()),
            Step::Peek => drop(ring.peek_bytes()),
            Step::Commit => drop(ring.commit()),
            Step::Mask => ring.mask_interrupts(),
            Step::Unmask => drop(ring.unmask_interrupts()),
        }
        assert!(ring.read_index() < BYTES && ring.read_index() % 8 == 0);
    }
});

/// Reads until there is nothing more: at most one packet for each 24 bytes of the ring.
fn drain(ring: &mut InRing<&HeapRing>, buffer: &mut [u8]) {
    for _ in 0..=BYTES / 24 {
        match ring.read(buffer) {
            Ok(Some(raw)) => match raw.parse().map(|packet| packet.body) {
                Ok(PacketBody::XferPages(pages)) => {
                    for range in pages.ranges {
                        if let Some(place) = range.within(65536) {
                            assert!(place.start <= place.end && place.end <= 65536);
                        }
                    }
                }
                Ok(PacketBody::GpaDirect(pages)) => {
                    for range in pages.ranges() {
                        assert!(range.byte_offset < 4096 && !range.pfns.is_empty());
                    }
                }
                Ok(_) => {}
                Err(error) => assert!(!error.to_string().is_empty()),
            },
            Ok(None) => return,
            Err(RingError::BufferTooSmall { .. }) => {
                assert_eq!(ring.skip(), Ok(true));
            }
            Err(error) => {
                assert!(error.is_corrupt());
                return;
            }
        }
    }
    panic!("more packets than the ring has room for");
}
