// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The guest's memory, and lists of its pages that the guest named.
//!
//! Every address comes from the guest, so every access is checked here, once: a [`Pages`] can only
//! be made of pages that exist, and stays valid for as long as it lives because it keeps the
//! memory mapped. The guest writes to this memory at any time; nothing here makes a reference to
//! it, all copies are volatile.

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::Arc;

use vm_memory::{
    AtomicAccess, Bytes, GuestAddress, GuestMemory as _, GuestMemoryMmap, GuestMemoryRegion as _,
    VolatileSlice,
};
use vmbus_wire::HV_PAGE_SIZE;

const PAGE: u64 = HV_PAGE_SIZE as u64;

/// An address or a length of the guest's that isn't memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// Some of the bytes are outside of the guest's memory.
    #[error("{bytes} bytes at guest address {address:#x} are not in the guest's memory")]
    NotThere {
        /// Where it began.
        address: u64,
        /// How many bytes were wanted.
        bytes: u64,
    },
    /// Offset or length is outside of a page list.
    #[error("{bytes} bytes at offset {offset} are outside of a list of {of} bytes")]
    OutOfList {
        /// Where it began.
        offset: u64,
        /// How many bytes were wanted.
        bytes: u64,
        /// How many bytes the list spans.
        of: u64,
    },
    /// The page list has more or fewer pages than its bytes need.
    #[error("{pages} pages for {bytes} bytes at offset {offset} of the first")]
    BadList {
        /// Pages listed.
        pages: usize,
        /// Bytes in the range.
        bytes: u64,
        /// Offset in the first page.
        offset: u64,
    },
}

/// The guest's memory; cloning it is cheap.
#[derive(Clone, Debug)]
pub struct GuestMemory {
    map: Arc<GuestMemoryMmap<()>>,
}

impl GuestMemory {
    /// Takes memory that stays mapped as long as any clone of this or any [`Pages`] lives.
    pub fn new(map: GuestMemoryMmap<()>) -> Self {
        Self { map: Arc::new(map) }
    }

    /// What the rest of the rust-vmm crates work with.
    pub fn map(&self) -> &GuestMemoryMmap<()> {
        &self.map
    }

    /// Copies from the guest.
    ///
    /// # Errors
    ///
    /// When some of it isn't the guest's memory.
    pub fn read(&self, address: u64, to: &mut [u8]) -> Result<(), MemoryError> {
        self.map
            .read_slice(to, GuestAddress(address))
            .map_err(|_| not_there(address, to.len() as u64))
    }

    /// Copies to the guest.
    ///
    /// # Errors
    ///
    /// When some of it isn't the guest's memory.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        self.map
            .write_slice(from, GuestAddress(address))
            .map_err(|_| not_there(address, from.len() as u64))
    }

    /// Bytes that are one piece here, too.
    ///
    /// # Errors
    ///
    /// When some of it isn't the guest's memory.
    pub fn slice(&self, address: u64, bytes: usize) -> Result<VolatileSlice<'_>, MemoryError> {
        self.map
            .get_slice(GuestAddress(address), bytes)
            .map_err(|_| not_there(address, bytes as u64))
    }

    /// A word that guest and host both change.
    ///
    /// # Errors
    ///
    /// When it isn't the guest's memory or isn't aligned.
    pub fn atomic_u32(&self, address: u64) -> Result<&AtomicU32, MemoryError> {
        let word = self.aligned::<AtomicU32>(address)?;
        // SAFETY: `aligned` answers an aligned word of the mapping, which `self` keeps for as long
        // as the reference lives; guest and host only change it atomically through here.
        Ok(unsafe { AtomicU32::from_ptr(word.cast()) })
    }

    /// A word that guest and host both change.
    ///
    /// # Errors
    ///
    /// When it isn't the guest's memory or isn't aligned.
    pub fn atomic_u64(&self, address: u64) -> Result<&AtomicU64, MemoryError> {
        let word = self.aligned::<AtomicU64>(address)?;
        // SAFETY: as in `atomic_u32`.
        Ok(unsafe { AtomicU64::from_ptr(word.cast()) })
    }

    /// Where a `T` of the guest's lies here.
    fn aligned<T>(&self, address: u64) -> Result<*mut u8, MemoryError> {
        let word = self
            .slice(address, size_of::<T>())?
            .ptr_guard_mut()
            .as_ptr();
        if word.cast::<T>().is_aligned() {
            Ok(word)
        } else {
            Err(not_there(address, size_of::<T>() as u64))
        }
    }

    /// Loads a value with acquire ordering.
    ///
    /// # Errors
    ///
    /// When it isn't the guest's memory or isn't aligned.
    pub fn load<T: AtomicAccess>(&self, address: u64) -> Result<T, MemoryError> {
        self.map
            .load(GuestAddress(address), std::sync::atomic::Ordering::Acquire)
            .map_err(|_| not_there(address, size_of::<T>() as u64))
    }
}

fn not_there(address: u64, bytes: u64) -> MemoryError {
    MemoryError::NotThere { address, bytes }
}

/// One piece of host memory for `readv`, `writev` and io_uring.
///
/// # Invariants
///
/// It lies in a guest's memory; whoever hands it to the system keeps the [`Pages`] it came from
/// until the system is done with it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct IoVec(pub libc::iovec);

// SAFETY: it is an address and a length; by the type's invariant the memory stays mapped
// whichever thread uses it.
unsafe impl Send for IoVec {}
// SAFETY: as above.
unsafe impl Sync for IoVec {}

/// Pages that are one piece in the guest's physical address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Where in the list it begins.
    offset: u64,
    /// Guest address of its first byte.
    address: u64,
    /// How long it is.
    bytes: u64,
}

/// A list of bytes spread over guest pages: a GPADL's range or one of a GPA-direct packet.
///
/// # Invariants
///
/// All of it is the guest's memory; runs follow each other without a gap and none is empty.
#[derive(Clone, Debug)]
pub struct Pages {
    memory: GuestMemory,
    runs: Vec<Run>,
    bytes: u64,
}

impl Pages {
    /// Checks a range: `bytes` bytes from `offset` in the first of the pages on.
    ///
    /// # Errors
    ///
    /// When pages and bytes don't agree or a page isn't the guest's memory.
    pub fn new(
        memory: &GuestMemory,
        offset: u32,
        bytes: u32,
        pfns: impl ExactSizeIterator<Item = u64>,
    ) -> Result<Self, MemoryError> {
        let pages = pfns.len();
        let bad = MemoryError::BadList {
            pages,
            bytes: bytes.into(),
            offset: offset.into(),
        };
        let spanned = vmbus_wire::gpadl::pages_spanned(offset, bytes);
        if u64::from(offset) >= PAGE || spanned != pages as u64 || bytes == 0 {
            return Err(bad);
        }
        let mut runs: Vec<Run> = Vec::new();
        let mut at = 0;
        let mut skip = u64::from(offset);
        let total = u64::from(bytes);
        for pfn in pfns {
            let address = pfn
                .checked_mul(PAGE)
                .and_then(|page| page.checked_add(skip))
                .ok_or(not_there(u64::MAX, PAGE))?;
            let here = (PAGE - skip).min(total - at);
            skip = 0;
            match runs.last_mut() {
                Some(last) if last.address.checked_add(last.bytes) == Some(address) => {
                    last.bytes += here;
                }
                _ => runs.push(Run {
                    offset: at,
                    address,
                    bytes: here,
                }),
            }
            at += here;
        }
        // A run may cross a border between two regions of memory: cut it there.
        let mut whole = Vec::with_capacity(runs.len());
        for run in runs {
            split(memory, run, &mut whole)?;
        }
        Ok(Self {
            memory: memory.clone(),
            runs: whole,
            bytes: total,
        })
    }

    /// Bytes in the list.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// False: a list has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// How many pieces it is made of.
    pub fn pieces(&self) -> usize {
        self.runs.len()
    }

    /// Calls `each` for every piece of `bytes` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// When that is outside of the list.
    pub fn for_each(
        &self,
        offset: u64,
        bytes: u64,
        mut each: impl FnMut(VolatileSlice<'_>),
    ) -> Result<(), MemoryError> {
        let end = offset
            .checked_add(bytes)
            .filter(|end| *end <= self.bytes)
            .ok_or(MemoryError::OutOfList {
                offset,
                bytes,
                of: self.bytes,
            })?;
        let mut at = offset;
        let first = self
            .runs
            .partition_point(|run| run.offset + run.bytes <= offset);
        for run in self.runs.iter().skip(first) {
            if at >= end {
                break;
            }
            let inside = at - run.offset;
            let here = (run.bytes - inside).min(end - at);
            let slice = self.memory.slice(run.address + inside, here as usize)?;
            each(slice);
            at += here;
        }
        Ok(())
    }

    /// Copies from the guest.
    ///
    /// # Errors
    ///
    /// When that is outside of the list.
    pub fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), MemoryError> {
        let mut done = 0;
        self.for_each(offset, to.len() as u64, |slice| {
            let here = slice.len();
            slice.copy_to(&mut to[done..done + here]);
            done += here;
        })
    }

    /// Copies to the guest.
    ///
    /// # Errors
    ///
    /// When that is outside of the list.
    pub fn write(&self, offset: u64, from: &[u8]) -> Result<(), MemoryError> {
        let mut done = 0;
        self.for_each(offset, from.len() as u64, |slice| {
            let here = slice.len();
            slice.copy_from(&from[done..done + here]);
            done += here;
        })
    }

    /// Appends the pieces of `bytes` bytes at `offset`, for the system to read or write.
    ///
    /// # Errors
    ///
    /// When that is outside of the list.
    pub fn iovecs(&self, offset: u64, bytes: u64, out: &mut Vec<IoVec>) -> Result<(), MemoryError> {
        self.for_each(offset, bytes, |slice| {
            out.push(IoVec(libc::iovec {
                iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                iov_len: slice.len(),
            }));
        })
    }
}

/// Cuts a run into pieces that each lie in one region of memory.
fn split(memory: &GuestMemory, run: Run, out: &mut Vec<Run>) -> Result<(), MemoryError> {
    let mut rest = run;
    while rest.bytes > 0 {
        let error = not_there(rest.address, rest.bytes);
        let here = memory
            .map
            .find_region(GuestAddress(rest.address))
            .and_then(|region| region.last_addr().0.checked_sub(rest.address))
            .map(|after| (after + 1).min(rest.bytes))
            .ok_or(error)?;
        out.push(Run {
            bytes: here,
            ..rest
        });
        rest = Run {
            offset: rest.offset + here,
            address: rest.address + here,
            bytes: rest.bytes - here,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> GuestMemory {
        // Two regions with a border at 1 MiB and a hole from 2 MiB on.
        let ranges = [(GuestAddress(0), 1 << 20), (GuestAddress(1 << 20), 1 << 20)];
        GuestMemory::new(GuestMemoryMmap::from_ranges(&ranges).unwrap())
    }

    #[test]
    fn neighbours_are_one_piece_and_regions_are_not() {
        let memory = memory();
        let pages = Pages::new(&memory, 0, 3 * 4096, [1u64, 2, 3].into_iter()).unwrap();
        assert_eq!(pages.pieces(), 1);
        let pages = Pages::new(&memory, 0, 2 * 4096, [255u64, 256].into_iter()).unwrap();
        assert_eq!(pages.pieces(), 2);
        let pages = Pages::new(&memory, 0, 2 * 4096, [7u64, 5].into_iter()).unwrap();
        assert_eq!(pages.pieces(), 2);
    }

    #[test]
    fn bytes_land_where_the_list_says() {
        let memory = memory();
        let pages = Pages::new(&memory, 4000, 5000, [9u64, 3, 4].into_iter()).unwrap();
        let data: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
        pages.write(0, &data).unwrap();
        let mut first = [0; 96];
        memory.read(9 * 4096 + 4000, &mut first).unwrap();
        assert_eq!(first[..], data[..96]);
        let mut back = vec![0; 4000];
        pages.read(1000, &mut back).unwrap();
        assert_eq!(back[..], data[1000..]);
        let mut iovecs = Vec::new();
        pages.iovecs(90, 10, &mut iovecs).unwrap();
        assert_eq!(
            iovecs.iter().map(|v| v.0.iov_len).collect::<Vec<_>>(),
            [6, 4]
        );
    }

    #[test]
    fn what_is_not_memory_is_refused() {
        let memory = memory();
        for (offset, bytes, pfns) in [
            (0, 4096, vec![512]),
            (0, 4096, vec![u64::MAX]),
            (0, 4096, vec![u64::MAX / 4096]),
            (0, 4096, vec![]),
            (0, 4096, vec![1, 2]),
            (4096, 1, vec![1]),
            (1, 4096, vec![1]),
            (0, 0, vec![]),
            (0, u32::MAX, vec![1]),
        ] {
            assert!(
                Pages::new(&memory, offset, bytes, pfns.clone().into_iter()).is_err(),
                "{pfns:?}"
            );
        }
        let pages = Pages::new(&memory, 0, 4096, [1u64].into_iter()).unwrap();
        assert!(pages.read(4090, &mut [0; 7]).is_err());
        assert!(pages.read(u64::MAX, &mut [0; 7]).is_err());
        assert!(pages.read(4096, &mut []).is_ok());
        assert!(memory.atomic_u32(2).is_err());
        assert!(memory.atomic_u64(2 << 20).is_err());
    }
}
