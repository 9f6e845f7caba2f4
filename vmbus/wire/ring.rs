// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ring buffers of a channel: one in each direction, a page of control words before each
//! (`struct hv_ring_buffer`).
//!
//! The rules, with "our" cursor the write index of an [`OutRing`] or the read index of an
//! [`InRing`]:
//!
//! * our cursor lives in private memory; its shared copy is written and never read back;
//! * the other side's index is checked each time it is loaded; a bad one is
//!   [`RingError::CorruptIndex`] and the ring can't be used any more;
//! * a packet is copied in or out once; lengths are checked on the private copy;
//! * a ring is never filled to the last byte, for then it would look empty.
//!
//! This module has no access to shared memory of its own: [`RingMemory`] is the whole interface.
//! Rings have no locks: a caller who shares one takes his own.

use core::fmt;

mod incoming;
mod memory;
mod outgoing;

pub use incoming::InRing;
pub use memory::RingMemory;
pub use outgoing::OutRing;

/// Offset of the write index in the control page, a 32-bit word of bytes into the data area.
pub const WRITE_INDEX_OFFSET: usize = 0;
/// Offset of the read index.
pub const READ_INDEX_OFFSET: usize = 4;
/// Offset of the reader's interrupt mask: not zero while the reader wants no signals.
pub const INTERRUPT_MASK_OFFSET: usize = 8;
/// Offset of the number of bytes that a blocked writer waits for, 0 while it doesn't.
pub const PENDING_SEND_SIZE_OFFSET: usize = 12;
/// Offset of the feature bits.
pub const FEATURE_BITS_OFFSET: usize = 64;
/// Feature bit: both sides keep to the rules of [`PENDING_SEND_SIZE_OFFSET`].
pub const FEATURE_PENDING_SEND_SIZE: u32 = 1;
/// Where the data area starts after the start of the control page.
pub const DATA_OFFSET: usize = crate::HV_PAGE_SIZE as usize;

/// Bytes after each packet: the index it started at.
pub const TRAILER_BYTES: u32 = 8;
/// All packets start and end on a multiple of this.
pub(crate) const ALIGNMENT: u32 = 8;

/// Why a ring refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// The data area isn't a whole number of pages, or empty, or more than 2 GiB.
    BadSize {
        /// Bytes of the data area.
        bytes: u32,
    },
    /// No room now; [`OutRing::request_space`] asks for a signal when there is.
    Full {
        /// Bytes the packet takes, trailer included.
        needed: u32,
        /// Bytes that are free; one of them can never be used.
        free: u32,
    },
    /// The packet would not fit in the empty ring, or its length can't be expressed.
    TooBig {
        /// Bytes of the packet, trailer included, as far as they could be counted.
        needed: u64,
    },
    /// The other side published an index outside of the ring or not on a packet boundary.
    CorruptIndex {
        /// What it published.
        index: u32,
        /// Bytes of the data area.
        ring_bytes: u32,
    },
    /// The next packet is longer than the caller's buffer; it stays in the ring.
    /// [`InRing::skip`] drops it.
    BufferTooSmall {
        /// Bytes of the packet.
        needed: u32,
        /// Bytes of the buffer.
        got: usize,
    },
    /// The other side published a packet whose descriptor makes no sense.
    CorruptPacket {
        /// Its length in 8-byte units (`len8`).
        length8: u16,
        /// Where its payload starts, in 8-byte units (`offset8`).
        offset8: u16,
        /// Bytes that were published.
        available: u32,
    },
}

impl RingError {
    /// True where the other side broke the protocol, so that the channel has to be closed.
    pub const fn is_corrupt(&self) -> bool {
        matches!(self, Self::CorruptIndex { .. } | Self::CorruptPacket { .. })
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSize { bytes } => write!(f, "ring of {bytes} bytes"),
            Self::Full { needed, free } => {
                write!(f, "ring full: {needed} bytes wanted, {free} free")
            }
            Self::TooBig { needed } => write!(f, "packet of {needed} bytes is too big"),
            Self::CorruptIndex { index, ring_bytes } => {
                write!(f, "index {index:#x} in a ring of {ring_bytes:#x} bytes")
            }
            Self::BufferTooSmall { needed, got } => {
                write!(f, "packet of {needed} bytes for a buffer of {got}")
            }
            Self::CorruptPacket {
                length8,
                offset8,
                available,
            } => write!(
                f,
                "packet of {length8} words, payload at {offset8}, with {available} bytes published"
            ),
        }
    }
}

impl core::error::Error for RingError {}

/// Checks an index that the other side published.
#[inline]
pub(crate) fn check_index(index: u32, ring_bytes: u32) -> Result<u32, RingError> {
    if index < ring_bytes && index % ALIGNMENT == 0 {
        Ok(index)
    } else {
        Err(RingError::CorruptIndex { index, ring_bytes })
    }
}

/// Bytes from `from` up to `to`, both valid indices of a ring of `ring_bytes` bytes.
#[inline]
pub(crate) fn distance(from: u32, to: u32, ring_bytes: u32) -> u32 {
    if to >= from {
        to - from
    } else {
        // Both are below ring_bytes, so this neither under- nor overflows.
        ring_bytes - (from - to)
    }
}

/// Moves a valid index on by at most the size of the ring.
#[inline]
pub(crate) fn advance(index: u32, by: u32, ring_bytes: u32) -> u32 {
    // Sizes are at most 2 GiB, so the sum fits.
    let next = index.wrapping_add(by);
    if next >= ring_bytes {
        next.wrapping_sub(ring_bytes)
    } else {
        next
    }
}

/// Empties a ring that the other side doesn't know yet and offers flow control by pending send size;
/// returns the bytes of its data area.
pub(crate) fn set_up(memory: &impl RingMemory) -> Result<u32, RingError> {
    let bytes = check_size(memory.len())?;
    memory.store_interrupt_mask(0);
    memory.store_pending_send_size(0);
    memory.store_feature_bits(FEATURE_PENDING_SEND_SIZE);
    memory.store_read_index(0);
    memory.store_write_index(0);
    Ok(bytes)
}

/// Checks the size of a data area.
pub(crate) fn check_size(bytes: u32) -> Result<u32, RingError> {
    if bytes == 0 || bytes > 1 << 31 || bytes % crate::HV_PAGE_SIZE != 0 {
        Err(RingError::BadSize { bytes })
    } else {
        Ok(bytes)
    }
}
