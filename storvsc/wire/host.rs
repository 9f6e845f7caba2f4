// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a host sends: completions, and news that nobody asked for.

use crate::fibre::{FibreNames, RawNames};
use crate::packet::{read, Header, Layout, OutPacket, PacketError};
use crate::properties::{ChannelProperties, RawProperties};
use crate::srb::SrbCompletion;
use crate::{NtStatus, Operation};

/// A packet of a host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPacket<'b> {
    /// Answer to a packet of the guest's.
    Completion(Completion<'b>),
    /// A unit is gone; which one isn't said.
    RemoveDevice,
    /// Units came or went; which ones isn't said.
    EnumerateBus,
    /// The adapter's world wide names changed.
    FibreChannelData(FibreNames),
    /// Something else, which a guest ignores.
    Other(Operation),
}

impl<'b> HostPacket<'b> {
    /// Reads a packet. Bytes behind it are ignored.
    ///
    /// # Errors
    ///
    /// A completion that is too short for the layout, other packets too short for what they say.
    #[inline]
    pub fn parse(bytes: &'b [u8], layout: Layout) -> Result<Self, PacketError> {
        let (header, body) = match Header::parse(bytes) {
            Ok(parts) => parts,
            // Unsolicited packets may end behind the operation.
            Err(error) => {
                let operation = bytes.first_chunk::<4>().ok_or(error)?;
                return match Operation(u32::from_le_bytes(*operation)) {
                    Operation::REMOVE_DEVICE => Ok(Self::RemoveDevice),
                    Operation::ENUMERATE_BUS => Ok(Self::EnumerateBus),
                    _ => Err(error),
                };
            }
        };
        Ok(match header.operation {
            Operation::COMPLETE_IO => {
                if bytes.len() < layout.packet_bytes() {
                    return Err(PacketError::Short {
                        needed: layout.packet_bytes(),
                        got: bytes.len(),
                    });
                }
                Self::Completion(Completion {
                    status: header.status,
                    layout,
                    body,
                })
            }
            Operation::REMOVE_DEVICE => Self::RemoveDevice,
            Operation::ENUMERATE_BUS => Self::EnumerateBus,
            Operation::FCHBA_DATA => {
                Self::FibreChannelData(FibreNames::from_raw(&read::<RawNames>(body)?))
            }
            other => Self::Other(other),
        })
    }
}

/// Answer to a packet of the guest's. What its body is depends on the packet it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion<'b> {
    /// How the packet ended.
    pub status: NtStatus,
    layout: Layout,
    body: &'b [u8],
}

impl Completion<'_> {
    /// The answer to QUERY_PROPERTIES.
    ///
    /// # Errors
    ///
    /// Too short.
    pub fn properties(&self) -> Result<ChannelProperties, PacketError> {
        read::<RawProperties>(self.body).map(|raw| ChannelProperties::from_raw(&raw))
    }

    /// The answer to FCHBA_DATA.
    ///
    /// # Errors
    ///
    /// Too short.
    pub fn fibre_names(&self) -> Result<FibreNames, PacketError> {
        read::<RawNames>(self.body).map(|raw| FibreNames::from_raw(&raw))
    }

    /// The answer to EXECUTE_SRB.
    ///
    /// # Errors
    ///
    /// Too short.
    #[inline]
    pub fn srb(&self) -> Result<SrbCompletion, PacketError> {
        SrbCompletion::parse(self.body, self.layout)
    }
}

fn completion<T>(layout: Layout, status: NtStatus, body: &T) -> OutPacket
where
    T: zerocopy::IntoBytes + zerocopy::Immutable + ?Sized,
{
    OutPacket::new(layout, Operation::COMPLETE_IO, 0, status, body)
}

/// Answers a packet that wants nothing but a status.
pub fn complete(layout: Layout, status: NtStatus) -> OutPacket {
    completion(layout, status, &[0u8; 0])
}

/// Answers QUERY_PROPERTIES.
pub fn complete_properties(layout: Layout, properties: ChannelProperties) -> OutPacket {
    completion(layout, NtStatus::SUCCESS, &properties.to_raw())
}

/// Answers FCHBA_DATA.
pub fn complete_fibre_names(layout: Layout, names: FibreNames) -> OutPacket {
    completion(layout, NtStatus::SUCCESS, &names.to_raw())
}

/// Answers EXECUTE_SRB. The packet fails when the request did.
pub fn complete_srb(layout: Layout, srb: &SrbCompletion) -> OutPacket {
    let status = if srb.srb_status.is_success() {
        NtStatus::SUCCESS
    } else {
        NtStatus::UNSUCCESSFUL
    };
    completion(layout, status, &srb.to_raw(layout))
}

/// News: units came or went.
pub fn enumerate_bus(layout: Layout) -> OutPacket {
    OutPacket::new(
        layout,
        Operation::ENUMERATE_BUS,
        0,
        NtStatus::SUCCESS,
        &[0u8; 0],
    )
}

/// News: a unit is gone.
pub fn remove_device(layout: Layout) -> OutPacket {
    OutPacket::new(
        layout,
        Operation::REMOVE_DEVICE,
        0,
        NtStatus::SUCCESS,
        &[0u8; 0],
    )
}

/// News: the adapter's world wide names changed.
pub fn fibre_names_changed(layout: Layout, names: FibreNames) -> OutPacket {
    OutPacket::new(
        layout,
        Operation::FCHBA_DATA,
        0,
        NtStatus::SUCCESS,
        &names.to_raw(),
    )
}
