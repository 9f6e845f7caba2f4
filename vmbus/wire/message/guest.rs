// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages the guest sends. Each call returns the finished bytes; page lists are in
//! [`crate::gpadl`].

use super::layout::{self, Header};
use super::{MessageType, OutMessage, Relid, SocketEndpoints, USER_DATA_BYTES};
use crate::version::{FeatureFlags, MESSAGE_SINT};
use crate::ProtocolVersion;
use zerocopy::little_endian::{U32, U64};

/// Guest physical addresses of the two monitor pages, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonitorPages {
    /// Written by the host, read by the guest (`monitor_page1`).
    pub to_guest: u64,
    /// Written by the guest, read by the hypervisor (`monitor_page2`): triggers are set here.
    pub to_host: u64,
}

/// The first message of a connection (`struct vmbus_channel_initiate_contact`).
///
/// Which fields travel depends on the version; what the version has no room for is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitiateContact {
    /// Asked for; see [`ProtocolVersion::OFFERED`]. Post the message on connection
    /// [`ProtocolVersion::contact_connection_id`].
    pub version: ProtocolVersion,
    /// Virtual processor that messages are to be sent to.
    pub target_vp: u32,
    /// Guest physical address of the interrupt page, in bytes; travels before 5.0.
    pub interrupt_page: u64,
    /// The guest's virtual trust level; travels from 5.1 on.
    pub trust_level: u8,
    /// What the guest can do; travels from 6.0 on.
    pub features: FeatureFlags,
    /// Both pages or none.
    pub monitor_pages: Option<MonitorPages>,
}

impl InitiateContact {
    /// The bytes to post.
    pub fn message(&self) -> OutMessage {
        let interrupt = if self.version.has_interrupt_page() {
            self.interrupt_page.to_le_bytes()
        } else {
            let fields = layout::ContactInterrupt {
                sint: MESSAGE_SINT,
                vtl: if self.version.has_trust_level() {
                    self.trust_level
                } else {
                    0
                },
                reserved: [0; 2],
                features: U32::new(if self.version.has_feature_flags() {
                    self.features.to_wire()
                } else {
                    0
                }),
            };
            zerocopy::transmute!(fields)
        };
        let pages = self.monitor_pages.unwrap_or(MonitorPages {
            to_guest: 0,
            to_host: 0,
        });
        OutMessage::of(&layout::InitiateContact {
            header: Header::new(MessageType::INITIATE_CONTACT),
            version: U32::new(self.version.to_wire()),
            target_vp: U32::new(self.target_vp),
            interrupt,
            monitor_to_guest: U64::new(pages.to_guest),
            monitor_to_host: U64::new(pages.to_host),
        })
    }
}

/// Request to open a channel (`struct vmbus_channel_open_channel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenChannel {
    /// The channel.
    pub relid: Relid,
    /// Comes back in the answer.
    pub open_id: u32,
    /// The page list that holds both rings.
    pub ring_gpadl: u32,
    /// Virtual processor that the channel's interrupt goes to.
    pub target_vp: u32,
    /// Where in the page list the host-to-guest ring starts, in pages of [`crate::HV_PAGE_SIZE`].
    pub downstream_page_offset: u32,
    /// For the device at the other end; zeroes where it wants none.
    pub user_data: [u8; USER_DATA_BYTES],
}

impl OpenChannel {
    /// The bytes to post.
    pub fn message(&self) -> OutMessage {
        OutMessage::of(&layout::OpenChannel {
            header: Header::new(MessageType::OPEN_CHANNEL),
            relid: U32::new(self.relid.get()),
            open_id: U32::new(self.open_id),
            ring_gpadl: U32::new(self.ring_gpadl),
            target_vp: U32::new(self.target_vp),
            downstream_page_offset: U32::new(self.downstream_page_offset),
            user_data: self.user_data,
        })
    }
}

/// Request to move a channel's interrupt (`struct vmbus_channel_modifychannel`); see
/// [`ProtocolVersion::has_modify_channel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModifyChannel {
    /// The channel.
    pub relid: Relid,
    /// Virtual processor that its interrupt shall go to.
    pub target_vp: u32,
}

impl ModifyChannel {
    /// The bytes to post.
    pub fn message(&self) -> OutMessage {
        OutMessage::of(&layout::ModifyChannel {
            header: Header::new(MessageType::MODIFY_CHANNEL),
            relid: U32::new(self.relid.get()),
            target_vp: U32::new(self.target_vp),
        })
    }
}

/// Request for a Hyper-V socket connection (`struct vmbus_channel_tl_connect_request`); see
/// [`ProtocolVersion::has_sockets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketConnect {
    /// Both ends.
    pub endpoints: SocketEndpoints,
}

impl SocketConnect {
    /// The bytes to post.
    pub fn message(&self) -> OutMessage {
        OutMessage::of(&layout::SocketConnect {
            header: Header::new(MessageType::TL_CONNECT_REQUEST),
            guest_endpoint: self.endpoints.guest_endpoint,
            host_service: self.endpoints.host_service,
        })
    }
}

/// Asks for the offers: the first message after a version was agreed.
pub fn request_offers() -> OutMessage {
    OutMessage::of(&Header::new(MessageType::REQUEST_OFFERS))
}

/// Leaves the bus. The host answers with UNLOAD_RESPONSE, and then knows nothing of the guest.
pub fn unload() -> OutMessage {
    OutMessage::of(&Header::new(MessageType::UNLOAD))
}

fn relid_only(kind: MessageType, relid: Relid) -> OutMessage {
    OutMessage::of(&layout::RelidOnly {
        header: Header::new(kind),
        relid: U32::new(relid.get()),
    })
}

/// Closes a channel. There is no answer; the teardown of the ring's page list is confirmed.
pub fn close_channel(relid: Relid) -> OutMessage {
    relid_only(MessageType::CLOSE_CHANNEL, relid)
}

/// Gives a rescinded channel's id back; the host may then use it for another channel.
pub fn relid_released(relid: Relid) -> OutMessage {
    relid_only(MessageType::RELID_RELEASED, relid)
}

/// Asks for the pages of a list back.
pub fn gpadl_teardown(relid: Relid, gpadl: u32) -> OutMessage {
    OutMessage::of(&layout::GpadlTeardown {
        header: Header::new(MessageType::GPADL_TEARDOWN),
        relid: U32::new(relid.get()),
        gpadl: U32::new(gpadl),
    })
}
