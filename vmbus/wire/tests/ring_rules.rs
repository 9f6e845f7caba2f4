// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ring rules one by one, against a peer that a test plays by hand.

mod memory;

use memory::HeapRing;
use vmbus_wire::packet::{OutPacket, PacketBody, PageBuffer, PageRuns, RawPacket};
use vmbus_wire::ring::{InRing, OutRing, RingError, FEATURE_PENDING_SEND_SIZE};
use zerocopy::little_endian::U64;

const PAGE: u32 = 4096;

fn write(ring: &mut OutRing<&HeapRing>, id: u64, payload: &[u8]) -> Result<bool, RingError> {
    ring.write(&OutPacket::in_band(id, &[payload]))
}

#[test]
fn an_in_band_packet_has_the_bytes_of_vmpacket_descriptor() {
    let memory = HeapRing::new(PAGE);
    let mut ring = OutRing::new(&memory).unwrap();
    let packet = OutPacket::in_band(0x1122_3344_5566_7788, &[&[1, 2, 3], &[4, 5]]);
    assert_eq!(packet.ring_bytes(), Ok(32));
    assert_eq!(ring.write(&packet.requesting_completion()), Ok(true));
    // type 6, offset8 2, len8 3, flags 1, trans_id; payload and three bytes of padding; trailer.
    let want = [
        6, 0, 2, 0, 3, 0, 1, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 1, 2, 3, 4, 5, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(memory.data.borrow()[..32], want);
    assert_eq!(memory.write_index.get(), 32);
    // The second packet's trailer holds where it started, in the upper half.
    ring.write(&OutPacket::completion(7, &[])).unwrap();
    let want = [
        11, 0, 2, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0,
    ];
    assert_eq!(memory.data.borrow()[32..56], want);
}

#[test]
fn what_is_staged_stays_unseen_until_it_is_published() {
    let memory = HeapRing::new(PAGE);
    let mut ring = OutRing::new(&memory).unwrap();
    assert_eq!(ring.stage(&OutPacket::in_band(1, &[&[1; 8]])), Ok(32));
    assert_eq!(memory.write_index.get(), 0);
    assert_eq!(ring.stage(&OutPacket::in_band(2, &[])), Ok(24));
    assert_eq!(memory.write_index.get(), 0);
    assert!(ring.publish(), "the reader had found the ring empty");
    assert_eq!(memory.write_index.get(), 56);
    assert_eq!(ring.stage(&OutPacket::in_band(3, &[])), Ok(24));
    assert!(!ring.publish(), "the reader has something to read");
    // A packet that finds no room changes nothing.
    let big = [0; PAGE as usize - 200];
    let before = ring.write_index();
    assert!(ring
        .stage(&OutPacket::in_band(4, &[&big, &[0; 120]]))
        .is_err());
    assert_eq!(ring.write_index(), before);
}

/// Pages in pieces, of which there may be more or fewer than promised.
#[derive(Debug)]
struct Pieces {
    promised: usize,
    pieces: Vec<Vec<U64>>,
}

impl PageRuns for Pieces {
    fn pages(&self) -> usize {
        self.promised
    }

    fn for_each(&self, emit: &mut dyn FnMut(&[U64])) {
        for piece in &self.pieces {
            emit(piece);
        }
    }
}

#[test]
fn pages_in_pieces_make_the_same_packet_as_a_list() {
    let pfns = [0x1_0000_0001, 7, 9, 0x55].map(U64::new);
    let (listed, pieces) = (HeapRing::new(PAGE), HeapRing::new(PAGE));
    let mut ring = OutRing::new(&listed).unwrap();
    let packet = OutPacket::page_list(6, 4095, 8194, &pfns, &[&[0xdd; 12]]);
    ring.write(&packet).unwrap();
    let runs = Pieces {
        promised: 4,
        pieces: vec![pfns[..1].to_vec(), vec![], pfns[1..].to_vec()],
    };
    let mut ring = OutRing::new(&pieces).unwrap();
    let same = OutPacket::page_runs(6, 4095, 8194, &runs, &[&[0xdd; 12]]);
    assert_eq!(same.ring_bytes(), packet.ring_bytes());
    ring.write(&same).unwrap();
    assert_eq!(*pieces.data.borrow(), *listed.data.borrow());
}

#[test]
fn pages_in_pieces_keep_the_promised_number() {
    for given in [1usize, 5] {
        let memory = HeapRing::new(PAGE);
        let mut ring = OutRing::new(&memory).unwrap();
        let runs = Pieces {
            promised: 3,
            pieces: vec![vec![U64::new(0x11); given]],
        };
        ring.write(&OutPacket::page_runs(1, 0, 12288, &runs, &[&[0xdd; 8]]))
            .unwrap();
        let data = memory.data.borrow();
        // Descriptor, head, range; three pages, whatever there were; payload.
        for page in 0..3 {
            let want = if page < given { 0x11 } else { 0xff };
            assert_eq!(data[32 + 8 * page], want, "{given} given, page {page}");
        }
        assert_eq!(data[56..64], [0xdd; 8]);
    }
}

#[test]
fn guest_page_packets_have_the_bytes_of_vmdata_gpa_direct() {
    let memory = HeapRing::new(PAGE);
    let mut ring = OutRing::new(&memory).unwrap();
    let buffers = [
        PageBuffer::new(0x77, 8, 100).unwrap(),
        PageBuffer::new(0x99, 0, 4096).unwrap(),
    ];
    ring.write(&OutPacket::page_buffers(5, &buffers, &[&[0xee; 8]]))
        .unwrap();
    // offset8 7: descriptor, reserved + rangecount, two ranges of {len, offset, pfn}.
    let mut want = vec![9, 0, 7, 0, 8, 0, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0];
    for word in [0u32, 2, 100, 8, 0x77, 0, 4096, 0, 0x99, 0] {
        want.extend(word.to_le_bytes());
    }
    want.extend([0xee; 8]);
    assert_eq!(memory.data.borrow()[..64], want);

    let pfns = [U64::new(0x123), U64::new(0x456)];
    ring.write(&OutPacket::page_list(6, 4095, 2, &pfns, &[&[0xdd; 8]]))
        .unwrap();
    let start = 72;
    let mut want = vec![9, 0, 6, 0, 7, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0];
    for word in [0u32, 1, 2, 4095, 0x123, 0, 0x456, 0] {
        want.extend(word.to_le_bytes());
    }
    want.extend([0xdd; 8]);
    assert_eq!(memory.data.borrow()[start..start + 56], want);

    let mut host = InRing::attach(&memory).unwrap();
    let mut buffer = [0; 256];
    let raw = host.read(&mut buffer).unwrap().unwrap();
    let packet = raw.parse().unwrap();
    let PacketBody::GpaDirect(pages) = packet.body else {
        panic!("{:?}", packet.body);
    };
    let seen: Vec<_> = pages
        .ranges()
        .map(|r| (r.byte_offset, r.byte_count, r.pfns[0].get()))
        .collect();
    assert_eq!(seen, [(8, 100, 0x77), (0, 4096, 0x99)]);
    let raw = host.read(&mut buffer).unwrap().unwrap();
    let PacketBody::GpaDirect(pages) = raw.parse().unwrap().body else {
        panic!("not guest pages");
    };
    let range = pages.ranges().next().unwrap();
    assert_eq!((range.byte_offset, range.byte_count), (4095, 2));
    assert_eq!(range.pfns, pfns);
    assert_eq!(PageBuffer::new(1, 4095, 2), None);
    assert_eq!(PageBuffer::new(1, 0, 0), None);
    assert_eq!(PageBuffer::new(1, u32::MAX, u32::MAX), None);
}

#[test]
fn signals_only_when_the_ring_was_empty_and_the_reader_unmasked() {
    let memory = HeapRing::new(PAGE);
    let mut ring = OutRing::new(&memory).unwrap();
    assert_eq!(write(&mut ring, 1, &[0; 8]), Ok(true));
    assert_eq!(write(&mut ring, 2, &[0; 8]), Ok(false));
    memory.read_index.set(ring.write_index());
    memory.interrupt_mask.set(1);
    assert_eq!(write(&mut ring, 3, &[0; 8]), Ok(false));
    memory.read_index.set(ring.write_index());
    memory.interrupt_mask.set(0);
    let batch = (4..7).map(|id| OutPacket::in_band(id, &[&[9; 8]]));
    assert_eq!(ring.write_batch(batch), Ok((3, true)));
    assert_eq!(ring.write_batch(core::iter::empty()), Ok((0, false)));
    // A full barrier stands between publishing and the look at the reader.
    assert_eq!(memory.barriers.get(), 4);
}

#[test]
fn a_batch_stops_where_the_ring_is_full_and_publishes_the_rest() {
    let memory = HeapRing::new(PAGE);
    let mut ring = OutRing::new(&memory).unwrap();
    let payload = [0; 1000];
    let batch = |n| core::iter::repeat_n(OutPacket::in_band(1, &[]), n);
    let pieces: [&[u8]; 1] = [&payload];
    let big = OutPacket::in_band(1, &pieces);
    assert_eq!(
        ring.write_batch(core::iter::repeat_n(big, 9)),
        Ok((3, true))
    );
    assert_eq!(memory.write_index.get(), 3 * 1024);
    // 1024 bytes are free, so 42 of the small ones fit.
    assert_eq!(ring.write_batch(batch(100)), Ok((42, false)));
    assert!(matches!(
        ring.write_batch(batch(1)),
        Err(RingError::Full { .. })
    ));
}

#[test]
fn a_full_ring_refuses_and_keeps_every_byte() {
    let memory = HeapRing::new(PAGE);
    let mut ring = OutRing::new(&memory).unwrap();
    // 4096 - 8: the largest that leaves the ring distinguishable from an empty one.
    let largest = [7; (PAGE - 8 - 24) as usize];
    assert_eq!(
        write(&mut ring, 1, &[0; (PAGE - 24) as usize]),
        Err(RingError::TooBig { needed: 4096 })
    );
    assert_eq!(write(&mut ring, 1, &largest), Ok(true));
    let before = memory.data.borrow().clone();
    assert_eq!(
        write(&mut ring, 2, &[]),
        Err(RingError::Full {
            needed: 24,
            free: 8
        })
    );
    assert_eq!(*memory.data.borrow(), before);
    assert_eq!(memory.write_index.get(), 4088);
    assert_eq!((ring.free(), ring.used()), (Ok(8), Ok(4088)));
    assert_eq!(
        ring.write(&OutPacket::in_band(1, &[&vec![0; 1 << 20]])),
        Err(RingError::TooBig {
            needed: (1 << 20) + 16
        })
    );
}

#[test]
fn the_writers_own_index_is_never_read_back() {
    let memory = HeapRing::new(PAGE);
    let mut ring = OutRing::new(&memory).unwrap();
    for scribble in [u32::MAX, 4096, 3, 64] {
        memory.write_index.set(scribble);
        let start = ring.write_index() as usize;
        write(&mut ring, 9, &[0xc3; 8]).unwrap();
        assert_eq!(memory.data.borrow()[start + 16..start + 24], [0xc3; 8]);
        assert_eq!(memory.write_index.get(), ring.write_index());
    }
}

#[test]
fn corrupt_indices_are_named() {
    let memory = HeapRing::new(PAGE);
    let mut out = OutRing::new(&memory).unwrap();
    for index in [4096, 4, 4095, u32::MAX, 0x8000_0000] {
        let error = RingError::CorruptIndex {
            index,
            ring_bytes: PAGE,
        };
        memory.read_index.set(index);
        assert_eq!(write(&mut out, 1, &[1]), Err(error));
        assert_eq!(out.request_space(64), Err(error));
        assert_eq!(out.free(), Err(error));
        let mut incoming = InRing::new(&memory).unwrap();
        memory.write_index.set(index);
        let mut buffer = [0; 64];
        assert_eq!(incoming.read(&mut buffer).err(), Some(error));
        assert_eq!(incoming.skip(), Err(error));
        assert_eq!(incoming.unmask_interrupts(), Err(error));
        assert!(error.is_corrupt());
        assert_eq!(InRing::attach(&memory).err(), None);
        assert_eq!(OutRing::attach(&memory).err(), Some(error));
    }
}

#[test]
fn corrupt_packets_are_named() {
    let cases = [
        (1u16, 1u16), // shorter than its descriptor
        (2, 1),       // payload inside of the descriptor
        (2, 3),       // payload behind the end
        (8, 2),       // longer than what was published
        (0xffff, 2),
        (0, 0),
    ];
    for (length8, offset8) in cases {
        let memory = HeapRing::new(PAGE);
        let mut ring = InRing::new(&memory).unwrap();
        memory.data.borrow_mut()[..16].copy_from_slice(&[
            6,
            0,
            offset8 as u8,
            (offset8 >> 8) as u8,
            length8 as u8,
            (length8 >> 8) as u8,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
        memory.write_index.set(64);
        let mut buffer = [0; 4096];
        let error = ring.read(&mut buffer).err().unwrap();
        assert_eq!(
            error,
            RingError::CorruptPacket {
                length8,
                offset8,
                available: 64
            }
        );
        assert!(error.is_corrupt() && !error.to_string().is_empty());
        assert_eq!(ring.read_index(), 0);
    }
    // Published but without room for a trailer.
    let memory = HeapRing::new(PAGE);
    let mut ring = InRing::new(&memory).unwrap();
    memory.data.borrow_mut()[..8].copy_from_slice(&[6, 0, 2, 0, 2, 0, 0, 0]);
    memory.write_index.set(16);
    assert!(ring.read(&mut [0; 64]).unwrap_err().is_corrupt());
}

#[test]
fn each_byte_of_a_packet_is_read_once() {
    let memory = HeapRing::new(PAGE);
    let mut out = OutRing::new(&memory).unwrap();
    write(&mut out, 3, &[5; 1000]).unwrap();
    let mut ring = InRing::attach(&memory).unwrap();
    memory.bytes_in.set(0);
    let mut buffer = [0; 2048];
    let packet = ring.read(&mut buffer).unwrap().unwrap();
    assert_eq!(packet.payload, [5; 1000]);
    assert_eq!(memory.bytes_in.get(), 1016);
    assert!(ring.read(&mut buffer).unwrap().is_none());
}

#[test]
fn a_small_buffer_leaves_the_packet_where_it_is() {
    let memory = HeapRing::new(PAGE);
    let mut out = OutRing::new(&memory).unwrap();
    write(&mut out, 3, &[5; 100]).unwrap();
    write(&mut out, 4, &[6; 8]).unwrap();
    let mut ring = InRing::attach(&memory).unwrap();
    assert_eq!(ring.peek_bytes(), Ok(Some(120)));
    assert_eq!(
        ring.read(&mut [0; 119]).err(),
        Some(RingError::BufferTooSmall {
            needed: 120,
            got: 119
        })
    );
    assert_eq!(ring.skip(), Ok(true));
    let mut buffer = [0; 24];
    let packet = ring.read(&mut buffer).unwrap().unwrap();
    assert_eq!(packet.descriptor.transaction_id.get(), 4);
    assert_eq!(ring.skip(), Ok(false));
    assert_eq!(ring.peek_bytes(), Ok(None));
}

#[test]
fn a_blocked_writer_is_signalled_once_when_it_has_what_it_waits_for() {
    let memory = HeapRing::new(PAGE);
    let mut out = OutRing::new(&memory).unwrap();
    let mut ring = InRing::attach(&memory).unwrap();
    // 40 packets of 96 bytes leave 256 bytes.
    for id in 0..40 {
        write(&mut out, id, &[0; 72]).unwrap();
    }
    assert_eq!(out.request_space(400), Ok(false));
    assert_eq!(memory.pending_send_size.get(), 400);
    let mut buffer = [0; 128];
    let mut take = |ring: &mut InRing<&HeapRing>| {
        ring.read(&mut buffer).unwrap().unwrap();
        ring.commit()
    };
    assert_eq!(take(&mut ring), Ok(false)); // 352 free
    assert_eq!(take(&mut ring), Ok(true)); // 448: now enough
    assert_eq!(take(&mut ring), Ok(false)); // was enough before
    assert_eq!(ring.commit(), Ok(false)); // nothing new
                                          // Exactly as much as asked for is not enough: the ring is never filled.
    assert_eq!(out.request_space(544), Ok(false));
    assert_eq!(take(&mut ring), Ok(true)); // 640
    assert_eq!(out.request_space(600), Ok(true));
    assert_eq!(memory.pending_send_size.get(), 0);
    // A writer that doesn't play by these rules polls.
    assert_eq!(out.request_space(700), Ok(false));
    memory.feature_bits.set(0);
    assert_eq!(take(&mut ring), Ok(false));
    memory.feature_bits.set(FEATURE_PENDING_SEND_SIZE);
    assert_eq!(
        out.request_space(4096),
        Err(RingError::TooBig { needed: 4096 })
    );
    out.cancel_request();
    assert_eq!(memory.pending_send_size.get(), 0);
}

#[test]
fn a_packet_that_slips_in_while_unmasking_is_seen() {
    let memory = HeapRing::new(PAGE);
    let mut out = OutRing::new(&memory).unwrap();
    let mut ring = InRing::attach(&memory).unwrap();
    ring.mask_interrupts();
    assert_eq!(write(&mut out, 1, &[1]), Ok(false));
    assert_eq!(ring.unmask_interrupts(), Ok(true));
    ring.mask_interrupts();
    ring.read(&mut [0; 64]).unwrap().unwrap();
    ring.commit().unwrap();
    assert_eq!(ring.unmask_interrupts(), Ok(false));
    assert_eq!(memory.interrupt_mask.get(), 0);
    assert_eq!(write(&mut out, 2, &[1]), Ok(true));
}

#[test]
fn sizes_that_are_no_ring_are_refused() {
    for bytes in [0, 1, 4095, 4097] {
        let memory = HeapRing::new(bytes);
        assert_eq!(
            OutRing::new(&memory).err(),
            Some(RingError::BadSize { bytes })
        );
        assert_eq!(
            InRing::new(&memory).err(),
            Some(RingError::BadSize { bytes })
        );
    }
    assert!(OutRing::new(&HeapRing::new(3 * PAGE)).is_ok());
}

#[test]
fn packets_in_one_piece_are_checked_like_those_in_rings() {
    let mut bytes = vec![
        6u8, 0, 2, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9,
    ];
    assert_eq!(RawPacket::from_bytes(&bytes).unwrap().payload, [9; 8]);
    for length in 0..24 {
        assert!(RawPacket::from_bytes(&bytes[..length]).is_err());
    }
    bytes[2] = 1;
    assert!(RawPacket::from_bytes(&bytes).is_err());
    bytes[2] = 4;
    assert!(RawPacket::from_bytes(&bytes).is_err());
}
