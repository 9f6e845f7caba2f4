// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Units in memory: what the guest reads and writes is copied straight to and from its pages.

use std::ops::Range;

use anyhow::{ensure, Context};
use parking_lot::RwLock;
use vm_memory::{MmapRegion, VolatileMemory, VolatileSlice};

use super::super::buffer::DataBuffer;
use super::super::work::Work;

/// Memory is taken in pieces of this size, so that resizing moves nothing.
const CHUNK: u64 = 64 << 20;
/// Bytes of a page of the host.
const PAGE: usize = 4096;

/// A unit in memory. Whatever was never written takes none.
#[derive(Debug)]
pub(crate) struct RamDisk {
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    chunks: Vec<MmapRegion<()>>,
    bytes: u64,
}

impl RamDisk {
    /// All zeroes.
    ///
    /// # Errors
    ///
    /// When the system has no address space left for it.
    pub(crate) fn new(bytes: u64) -> anyhow::Result<Self> {
        let disk = Self {
            inner: RwLock::new(Inner {
                chunks: Vec::new(),
                bytes: 0,
            }),
        };
        disk.resize(bytes)?;
        Ok(disk)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.inner.read().bytes
    }

    /// What is added is all zeroes.
    ///
    /// # Errors
    ///
    /// When the system has no address space left for it.
    pub(crate) fn resize(&self, bytes: u64) -> anyhow::Result<()> {
        ensure!(bytes > 0, "a disk of 0 bytes makes no sense");
        let mut inner = self.inner.write();
        let wanted = usize::try_from(bytes.div_ceil(CHUNK)).context("too big")?;
        while inner.chunks.len() < wanted {
            let chunk = MmapRegion::<()>::new(CHUNK as usize)
                .with_context(|| format!("no memory for a disk of {bytes} bytes"))?;
            huge_pages(&chunk);
            inner.chunks.push(chunk);
        }
        let old = inner.bytes;
        if bytes < old {
            // What is cut off mustn't come back should it grow again.
            inner.zero(bytes..old);
            inner.chunks.truncate(wanted);
        }
        inner.bytes = bytes;
        Ok(())
    }

    /// Does work from beginning to end, on this thread.
    ///
    /// # Errors
    ///
    /// An error number, when it is beyond the end because the unit was resized meanwhile.
    pub(crate) fn run(&self, work: &Work, buffer: &DataBuffer) -> Result<(), i32> {
        let inner = self.inner.read();
        let check = |offset: u64, bytes: u64| {
            offset
                .checked_add(bytes)
                .filter(|end| *end <= inner.bytes)
                .map(|end| offset..end)
                .ok_or(libc::EIO)
        };
        match work {
            Work::Read { offset, bytes } => {
                check(*offset, *bytes)?;
                inner.move_data(*offset, *bytes, buffer, |disk, guest| {
                    disk.copy_to_volatile_slice(guest);
                })
            }
            Work::Write { offset, bytes, .. } => {
                check(*offset, *bytes)?;
                inner.move_data(*offset, *bytes, buffer, |disk, guest| {
                    guest.copy_to_volatile_slice(disk);
                })
            }
            Work::Flush => Ok(()),
            Work::Discard(ranges) => {
                for range in ranges {
                    let bytes = range.end.saturating_sub(range.start);
                    inner.zero(check(range.start, bytes)?);
                }
                Ok(())
            }
            Work::Fill {
                offset,
                bytes,
                pattern,
            } => {
                let range = check(*offset, *bytes)?;
                if pattern.is_empty() {
                    return Err(libc::EINVAL);
                }
                if pattern.iter().all(|byte| *byte == 0) {
                    inner.zero(range);
                    return Ok(());
                }
                let mut at = range.start;
                while at < range.end {
                    let mut rest = pattern.as_slice();
                    let end = at.saturating_add(rest.len() as u64).min(range.end);
                    inner.for_each(at..end, |slice| {
                        let (here, behind) = rest.split_at(slice.len().min(rest.len()));
                        slice.copy_from(here);
                        rest = behind;
                    });
                    at = end;
                }
                Ok(())
            }
        }
    }
}

impl Inner {
    /// Calls `each` for every piece of memory of these bytes, which exist.
    fn for_each(&self, range: Range<u64>, mut each: impl FnMut(VolatileSlice<'_>)) {
        let mut at = range.start;
        while at < range.end {
            let inside = at % CHUNK;
            let here = (CHUNK - inside).min(range.end - at);
            let slice = usize::try_from(at / CHUNK)
                .ok()
                .and_then(|index| self.chunks.get(index))
                .and_then(|chunk| chunk.get_slice(inside as usize, here as usize).ok());
            if let Some(slice) = slice {
                each(slice);
            }
            at += here;
        }
    }

    /// Calls `each` with pieces of the unit and of the guest's memory, of the same length.
    fn move_data(
        &self,
        offset: u64,
        bytes: u64,
        buffer: &DataBuffer,
        mut each: impl FnMut(VolatileSlice<'_>, VolatileSlice<'_>),
    ) -> Result<(), i32> {
        let mut at = offset;
        buffer
            .for_each(0, bytes, |guest| {
                let end = at.saturating_add(guest.len() as u64);
                let mut done = 0;
                self.for_each(at..end, |disk| {
                    let length = disk.len();
                    if let Ok(part) = guest.subslice(done, length) {
                        each(disk, part);
                    }
                    done += length;
                });
                at = end;
            })
            .map_err(|_| libc::EFAULT)
    }

    /// Whole pages are given back to the system, the rest is overwritten.
    fn zero(&self, range: Range<u64>) {
        self.for_each(range, |slice| {
            let start = slice.ptr_guard_mut().as_ptr();
            let head = start.align_offset(PAGE).min(slice.len());
            let pages = (slice.len() - head) / PAGE * PAGE;
            for (at, bytes) in [(0, head), (head + pages, slice.len() - head - pages)] {
                if let Ok(part) = slice.subslice(at, bytes) {
                    part.copy_from(&[0u8; PAGE][..bytes]);
                }
            }
            if pages == 0 {
                return;
            }
            // SAFETY: these are whole pages of a private anonymous mapping that `slice` borrows;
            // afterwards they read as zeroes, which is what is wanted.
            let result = unsafe {
                libc::madvise(start.wrapping_add(head).cast(), pages, libc::MADV_DONTNEED)
            };
            debug_assert_eq!(result, 0);
        });
    }
}

/// Huge pages spare a nested host page faults. Where there are none it works just the same.
fn huge_pages(chunk: &MmapRegion<()>) {
    // SAFETY: the mapping is ours alone and anonymous; the advice changes none of its bytes.
    unsafe { libc::madvise(chunk.as_ptr().cast(), chunk.size(), libc::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    use storvsc_wire::DataDirection;
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::memory::{GuestMemory, Pages};

    fn guest() -> (GuestMemory, DataBuffer) {
        let memory =
            GuestMemory::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap());
        let pages = Pages::new(&memory, 512, 8192, [4u64, 9, 7].into_iter()).unwrap();
        (memory, DataBuffer::of(pages, DataDirection::In))
    }

    #[test]
    fn crosses_chunks() {
        let (_memory, buffer) = guest();
        let disk = RamDisk::new(CHUNK + 8192).unwrap();
        let data: Vec<u8> = (0..8192u32).map(|n| (n % 251) as u8 + 1).collect();
        buffer.write(0, &data).unwrap();
        let offset = CHUNK - 1536;
        let write = Work::Write {
            offset,
            bytes: 8192,
            durable: true,
        };
        disk.run(&write, &buffer).unwrap();
        buffer.write(0, &[0; 8192]).unwrap();
        let read = Work::Read {
            offset,
            bytes: 8192,
        };
        disk.run(&read, &buffer).unwrap();
        let mut back = vec![0; 8192];
        buffer.read(0, &mut back).unwrap();
        assert_eq!(back, data);

        let hole = offset + 512..offset + 7000;
        disk.run(&Work::Discard(Vec::from([hole])), &buffer)
            .unwrap();
        disk.run(&read, &buffer).unwrap();
        buffer.read(0, &mut back).unwrap();
        assert_eq!(back[..512], data[..512]);
        assert!(back[512..7000].iter().all(|byte| *byte == 0));
        assert_eq!(back[7000..], data[7000..]);

        let fill = Work::Fill {
            offset: offset + 512,
            bytes: 1024,
            pattern: vec![7; 512],
        };
        disk.run(&fill, &buffer).unwrap();
        disk.run(&read, &buffer).unwrap();
        buffer.read(0, &mut back).unwrap();
        assert_eq!(back[511..1538], {
            let mut expected = vec![data[511]];
            expected.extend([7; 1024]);
            expected.extend([0; 2]);
            expected
        });
    }

    #[test]
    fn what_is_cut_off_does_not_come_back() {
        let (_memory, buffer) = guest();
        let disk = RamDisk::new(2 * CHUNK).unwrap();
        buffer.write(0, &[1; 8192]).unwrap();
        let write = |offset| Work::Write {
            offset,
            bytes: 8192,
            durable: false,
        };
        disk.run(&write(8192), &buffer).unwrap();
        disk.run(&write(CHUNK), &buffer).unwrap();
        disk.resize(12288).unwrap();
        assert_eq!(disk.run(&write(8192), &buffer), Err(libc::EIO));
        disk.resize(2 * CHUNK).unwrap();
        for (offset, kept) in [(8192, 4096), (CHUNK, 0)] {
            let read = Work::Read {
                offset,
                bytes: 8192,
            };
            disk.run(&read, &buffer).unwrap();
            let mut back = vec![9; 8192];
            buffer.read(0, &mut back).unwrap();
            assert!(back[..kept].iter().all(|byte| *byte == 1));
            assert!(back[kept..].iter().all(|byte| *byte == 0), "{offset}");
        }
        assert!(disk.resize(0).is_err());
    }
}
