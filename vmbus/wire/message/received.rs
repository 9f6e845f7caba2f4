// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages from the host, as the guest takes them.

use super::{layout, message_type, read, relid};
use super::{MessageError, MessageType, Offer, Relid, Sender, SocketEndpoints, Status};
use crate::version::FeatureFlags;

/// Answer to an open request (`struct vmbus_channel_open_result`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenResult {
    /// The channel.
    pub relid: Relid,
    /// The number the guest gave its request.
    pub open_id: u32,
    /// Whether the channel is open.
    pub status: Status,
}

/// Answer to a complete page list (`struct vmbus_channel_gpadl_created`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpadlCreated {
    /// The channel it belongs to.
    pub relid: Relid,
    /// The number the guest gave the list.
    pub gpadl: u32,
    /// Whether the host has mapped the pages.
    pub status: Status,
}

/// Answer to INITIATE_CONTACT (`struct vmbus_channel_version_response`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionResponse {
    /// The host speaks the version that was asked for.
    pub supported: bool,
    /// State of the connection, 0 for success; a host can support the version and yet refuse.
    pub state: u8,
    /// Connection that all later messages go to. Only from 5.0 on, `None` where the response was
    /// too short for it; meaningless to an older version.
    pub connection_id: Option<u32>,
    /// What the host agreed to; only from 6.0 on.
    pub features: Option<FeatureFlags>,
}

/// Answer to MODIFY_CHANNEL (`struct vmbus_channel_modifychannel_response`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModifyResponse {
    /// The channel.
    pub relid: Relid,
    /// Whether its interrupt goes to the new processor from now on.
    pub status: Status,
}

/// Answer to TL_CONNECT_REQUEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketConnectResult {
    /// The two ends the guest named.
    pub endpoints: SocketEndpoints,
    /// Why the host refused; a success is shown by an offer instead.
    pub status: Status,
}

/// Whatever a host may tell a guest.
///
/// An offer makes the value a good 200 bytes; it is meant to be taken apart where it was parsed,
/// not to be queued by the hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // No allocator to box it with.
pub enum HostMessage {
    /// A channel is offered.
    Offer(Offer),
    /// An offer is withdrawn.
    Rescind {
        /// The channel.
        relid: Relid,
    },
    /// All channels of boot time have been offered.
    AllOffersDelivered,
    /// Answer to an open request.
    OpenResult(OpenResult),
    /// Answer to a page list.
    GpadlCreated(GpadlCreated),
    /// The host no longer uses a page list's pages.
    GpadlTorndown {
        /// The list.
        gpadl: u32,
    },
    /// Answer to INITIATE_CONTACT.
    VersionResponse(VersionResponse),
    /// The host has forgotten the guest; answer to UNLOAD.
    UnloadComplete,
    /// Answer to MODIFY_CHANNEL.
    ModifyResponse(ModifyResponse),
    /// Answer to TL_CONNECT_REQUEST.
    SocketConnectResult(SocketConnectResult),
}

impl HostMessage {
    /// Reads a message that the host posted. `payload` is the private copy of the slot's payload,
    /// cut to the size the slot's header names.
    ///
    /// # Errors
    ///
    /// [`MessageError`] says what was wrong; nothing of such a message may be used.
    pub fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        let kind = message_type(payload)?;
        match kind {
            MessageType::OFFER_CHANNEL => Offer::parse(payload).map(Self::Offer),
            MessageType::RESCIND_OFFER => {
                let (wire, _) = read::<layout::RelidOnly>(kind, payload)?;
                Ok(Self::Rescind {
                    relid: relid(kind, wire.relid.get())?,
                })
            }
            MessageType::ALL_OFFERS_DELIVERED => Ok(Self::AllOffersDelivered),
            MessageType::OPEN_RESULT => {
                let (wire, _) = read::<layout::OpenResult>(kind, payload)?;
                Ok(Self::OpenResult(OpenResult {
                    relid: relid(kind, wire.relid.get())?,
                    open_id: wire.open_id.get(),
                    status: Status(wire.status.get()),
                }))
            }
            MessageType::GPADL_CREATED => {
                let (wire, _) = read::<layout::GpadlCreated>(kind, payload)?;
                Ok(Self::GpadlCreated(GpadlCreated {
                    relid: relid(kind, wire.relid.get())?,
                    gpadl: wire.gpadl.get(),
                    status: Status(wire.status.get()),
                }))
            }
            MessageType::GPADL_TORNDOWN => {
                let (wire, _) = read::<layout::GpadlTorndown>(kind, payload)?;
                Ok(Self::GpadlTorndown {
                    gpadl: wire.gpadl.get(),
                })
            }
            MessageType::VERSION_RESPONSE => {
                version_response(kind, payload).map(Self::VersionResponse)
            }
            MessageType::UNLOAD_RESPONSE => Ok(Self::UnloadComplete),
            MessageType::MODIFY_CHANNEL_RESPONSE => {
                let (wire, _) = read::<layout::ModifyResponse>(kind, payload)?;
                Ok(Self::ModifyResponse(ModifyResponse {
                    relid: relid(kind, wire.relid.get())?,
                    status: Status(wire.status.get()),
                }))
            }
            MessageType::TL_CONNECT_RESULT => {
                let (wire, _) = read::<layout::SocketConnectResult>(kind, payload)?;
                Ok(Self::SocketConnectResult(SocketConnectResult {
                    endpoints: SocketEndpoints {
                        guest_endpoint: wire.guest_endpoint,
                        host_service: wire.host_service,
                    },
                    status: Status(wire.status.get()),
                }))
            }
            other if other.sender() == Some(Sender::Guest) => {
                Err(MessageError::WrongDirection(other))
            }
            other => Err(MessageError::UnknownType(other)),
        }
    }

    /// The number of this kind of message, for log lines and traces.
    pub const fn message_type(&self) -> MessageType {
        match self {
            Self::Offer(_) => MessageType::OFFER_CHANNEL,
            Self::Rescind { .. } => MessageType::RESCIND_OFFER,
            Self::AllOffersDelivered => MessageType::ALL_OFFERS_DELIVERED,
            Self::OpenResult(_) => MessageType::OPEN_RESULT,
            Self::GpadlCreated(_) => MessageType::GPADL_CREATED,
            Self::GpadlTorndown { .. } => MessageType::GPADL_TORNDOWN,
            Self::VersionResponse(_) => MessageType::VERSION_RESPONSE,
            Self::UnloadComplete => MessageType::UNLOAD_RESPONSE,
            Self::ModifyResponse(_) => MessageType::MODIFY_CHANNEL_RESPONSE,
            Self::SocketConnectResult(_) => MessageType::TL_CONNECT_RESULT,
        }
    }
}

/// The response grew with the versions, so everything past `supported` is optional.
fn version_response(kind: MessageType, payload: &[u8]) -> Result<VersionResponse, MessageError> {
    let (fixed, rest) = read::<layout::VersionSupported>(kind, payload)?;
    let state = rest.first().copied().unwrap_or(0);
    // The state byte and two bytes of padding come before the connection id.
    let word = |at: usize| {
        let bytes = rest.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    };
    Ok(VersionResponse {
        supported: fixed.supported != 0,
        state,
        connection_id: word(3),
        features: word(7).map(FeatureFlags::from_wire),
    })
}
