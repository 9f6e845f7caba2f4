// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a guest sends.

use crate::packet::{
    read, Header, Layout, OutPacket, PacketError, FLAG_REQUEST_COMPLETION, HEADER_BYTES,
};
use crate::srb::{Address, Srb};
use crate::{NtStatus, Operation, ProtocolVersion};
use zerocopy::little_endian::U16;
use zerocopy_derive::*;

/// Body of QUERY_PROTOCOL_VERSION (`struct vmstorage_protocol_version`).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawVersion {
    pub(crate) version: U16,
    pub(crate) revision: U16,
}

/// A packet of a guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestPacket {
    /// The conversation begins, on the device's primary channel.
    BeginInitialization,
    /// Is this version spoken?
    QueryProtocolVersion(ProtocolVersion),
    /// What can the adapter do?
    QueryProperties,
    /// The adapter's world wide names, please.
    FibreChannelData,
    /// Requests follow.
    EndInitialization,
    /// Offer so many sub-channels.
    CreateSubChannels {
        /// How many.
        count: u16,
    },
    /// Carry out a request; its data is in the ranges of the ring packet.
    ExecuteSrb(Srb),
    /// Abort what a unit does.
    ResetLun(Address),
    /// Abort what the adapter does.
    ResetAdapter,
    /// Abort what a bus does.
    ResetBus,
    /// Something else, which only wants to be refused.
    Other(Operation),
}

impl GuestPacket {
    /// What it is about.
    pub const fn operation(&self) -> Operation {
        match self {
            Self::BeginInitialization => Operation::BEGIN_INITIALIZATION,
            Self::QueryProtocolVersion(_) => Operation::QUERY_PROTOCOL_VERSION,
            Self::QueryProperties => Operation::QUERY_PROPERTIES,
            Self::FibreChannelData => Operation::FCHBA_DATA,
            Self::EndInitialization => Operation::END_INITIALIZATION,
            Self::CreateSubChannels { .. } => Operation::CREATE_SUB_CHANNELS,
            Self::ExecuteSrb(_) => Operation::EXECUTE_SRB,
            Self::ResetLun(_) => Operation::RESET_LUN,
            Self::ResetAdapter => Operation::RESET_ADAPTER,
            Self::ResetBus => Operation::RESET_BUS,
            Self::Other(operation) => *operation,
        }
    }

    /// Reads a packet. `layout` is that of the version agreed on; before there is one, guests may
    /// send either and [`Layout::Short`] takes both. Bytes behind the packet are ignored.
    ///
    /// # Errors
    ///
    /// Too short for the layout, or a field that makes no sense.
    pub fn parse(bytes: &[u8], layout: Layout) -> Result<Self, PacketError> {
        if bytes.len() < layout.packet_bytes() {
            return Err(PacketError::Short {
                needed: layout.packet_bytes(),
                got: bytes.len(),
            });
        }
        let (header, body) = Header::parse(bytes)?;
        Ok(match header.operation {
            Operation::BEGIN_INITIALIZATION => Self::BeginInitialization,
            Operation::QUERY_PROTOCOL_VERSION => {
                let raw = read::<RawVersion>(body)?;
                Self::QueryProtocolVersion(ProtocolVersion::from_wire(raw.version.get()))
            }
            Operation::QUERY_PROPERTIES => Self::QueryProperties,
            Operation::FCHBA_DATA => Self::FibreChannelData,
            Operation::END_INITIALIZATION => Self::EndInitialization,
            Operation::CREATE_SUB_CHANNELS => Self::CreateSubChannels {
                count: read::<U16>(body)?.get(),
            },
            Operation::EXECUTE_SRB => Self::ExecuteSrb(Srb::parse(body, layout)?),
            Operation::RESET_LUN => Self::ResetLun(Srb::parse_address(body, layout)?),
            Operation::RESET_ADAPTER => Self::ResetAdapter,
            Operation::RESET_BUS => Self::ResetBus,
            other => Self::Other(other),
        })
    }

    /// Builds the packet. A completion is asked for always, as every guest does.
    #[inline]
    pub fn encode(&self, layout: Layout) -> OutPacket {
        let operation = self.operation();
        let flags = FLAG_REQUEST_COMPLETION;
        let status = NtStatus::SUCCESS;
        match self {
            Self::QueryProtocolVersion(version) => {
                let body = RawVersion {
                    version: U16::new(version.to_wire()),
                    revision: U16::ZERO,
                };
                OutPacket::new(layout, operation, flags, status, &body)
            }
            Self::CreateSubChannels { count } => {
                OutPacket::new(layout, operation, flags, status, &U16::new(*count))
            }
            Self::ExecuteSrb(srb) => {
                OutPacket::new(layout, operation, flags, status, &srb.to_raw(layout))
            }
            Self::ResetLun(address) => {
                let body = Srb::raw_address(*address, layout);
                OutPacket::new(layout, operation, flags, status, &body)
            }
            Self::BeginInitialization
            | Self::QueryProperties
            | Self::FibreChannelData
            | Self::EndInitialization
            | Self::ResetAdapter
            | Self::ResetBus
            | Self::Other(_) => OutPacket::new(layout, operation, flags, status, &[0u8; 0]),
        }
    }
}

const _: () = assert!(HEADER_BYTES + size_of::<RawVersion>() <= Layout::Short.packet_bytes());
