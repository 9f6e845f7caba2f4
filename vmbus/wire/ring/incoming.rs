// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The reading end of a ring.

use super::{advance, check_index, check_size, distance, set_up};
use super::{RingError, RingMemory, FEATURE_PENDING_SEND_SIZE, TRAILER_BYTES};
use crate::packet::{Descriptor, RawPacket, DESCRIPTOR_BYTES};

/// The reading end of a ring: the guest's incoming one, or a host's.
///
/// [`InRing::read`] moves a private cursor; [`InRing::commit`] gives the space back to the
/// writer, best once for all packets of an interrupt.
#[derive(Debug)]
pub struct InRing<M> {
    memory: M,
    /// Bytes of the data area, checked once.
    bytes: u32,
    /// Our cursor: the next packet starts here.
    read: u32,
    /// What the shared read index says, without reading it.
    committed: u32,
}

/// A packet that the ring holds, from a look at its descriptor.
struct Next {
    descriptor: Descriptor,
    /// Bytes of the packet, descriptor included and trailer not.
    length: u32,
}

impl<M: RingMemory> InRing<M> {
    /// Takes a ring over before the other side knows of it: empties it.
    ///
    /// # Errors
    ///
    /// [`RingError::BadSize`].
    pub fn new(memory: M) -> Result<Self, RingError> {
        let bytes = set_up(&memory)?;
        Ok(Self {
            memory,
            bytes,
            read: 0,
            committed: 0,
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
        let read = check_index(memory.load_read_index(), bytes)?;
        Ok(Self {
            memory,
            bytes,
            read,
            committed: read,
        })
    }

    /// The memory, for what isn't a rule of the ring.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Our cursor, in bytes into the data area.
    pub fn read_index(&self) -> u32 {
        self.read
    }

    /// Bytes published and not read yet.
    ///
    /// # Errors
    ///
    /// [`RingError::CorruptIndex`].
    #[inline]
    pub fn available(&self) -> Result<u32, RingError> {
        let write = check_index(self.memory.load_write_index(), self.bytes)?;
        Ok(distance(self.read, write, self.bytes))
    }

    /// Looks at the next packet's descriptor, once, and checks its lengths.
    #[inline]
    fn next(&self) -> Result<Option<Next>, RingError> {
        let available = self.available()?;
        if available == 0 {
            return Ok(None);
        }
        let mut header = [0; DESCRIPTOR_BYTES];
        self.memory.copy_in(self.read, &mut header);
        let descriptor: Descriptor = zerocopy::transmute!(header);
        let length = u32::from(descriptor.length8.get()) * 8;
        let offset = u32::from(descriptor.offset8.get()) * 8;
        // At most 512 KiB plus a trailer: no overflow.
        if offset < DESCRIPTOR_BYTES as u32 || offset > length || length + TRAILER_BYTES > available
        {
            return Err(RingError::CorruptPacket {
                length8: descriptor.length8.get(),
                offset8: descriptor.offset8.get(),
                available,
            });
        }
        Ok(Some(Next { descriptor, length }))
    }

    /// Bytes of the next packet, `None` where the ring is empty. The packet can change until it
    /// is read, so this is a hint for the choice of a buffer, nothing more.
    ///
    /// # Errors
    ///
    /// [`RingError::CorruptIndex`], [`RingError::CorruptPacket`].
    pub fn peek_bytes(&self) -> Result<Option<u32>, RingError> {
        Ok(self.next()?.map(|next| next.length))
    }

    /// Copies the next packet to `buffer`, all of it once, and moves our cursor on. `None` where
    /// the ring is empty.
    ///
    /// # Errors
    ///
    /// [`RingError::BufferTooSmall`] leaves the packet where it is. [`RingError::CorruptIndex`]
    /// and [`RingError::CorruptPacket`]: the channel can't go on.
    #[inline]
    pub fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<RawPacket<'b>>, RingError> {
        let Some(next) = self.next()? else {
            return Ok(None);
        };
        let got = buffer.len();
        let Some(packet) = buffer.get_mut(..next.length as usize) else {
            return Err(RingError::BufferTooSmall {
                needed: next.length,
                got,
            });
        };
        // The descriptor was read by `next`; only what follows it is copied now.
        let Some((_, rest)) = packet.split_first_chunk_mut::<DESCRIPTOR_BYTES>() else {
            return Ok(None);
        };
        let rest_at = advance(self.read, DESCRIPTOR_BYTES as u32, self.bytes);
        self.memory.copy_in(rest_at, rest);
        self.read = self.after(&next);
        let offset = usize::from(next.descriptor.offset8.get()) * 8;
        let (head, payload) =
            rest.split_at(offset.saturating_sub(DESCRIPTOR_BYTES).min(rest.len()));
        Ok(Some(RawPacket {
            descriptor: next.descriptor,
            head,
            payload,
        }))
    }

    /// Drops the next packet unread; false where the ring is empty.
    ///
    /// # Errors
    ///
    /// [`RingError::CorruptIndex`], [`RingError::CorruptPacket`].
    pub fn skip(&mut self) -> Result<bool, RingError> {
        match self.next()? {
            Some(next) => {
                self.read = self.after(&next);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    #[inline]
    fn after(&self, next: &Next) -> u32 {
        advance(self.read, next.length + TRAILER_BYTES, self.bytes)
    }

    /// Gives the space of all packets read so far back to the writer. `Ok(true)` asks the caller
    /// to signal the writer: it was blocked and now has what it waits for.
    ///
    /// # Errors
    ///
    /// [`RingError::CorruptIndex`].
    #[inline]
    pub fn commit(&mut self) -> Result<bool, RingError> {
        let freed = distance(self.committed, self.read, self.bytes);
        if freed == 0 {
            return Ok(false);
        }
        self.memory.store_read_index(self.read);
        self.committed = self.read;
        // A writer without flow control polls.
        if self.memory.load_feature_bits() & FEATURE_PENDING_SEND_SIZE == 0 {
            return Ok(false);
        }
        // The writer stores its request and looks at the read index; we did the reverse.
        self.memory.full_barrier();
        let pending = self.memory.load_pending_send_size();
        if pending == 0 {
            return Ok(false);
        }
        let free = self.bytes - self.available()?;
        // Signals beyond the one at the change from "not enough" to "enough" count as abuse, and
        // hosts throttle guests for it.
        let was_enough = free
            .checked_sub(freed)
            .is_some_and(|before| before > pending);
        Ok(!was_enough && free > pending)
    }

    /// Tells the writer not to signal: call it before draining.
    pub fn mask_interrupts(&mut self) {
        self.memory.store_interrupt_mask(1);
        self.memory.full_barrier();
    }

    /// Tells the writer to signal again, and looks for a packet that slipped in before it could
    /// know. `Ok(true)`: there is one and no signal will come for it, so mask and drain again.
    ///
    /// # Errors
    ///
    /// [`RingError::CorruptIndex`].
    pub fn unmask_interrupts(&mut self) -> Result<bool, RingError> {
        self.memory.store_interrupt_mask(0);
        self.memory.full_barrier();
        Ok(self.available()? != 0)
    }
}
