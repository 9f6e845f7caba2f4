// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the messages that set up a NIC carry.

use super::{layout, read, MessageType, NvspError};
use crate::layout::named_numbers;
use crate::oid::Oid;
use core::fmt;
use zerocopy::little_endian::U32;
use zerocopy::FromBytes;

/// Id that Linux gives its receive buffer (`NETVSC_RECEIVE_BUFFER_ID`); also the set id of the
/// transfer-page packets that refer to it.
pub const RECEIVE_BUFFER_ID: u16 = 0xcafe;
/// Id that Linux gives its send buffer (`NETVSC_SEND_BUFFER_ID`).
pub const SEND_BUFFER_ID: u16 = 0;
/// Length of the sections of a send buffer that Hyper-V chooses (`NETVSC_SEND_SECTION_SIZE`).
pub const SEND_SECTION_BYTES: u32 = 6144;

named_numbers! {
    /// The verdict on a message (`NVSP_STAT_*`).
    pub struct Status("{}");
    /// Not set.
    NONE = 0;
    /// Done.
    SUCCESS = 1;
    /// Not done.
    FAILURE = 2;
    /// No longer used.
    PROTOCOL_TOO_NEW = 3;
    /// No longer used.
    PROTOCOL_TOO_OLD = 4;
    /// An RNDIS message couldn't be read.
    INVALID_RNDIS_PACKET = 5;
    /// Try again later.
    BUSY = 6;
    /// The version isn't spoken.
    PROTOCOL_UNSUPPORTED = 7;
}

impl Status {
    /// True for [`Status::SUCCESS`].
    pub const fn is_success(self) -> bool {
        self.0 == Self::SUCCESS.0
    }
}

/// A buffer of the guest that both sides use from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedBuffer {
    /// The page list it consists of.
    pub gpadl: u32,
    /// The number the guest gave it.
    pub id: u16,
}

/// A part of the receive buffer that is divided evenly
/// (`struct nvsp_1_receive_buffer_section`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Where it starts in the buffer, in bytes.
    pub offset: u32,
    /// Bytes of each piece.
    pub piece_bytes: u32,
    /// Number of pieces.
    pub pieces: u32,
    /// Where it ends in the buffer.
    pub end: u32,
}

impl Section {
    /// Whether all its pieces lie inside a buffer of `buffer_bytes` bytes.
    pub fn fits(&self, buffer_bytes: u64) -> bool {
        let pieces = u64::from(self.piece_bytes).checked_mul(self.pieces.into());
        pieces
            .and_then(|bytes| bytes.checked_add(self.offset.into()))
            .is_some_and(|end| end <= buffer_bytes)
    }
}

/// How the host divides the receive buffer. Every host has sent exactly one section; two are
/// what the message was made for (large pieces and small ones).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Sections {
    all: [Section; Self::CAPACITY],
    count: usize,
}

impl Sections {
    const CAPACITY: usize = 2;

    /// None: the buffer was refused.
    pub const NONE: Self = Self {
        all: [Section {
            offset: 0,
            piece_bytes: 0,
            pieces: 0,
            end: 0,
        }; Self::CAPACITY],
        count: 0,
    };

    /// One section.
    pub const fn one(section: Section) -> Self {
        let mut all = Self::NONE;
        all.all[0] = section;
        all.count = 1;
        all
    }

    /// The sections in their order.
    pub fn as_slice(&self) -> &[Section] {
        self.all.get(..self.count).unwrap_or_default()
    }

    /// The only section; `None` where there are more or none.
    pub fn only(&self) -> Option<&Section> {
        match self.as_slice() {
            [section] => Some(section),
            _ => None,
        }
    }

    pub(super) fn parse(payload: &[u8]) -> Result<(Status, Self), NvspError> {
        const KIND: MessageType = MessageType::SEND_RECEIVE_BUFFER_COMPLETE;
        let head: layout::ReceiveBufferComplete = read(KIND, payload)?;
        let mut sections = Self::NONE;
        let bad_count = NvspError::BadField {
            message_type: KIND,
            field: "num_sections",
            value: head.count.get().into(),
        };
        sections.count = usize::try_from(head.count.get()).map_err(|_| bad_count)?;
        let places = sections.all.get_mut(..sections.count).ok_or(bad_count)?;
        let mut rest = payload
            .get(size_of::<layout::ReceiveBufferComplete>()..)
            .unwrap_or_default();
        for place in places {
            let (section, more) =
                layout::Section::read_from_prefix(rest).map_err(|_| NvspError::TooShort {
                    message_type: KIND,
                    got: payload.len(),
                    want: size_of::<layout::ReceiveBufferComplete>()
                        + sections.count * size_of::<layout::Section>(),
                })?;
            *place = Section {
                offset: section.offset.get(),
                piece_bytes: section.bytes.get(),
                pieces: section.count.get(),
                end: section.end.get(),
            };
            rest = more;
        }
        Ok((Status(head.status.get()), sections))
    }

    /// The whole message; the bytes of sections that aren't there are zero.
    pub(super) fn wire(
        &self,
        status: Status,
    ) -> (layout::ReceiveBufferComplete, [layout::Section; 2]) {
        let head = layout::ReceiveBufferComplete {
            kind: U32::new(MessageType::SEND_RECEIVE_BUFFER_COMPLETE.0),
            status: U32::new(status.0),
            count: U32::new(self.count as u32), // at most CAPACITY
        };
        let sections = self.all.map(|section| layout::Section {
            offset: U32::new(section.offset),
            bytes: U32::new(section.piece_bytes),
            count: U32::new(section.pieces),
            end: U32::new(section.end),
        });
        (head, sections)
    }
}

impl fmt::Debug for Sections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// What kind of RNDIS messages a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelType {
    /// Frames.
    Data,
    /// Requests, completions and indications.
    Control,
}

impl ChannelType {
    pub(super) fn from_wire(message_type: MessageType, value: u32) -> Result<Self, NvspError> {
        match value {
            0 => Ok(Self::Data),
            1 => Ok(Self::Control),
            _ => Err(NvspError::BadField {
                message_type,
                field: "channel_type",
                value: value.into(),
            }),
        }
    }

    pub(super) const fn to_wire(self) -> U32 {
        U32::new(match self {
            Self::Data => 0,
            Self::Control => 1,
        })
    }
}

/// Index that stands for no section of the send buffer (`NETVSC_INVALID_INDEX`).
pub const NO_SECTION: u32 = u32::MAX;

/// A section of the send buffer and how much of it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionUse {
    /// Which section; never [`NO_SECTION`].
    pub index: u32,
    /// Bytes from its start.
    pub bytes: u32,
}

impl SectionUse {
    /// The bytes as indices into a send buffer of `buffer_bytes` bytes that is divided into
    /// sections of `section_bytes`; `None` where they leave the section or the buffer. The only
    /// way a section should ever be used.
    pub fn within(&self, section_bytes: u32, buffer_bytes: u64) -> Option<core::ops::Range<u64>> {
        if self.bytes > section_bytes {
            return None;
        }
        let start = u64::from(self.index).checked_mul(section_bytes.into())?;
        let end = start.checked_add(self.bytes.into())?;
        let section_end = start.checked_add(section_bytes.into())?;
        (section_end <= buffer_bytes).then_some(start..end)
    }
}

/// RNDIS messages are on their way (`struct nvsp_1_message_send_rndis_packet`). They lie in a
/// section of the send buffer, and after that in the pages that the packet itself lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RndisPacket {
    /// What they are.
    pub channel_type: ChannelType,
    /// The section they start in; `None` where everything is in the packet's pages, and always
    /// where a host sends.
    pub section: Option<SectionUse>,
}

impl RndisPacket {
    pub(super) fn parse(payload: &[u8]) -> Result<Self, NvspError> {
        const KIND: MessageType = MessageType::SEND_RNDIS_PACKET;
        let wire: layout::RndisPacket = read(KIND, payload)?;
        let index = wire.section.get();
        Ok(Self {
            channel_type: ChannelType::from_wire(KIND, wire.channel_type.get())?,
            section: (index != NO_SECTION).then_some(SectionUse {
                index,
                bytes: wire.section_bytes.get(),
            }),
        })
    }

    pub(super) fn wire(&self) -> layout::RndisPacket {
        let section = self.section.unwrap_or(SectionUse {
            index: NO_SECTION,
            bytes: 0,
        });
        layout::RndisPacket {
            kind: U32::new(MessageType::SEND_RNDIS_PACKET.0),
            channel_type: self.channel_type.to_wire(),
            section: U32::new(section.index),
            section_bytes: U32::new(section.bytes),
        }
    }
}

/// What a guest can do (`struct nvsp_2_vsc_capability`). There is no answer: what the host makes
/// of it shows later.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);
    /// Allocates receive buffers on request ([`crate::vmq`]).
    pub const VMQ: Self = Self(1 << 0);
    /// Hands connections over.
    pub const CHIMNEY: Self = Self(1 << 1);
    /// Takes virtual functions.
    pub const SRIOV: Self = Self(1 << 2);
    /// Takes VLAN tags and priorities as per-packet info.
    pub const IEEE8021Q: Self = Self(1 << 3);
    /// Takes correlation ids.
    pub const CORRELATION_ID: Self = Self(1 << 4);
    /// Takes part in teaming; without it no change of the link's speed is indicated.
    pub const TEAMING: Self = Self(1 << 5);
    /// Takes virtual subnet ids.
    pub const VIRTUAL_SUBNET_ID: Self = Self(1 << 6);
    /// Takes one coalesced segment in several packets (6.1).
    pub const RSC: Self = Self(1 << 7);

    /// True when all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// What the guest tells of itself (`struct nvsp_2_send_ndis_config`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NdisConfig {
    /// The longest frame without a VLAN tag, Ethernet header included: MTU + 14.
    pub frame_bytes: u32,
    /// What the guest can do.
    pub capabilities: Capabilities,
}

impl NdisConfig {
    /// The longest frame that Hyper-V takes; it silently goes back to 1514 for anything that
    /// isn't in 1514..=9216.
    pub const HYPERV_MAX_FRAME_BYTES: u32 = 9216;
    /// The frame length of an MTU of 1500.
    pub const DEFAULT_FRAME_BYTES: u32 = 1514;

    /// The MTU, without the Ethernet header; `None` where not even that fits.
    pub const fn mtu(&self) -> Option<u32> {
        self.frame_bytes.checked_sub(crate::ETHERNET_HEADER_BYTES)
    }
}

/// A virtual function came or went (`struct nvsp_4_send_vf_association`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VfAssociation {
    /// There is one.
    pub allocated: bool,
    /// Its serial number, also that of the PCI slot; meaningless where there is none.
    pub serial: u32,
}

named_numbers! {
    /// The way frames take (`enum nvsp_vm_datapath`).
    pub struct DataPath("{}");
    /// Over this channel.
    SYNTHETIC = 0;
    /// Over the virtual function.
    VIRTUAL_FUNCTION = 1;
}

named_numbers! {
    /// What is asked of sub-channels (`enum nvsp_subchannel_operation`).
    pub struct SubchannelOperation("{}");
    /// Nothing.
    NONE = 0;
    /// Offer them.
    ALLOCATE = 1;
}

/// A query of an object without RNDIS around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OidQueryEx {
    /// What the asker expects.
    pub header: crate::oid::ObjectHeader,
    /// The object.
    pub oid: Oid,
}
