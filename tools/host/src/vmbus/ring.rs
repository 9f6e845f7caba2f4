// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A ring in guest pages, as [`vmbus_wire::ring`] wants it.
//!
//! The pages of a ring may lie anywhere in the guest's memory, so that its data area isn't one
//! piece here. A table gives for each page where it lies and how many bytes follow it in one
//! piece: a guest that allocated its ring in one piece (Linux does) costs one copy a part, two
//! where the part wraps.

use std::ptr;
use std::sync::atomic::{fence, AtomicU32, Ordering};

use vmbus_wire::ring::{self, RingMemory};
use vmbus_wire::HV_PAGE_SIZE;

use crate::memory::{IoVec, Pages};

const PAGE: usize = HV_PAGE_SIZE as usize;

/// Fewest pages of a ring: its control page and one of data.
pub(crate) const SMALLEST_RING: u32 = 2;

/// Why pages are no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LayoutError {
    /// Not whole pages.
    #[error("the ring's pages begin or end within a page")]
    Unaligned,
    /// Fewer than a control page and a page of data, or more than the list has.
    #[error("{pages} pages from page {first} on are no ring in a list of {of}")]
    BadPlace { first: u32, pages: u32, of: u32 },
}

/// One page of the data area.
#[derive(Clone, Copy, Debug)]
struct Page {
    /// Where it lies; its length is how far the piece goes on from here.
    piece: IoVec,
}

/// See the module.
///
/// # Invariants
///
/// `control` and every piece of `data` lie in memory that `pages` keeps mapped; `data` has
/// `bytes / PAGE` entries, and `control` is aligned to a page.
#[derive(Debug)]
pub(crate) struct RingPages {
    control: IoVec,
    data: Vec<Page>,
    bytes: u32,
    /// Keeps the memory mapped.
    _pages: Pages,
}

/// How many whole pages a list has.
pub(crate) fn whole_pages(pages: &Pages) -> Option<u32> {
    (pages.len() % PAGE as u64 == 0)
        .then(|| u32::try_from(pages.len() / PAGE as u64).ok())
        .flatten()
}

impl RingPages {
    /// The ring in `count` pages of a list from page `first` on: a control page, then data.
    pub(crate) fn new(pages: &Pages, first: u32, count: u32) -> Result<Self, LayoutError> {
        let of = whole_pages(pages).ok_or(LayoutError::Unaligned)?;
        let bad = LayoutError::BadPlace {
            first,
            pages: count,
            of,
        };
        let end = first.checked_add(count).ok_or(bad)?;
        if count < SMALLEST_RING || end > of {
            return Err(bad);
        }
        let mut control = Vec::new();
        let start = u64::from(first) * PAGE as u64;
        pages
            .iovecs(start, PAGE as u64, &mut control)
            .map_err(|_| bad)?;
        let bytes = (count - 1).checked_mul(HV_PAGE_SIZE).ok_or(bad)?;
        let mut pieces = Vec::new();
        pages
            .iovecs(start + PAGE as u64, bytes.into(), &mut pieces)
            .map_err(|_| bad)?;
        let &[control] = control.as_slice() else {
            return Err(LayoutError::Unaligned);
        };
        let mut data = Vec::with_capacity(count as usize);
        for piece in pieces {
            let (base, length) = (piece.0.iov_base as usize, piece.0.iov_len);
            if base % PAGE != 0 || length % PAGE != 0 {
                return Err(LayoutError::Unaligned);
            }
            for at in (0..length).step_by(PAGE) {
                data.push(Page {
                    piece: IoVec(libc::iovec {
                        iov_base: piece.0.iov_base.wrapping_byte_add(at),
                        iov_len: length - at,
                    }),
                });
            }
        }
        if control.0.iov_base as usize % PAGE != 0 {
            return Err(LayoutError::Unaligned);
        }
        Ok(Self {
            control,
            data,
            bytes,
            _pages: pages.clone(),
        })
    }

    /// A word of the control page; `offset` is one of the constants of [`ring`].
    #[inline]
    fn word(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset % 4 == 0 && offset < PAGE);
        // SAFETY: by the type's invariants the control page is mapped as long as `self` lives and
        // aligned; `offset` is a multiple of four in it, and all access to it is atomic.
        unsafe { AtomicU32::from_ptr(self.control.0.iov_base.cast::<u8>().add(offset).cast()) }
    }

    /// Calls `each` with the pieces of `length` bytes from `offset` on, wrapping at the end:
    /// where it lies, how many bytes came before, how many it has. Bytes beyond a full turn are
    /// left out.
    #[inline]
    fn pieces(&self, offset: u32, length: usize, mut each: impl FnMut(*mut u8, usize, usize)) {
        let mut at = offset as usize;
        let mut done = 0;
        while done < length {
            let Some(page) = self.data.get(at / PAGE) else {
                return;
            };
            let inside = at % PAGE;
            let here = (page.piece.0.iov_len - inside).min(length - done);
            each(
                page.piece.0.iov_base.cast::<u8>().wrapping_add(inside),
                done,
                here,
            );
            done += here;
            at += here;
            if at >= self.bytes as usize {
                at = 0;
            }
        }
    }
}

impl RingMemory for RingPages {
    #[inline]
    fn len(&self) -> u32 {
        self.bytes
    }

    #[inline]
    fn copy_in(&self, offset: u32, to: &mut [u8]) {
        let length = to.len();
        let to = to.as_mut_ptr();
        self.pieces(offset, length, |piece, done, here| {
            // SAFETY: by the type's invariants `here` bytes are mapped at `piece`; `done + here`
            // is at most the length of `to`; guest memory and private memory don't overlap. The
            // guest may write at the same time: nothing but the copy is then looked at.
            unsafe { ptr::copy_nonoverlapping(piece, to.add(done), here) }
        });
    }

    #[inline]
    fn copy_out(&self, offset: u32, from: &[u8]) {
        let length = from.len();
        let from = from.as_ptr();
        self.pieces(offset, length, |piece, done, here| {
            // SAFETY: as in `copy_in`, the other way round.
            unsafe { ptr::copy_nonoverlapping(from.add(done), piece, here) }
        });
    }

    #[inline]
    fn load_read_index(&self) -> u32 {
        self.word(ring::READ_INDEX_OFFSET).load(Ordering::Acquire)
    }
    #[inline]
    fn store_read_index(&self, index: u32) {
        self.word(ring::READ_INDEX_OFFSET)
            .store(index, Ordering::Release);
    }
    #[inline]
    fn load_write_index(&self) -> u32 {
        self.word(ring::WRITE_INDEX_OFFSET).load(Ordering::Acquire)
    }
    #[inline]
    fn store_write_index(&self, index: u32) {
        self.word(ring::WRITE_INDEX_OFFSET)
            .store(index, Ordering::Release);
    }
    #[inline]
    fn load_interrupt_mask(&self) -> u32 {
        self.word(ring::INTERRUPT_MASK_OFFSET)
            .load(Ordering::Acquire)
    }
    #[inline]
    fn store_interrupt_mask(&self, mask: u32) {
        self.word(ring::INTERRUPT_MASK_OFFSET)
            .store(mask, Ordering::Release);
    }
    #[inline]
    fn load_pending_send_size(&self) -> u32 {
        self.word(ring::PENDING_SEND_SIZE_OFFSET)
            .load(Ordering::Acquire)
    }
    #[inline]
    fn store_pending_send_size(&self, bytes: u32) {
        self.word(ring::PENDING_SEND_SIZE_OFFSET)
            .store(bytes, Ordering::Release);
    }
    #[inline]
    fn load_feature_bits(&self) -> u32 {
        self.word(ring::FEATURE_BITS_OFFSET).load(Ordering::Acquire)
    }
    #[inline]
    fn store_feature_bits(&self, bits: u32) {
        self.word(ring::FEATURE_BITS_OFFSET)
            .store(bits, Ordering::Release);
    }
    #[inline]
    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::GuestMemory;
    use vm_memory::{GuestAddress, GuestMemoryMmap};
    use vmbus_wire::packet::OutPacket;
    use vmbus_wire::ring::{InRing, OutRing};

    fn memory() -> GuestMemory {
        let ranges = [(GuestAddress(0), 1 << 20), (GuestAddress(1 << 20), 1 << 20)];
        GuestMemory::new(GuestMemoryMmap::from_ranges(&ranges).unwrap())
    }

    fn list(memory: &GuestMemory, pfns: &[u64]) -> Pages {
        Pages::new(
            memory,
            0,
            pfns.len() as u32 * HV_PAGE_SIZE,
            pfns.iter().copied(),
        )
        .unwrap()
    }

    #[test]
    fn a_scattered_ring_is_one_ring() {
        let memory = memory();
        // Backwards, in one piece, over the border of two regions.
        for pfns in [
            vec![9u64, 8, 7, 6],
            vec![20, 21, 22, 23],
            vec![5, 254, 255, 256],
        ] {
            let pages = list(&memory, &pfns);
            let mut out = OutRing::new(RingPages::new(&pages, 0, 4).unwrap()).unwrap();
            let mut incoming = InRing::attach(RingPages::new(&pages, 0, 4).unwrap()).unwrap();
            let mut buffer = vec![0; 8192];
            for turn in 0..50u32 {
                let payload: Vec<u8> = (0..3000 + turn * 8).map(|n| (n + turn) as u8).collect();
                out.write(&OutPacket::in_band(turn.into(), &[&payload]))
                    .unwrap();
                let packet = incoming.read(&mut buffer).unwrap().unwrap();
                assert_eq!(packet.payload, payload, "turn {turn}");
                incoming.commit().unwrap();
            }
            let mut index = [0; 4];
            memory.read(pfns[0] * 4096, &mut index).unwrap();
            assert_eq!(u32::from_le_bytes(index), out.write_index());
        }
    }

    #[test]
    fn what_is_no_ring_is_refused() {
        let memory = memory();
        let pages = list(&memory, &[1, 2, 3, 4]);
        for (first, count) in [(0, 1), (0, 5), (3, 2), (u32::MAX, 2), (1, u32::MAX), (4, 0)] {
            assert!(matches!(
                RingPages::new(&pages, first, count),
                Err(LayoutError::BadPlace { .. })
            ));
        }
        let odd = Pages::new(&memory, 8, 3 * 4096, [1u64, 2, 3, 4].into_iter()).unwrap();
        assert_eq!(
            RingPages::new(&odd, 0, 3).unwrap_err(),
            LayoutError::Unaligned
        );
        let short = Pages::new(&memory, 0, 3 * 4096 - 8, [1u64, 2, 3].into_iter()).unwrap();
        assert_eq!(
            RingPages::new(&short, 0, 2).unwrap_err(),
            LayoutError::Unaligned
        );
    }
}
