// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets, the content of rings.
//!
//! A packet is a 16-byte descriptor (`struct vmpacket_descriptor`), a head that depends on its
//! kind (transfer-page ranges, guest page ranges, or nothing), and payload, padded to a multiple
//! of eight bytes. [`OutPacket`] describes one to be written, [`RawPacket`] is one that was read
//! into private memory, and [`RawPacket::parse`] checks its head.

use crate::ring::{RingError, ALIGNMENT, TRAILER_BYTES};
use core::fmt;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::IntoBytes;
use zerocopy_derive::*;

mod incoming;
mod ranges;

pub use incoming::{GpaDirect, Packet, PacketBody, PacketError, RawPacket, XferPages};
pub use ranges::{GpaRanges, GpaView, PageBuffer, XferRange};

/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: usize = 16;
/// Bit of [`Descriptor::flags`]: the sender wants a completion with the same transaction id.
pub const FLAG_COMPLETION_REQUESTED: u16 = 1;

/// Kind of a packet (`enum vmbus_packet_type`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PacketType(pub u16);

impl PacketType {
    /// Payload in the ring.
    pub const IN_BAND: Self = Self(6);
    /// Payload in a buffer that both sides know; the head says where.
    pub const XFER_PAGES: Self = Self(7);
    /// Payload in guest pages that the head lists.
    pub const GPA_DIRECT: Self = Self(9);
    /// Answer to a packet that asked for one.
    pub const COMPLETION: Self = Self(11);
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IN_BAND => f.write_str("in-band"),
            Self::XFER_PAGES => f.write_str("transfer pages"),
            Self::GPA_DIRECT => f.write_str("guest pages"),
            Self::COMPLETION => f.write_str("completion"),
            Self(other) => write!(f, "type {other}"),
        }
    }
}

impl fmt::Debug for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// First 16 bytes of a packet (`struct vmpacket_descriptor`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Descriptor {
    /// A [`PacketType`].
    pub packet_type: U16,
    /// Where the payload starts, in 8-byte units from the start of the descriptor.
    pub offset8: U16,
    /// Length of the packet without its trailer, in the same units.
    pub length8: U16,
    /// See [`FLAG_COMPLETION_REQUESTED`].
    pub flags: U16,
    /// Chosen by whoever asks for a completion, returned in it.
    pub transaction_id: U64,
}

impl Descriptor {
    /// The kind.
    pub fn packet_type(&self) -> PacketType {
        PacketType(self.packet_type.get())
    }

    /// The sender waits for a completion.
    pub fn completion_requested(&self) -> bool {
        self.flags.get() & FLAG_COMPLETION_REQUESTED != 0
    }
}

/// Start of the head of transfer-page packets (`struct vmtransfer_page_packet_header`).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct XferHead {
    pub(crate) set_id: U16,
    pub(crate) sender_owns_set: u8,
    pub(crate) reserved: u8,
    pub(crate) range_count: U32,
}

/// Start of the head of guest-page packets (`struct vmdata_gpa_direct`), and of each range in it
/// (`struct gpa_range`).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct GpaHead {
    pub(crate) reserved: U32,
    pub(crate) range_count: U32,
}

/// `struct gpa_range` without its pages.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct GpaRangeHead {
    pub(crate) byte_count: U32,
    pub(crate) byte_offset: U32,
}

/// What goes between descriptor and payload of an outgoing packet, and with it the packet's kind.
#[derive(Clone, Copy, Debug)]
pub enum OutHead<'a> {
    /// Nothing: an in-band packet.
    InBand,
    /// Nothing: a completion.
    Completion,
    /// Guest pages, each range within one page (`struct vmbus_channel_packet_page_buffer`).
    PageBuffers(&'a [PageBuffer]),
    /// One range of guest pages of which only the first and the last may be partial
    /// (`struct vmbus_packet_mpb_array`).
    PageList {
        /// Bytes from the start of the first page to the first byte.
        byte_offset: u32,
        /// Bytes of the range.
        byte_count: u32,
        /// The pages, as hypervisor page frame numbers.
        pfns: &'a [U64],
    },
    /// The same, of pages that are told one piece after the other while the packet is written.
    PageRuns {
        /// Bytes from the start of the first page to the first byte.
        byte_offset: u32,
        /// Bytes of the range.
        byte_count: u32,
        /// The pages.
        runs: &'a dyn PageRuns,
    },
    /// Ranges of a buffer that was set up before; sent by hosts only.
    XferPages {
        /// Which buffer.
        set_id: u16,
        /// The ranges.
        ranges: &'a [XferRange],
    },
}

/// Pages of a range that are never listed in one place, such as those of a scatter list.
///
/// A packet is written with as many pages as [`PageRuns::pages`] says, whatever
/// [`PageRuns::for_each`] passes on: what is missing becomes a page that no guest has, what is too much
/// is left out.
pub trait PageRuns: fmt::Debug {
    /// How many pages there are.
    fn pages(&self) -> usize;

    /// Passes all pages to `emit` in order, as hypervisor page frame numbers.
    fn for_each(&self, emit: &mut dyn FnMut(&[U64]));
}

/// A packet to be written.
#[derive(Clone, Copy, Debug)]
pub struct OutPacket<'a> {
    /// Its kind and head.
    pub head: OutHead<'a>,
    /// Returned with the completion; for a completion that of the packet it answers.
    pub transaction_id: u64,
    /// Whether the receiver shall send a completion.
    pub completion_requested: bool,
    /// The payload, in pieces.
    pub payload: &'a [&'a [u8]],
}

/// How long a packet is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Descriptor and head: where the payload starts.
    pub(crate) head: u32,
    /// Head and payload.
    pub(crate) unpadded: u32,
    /// The same, padded: what the descriptor says. At most `u16::MAX` units of 8 bytes.
    pub(crate) total: u32,
}

impl<'a> OutPacket<'a> {
    /// An in-band packet that asks for no completion.
    pub const fn in_band(transaction_id: u64, payload: &'a [&'a [u8]]) -> Self {
        Self {
            head: OutHead::InBand,
            transaction_id,
            completion_requested: false,
            payload,
        }
    }

    /// The completion of a packet that asked for one.
    pub const fn completion(transaction_id: u64, payload: &'a [&'a [u8]]) -> Self {
        Self {
            head: OutHead::Completion,
            transaction_id,
            completion_requested: false,
            payload,
        }
    }

    /// A packet with guest pages, each range within one page; completions are always asked for,
    /// for nothing else tells when the pages are free again.
    pub const fn page_buffers(
        transaction_id: u64,
        buffers: &'a [PageBuffer],
        payload: &'a [&'a [u8]],
    ) -> Self {
        Self {
            head: OutHead::PageBuffers(buffers),
            transaction_id,
            completion_requested: true,
            payload,
        }
    }

    /// A packet with one range of guest pages; see [`OutPacket::page_buffers`] for its completion.
    pub const fn page_list(
        transaction_id: u64,
        byte_offset: u32,
        byte_count: u32,
        pfns: &'a [U64],
        payload: &'a [&'a [u8]],
    ) -> Self {
        Self {
            head: OutHead::PageList {
                byte_offset,
                byte_count,
                pfns,
            },
            transaction_id,
            completion_requested: true,
            payload,
        }
    }

    /// A packet with one range of guest pages that are in no list.
    pub const fn page_runs(
        transaction_id: u64,
        byte_offset: u32,
        byte_count: u32,
        runs: &'a dyn PageRuns,
        payload: &'a [&'a [u8]],
    ) -> Self {
        Self {
            head: OutHead::PageRuns {
                byte_offset,
                byte_count,
                runs,
            },
            transaction_id,
            completion_requested: true,
            payload,
        }
    }

    /// The same packet, asking for a completion.
    pub const fn requesting_completion(mut self) -> Self {
        self.completion_requested = true;
        self
    }

    /// Bytes the packet takes in a ring, trailer included.
    ///
    /// # Errors
    ///
    /// [`RingError::TooBig`].
    pub fn ring_bytes(&self) -> Result<u32, RingError> {
        Ok(self.sizes()?.total + TRAILER_BYTES)
    }

    /// Bytes of the head behind the descriptor.
    #[inline]
    fn head_bytes(&self) -> usize {
        match self.head {
            OutHead::InBand | OutHead::Completion => 0,
            OutHead::PageBuffers(buffers) => size_of::<GpaHead>() + size_of_val(buffers),
            OutHead::PageList { pfns, .. } => {
                size_of::<GpaHead>() + size_of::<GpaRangeHead>() + size_of_val(pfns)
            }
            OutHead::PageRuns { runs, .. } => runs
                .pages()
                .saturating_mul(size_of::<U64>())
                .saturating_add(size_of::<GpaHead>() + size_of::<GpaRangeHead>()),
            OutHead::XferPages { ranges, .. } => size_of::<XferHead>() + size_of_val(ranges),
        }
    }

    #[inline]
    pub(crate) fn sizes(&self) -> Result<Sizes, RingError> {
        const LARGEST: usize = u16::MAX as usize * ALIGNMENT as usize;
        let head = self.head_bytes().saturating_add(DESCRIPTOR_BYTES);
        let unpadded = self
            .payload
            .iter()
            .fold(head, |sum, part| sum.saturating_add(part.len()));
        if unpadded > LARGEST {
            return Err(RingError::TooBig {
                needed: unpadded as u64,
            });
        }
        // Everything is at most LARGEST, which is 512 KiB, from here on.
        Ok(Sizes {
            head: head as u32,
            unpadded: unpadded as u32,
            total: (unpadded as u32).next_multiple_of(ALIGNMENT),
        })
    }

    #[inline]
    fn descriptor(&self, packet_type: PacketType, sizes: Sizes) -> Descriptor {
        Descriptor {
            packet_type: U16::new(packet_type.0),
            offset8: U16::new((sizes.head / ALIGNMENT) as u16),
            length8: U16::new((sizes.total / ALIGNMENT) as u16),
            flags: U16::new(if self.completion_requested {
                FLAG_COMPLETION_REQUESTED
            } else {
                0
            }),
            transaction_id: U64::new(self.transaction_id),
        }
    }

    /// What comes before the pages of a packet with one range of them.
    #[inline(always)]
    fn one_range(
        &self,
        sizes: Sizes,
        byte_offset: u32,
        byte_count: u32,
        copy: &mut impl FnMut(&[u8]),
    ) {
        copy(self.descriptor(PacketType::GPA_DIRECT, sizes).as_bytes());
        let head = GpaHead {
            reserved: U32::ZERO,
            range_count: U32::new(1),
        };
        copy(head.as_bytes());
        let range = GpaRangeHead {
            byte_count: U32::new(byte_count),
            byte_offset: U32::new(byte_offset),
        };
        copy(range.as_bytes());
    }

    /// Calls `copy` for each piece of the packet in order, padding and trailer left out.
    #[inline(always)]
    pub(crate) fn for_each_part(&self, sizes: Sizes, mut copy: impl FnMut(&[u8])) {
        match self.head {
            OutHead::InBand => copy(self.descriptor(PacketType::IN_BAND, sizes).as_bytes()),
            OutHead::Completion => copy(self.descriptor(PacketType::COMPLETION, sizes).as_bytes()),
            OutHead::PageBuffers(buffers) => {
                copy(self.descriptor(PacketType::GPA_DIRECT, sizes).as_bytes());
                let head = GpaHead {
                    reserved: U32::ZERO,
                    range_count: U32::new(buffers.len() as u32),
                };
                copy(head.as_bytes());
                copy(buffers.as_bytes());
            }
            OutHead::PageList {
                byte_offset,
                byte_count,
                pfns,
            } => {
                self.one_range(sizes, byte_offset, byte_count, &mut copy);
                copy(pfns.as_bytes());
            }
            OutHead::PageRuns {
                byte_offset,
                byte_count,
                runs,
            } => {
                self.one_range(sizes, byte_offset, byte_count, &mut copy);
                const FIXED: u32 =
                    (DESCRIPTOR_BYTES + size_of::<GpaHead>() + size_of::<GpaRangeHead>()) as u32;
                // What the descriptor promises decides, not what the runs say now.
                let mut left = sizes.head.saturating_sub(FIXED) as usize / size_of::<U64>();
                runs.for_each(&mut |pfns| {
                    let pfns = pfns.get(..left).unwrap_or(pfns);
                    left = left.saturating_sub(pfns.len());
                    copy(pfns.as_bytes());
                });
                while left > 0 {
                    copy(U64::MAX_VALUE.as_bytes());
                    left -= 1;
                }
            }
            OutHead::XferPages { set_id, ranges } => {
                copy(self.descriptor(PacketType::XFER_PAGES, sizes).as_bytes());
                let head = XferHead {
                    set_id: U16::new(set_id),
                    sender_owns_set: 0,
                    reserved: 0,
                    range_count: U32::new(ranges.len() as u32),
                };
                copy(head.as_bytes());
                copy(ranges.as_bytes());
            }
        }
        for part in self.payload {
            copy(part);
        }
    }
}
