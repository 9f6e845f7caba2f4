// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Control messages that a host sends: completions and indications.

use super::{part, read, write, Header, MessageType, RndisError, Status, WireHeader, HEADER_BYTES};
use crate::layout::wire;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::*;

wire! {
    /// `struct rndis_initialize_complete`.
    struct WireInitialize {
        header: WireHeader,
        request_id: U32,
        status: U32,
        major: U32,
        minor: U32,
        device_flags: U32,
        medium: U32,
        max_packets: U32,
        max_transfer: U32,
        alignment: U32,
        af_list_offset: U32,
        af_list_size: U32,
    } = 52;

    /// `struct rndis_query_complete`, and the answer to SET_EX.
    struct WireInfo {
        header: WireHeader,
        request_id: U32,
        status: U32,
        info_length: U32,
        info_offset: U32,
    } = 24;

    /// `struct rndis_set_complete`, `struct rndis_keepalive_complete`.
    struct WireStatus { header: WireHeader, request_id: U32, status: U32, } = 16;

    /// `struct rndis_reset_complete`.
    struct WireReset { header: WireHeader, status: U32, addressing_reset: U32, } = 16;

    /// `struct rndis_indicate_status`.
    struct WireIndicate {
        header: WireHeader,
        status: U32,
        buffer_length: U32,
        buffer_offset: U32,
    } = 20;
}

const INFO_OFFSET: u32 = size_of::<WireInfo>() as u32 - HEADER_BYTES;
const INDICATE_OFFSET: u32 = size_of::<WireIndicate>() as u32 - HEADER_BYTES;

/// Answer to INITIALIZE (`struct rndis_initialize_complete`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitializeComplete {
    /// That of the request.
    pub request_id: u32,
    /// How it went.
    pub status: Status,
    /// See [`super::VERSION`].
    pub version: (u32, u32),
    /// What the NIC is; [`InitializeComplete::CONNECTIONLESS`].
    pub device_flags: u32,
    /// Kind of network; [`InitializeComplete::MEDIUM_802_3`].
    pub medium: u32,
    /// How many messages a packet may carry.
    pub max_packets: u32,
    /// Bytes of all messages of a packet.
    pub max_transfer_bytes: u32,
    /// Messages in a packet start at multiples of 2 to the power of this.
    pub alignment_shift: u32,
}

impl InitializeComplete {
    /// Device flag of every NIC here (`RNDIS_DF_CONNECTIONLESS`).
    pub const CONNECTIONLESS: u32 = 1;
    /// Ethernet (`RNDIS_MEDIUM_802_3`).
    pub const MEDIUM_802_3: u32 = 0;

    /// What messages in a packet have to be aligned to, in bytes; `None` for a shift that makes
    /// no sense.
    pub const fn alignment(&self) -> Option<u32> {
        if self.alignment_shift <= 12 {
            Some(1 << self.alignment_shift)
        } else {
            None
        }
    }
}

/// Answer to QUERY (`struct rndis_query_complete`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryComplete<'a> {
    /// That of the request.
    pub request_id: u32,
    /// How it went.
    pub status: Status,
    /// The object.
    pub info: &'a [u8],
}

/// Answer to SET (`struct rndis_set_complete`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetComplete {
    /// That of the request.
    pub request_id: u32,
    /// How it went.
    pub status: Status,
}

/// Answer to SET_EX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetExComplete<'a> {
    /// That of the request.
    pub request_id: u32,
    /// How it went.
    pub status: Status,
    /// What came of it.
    pub info: &'a [u8],
}

/// Something happened (`struct rndis_indicate_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indication<'a> {
    /// What.
    pub status: Status,
    /// More about it.
    pub info: &'a [u8],
}

impl<'a> Indication<'a> {
    /// The link came up or went down.
    pub const fn link(up: bool) -> Self {
        Self {
            status: if up {
                Status::MEDIA_CONNECT
            } else {
                Status::MEDIA_DISCONNECT
            },
            info: &[],
        }
    }

    /// The link's speed as it has to be kept for [`Indication::speed`]: 100 bit/s are the unit.
    pub fn speed_info(megabits: u32) -> [u8; 4] {
        megabits.saturating_mul(10_000).to_le_bytes()
    }

    /// The link has another speed, as [`Indication::speed_info`] says it.
    pub const fn speed(info: &'a [u8; 4]) -> Self {
        Self {
            status: Status::LINK_SPEED_CHANGE,
            info,
        }
    }

    /// The speed in Mbit/s that a change of speed indicates; `None` for other indications.
    pub fn megabits(&self) -> Option<u32> {
        if self.status != Status::LINK_SPEED_CHANGE {
            return None;
        }
        let (speed, _) = U32::read_from_prefix(self.info).ok()?;
        Some(speed.get() / 10_000)
    }
}

/// Whatever a NIC may say that isn't a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostControl<'a> {
    /// Answer to INITIALIZE.
    InitializeComplete(InitializeComplete),
    /// Answer to QUERY.
    QueryComplete(QueryComplete<'a>),
    /// Answer to SET.
    SetComplete(SetComplete),
    /// Answer to SET_EX.
    SetExComplete(SetExComplete<'a>),
    /// Answer to RESET.
    ResetComplete {
        /// How it went.
        status: Status,
        /// Addresses and filters are gone and have to be set again.
        addressing_reset: bool,
    },
    /// Answer to KEEPALIVE.
    KeepaliveComplete {
        /// That of the request.
        request_id: u32,
        /// How it went.
        status: Status,
    },
    /// Something happened.
    Indicate(Indication<'a>),
}

impl<'a> HostControl<'a> {
    /// Reads the message at the start of `bytes`.
    ///
    /// `bytes` shall be everything that was received, even if the message is shorter: some hosts
    /// don't count the status buffer of an indication (`netvsc_linkstatus_callback`,
    /// `drivers/net/hyperv/netvsc_drv.c`).
    ///
    /// # Errors
    ///
    /// [`RndisError`] says what was wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RndisError> {
        let header = Header::parse(bytes, bytes.len())?;
        let message = bytes.get(..header.length as usize).unwrap_or(bytes);
        Ok(match header.message_type {
            MessageType::INITIALIZE_COMPLETE => {
                let wire: WireInitialize = read(header, message)?;
                Self::InitializeComplete(InitializeComplete {
                    request_id: wire.request_id.get(),
                    status: Status(wire.status.get()),
                    version: (wire.major.get(), wire.minor.get()),
                    device_flags: wire.device_flags.get(),
                    medium: wire.medium.get(),
                    max_packets: wire.max_packets.get(),
                    max_transfer_bytes: wire.max_transfer.get(),
                    alignment_shift: wire.alignment.get(),
                })
            }
            MessageType::QUERY_COMPLETE => {
                let (request_id, status, info) = info(header, message)?;
                Self::QueryComplete(QueryComplete {
                    request_id,
                    status,
                    info,
                })
            }
            MessageType::SET_EX_COMPLETE => {
                let (request_id, status, info) = info(header, message)?;
                Self::SetExComplete(SetExComplete {
                    request_id,
                    status,
                    info,
                })
            }
            MessageType::SET_COMPLETE => {
                let wire: WireStatus = read(header, message)?;
                Self::SetComplete(SetComplete {
                    request_id: wire.request_id.get(),
                    status: Status(wire.status.get()),
                })
            }
            MessageType::KEEPALIVE_COMPLETE => {
                let wire: WireStatus = read(header, message)?;
                Self::KeepaliveComplete {
                    request_id: wire.request_id.get(),
                    status: Status(wire.status.get()),
                }
            }
            MessageType::RESET_COMPLETE => {
                let wire: WireReset = read(header, message)?;
                Self::ResetComplete {
                    status: Status(wire.status.get()),
                    addressing_reset: wire.addressing_reset.get() != 0,
                }
            }
            MessageType::INDICATE_STATUS => {
                let wire: WireIndicate = read(header, message)?;
                Self::Indicate(Indication {
                    status: Status(wire.status.get()),
                    info: part(
                        header,
                        bytes,
                        "status buffer",
                        wire.buffer_offset,
                        wire.buffer_length,
                    )?,
                })
            }
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
            Self::InitializeComplete(complete) => {
                let wire = WireInitialize {
                    header,
                    request_id: U32::new(complete.request_id),
                    status: U32::new(complete.status.0),
                    major: U32::new(complete.version.0),
                    minor: U32::new(complete.version.1),
                    device_flags: U32::new(complete.device_flags),
                    medium: U32::new(complete.medium),
                    max_packets: U32::new(complete.max_packets),
                    max_transfer: U32::new(complete.max_transfer_bytes),
                    alignment: U32::new(complete.alignment_shift),
                    af_list_offset: U32::ZERO,
                    af_list_size: U32::ZERO,
                };
                write(out, wire.as_bytes(), &[])
            }
            Self::QueryComplete(QueryComplete {
                request_id,
                status,
                info,
            })
            | Self::SetExComplete(SetExComplete {
                request_id,
                status,
                info,
            }) => {
                let wire = WireInfo {
                    header,
                    request_id: U32::new(request_id),
                    status: U32::new(status.0),
                    // `write` refuses what doesn't fit into 32 bits.
                    info_length: U32::new(info.len() as u32),
                    info_offset: U32::new(INFO_OFFSET),
                };
                write(out, wire.as_bytes(), info)
            }
            Self::SetComplete(SetComplete { request_id, status })
            | Self::KeepaliveComplete { request_id, status } => {
                let wire = WireStatus {
                    header,
                    request_id: U32::new(request_id),
                    status: U32::new(status.0),
                };
                write(out, wire.as_bytes(), &[])
            }
            Self::ResetComplete {
                status,
                addressing_reset,
            } => {
                let wire = WireReset {
                    header,
                    status: U32::new(status.0),
                    addressing_reset: U32::new(addressing_reset.into()),
                };
                write(out, wire.as_bytes(), &[])
            }
            Self::Indicate(indication) => {
                let wire = WireIndicate {
                    header,
                    status: U32::new(indication.status.0),
                    buffer_length: U32::new(indication.info.len() as u32),
                    buffer_offset: U32::new(if indication.info.is_empty() {
                        0
                    } else {
                        INDICATE_OFFSET
                    }),
                };
                write(out, wire.as_bytes(), indication.info)
            }
        }
    }

    /// The kind of message.
    pub const fn message_type(&self) -> MessageType {
        match self {
            Self::InitializeComplete(_) => MessageType::INITIALIZE_COMPLETE,
            Self::QueryComplete(_) => MessageType::QUERY_COMPLETE,
            Self::SetComplete(_) => MessageType::SET_COMPLETE,
            Self::SetExComplete(_) => MessageType::SET_EX_COMPLETE,
            Self::ResetComplete { .. } => MessageType::RESET_COMPLETE,
            Self::KeepaliveComplete { .. } => MessageType::KEEPALIVE_COMPLETE,
            Self::Indicate(_) => MessageType::INDICATE_STATUS,
        }
    }
}

fn info(header: Header, bytes: &[u8]) -> Result<(u32, Status, &[u8]), RndisError> {
    let wire: WireInfo = read(header, bytes)?;
    let info = part(
        header,
        bytes,
        "information buffer",
        wire.info_offset,
        wire.info_length,
    )?;
    Ok((wire.request_id.get(), Status(wire.status.get()), info))
}
