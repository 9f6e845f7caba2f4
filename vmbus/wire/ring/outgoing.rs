// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The writing end of a ring.

use super::{advance, check_index, check_size, distance, set_up};
use super::{RingError, RingMemory, ALIGNMENT, TRAILER_BYTES};
use crate::packet::OutPacket;

/// The writing end of a ring: the guest's outgoing one, or a host's.
#[derive(Debug)]
pub struct OutRing<M> {
    memory: M,
    /// Bytes of the data area, checked once.
    bytes: u32,
    /// Our cursor; the shared write index is a copy of it, or about to become one.
    write: u32,
    /// The shared write index.
    published: u32,
}

impl<M: RingMemory> OutRing<M> {
    /// Takes a ring over before the other side knows of it: empties it and offers flow control by
    /// pending send size.
    ///
    /// # Errors
    ///
    /// [`RingError::BadSize`].
    pub fn new(memory: M) -> Result<Self, RingError> {
        let bytes = set_up(&memory)?;
        Ok(Self {
            memory,
            bytes,
            write: 0,
            published: 0,
        })
    }

    /// Takes over a ring that the other side has set up: the one place where the own index is
    /// read from shared memory.
    ///
    /// # Errors
    ///
    /// [`RingError::BadSize`], [`RingError::CorruptIndex`].
    pub fn attach(memory: M) -> Result<Self, RingError> {
        let bytes = check_size(memory.len())?;
        let write = check_index(memory.load_write_index(), bytes)?;
        Ok(Self {
            memory,
            bytes,
            write,
            published: write,
        })
    }

    /// The memory, for what isn't a rule of the ring.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Our cursor, in bytes into the data area.
    pub fn write_index(&self) -> u32 {
        self.write
    }

    /// Bytes between our cursor and the reader's. A packet needs fewer than this.
    ///
    /// # Errors
    ///
    /// [`RingError::CorruptIndex`].
    #[inline]
    pub fn free(&self) -> Result<u32, RingError> {
        let read = check_index(self.memory.load_read_index(), self.bytes)?;
        Ok(self.bytes - distance(read, self.write, self.bytes))
    }

    /// Bytes that were written and not read yet.
    ///
    /// # Errors
    ///
    /// [`RingError::CorruptIndex`].
    pub fn used(&self) -> Result<u32, RingError> {
        let read = check_index(self.memory.load_read_index(), self.bytes)?;
        Ok(distance(read, self.write, self.bytes))
    }

    /// Writes one packet and publishes it. `Ok(true)` asks the caller to signal the other side.
    ///
    /// The packet is in the ring as a whole or, after an error, not at all.
    ///
    /// # Errors
    ///
    /// [`RingError::Full`] (try again later), [`RingError::TooBig`] (never), and
    /// [`RingError::CorruptIndex`].
    #[inline]
    pub fn write(&mut self, packet: &OutPacket<'_>) -> Result<bool, RingError> {
        self.stage(packet)?;
        Ok(self.publish())
    }

    /// Writes one packet that the other side doesn't see before [`OutRing::publish`], and returns
    /// the bytes it takes in the ring.
    ///
    /// # Errors
    ///
    /// As [`OutRing::write`].
    #[inline]
    pub fn stage(&mut self, packet: &OutPacket<'_>) -> Result<u32, RingError> {
        let before = self.write;
        self.place(packet)?;
        Ok(distance(before, self.write, self.bytes))
    }

    /// Shows the other side what was staged. True asks the caller to signal it.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let old = core::mem::replace(&mut self.published, self.write);
        self.memory.store_write_index(self.write);
        self.wants_signal(old)
    }

    /// Writes several packets and publishes them together, so that one signal serves all. Returns
    /// how many were written and whether to signal; it stops at the first that finds no room.
    ///
    /// # Errors
    ///
    /// What stopped it where not even the first packet could be written.
    pub fn write_batch<'a, I>(&mut self, packets: I) -> Result<(usize, bool), RingError>
    where
        I: IntoIterator<Item = OutPacket<'a>>,
    {
        let mut written = 0;
        for packet in packets {
            match self.place(&packet) {
                Ok(()) => written += 1,
                Err(error) if written == 0 => return Err(error),
                Err(_) => break,
            }
        }
        if written == 0 {
            return Ok((0, false));
        }
        Ok((written, self.publish()))
    }

    /// Copies a packet behind our cursor and moves the cursor on, all of it private so far.
    #[inline]
    fn place(&mut self, packet: &OutPacket<'_>) -> Result<(), RingError> {
        let sizes = packet.sizes()?;
        let needed = sizes.total + TRAILER_BYTES;
        if needed >= self.bytes {
            return Err(RingError::TooBig {
                needed: needed.into(),
            });
        }
        let free = self.free()?;
        // One byte too few would do to tell full from empty; packets being multiples of eight,
        // it costs eight.
        if needed >= free {
            return Err(RingError::Full { needed, free });
        }
        let start = self.write;
        let trailer_at = advance(start, sizes.total, self.bytes);
        // The trailer is the start index in the upper half of a 64-bit word.
        let trailer = (u64::from(start) << 32).to_le_bytes();
        if sizes.unpadded == sizes.total {
            self.memory.copy_out(trailer_at, &trailer);
        } else {
            // Zeroes first, then payload over their beginning: two copies of a length known in
            // advance instead of one that isn't, and no stale bytes leak to the host.
            let padding_at = advance(start, sizes.total - ALIGNMENT, self.bytes);
            let mut end = [0; (ALIGNMENT + TRAILER_BYTES) as usize];
            if let Some(half) = end.last_chunk_mut() {
                *half = trailer;
            }
            self.memory.copy_out(padding_at, &end);
        }
        let memory = &self.memory;
        let bytes = self.bytes;
        let mut at = start;
        packet.for_each_part(sizes, |part| {
            memory.copy_out(at, part);
            // Parts add up to less than the ring.
            at = advance(at, part.len() as u32, bytes);
        });
        self.write = advance(trailer_at, TRAILER_BYTES, self.bytes);
        Ok(())
    }

    /// Signal only a reader that is not draining and that had found the ring empty.
    #[inline]
    fn wants_signal(&self, old_write: u32) -> bool {
        // The reader stores its mask and looks at the write index; we stored the write index and
        // look at its mask: with a full barrier between, one of us sees the other.
        self.memory.full_barrier();
        if self.memory.load_interrupt_mask() != 0 {
            return false;
        }
        // Only compared, so it needs no check; a bad index is found by the next write.
        self.memory.load_read_index() == old_write
    }

    /// Asks the reader to signal once more than `packet_bytes` (packet with its trailer, see
    /// [`OutPacket::ring_bytes`]) are free. `Ok(true)`: they are already, the request was taken
    /// back, write again at once.
    ///
    /// # Errors
    ///
    /// [`RingError::CorruptIndex`]; [`RingError::TooBig`] where it would never happen.
    pub fn request_space(&mut self, packet_bytes: u32) -> Result<bool, RingError> {
        if packet_bytes >= self.bytes {
            return Err(RingError::TooBig {
                needed: packet_bytes.into(),
            });
        }
        self.memory.store_pending_send_size(packet_bytes);
        // The reader stores its index and looks at the request; we do the reverse.
        self.memory.full_barrier();
        if self.free()? > packet_bytes {
            self.cancel_request();
            return Ok(true);
        }
        Ok(false)
    }

    /// Takes the request of [`OutRing::request_space`] back: to be called when the signal came.
    pub fn cancel_request(&mut self) {
        self.memory.store_pending_send_size(0);
    }
}
