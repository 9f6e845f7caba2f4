// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The host's view of the channel messages: reads what a guest sends and builds what a host
//! sends. For hosts written with this crate, and for tests that check that what one side builds
//! is what the other side reads.

use crate::message::layout::{self, Header};
use crate::message::{message_type, read, relid};
use crate::message::{
    InitiateContact, MessageError, MessageType, ModifyChannel, MonitorPages, OpenChannel, Sender,
    SocketConnect, SocketEndpoints,
};
use crate::version::FeatureFlags;
use crate::{HostMessage, Offer, OutMessage, ProtocolVersion, Relid};
use core::fmt;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::FromBytes;

/// Words of a page list in one message, see [`crate::gpadl`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Words {
    words: [U64; crate::gpadl::BODY_WORDS],
    count: usize,
}

impl Words {
    fn read(bytes: &[u8]) -> Self {
        let mut all = Self {
            words: [U64::ZERO; crate::gpadl::BODY_WORDS],
            count: 0,
        };
        for (to, from) in all.words.iter_mut().zip(bytes.chunks_exact(8)) {
            if let Ok(word) = U64::read_from_bytes(from) {
                *to = word;
                all.count += 1;
            }
        }
        all
    }

    /// The words in their order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.iter().take(self.count).map(|word| word.get())
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Start of a page list (`struct vmbus_channel_gpadl_header`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpadlHeader {
    /// The channel it belongs to.
    pub relid: Relid,
    /// The number the guest gave the list.
    pub gpadl: u32,
    /// Bytes of all words of the list.
    pub range_bytes: u16,
    /// Ranges of the list.
    pub range_count: u16,
    /// The first words.
    pub words: Words,
}

/// More of a page list (`struct vmbus_channel_gpadl_body`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpadlBody {
    /// The list.
    pub gpadl: u32,
    /// The next words.
    pub words: Words,
}

/// Whatever a guest may tell a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // No allocator to box it with.
pub enum GuestMessage {
    /// First message of a connection.
    InitiateContact(InitiateContact),
    /// The guest wants to hear of all channels.
    RequestOffers,
    /// Open a channel.
    Open(OpenChannel),
    /// Close a channel.
    Close {
        /// The channel.
        relid: Relid,
    },
    /// Start of a page list.
    GpadlHeader(GpadlHeader),
    /// More of a page list.
    GpadlBody(GpadlBody),
    /// Forget a page list.
    GpadlTeardown {
        /// The channel it belongs to.
        relid: Relid,
        /// The list.
        gpadl: u32,
    },
    /// A rescinded channel's id is free.
    RelidReleased {
        /// The id.
        relid: Relid,
    },
    /// The guest leaves.
    Unload,
    /// Move a channel's interrupt.
    ModifyChannel(ModifyChannel),
    /// Connect to a Hyper-V socket.
    SocketConnect(SocketConnect),
}

impl GuestMessage {
    /// Reads a message that a guest posted.
    ///
    /// # Errors
    ///
    /// [`MessageError`] says what was wrong.
    pub fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        let kind = message_type(payload)?;
        match kind {
            MessageType::INITIATE_CONTACT => {
                let (wire, _) = read::<layout::InitiateContact>(kind, payload)?;
                contact(&wire).map(Self::InitiateContact)
            }
            MessageType::REQUEST_OFFERS => Ok(Self::RequestOffers),
            MessageType::OPEN_CHANNEL => {
                let (wire, _) = read::<layout::OpenChannel>(kind, payload)?;
                Ok(Self::Open(OpenChannel {
                    relid: relid(kind, wire.relid.get())?,
                    open_id: wire.open_id.get(),
                    ring_gpadl: wire.ring_gpadl.get(),
                    target_vp: wire.target_vp.get(),
                    downstream_page_offset: wire.downstream_page_offset.get(),
                    user_data: wire.user_data,
                }))
            }
            MessageType::CLOSE_CHANNEL => Ok(Self::Close {
                relid: only_relid(kind, payload)?,
            }),
            MessageType::GPADL_HEADER => {
                let (wire, rest) = read::<layout::GpadlHeader>(kind, payload)?;
                Ok(Self::GpadlHeader(GpadlHeader {
                    relid: relid(kind, wire.relid.get())?,
                    gpadl: wire.gpadl.get(),
                    range_bytes: wire.range_bytes.get(),
                    range_count: wire.range_count.get(),
                    words: Words::read(rest),
                }))
            }
            MessageType::GPADL_BODY => {
                let (wire, rest) = read::<layout::GpadlBody>(kind, payload)?;
                Ok(Self::GpadlBody(GpadlBody {
                    gpadl: wire.gpadl.get(),
                    words: Words::read(rest),
                }))
            }
            MessageType::GPADL_TEARDOWN => {
                let (wire, _) = read::<layout::GpadlTeardown>(kind, payload)?;
                Ok(Self::GpadlTeardown {
                    relid: relid(kind, wire.relid.get())?,
                    gpadl: wire.gpadl.get(),
                })
            }
            MessageType::RELID_RELEASED => Ok(Self::RelidReleased {
                relid: only_relid(kind, payload)?,
            }),
            MessageType::UNLOAD => Ok(Self::Unload),
            MessageType::MODIFY_CHANNEL => {
                let (wire, _) = read::<layout::ModifyChannel>(kind, payload)?;
                Ok(Self::ModifyChannel(ModifyChannel {
                    relid: relid(kind, wire.relid.get())?,
                    target_vp: wire.target_vp.get(),
                }))
            }
            MessageType::TL_CONNECT_REQUEST => {
                let (wire, _) = read::<layout::SocketConnect>(kind, payload)?;
                Ok(Self::SocketConnect(SocketConnect {
                    endpoints: SocketEndpoints {
                        guest_endpoint: wire.guest_endpoint,
                        host_service: wire.host_service,
                    },
                }))
            }
            other if other.sender() == Some(Sender::Host) => {
                Err(MessageError::WrongDirection(other))
            }
            other => Err(MessageError::UnknownType(other)),
        }
    }
}

fn only_relid(kind: MessageType, payload: &[u8]) -> Result<Relid, MessageError> {
    let (wire, _) = read::<layout::RelidOnly>(kind, payload)?;
    relid(kind, wire.relid.get())
}

fn contact(wire: &layout::InitiateContact) -> Result<InitiateContact, MessageError> {
    let version = ProtocolVersion::from_wire(wire.version.get());
    let fields: layout::ContactInterrupt = zerocopy::transmute!(wire.interrupt);
    let pages = MonitorPages {
        to_guest: wire.monitor_to_guest.get(),
        to_host: wire.monitor_to_host.get(),
    };
    let monitor_pages = match (pages.to_guest, pages.to_host) {
        (0, 0) => None,
        (0, only) | (only, 0) => {
            return Err(MessageError::BadField {
                message_type: MessageType::INITIATE_CONTACT,
                field: "lone monitor_page",
                value: only,
            })
        }
        _ => Some(pages),
    };
    Ok(InitiateContact {
        version,
        target_vp: wire.target_vp.get(),
        interrupt_page: if version.has_interrupt_page() {
            u64::from_le_bytes(wire.interrupt)
        } else {
            0
        },
        trust_level: if version.has_trust_level() {
            fields.vtl
        } else {
            0
        },
        features: if version.has_feature_flags() {
            FeatureFlags::from_wire(fields.features.get())
        } else {
            FeatureFlags::NONE
        },
        monitor_pages,
    })
}

/// The bytes a host posts for a message.
pub fn encode(message: &HostMessage) -> OutMessage {
    let kind = message.message_type();
    let header = Header::new(kind);
    match message {
        HostMessage::Offer(offer) => OutMessage::of(&offer_bytes(header, offer)),
        HostMessage::Rescind { relid } => OutMessage::of(&layout::RelidOnly {
            header,
            relid: U32::new(relid.get()),
        }),
        HostMessage::AllOffersDelivered | HostMessage::UnloadComplete => OutMessage::of(&header),
        HostMessage::OpenResult(result) => OutMessage::of(&layout::OpenResult {
            header,
            relid: U32::new(result.relid.get()),
            open_id: U32::new(result.open_id),
            status: U32::new(result.status.0),
        }),
        HostMessage::GpadlCreated(created) => OutMessage::of(&layout::GpadlCreated {
            header,
            relid: U32::new(created.relid.get()),
            gpadl: U32::new(created.gpadl),
            status: U32::new(created.status.0),
        }),
        HostMessage::GpadlTorndown { gpadl } => OutMessage::of(&layout::GpadlTorndown {
            header,
            gpadl: U32::new(*gpadl),
        }),
        HostMessage::VersionResponse(response) => {
            let mut message = OutMessage::of(&layout::VersionResponse {
                header,
                supported: response.supported.into(),
                state: response.state,
                padding: U16::ZERO,
                connection_id: U32::new(response.connection_id.unwrap_or(0)),
                features: U32::new(response.features.map_or(0, FeatureFlags::to_wire)),
            });
            // Features travel from 6.0 on only. The connection id always does: Linux refuses a
            // response without it, whatever the version.
            if response.features.is_none() {
                message.truncate(size_of::<layout::VersionResponse>() - 4);
            }
            message
        }
        HostMessage::ModifyResponse(response) => OutMessage::of(&layout::ModifyResponse {
            header,
            relid: U32::new(response.relid.get()),
            status: U32::new(response.status.0),
        }),
        HostMessage::SocketConnectResult(result) => OutMessage::of(&layout::SocketConnectResult {
            header,
            guest_endpoint: result.endpoints.guest_endpoint,
            host_service: result.endpoints.host_service,
            status: U32::new(result.status.0),
        }),
    }
}

fn offer_bytes(header: Header, offer: &Offer) -> layout::OfferChannel {
    layout::OfferChannel {
        header,
        class: offer.class,
        instance: offer.instance,
        reserved1: U64::ZERO,
        reserved2: U64::ZERO,
        flags: U16::new(offer.flags.0),
        mmio_megabytes: U16::new(offer.mmio_megabytes),
        user_data: offer.user_data,
        subchannel: U16::new(offer.subchannel),
        reserved3: U16::ZERO,
        relid: U32::new(offer.relid.get()),
        monitor_id: offer
            .monitor
            .map_or(offer.raw_monitor_id, |monitor| monitor.get()),
        monitor_allocated: offer.monitor.is_some().into(),
        dedicated_interrupt: U16::new(offer.dedicated_interrupt.into()),
        connection_id: U32::new(offer.connection_id),
    }
}
