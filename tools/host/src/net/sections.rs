// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The receive buffer: pieces of the guest's memory that frames are placed into, and who has them.
//!
//! A piece goes from the pool to the queue that reads the back end, with a frame to the queue that
//! hands it to the guest, and back into the pool when the guest has completed the packet. Queues
//! keep a few pieces of their own so that the pool's lock isn't taken for each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use netvsc_wire::nvsp::Section;
use netvsc_wire::vmq::BufferId;
use parking_lot::Mutex;
use vmbus_wire::packet::XferRange;

use super::scatter::Scatter;
use crate::memory::MemoryError;
use crate::vmbus::gpadl::Gpadl;

/// Where in a piece a frame begins; its RNDIS header ends there.
pub(super) const DATA: usize = 128;
/// What Hyper-V's switch adds to the frame size for a piece: 256 for headers, 36 for whatever
/// follows a frame.
const PIECE_EXTRA: u32 = 256 + 36;

const _: () = assert!(netvsc_wire::ppi::MAX_HEAD_BYTES <= DATA);

/// How the guest knows a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BufferName {
    /// The receive buffer, by its transfer page set.
    Transfer(u16),
    /// A buffer that the guest allocated for frames of its queues.
    Allocated(BufferId),
}

/// The guest's receive buffer as it was agreed.
#[derive(Debug)]
pub(super) struct ReceiveBuffer {
    gpadl: Arc<Gpadl>,
    /// How the guest knows it.
    pub(super) name: BufferName,
    /// Which one of all buffers of the NIC.
    pub(super) generation: u64,
    piece: u32,
    pieces: u32,
    /// Pieces that a queue takes or gives back at once.
    lot: usize,
    free: Mutex<Vec<u32>>,
    /// A bit for each queue that waits for pieces.
    hungry: AtomicU64,
}

impl ReceiveBuffer {
    /// Divides a buffer for frames of `frame` bytes into pieces of at least `least` bytes, used by
    /// up to `queues` queues; none when not even one piece fits.
    pub(super) fn new(
        gpadl: Arc<Gpadl>,
        name: BufferName,
        generation: u64,
        frame: u32,
        least: u32,
        queues: u16,
    ) -> Option<Self> {
        let bytes = gpadl.ranges.first()?.len();
        let piece = frame.checked_add(PIECE_EXTRA)?.max(least);
        let pieces = u32::try_from(bytes / u64::from(piece)).ok()?;
        if pieces == 0 {
            return None;
        }
        // Queues may keep a quarter of all pieces to themselves.
        let lot = (pieces as usize / (usize::from(queues.max(1)) * 8)).clamp(1, 32);
        Some(Self {
            gpadl,
            name,
            generation,
            piece,
            pieces,
            lot,
            // The first piece is taken first.
            free: Mutex::new((0..pieces).rev().collect()),
            hungry: AtomicU64::new(0),
        })
    }

    /// How it is divided, for the guest.
    pub(super) fn section(&self) -> Section {
        Section {
            offset: 0,
            piece_bytes: self.piece,
            pieces: self.pieces,
            end: self.pieces * self.piece,
        }
    }

    /// How many pieces there are.
    pub(super) fn pieces(&self) -> u32 {
        self.pieces
    }

    /// A packet may have several messages: it names the place of each.
    pub(super) fn takes_chains(&self) -> bool {
        matches!(self.name, BufferName::Transfer(_))
    }

    /// Bytes of a frame that fit into a piece.
    pub(super) fn room(&self) -> usize {
        self.piece as usize - DATA
    }

    fn start(&self, piece: u32) -> u32 {
        // Pieces come from `free`, all of which were counted to be inside.
        piece.saturating_mul(self.piece)
    }

    /// Appends the place for a frame's bytes in a piece, without its first `skip` bytes.
    ///
    /// # Errors
    ///
    /// Never for a piece of this buffer.
    pub(super) fn place(
        &self,
        piece: u32,
        skip: usize,
        to: &mut Scatter,
    ) -> Result<(), MemoryError> {
        let at = u64::from(self.start(piece)) + (DATA + skip) as u64;
        to.push_gpadl(&self.gpadl, at, self.room().saturating_sub(skip))
    }

    /// Has the first piece's place, which begins with `skip` bytes left out, be that of another.
    ///
    /// # Errors
    ///
    /// When the first bytes of `to` aren't such a place.
    pub(super) fn replace(
        &self,
        piece: u32,
        skip: usize,
        to: &mut Scatter,
    ) -> Result<(), MemoryError> {
        let at = u64::from(self.start(piece)) + (DATA + skip) as u64;
        to.replace_first(&self.gpadl, at, self.room().saturating_sub(skip))
    }

    /// Writes into a piece.
    ///
    /// # Errors
    ///
    /// When that is beyond the buffer.
    pub(super) fn write(&self, piece: u32, offset: usize, bytes: &[u8]) -> Result<(), MemoryError> {
        let at = u64::from(self.start(piece)) + offset as u64;
        match self.gpadl.ranges.first() {
            Some(range) => range.write(at, bytes),
            None => Ok(()),
        }
    }

    /// Names bytes of a piece to the guest.
    pub(super) fn range(&self, piece: u32, offset: usize, bytes: usize) -> XferRange {
        XferRange {
            byte_count: (bytes as u32).into(),
            byte_offset: self.start(piece).saturating_add(offset as u32).into(),
        }
    }

    /// One piece, for a control message; none when the guest has all of them. `queue` is then told
    /// when there are some again.
    pub(super) fn take_one(&self, queue: u16) -> Option<u32> {
        let piece = self.free.lock().pop();
        if piece.is_some() {
            return piece;
        }
        self.hungry
            .fetch_or(1 << (u32::from(queue) & 63), Ordering::AcqRel);
        self.free.lock().pop()
    }

    /// Puts pieces back; answers the queues that wait for some.
    #[must_use]
    pub(super) fn give(&self, pieces: &[u32]) -> u64 {
        self.free.lock().extend_from_slice(pieces);
        self.take_hungry()
    }

    /// The queues that wait for pieces, and forgets them.
    pub(super) fn take_hungry(&self) -> u64 {
        if self.hungry.load(Ordering::Relaxed) == 0 {
            0
        } else {
            self.hungry.swap(0, Ordering::AcqRel)
        }
    }
}

/// Pieces that one queue has at hand.
#[derive(Debug, Default)]
pub(super) struct Larder {
    pieces: Vec<u32>,
}

impl Larder {
    /// A piece; none when the guest has all of them. `queue` is then told when there are some
    /// again.
    pub(super) fn take(&mut self, buffer: &ReceiveBuffer, queue: u16) -> Option<u32> {
        if let Some(piece) = self.pieces.pop() {
            return Some(piece);
        }
        if self.fetch(buffer) {
            return self.pieces.pop();
        }
        buffer
            .hungry
            .fetch_or(1 << (u32::from(queue) & 63), Ordering::AcqRel);
        // Somebody may have given some back before the bit was seen.
        self.fetch(buffer);
        self.pieces.pop()
    }

    fn fetch(&mut self, buffer: &ReceiveBuffer) -> bool {
        let mut free = buffer.free.lock();
        let from = free.len().saturating_sub(buffer.lot);
        self.pieces.extend(free.drain(from..));
        !self.pieces.is_empty()
    }

    /// Puts pieces back, which the guest has no more. Answers the queues that wait for some.
    #[must_use]
    pub(super) fn put(&mut self, buffer: &ReceiveBuffer, pieces: &[u32]) -> u64 {
        self.pieces.extend_from_slice(pieces);
        let hungry = buffer.take_hungry();
        if hungry != 0 {
            buffer.free.lock().append(&mut self.pieces);
        } else if self.pieces.len() > 2 * buffer.lot {
            buffer.free.lock().extend(self.pieces.drain(buffer.lot..));
        }
        hungry
    }

    /// Gives everything back.
    pub(super) fn empty(&mut self, buffer: &ReceiveBuffer) -> u64 {
        buffer.free.lock().append(&mut self.pieces);
        buffer.take_hungry()
    }

    /// Forgets everything: the buffer is gone.
    pub(super) fn forget(&mut self) {
        self.pieces.clear();
    }
}

/// Frames in pieces on their way to the guest: one packet.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Where each RNDIS message is.
    pub(super) ranges: Vec<XferRange>,
    /// The pieces they are in.
    pub(super) pieces: Vec<u32>,
    /// How many frames.
    pub(super) frames: u32,
    /// The buffer's generation.
    pub(super) generation: u64,
}

impl Batch {
    /// There is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Forgets what it held, for the next frames.
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
        self.pieces.clear();
        self.frames = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{GuestMemory, Pages};
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    fn buffer(pages: u64, least: u32, queues: u16) -> (GuestMemory, ReceiveBuffer) {
        let map = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let memory = GuestMemory::new(map);
        let range = Pages::new(
            &memory,
            0,
            (pages * 4096) as u32,
            (1..=pages).collect::<Vec<_>>().into_iter(),
        )
        .unwrap();
        let gpadl = Arc::new(Gpadl::new(1, vec![range]));
        let buffer =
            ReceiveBuffer::new(gpadl, BufferName::Transfer(0xcafe), 1, 1514, least, queues)
                .unwrap();
        (memory, buffer)
    }

    #[test]
    fn pieces_are_divided_as_the_switch_does() {
        let (memory, buffer) = buffer(4, 0, 1);
        let section = buffer.section();
        assert_eq!((section.piece_bytes, section.pieces), (1806, 9));
        assert!(section.fits(4 * 4096));
        let range = buffer.range(2, 100, 7);
        assert_eq!((range.byte_offset.get(), range.byte_count.get()), (3712, 7));
        buffer.write(2, 100, b"abc").unwrap();
        let mut got = [0; 3];
        memory.read(4096 + 3712, &mut got).unwrap();
        assert_eq!(&got, b"abc");
        let mut scatter = Scatter::new(&memory);
        buffer.place(8, 10, &mut scatter).unwrap();
        assert_eq!(scatter.len(), 1806 - 128 - 10);
    }

    #[test]
    fn pieces_can_be_larger_but_not_smaller_than_a_frame_needs() {
        assert_eq!(buffer(16, 16_384, 1).1.section().pieces, 4);
        assert_eq!(buffer(16, 64, 1).1.section().piece_bytes, 1806);
    }

    #[test]
    fn every_piece_is_handed_out_once_and_the_hungry_are_told() {
        let (_memory, buffer) = buffer(16, 0, 2);
        let count = buffer.pieces() as usize;
        let (mut first, mut second) = (Larder::default(), Larder::default());
        let mut taken = Vec::new();
        while let Some(piece) = first.take(&buffer, 0) {
            taken.push(piece);
        }
        taken.sort_unstable();
        assert_eq!(taken, (0..count as u32).collect::<Vec<_>>());
        assert_eq!(second.take(&buffer, 1), None);
        // Both are told, once; the pieces are there for whoever comes.
        assert_eq!(first.put(&buffer, &taken[..3]), 0b11);
        assert_eq!(first.put(&buffer, &taken[3..5]), 0);
        assert!(second.take(&buffer, 1).is_some());
        // What is more than two lots goes back by itself.
        assert_eq!(first.put(&buffer, &taken[5..]), 0);
        assert!(first.pieces.len() <= 2 * buffer.lot);
        let mut left = 1 + second.pieces.len();
        first.empty(&buffer);
        second.forget();
        while first.take(&buffer, 0).is_some() {
            left += 1;
        }
        assert_eq!(left, count);
    }
}
