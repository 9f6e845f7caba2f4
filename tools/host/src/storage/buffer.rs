// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The guest's pages that a request's data goes to or comes from.

use storvsc_wire::{DataDirection, Srb};
use vm_memory::VolatileSlice;
use vmbus_wire::packet::{Packet, PacketBody};

use crate::memory::{GuestMemory, IoVec, MemoryError, Pages};

/// Why a request's data can't be moved.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum BufferError {
    /// The guest named pages that aren't its memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The guest wants more moved than it named room for.
    #[error("{wanted} bytes are to be moved, the packet names room for {named}")]
    TooShort {
        /// Bytes the request says.
        wanted: u32,
        /// Bytes of the packet's ranges.
        named: u64,
    },
    /// The guest wants more moved than it was told a request may.
    #[error("{wanted} bytes are to be moved, {most} at most")]
    TooLong {
        /// Bytes the request says.
        wanted: u32,
        /// Bytes of the largest request.
        most: u32,
    },
}

/// The data of a request.
#[derive(Debug)]
pub(super) struct DataBuffer {
    ranges: Vec<Pages>,
    bytes: u64,
    direction: DataDirection,
}

impl DataBuffer {
    /// Checks what the guest named, of which only as many bytes count as the request says.
    ///
    /// # Errors
    ///
    /// Pages that aren't memory, or too few or too many of them.
    pub(super) fn new(
        memory: &GuestMemory,
        packet: &Packet<'_>,
        srb: &Srb,
        most: u32,
    ) -> Result<Self, BufferError> {
        let wanted = srb.transfer_length;
        if wanted > most {
            return Err(BufferError::TooLong { wanted, most });
        }
        let mut ranges = Vec::new();
        let mut named: u64 = 0;
        if let PacketBody::GpaDirect(direct) = &packet.body {
            for range in direct.ranges() {
                // Ranges behind the last byte that counts aren't looked at.
                if named >= wanted.into() {
                    break;
                }
                let pfns = range.pfns.iter().map(|pfn| pfn.get());
                ranges.push(Pages::new(
                    memory,
                    range.byte_offset,
                    range.byte_count,
                    pfns,
                )?);
                named = named.saturating_add(range.byte_count.into());
            }
        }
        if named < wanted.into() {
            return Err(BufferError::TooShort { wanted, named });
        }
        Ok(Self {
            ranges,
            bytes: wanted.into(),
            direction: srb.direction,
        })
    }

    /// No data.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self {
            ranges: Vec::new(),
            bytes: 0,
            direction: DataDirection::None,
        }
    }

    /// One range, for tests without a ring.
    #[cfg(test)]
    pub(super) fn of(pages: Pages, direction: DataDirection) -> Self {
        Self {
            bytes: pages.len(),
            ranges: vec![pages],
            direction,
        }
    }

    /// Bytes of data.
    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    /// Which way they go.
    pub(super) fn direction(&self) -> DataDirection {
        self.direction
    }

    /// Calls `each` for every piece of memory of these bytes.
    ///
    /// # Errors
    ///
    /// When they are outside of the data.
    pub(super) fn for_each(
        &self,
        offset: u64,
        bytes: u64,
        mut each: impl FnMut(VolatileSlice<'_>),
    ) -> Result<(), MemoryError> {
        self.for_each_range(offset, bytes, |pages, offset, bytes| {
            pages.for_each(offset, bytes, &mut each)
        })
    }

    /// Calls `each` for every range with its part of these bytes.
    fn for_each_range(
        &self,
        offset: u64,
        bytes: u64,
        mut each: impl FnMut(&Pages, u64, u64) -> Result<(), MemoryError>,
    ) -> Result<(), MemoryError> {
        let end = offset
            .checked_add(bytes)
            .filter(|end| *end <= self.bytes)
            .ok_or(MemoryError::OutOfList {
                offset,
                bytes,
                of: self.bytes,
            })?;
        let mut start = 0u64;
        let mut at = offset;
        for pages in &self.ranges {
            let behind = start.saturating_add(pages.len());
            if at < behind && at < end {
                let here = behind.min(end).saturating_sub(at);
                each(pages, at.saturating_sub(start), here)?;
                at = at.saturating_add(here);
            }
            start = behind;
        }
        Ok(())
    }

    /// Copies from the guest.
    ///
    /// # Errors
    ///
    /// When the bytes are outside of the data.
    pub(super) fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), MemoryError> {
        let mut rest = to;
        self.for_each(offset, rest.len() as u64, |slice| {
            let taken = std::mem::take(&mut rest);
            let (here, behind) = taken.split_at_mut(slice.len().min(taken.len()));
            slice.copy_to(here);
            rest = behind;
        })
    }

    /// Copies to the guest.
    ///
    /// # Errors
    ///
    /// When the bytes are outside of the data.
    pub(super) fn write(&self, offset: u64, from: &[u8]) -> Result<(), MemoryError> {
        let mut rest = from;
        self.for_each(offset, from.len() as u64, |slice| {
            let (here, behind) = rest.split_at(slice.len().min(rest.len()));
            slice.copy_from(here);
            rest = behind;
        })
    }

    /// Appends the pieces of these bytes for the system.
    ///
    /// # Errors
    ///
    /// When they are outside of the data.
    pub(super) fn iovecs(
        &self,
        offset: u64,
        bytes: u64,
        out: &mut Vec<IoVec>,
    ) -> Result<(), MemoryError> {
        self.for_each_range(offset, bytes, |pages, offset, bytes| {
            pages.iovecs(offset, bytes, out)
        })
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{GuestAddress, GuestMemoryMmap};
    use vmbus_wire::packet::{OutPacket, PageBuffer, RawPacket};
    use zerocopy::IntoBytes;

    use super::*;

    fn memory() -> GuestMemory {
        GuestMemory::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap())
    }

    /// The bytes of a packet with these ranges.
    fn packet(ranges: &[PageBuffer]) -> Vec<u8> {
        let packet = OutPacket::page_buffers(1, ranges, &[]);
        let total = packet.ring_bytes().unwrap() as usize - 8;
        let mut bytes = Vec::new();
        bytes.extend(9u16.to_le_bytes());
        bytes.extend(((total / 8) as u16).to_le_bytes());
        bytes.extend(((total / 8) as u16).to_le_bytes());
        bytes.extend(1u16.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend((ranges.len() as u32).to_le_bytes());
        bytes.extend(ranges.as_bytes());
        bytes
    }

    fn srb(transfer_length: u32) -> Srb {
        Srb {
            address: Default::default(),
            cdb: [0; 16],
            cdb_length: 6,
            sense_length: 20,
            direction: DataDirection::In,
            transfer_length,
            extension: Default::default(),
        }
    }

    #[test]
    fn ranges_are_one_buffer() {
        let memory = memory();
        let ranges = [
            PageBuffer::new(3, 100, 50).unwrap(),
            PageBuffer::new(9, 0, 4096).unwrap(),
            PageBuffer::new(u64::MAX, 0, 1).unwrap(),
        ];
        let bytes = packet(&ranges);
        let packet = RawPacket::from_bytes(&bytes).unwrap().parse().unwrap();
        let buffer = DataBuffer::new(&memory, &packet, &srb(1000), 4096).unwrap();
        assert_eq!(buffer.len(), 1000);
        let data: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        buffer.write(0, &data).unwrap();
        let mut first = [0; 50];
        memory.read(3 * 4096 + 100, &mut first).unwrap();
        assert_eq!(first[..], data[..50]);
        let mut back = vec![0; 900];
        buffer.read(40, &mut back).unwrap();
        assert_eq!(back[..], data[40..940]);
        let mut iovecs = Vec::new();
        buffer.iovecs(40, 900, &mut iovecs).unwrap();
        let lengths: Vec<_> = iovecs.iter().map(|iovec| iovec.0.iov_len).collect();
        assert_eq!(lengths, [10, 890]);
        assert!(buffer.write(999, &[0; 2]).is_err());
        assert!(buffer.read(u64::MAX, &mut [0; 2]).is_err());
    }

    #[test]
    fn what_the_packet_does_not_hold_is_refused() {
        let memory = memory();
        let bytes = packet(&[PageBuffer::new(3, 0, 512).unwrap()]);
        let packet = RawPacket::from_bytes(&bytes).unwrap().parse().unwrap();
        assert!(matches!(
            DataBuffer::new(&memory, &packet, &srb(513), 4096),
            Err(BufferError::TooShort { .. })
        ));
        assert!(matches!(
            DataBuffer::new(&memory, &packet, &srb(u32::MAX), 4096),
            Err(BufferError::TooLong { .. })
        ));
        let bytes = self::packet(&[PageBuffer::new(256, 0, 512).unwrap()]);
        let packet = RawPacket::from_bytes(&bytes).unwrap().parse().unwrap();
        assert!(matches!(
            DataBuffer::new(&memory, &packet, &srb(512), 4096),
            Err(BufferError::Memory(_))
        ));
    }
}
