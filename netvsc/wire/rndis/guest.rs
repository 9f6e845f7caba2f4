// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Control messages that a guest sends.

use super::{part, read, write, Header, MessageType, RndisError, WireHeader, HEADER_BYTES};
use crate::layout::wire;
use crate::oid::Oid;
use zerocopy::little_endian::U32;
use zerocopy::IntoBytes;
use zerocopy_derive::*;

wire! {
    /// `struct rndis_initialize_request`.
    struct WireInitialize {
        header: WireHeader,
        request_id: U32,
        major: U32,
        minor: U32,
        max_transfer: U32,
    } = 24;

    /// `struct rndis_halt_request`, `struct rndis_keepalive_request`.
    struct WireRequest { header: WireHeader, request_id: U32, } = 12;

    /// `struct rndis_query_request`, `struct rndis_set_request`.
    struct WireObject {
        header: WireHeader,
        request_id: U32,
        oid: U32,
        info_length: U32,
        info_offset: U32,
        vc_handle: U32,
    } = 28;

    /// `struct rndis_reset_request`.
    struct WireReset { header: WireHeader, reserved: U32, } = 12;
}

/// Where the information buffer of a QUERY or SET that this crate writes starts in the body.
const INFO_OFFSET: u32 = size_of::<WireObject>() as u32 - HEADER_BYTES;

/// Starts the conversation (`struct rndis_initialize_request`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initialize {
    /// Comes back in the answer.
    pub request_id: u32,
    /// See [`super::VERSION`].
    pub version: (u32, u32),
    /// Longest message that the guest takes.
    pub max_transfer_bytes: u32,
}

/// Asks for an object (`struct rndis_query_request`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// Comes back in the answer.
    pub request_id: u32,
    /// The object.
    pub oid: Oid,
    /// What the guest expects: empty, or the header of an NDIS object.
    pub info: &'a [u8],
}

/// Changes an object (`struct rndis_set_request`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set<'a> {
    /// Comes back in the answer.
    pub request_id: u32,
    /// The object.
    pub oid: Oid,
    /// What it shall be.
    pub info: &'a [u8],
}

/// Whatever a guest may ask of a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestControl<'a> {
    /// Starts the conversation.
    Initialize(Initialize),
    /// Ends it; not answered.
    Halt {
        /// Of no use.
        request_id: u32,
    },
    /// Asks for an object.
    Query(Query<'a>),
    /// Changes an object.
    Set(Set<'a>),
    /// Calls a method of an object; answered with data.
    SetEx(Set<'a>),
    /// Resets the NIC. The answer carries no request id.
    Reset,
    /// Whether the host still answers.
    Keepalive {
        /// Comes back in the answer.
        request_id: u32,
    },
}

impl<'a> GuestControl<'a> {
    /// Reads the message at the start of `bytes`.
    ///
    /// # Errors
    ///
    /// [`RndisError`] says what was wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RndisError> {
        let header = Header::parse(bytes, bytes.len())?;
        let bytes = bytes.get(..header.length as usize).unwrap_or(bytes);
        Ok(match header.message_type {
            MessageType::INITIALIZE => {
                let wire: WireInitialize = read(header, bytes)?;
                Self::Initialize(Initialize {
                    request_id: wire.request_id.get(),
                    version: (wire.major.get(), wire.minor.get()),
                    max_transfer_bytes: wire.max_transfer.get(),
                })
            }
            MessageType::HALT => Self::Halt {
                request_id: read::<WireRequest>(header, bytes)?.request_id.get(),
            },
            MessageType::QUERY => {
                let (request_id, oid, info) = object(header, bytes)?;
                Self::Query(Query {
                    request_id,
                    oid,
                    info,
                })
            }
            MessageType::SET | MessageType::SET_EX => {
                let (request_id, oid, info) = object(header, bytes)?;
                let set = Set {
                    request_id,
                    oid,
                    info,
                };
                if header.message_type == MessageType::SET {
                    Self::Set(set)
                } else {
                    Self::SetEx(set)
                }
            }
            MessageType::RESET => {
                let _: WireReset = read(header, bytes)?;
                Self::Reset
            }
            MessageType::KEEPALIVE => Self::Keepalive {
                request_id: read::<WireRequest>(header, bytes)?.request_id.get(),
            },
            other => return Err(RndisError::Unexpected(other)),
        })
    }

    /// Writes the message to the start of `out` and returns its length.
    ///
    /// # Errors
    ///
    /// [`RndisError::NoRoom`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, RndisError> {
        let header = WireHeader::new(self.message_type(), 0);
        match *self {
            Self::Initialize(initialize) => {
                let wire = WireInitialize {
                    header,
                    request_id: U32::new(initialize.request_id),
                    major: U32::new(initialize.version.0),
                    minor: U32::new(initialize.version.1),
                    max_transfer: U32::new(initialize.max_transfer_bytes),
                };
                write(out, wire.as_bytes(), &[])
            }
            Self::Halt { request_id } | Self::Keepalive { request_id } => {
                let request_id = U32::new(request_id);
                write(out, WireRequest { header, request_id }.as_bytes(), &[])
            }
            Self::Query(Query {
                request_id,
                oid,
                info,
            })
            | Self::Set(Set {
                request_id,
                oid,
                info,
            })
            | Self::SetEx(Set {
                request_id,
                oid,
                info,
            }) => {
                let wire = WireObject {
                    header,
                    request_id: U32::new(request_id),
                    oid: U32::new(oid.0),
                    // `write` refuses what doesn't fit into 32 bits.
                    info_length: U32::new(info.len() as u32),
                    info_offset: U32::new(INFO_OFFSET),
                    vc_handle: U32::ZERO,
                };
                write(out, wire.as_bytes(), info)
            }
            Self::Reset => {
                let reserved = U32::ZERO;
                write(out, WireReset { header, reserved }.as_bytes(), &[])
            }
        }
    }

    /// The kind of message.
    pub const fn message_type(&self) -> MessageType {
        match self {
            Self::Initialize(_) => MessageType::INITIALIZE,
            Self::Halt { .. } => MessageType::HALT,
            Self::Query(_) => MessageType::QUERY,
            Self::Set(_) => MessageType::SET,
            Self::SetEx(_) => MessageType::SET_EX,
            Self::Reset => MessageType::RESET,
            Self::Keepalive { .. } => MessageType::KEEPALIVE,
        }
    }
}

fn object(header: Header, bytes: &[u8]) -> Result<(u32, Oid, &[u8]), RndisError> {
    let wire: WireObject = read(header, bytes)?;
    let info = part(
        header,
        bytes,
        "information buffer",
        wire.info_offset,
        wire.info_length,
    )?;
    Ok((wire.request_id.get(), Oid(wire.oid.get()), info))
}
