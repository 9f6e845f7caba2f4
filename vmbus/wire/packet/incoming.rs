// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets as they were read.

use super::{Descriptor, GpaHead, GpaRanges, PacketType, XferHead, XferRange, DESCRIPTOR_BYTES};
use core::fmt;
use zerocopy::FromBytes;

/// A packet in private memory. Its lengths have been checked, its head has not.
#[derive(Clone, Copy, Debug)]
pub struct RawPacket<'b> {
    /// The descriptor as it was checked.
    pub descriptor: Descriptor,
    /// What lies between descriptor and payload.
    pub head: &'b [u8],
    /// The payload with its padding, up to seven bytes.
    pub payload: &'b [u8],
}

/// Why a packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// The bytes aren't a whole packet. Never from a ring, which checks that itself.
    BadLength {
        /// Bytes given.
        got: usize,
    },
    /// A kind that is never sent to a driver.
    UnknownType(PacketType),
    /// The head is too short for its kind.
    ShortHead {
        /// The kind.
        packet_type: PacketType,
        /// Bytes of the head.
        got: usize,
    },
    /// More ranges than the head has room for.
    TooManyRanges {
        /// Ranges announced.
        count: u32,
        /// Bytes of the head.
        head: usize,
    },
    /// A range of guest pages is empty, starts beyond its first page, or misses pages.
    BadRange {
        /// Which of them, from 0.
        index: u32,
    },
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadLength { got } => write!(f, "{got} bytes are no packet"),
            Self::UnknownType(packet_type) => write!(f, "unexpected packet: {packet_type}"),
            Self::ShortHead { packet_type, got } => {
                write!(f, "head of {got} bytes is too short: {packet_type}")
            }
            Self::TooManyRanges { count, head } => {
                write!(f, "{count} ranges in a head of {head} bytes")
            }
            Self::BadRange { index } => write!(f, "range {index} of guest pages is malformed"),
        }
    }
}

impl core::error::Error for PacketError {}

/// A packet, checked.
#[derive(Clone, Debug)]
pub struct Packet<'b> {
    /// The kind and what its head says.
    pub body: PacketBody<'b>,
    /// To be returned with the completion; in a completion that of the packet it answers, to be
    /// looked up in a [`PendingTable`](crate::pending::PendingTable).
    pub transaction_id: u64,
    /// The sender waits for a completion.
    pub completion_requested: bool,
    /// The payload with its padding, up to seven bytes: the real length is the next protocol's
    /// affair.
    pub payload: &'b [u8],
}

/// The kind of a packet and what its head says.
#[derive(Clone, Debug)]
pub enum PacketBody<'b> {
    /// All there is, is in the payload.
    InBand,
    /// Answer to a packet of ours.
    Completion,
    /// Data in a buffer both sides know; the payload describes it.
    XferPages(XferPages<'b>),
    /// Data in guest pages: what a host receives.
    GpaDirect(GpaDirect<'b>),
}

/// Head of a transfer-page packet.
#[derive(Clone, Copy, Debug)]
pub struct XferPages<'b> {
    /// Which buffer.
    pub set_id: u16,
    /// The ranges; go through [`XferRange::within`] with the size of the buffer.
    pub ranges: &'b [XferRange],
}

/// Head of a guest-page packet.
#[derive(Clone, Debug)]
pub struct GpaDirect<'b> {
    ranges: GpaRanges<'b>,
}

impl<'b> GpaDirect<'b> {
    /// The ranges, all of them well formed.
    pub fn ranges(&self) -> GpaRanges<'b> {
        self.ranges.clone()
    }
}

impl<'b> RawPacket<'b> {
    /// Takes a whole packet that lies in one piece, without its trailer: for tools and tests;
    /// [`InRing::read`](crate::ring::InRing::read) is how packets come out of rings.
    ///
    /// # Errors
    ///
    /// [`PacketError::BadLength`].
    pub fn from_bytes(bytes: &'b [u8]) -> Result<Self, PacketError> {
        let bad = PacketError::BadLength { got: bytes.len() };
        let (descriptor, rest) = Descriptor::read_from_prefix(bytes).map_err(|_| bad)?;
        let length = usize::from(descriptor.length8.get()) * 8;
        let offset = usize::from(descriptor.offset8.get()) * 8;
        let rest = length
            .checked_sub(DESCRIPTOR_BYTES)
            .and_then(|length| rest.get(..length))
            .ok_or(bad)?;
        let (head, payload) = offset
            .checked_sub(DESCRIPTOR_BYTES)
            .and_then(|offset| rest.split_at_checked(offset))
            .ok_or(bad)?;
        Ok(Self {
            descriptor,
            head,
            payload,
        })
    }

    /// Checks the head.
    ///
    /// # Errors
    ///
    /// All of [`PacketError`] but [`PacketError::BadLength`].
    pub fn parse(&self) -> Result<Packet<'b>, PacketError> {
        let body = match self.descriptor.packet_type() {
            PacketType::IN_BAND => PacketBody::InBand,
            PacketType::COMPLETION => PacketBody::Completion,
            PacketType::XFER_PAGES => PacketBody::XferPages(xfer_pages(self.head)?),
            PacketType::GPA_DIRECT => PacketBody::GpaDirect(gpa_direct(self.head)?),
            other => return Err(PacketError::UnknownType(other)),
        };
        Ok(Packet {
            body,
            transaction_id: self.descriptor.transaction_id.get(),
            completion_requested: self.descriptor.completion_requested(),
            payload: self.payload,
        })
    }
}

fn xfer_pages(head: &[u8]) -> Result<XferPages<'_>, PacketError> {
    let (fixed, rest) = XferHead::ref_from_prefix(head).map_err(|_| PacketError::ShortHead {
        packet_type: PacketType::XFER_PAGES,
        got: head.len(),
    })?;
    let count = fixed.range_count.get();
    let too_many = PacketError::TooManyRanges {
        count,
        head: head.len(),
    };
    let wanted = usize::try_from(count).map_err(|_| too_many)?;
    let (ranges, _) =
        <[XferRange]>::ref_from_prefix_with_elems(rest, wanted).map_err(|_| too_many)?;
    Ok(XferPages {
        set_id: fixed.set_id.get(),
        ranges,
    })
}

fn gpa_direct(head: &[u8]) -> Result<GpaDirect<'_>, PacketError> {
    let (fixed, rest) = GpaHead::ref_from_prefix(head).map_err(|_| PacketError::ShortHead {
        packet_type: PacketType::GPA_DIRECT,
        got: head.len(),
    })?;
    let count = fixed.range_count.get();
    let ranges = GpaRanges::new(count, rest);
    let mut check = ranges.clone();
    // Takes at least sixteen bytes of the head each time.
    while check.next().is_some() {}
    match check.left() {
        0 => Ok(GpaDirect { ranges }),
        left => Err(PacketError::BadRange {
            index: count.saturating_sub(left),
        }),
    }
}
