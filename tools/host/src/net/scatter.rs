// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bytes spread over pieces of the guest's memory: a frame to be sent, or room for one.

use std::marker::PhantomData;
use std::sync::Arc;

use vm_memory::VolatileSlice;
use vmbus_wire::packet::GpaView;
use vmbus_wire::HV_PAGE_SIZE;

use crate::memory::{GuestMemory, IoVec, MemoryError};
use crate::vmbus::gpadl::Gpadl;

/// Pieces of guest memory in order; made once and filled again for every packet.
///
/// # Invariants
///
/// All pieces lie in `memory` or in pages of `kept`, which are mapped as long as those live.
#[derive(Debug)]
pub struct Scatter {
    memory: GuestMemory,
    kept: Option<Arc<Gpadl>>,
    pieces: Vec<IoVec>,
    bytes: usize,
    /// Used while pieces are replaced; empty between calls.
    fresh: Vec<IoVec>,
}

/// Some pieces of a [`Scatter`].
///
/// # Invariants
///
/// They are mapped for `'s`; `bytes` is not more than the sum of their lengths.
#[derive(Clone, Copy, Debug)]
pub struct View<'s> {
    pieces: &'s [IoVec],
    bytes: usize,
    lives: PhantomData<&'s Scatter>,
}

impl Scatter {
    /// Nothing yet, of this memory.
    pub fn new(memory: &GuestMemory) -> Self {
        Self {
            memory: memory.clone(),
            kept: None,
            pieces: Vec::new(),
            bytes: 0,
            fresh: Vec::new(),
        }
    }

    /// Forgets all pieces.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.bytes = 0;
        self.kept = None;
    }

    /// Bytes in all pieces.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// There are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends `bytes` bytes at `offset` of a GPADL's first range. Pieces of one other GPADL at
    /// most may be here already.
    ///
    /// # Errors
    ///
    /// When that is outside of the range.
    pub fn push_gpadl(
        &mut self,
        gpadl: &Arc<Gpadl>,
        offset: u64,
        bytes: usize,
    ) -> Result<(), MemoryError> {
        let nothing = MemoryError::OutOfList {
            offset,
            bytes: bytes as u64,
            of: 0,
        };
        match &self.kept {
            Some(kept) if Arc::ptr_eq(kept, gpadl) => {}
            None => self.kept = Some(gpadl.clone()),
            Some(_) => return Err(nothing),
        }
        let range = gpadl.ranges.first().ok_or(nothing)?;
        range.iovecs(offset, bytes as u64, &mut self.pieces)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Replaces the first `bytes` bytes, which are whole pieces, by as many at `offset` of the same
    /// GPADL that the others are of. The rest stays as it is, which is the point.
    ///
    /// # Errors
    ///
    /// When they aren't whole pieces, or what shall replace them is outside of the range.
    pub fn replace_first(
        &mut self,
        gpadl: &Arc<Gpadl>,
        offset: u64,
        bytes: usize,
    ) -> Result<(), MemoryError> {
        let mut left = bytes;
        let mut count = 0;
        while let Some(rest) = self
            .pieces
            .get(count)
            .and_then(|piece| left.checked_sub(piece.0.iov_len))
            .filter(|_| left > 0)
        {
            left = rest;
            count += 1;
        }
        let bad = MemoryError::OutOfList {
            offset,
            bytes: bytes as u64,
            of: self.bytes as u64,
        };
        let range = gpadl.ranges.first().ok_or(bad)?;
        if left != 0
            || !self
                .kept
                .as_ref()
                .is_some_and(|kept| Arc::ptr_eq(kept, gpadl))
        {
            return Err(bad);
        }
        self.fresh.clear();
        range.iovecs(offset, bytes as u64, &mut self.fresh)?;
        self.pieces.splice(..count, self.fresh.drain(..));
        Ok(())
    }

    /// Appends a range of guest pages.
    ///
    /// # Errors
    ///
    /// When a page isn't the guest's memory.
    pub fn push_range(&mut self, range: &GpaView<'_>) -> Result<(), MemoryError> {
        let mut skip = u64::from(range.byte_offset);
        let mut left = u64::from(range.byte_count);
        for pfn in range.pfns {
            if left == 0 {
                break;
            }
            let here = left.min(u64::from(HV_PAGE_SIZE).saturating_sub(skip));
            let address = pfn
                .get()
                .checked_mul(u64::from(HV_PAGE_SIZE))
                .and_then(|page| page.checked_add(skip))
                .ok_or(MemoryError::NotThere {
                    address: u64::MAX,
                    bytes: here,
                })?;
            let slice = self.memory.slice(address, here as usize)?;
            let start = slice.ptr_guard_mut().as_ptr().cast::<libc::c_void>();
            let next = self.pieces.last_mut().filter(|last| {
                // Pages that follow each other here, too, become one piece.
                last.0
                    .iov_base
                    .cast::<u8>()
                    .wrapping_add(last.0.iov_len)
                    .cast()
                    == start
            });
            match next {
                Some(last) => last.0.iov_len += slice.len(),
                None => self.pieces.push(IoVec(libc::iovec {
                    iov_base: start,
                    iov_len: slice.len(),
                })),
            }
            self.bytes += slice.len();
            skip = 0;
            left -= here;
        }
        if left != 0 {
            return Err(MemoryError::BadList {
                pages: range.pfns.len(),
                bytes: range.byte_count.into(),
                offset: range.byte_offset.into(),
            });
        }
        Ok(())
    }

    /// All pieces.
    pub fn view(&self) -> View<'_> {
        View {
            pieces: &self.pieces,
            bytes: self.bytes,
            lives: PhantomData,
        }
    }

    /// Replaces what `to` holds by `bytes` bytes at `offset` of this; false when there are fewer.
    #[must_use]
    pub fn cut(&self, offset: usize, bytes: usize, to: &mut Self) -> bool {
        to.clear();
        let Some(end) = offset.checked_add(bytes).filter(|end| *end <= self.bytes) else {
            return false;
        };
        to.memory.clone_from(&self.memory);
        to.kept.clone_from(&self.kept);
        let mut at = 0;
        for piece in &self.pieces {
            let length = piece.0.iov_len;
            let from = offset.max(at);
            let until = end.min(at + length);
            if from < until {
                to.pieces.push(IoVec(libc::iovec {
                    iov_base: piece.0.iov_base.cast::<u8>().wrapping_add(from - at).cast(),
                    iov_len: until - from,
                }));
            }
            at += length;
            if at >= end {
                break;
            }
        }
        to.bytes = bytes;
        true
    }
}

impl<'s> View<'s> {
    /// No bytes at all.
    pub const EMPTY: View<'static> = View {
        pieces: &[],
        bytes: 0,
        lives: PhantomData,
    };

    /// Bytes in all pieces.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// There are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The first `bytes` bytes, or all there are.
    pub fn first(&self, bytes: usize) -> Self {
        let mut count = 0;
        let mut sum = 0;
        // Whole pieces only; who reads stops in the last one.
        while let Some(piece) = self.pieces.get(count).filter(|_| sum < bytes) {
            sum += piece.0.iov_len;
            count += 1;
        }
        Self {
            pieces: self.pieces.get(..count).unwrap_or_default(),
            bytes: bytes.min(self.bytes),
            lives: PhantomData,
        }
    }

    /// The pieces, for the system.
    pub fn pieces(&self) -> &'s [IoVec] {
        self.pieces
    }

    /// Calls `each` for the pieces of `bytes` bytes at `offset`; false, and no call, when there
    /// are fewer.
    #[must_use]
    pub fn for_each(
        &self,
        offset: usize,
        bytes: usize,
        mut each: impl FnMut(VolatileSlice<'_>),
    ) -> bool {
        let Some(end) = offset.checked_add(bytes).filter(|end| *end <= self.bytes) else {
            return false;
        };
        let mut at = 0;
        for piece in self.pieces {
            let length = piece.0.iov_len;
            let from = offset.max(at);
            let until = end.min(at + length);
            if from < until {
                // SAFETY: by the type's invariant the piece is mapped memory for at least as long
                // as `self`; `from` and `until` are inside of it. A VolatileSlice makes no
                // reference to it.
                each(unsafe {
                    VolatileSlice::new(piece.0.iov_base.cast::<u8>().add(from - at), until - from)
                });
            }
            at += length;
            if at >= end {
                break;
            }
        }
        true
    }

    /// Copies from the guest; false when there are fewer bytes.
    #[must_use]
    pub fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        let mut rest = &mut to[..];
        let bytes = rest.len();
        self.for_each(offset, bytes, |slice| {
            let (here, after) = std::mem::take(&mut rest).split_at_mut(slice.len());
            slice.copy_to(here);
            rest = after;
        })
    }

    /// Copies to the guest; false when there is less room.
    #[must_use]
    pub fn write(&self, offset: usize, from: &[u8]) -> bool {
        let mut rest = from;
        self.for_each(offset, from.len(), |slice| {
            let (here, after) = rest.split_at(slice.len());
            slice.copy_from(here);
            rest = after;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Pages;
    use vm_memory::{GuestAddress, GuestMemoryMmap};
    use zerocopy::little_endian::U64;

    fn memory() -> GuestMemory {
        GuestMemory::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap())
    }

    #[test]
    fn pieces_are_read_and_written_as_one() {
        let memory = memory();
        let pages = Pages::new(&memory, 0, 3 * 4096, [3u64, 7, 5].into_iter()).unwrap();
        let gpadl = Arc::new(Gpadl::new(1, vec![pages]));
        let mut scatter = Scatter::new(&memory);
        scatter.push_gpadl(&gpadl, 4000, 200).unwrap();
        let pfns = [U64::new(20), U64::new(21), U64::new(30)];
        scatter
            .push_range(&GpaView {
                byte_offset: 4090,
                byte_count: 4106,
                pfns: &pfns,
            })
            .unwrap();
        assert_eq!(scatter.len(), 4306);
        // Two of the GPADL's, then pages 20 and 21 as one, then the rest in 30.
        let lengths: Vec<usize> = scatter.pieces.iter().map(|p| p.0.iov_len).collect();
        assert_eq!(lengths, [96, 104, 6 + 4096, 4]);

        let bytes: Vec<u8> = (0..4306).map(|n| (n % 251) as u8).collect();
        assert!(scatter.view().write(0, &bytes));
        let mut back = vec![0; 4306];
        assert!(scatter.view().read(0, &mut back));
        assert_eq!(bytes, back);
        let mut in_page_30 = [0; 4];
        memory.read(30 * 4096, &mut in_page_30).unwrap();
        assert_eq!(in_page_30, bytes[4302..]);

        let mut part = Scatter::new(&memory);
        assert!(scatter.cut(90, 120, &mut part));
        let mut cut = [0; 120];
        assert!(part.view().read(0, &mut cut));
        assert_eq!(cut, bytes[90..210]);
        assert!(!scatter.cut(4300, 7, &mut part));
        assert!(part.is_empty());
        assert!(!scatter.view().read(4300, &mut [0; 7]));
        assert!(!scatter.view().write(usize::MAX, &[0; 7]));
    }

    #[test]
    fn the_first_pieces_are_replaced() {
        let memory = memory();
        let pages = Pages::new(&memory, 0, 4 * 4096, [3u64, 7, 5, 9].into_iter()).unwrap();
        let gpadl = Arc::new(Gpadl::new(1, vec![pages]));
        let mut scatter = Scatter::new(&memory);
        scatter.push_gpadl(&gpadl, 4000, 200).unwrap();
        scatter.push_gpadl(&gpadl, 8192, 10).unwrap();
        scatter.replace_first(&gpadl, 100, 200).unwrap();
        assert_eq!((scatter.len(), scatter.pieces.len()), (210, 2));
        assert!(scatter.view().write(198, &[1, 2, 3, 4]));
        let mut got = [0; 2];
        memory.read(3 * 4096 + 298, &mut got).unwrap();
        assert_eq!(got, [1, 2]);
        memory.read(5 * 4096, &mut got).unwrap();
        assert_eq!(got, [3, 4]);
        // Not whole pieces, or not there.
        assert!(scatter.replace_first(&gpadl, 100, 199).is_err());
        assert!(scatter.replace_first(&gpadl, 16_300, 200).is_err());
        assert_eq!((scatter.len(), scatter.pieces.len()), (210, 2));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let memory = memory();
        let mut scatter = Scatter::new(&memory);
        for (offset, count, pfns) in [
            (0, 4096, vec![256]),
            (0, 4096, vec![u64::MAX]),
            (0, 4097, vec![1]),
            (0, 8192, vec![255, 256]),
        ] {
            let pfns: Vec<U64> = pfns.into_iter().map(U64::new).collect();
            assert!(scatter
                .push_range(&GpaView {
                    byte_offset: offset,
                    byte_count: count,
                    pfns: &pfns,
                })
                .is_err());
        }
        let empty = Arc::new(Gpadl::new(1, Vec::new()));
        scatter.clear();
        assert!(scatter.push_gpadl(&empty, 0, 1).is_err());
    }
}
