// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The rules of Linux's `drivers/hv/ring_buffer.c`, one for one, as a yardstick: the same copies
//! in the same order, the same loads from shared memory, the same barriers.
//!
//! Left out, in its favour: the spin lock around a write, the request table, statistics.

use super::mapped::MappedRing;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use vmbus_wire::ring::{
    RingMemory, FEATURE_BITS_OFFSET, INTERRUPT_MASK_OFFSET, PENDING_SEND_SIZE_OFFSET,
    READ_INDEX_OFFSET, WRITE_INDEX_OFFSET,
};

/// One direction, written and read.
pub(crate) struct CRing {
    memory: MappedRing,
    data_bytes: u32,
    private_read: u32,
    packet: Vec<u8>,
}

#[repr(C)]
struct Descriptor {
    packet_type: u16,
    offset8: u16,
    length8: u16,
    flags: u16,
    transaction_id: u64,
}

fn aligned(bytes: u32) -> u32 {
    bytes.next_multiple_of(8)
}

impl CRing {
    /// An empty ring whose reader has a packet buffer of `packet_bytes`.
    pub(crate) fn new(memory: MappedRing, packet_bytes: usize) -> Self {
        memory.word(READ_INDEX_OFFSET).store(0, Relaxed);
        memory.word(WRITE_INDEX_OFFSET).store(0, Relaxed);
        memory.word(FEATURE_BITS_OFFSET).store(1, Relaxed);
        Self {
            memory,
            data_bytes: memory.len(),
            private_read: 0,
            packet: vec![0; packet_bytes],
        }
    }

    /// Copies one piece to the ring, returns where the next goes.
    #[inline(always)]
    fn copy_to(&self, start: u32, from: *const u8, length: u32) -> u32 {
        // SAFETY: The caller has found room for the packet behind a `start` inside of the data
        // area, which is mapped twice.
        unsafe {
            ptr::copy_nonoverlapping(
                from,
                self.memory.data().add(start as usize),
                length as usize,
            )
        };
        let mut next = start + length;
        if next >= self.data_bytes {
            next -= self.data_bytes;
        }
        next
    }

    fn bytes_to_write(&self) -> u32 {
        let read = self.memory.word(READ_INDEX_OFFSET).load(Relaxed);
        let write = self.memory.word(WRITE_INDEX_OFFSET).load(Relaxed);
        if write >= read {
            self.data_bytes - (write - read)
        } else {
            read - write
        }
    }

    /// An in-band packet: three pieces, then its transaction id, then the trailer. Returns
    /// whether to signal, `None` where the ring is full.
    #[inline(never)]
    pub(crate) fn write(&mut self, payload: &[u8], transaction_id: u64) -> Option<bool> {
        let length = 16 + payload.len() as u32;
        let padded = aligned(length);
        let descriptor = Descriptor {
            packet_type: 6,
            offset8: 2,
            length8: (padded >> 3) as u16,
            flags: 0,
            transaction_id: u64::MAX - 1,
        };
        let zeroes = 0u64;
        let pieces = [
            (ptr::from_ref(&descriptor).cast::<u8>(), 16),
            (payload.as_ptr(), payload.len() as u32),
            (ptr::from_ref(&zeroes).cast::<u8>(), padded - length),
        ];
        // As in the kernel, where the list comes from another function: not a constant.
        let pieces = std::hint::black_box(&pieces);
        let total = 8 + pieces.iter().map(|piece| piece.1).sum::<u32>();
        if self.bytes_to_write() <= total {
            return None;
        }
        let old = self.memory.word(WRITE_INDEX_OFFSET).load(Relaxed);
        let mut next = old;
        for (from, length) in pieces {
            next = self.copy_to(next, *from, *length);
        }
        // SAFETY: The descriptor that was just written lies there, on a multiple of eight bytes.
        unsafe {
            let descriptor = self.memory.data().add(old as usize).cast::<Descriptor>();
            ptr::addr_of_mut!((*descriptor).transaction_id).write_volatile(transaction_id);
        }
        let start = u64::from(self.memory.word(WRITE_INDEX_OFFSET).load(Relaxed)) << 32;
        next = self.copy_to(next, ptr::from_ref(&start).cast(), 8);
        self.memory.full_barrier();
        self.memory.word(WRITE_INDEX_OFFSET).store(next, Relaxed);

        self.memory.full_barrier();
        if self.memory.word(INTERRUPT_MASK_OFFSET).load(Acquire) != 0 {
            return Some(false);
        }
        Some(old == self.memory.word(READ_INDEX_OFFSET).load(Relaxed))
    }

    fn available(&self) -> u32 {
        let write = self.memory.word(WRITE_INDEX_OFFSET).load(Acquire);
        if write >= self.private_read {
            write - self.private_read
        } else {
            self.data_bytes - self.private_read + write
        }
    }

    /// Copies the next packet to the packet buffer and returns its length.
    #[inline(never)]
    fn first(&mut self) -> Option<u32> {
        let available = self.available();
        if available < 16 {
            return None;
        }
        let available = available.min(self.packet.len() as u32);
        // SAFETY: The cursor lies in the data area on a multiple of eight bytes.
        let (mut length, mut offset) = unsafe {
            let at = self.memory.data().add(self.private_read as usize);
            let at = at.cast::<Descriptor>();
            (
                u32::from(ptr::addr_of!((*at).length8).read_volatile()) << 3,
                u32::from(ptr::addr_of!((*at).offset8).read_volatile()) << 3,
            )
        };
        if length < 16 || length > available {
            length = available;
        }
        if offset < 16 || offset > length {
            offset = 16;
        }
        // SAFETY: `length` is at most the size of the packet buffer and of what was published.
        unsafe {
            ptr::copy_nonoverlapping(
                self.memory.data().add(self.private_read as usize),
                self.packet.as_mut_ptr(),
                length as usize,
            );
        }
        self.packet[4..6].copy_from_slice(&((length >> 3) as u16).to_le_bytes());
        self.packet[2..4].copy_from_slice(&((offset >> 3) as u16).to_le_bytes());
        Some(length)
    }

    /// Reads all packets, passing each one's payload to `with`, and gives their space back.
    /// Returns whether to signal.
    #[inline(never)]
    pub(crate) fn drain(&mut self, mut with: impl FnMut(&[u8])) -> bool {
        let mut next = self.first();
        while let Some(length) = next {
            let offset = usize::from(u16::from_le_bytes([self.packet[2], self.packet[3]])) << 3;
            with(&self.packet[offset..length as usize]);
            self.private_read += length + 8;
            if self.private_read >= self.data_bytes {
                self.private_read -= self.data_bytes;
            }
            next = self.first();
        }
        self.close()
    }

    fn close(&mut self) -> bool {
        let start = self.memory.word(READ_INDEX_OFFSET).load(Acquire);
        let read = self.private_read;
        self.memory.word(READ_INDEX_OFFSET).store(read, Relaxed);
        if self.memory.word(FEATURE_BITS_OFFSET).load(Relaxed) & 1 == 0 {
            return false;
        }
        self.memory.full_barrier();
        let pending = self.memory.word(PENDING_SEND_SIZE_OFFSET).load(Acquire);
        if pending == 0 {
            return false;
        }
        let free = self.bytes_to_write();
        let freed = if read >= start {
            read - start
        } else {
            self.data_bytes - start + read
        };
        free.wrapping_sub(freed) <= pending && free > pending
    }
}
