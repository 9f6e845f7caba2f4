// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The bytes of each message. Named after the structs of `include/linux/hyperv.h` with
//! `vmbus_channel_` left out; all are packed there.

use super::{MessageType, USER_DATA_BYTES};
use crate::Guid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::*;

macro_rules! wire {
    ($($(#[$meta:meta])* struct $name:ident { $($field:ident: $type:ty,)* } = $size:literal;)*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
            #[repr(C)]
            pub(crate) struct $name { $(pub(crate) $field: $type,)* }
            const _: () = assert!(size_of::<$name>() == $size);
        )*
    };
}

wire! {
    /// `vmbus_channel_message_header`; the padding is sent as zero and ignored.
    struct Header { kind: U32, padding: U32, } = 8;

    /// `vmbus_channel_offer_channel` with its `vmbus_channel_offer`.
    struct OfferChannel {
        header: Header,
        class: Guid,
        instance: Guid,
        reserved1: U64,
        reserved2: U64,
        flags: U16,
        mmio_megabytes: U16,
        user_data: [u8; USER_DATA_BYTES],
        subchannel: U16,
        reserved3: U16,
        relid: U32,
        monitor_id: u8,
        monitor_allocated: u8,
        dedicated_interrupt: U16,
        connection_id: U32,
    } = 196;

    /// `rescind_offer`, `close_channel` and `relid_released` are the same.
    struct RelidOnly { header: Header, relid: U32, } = 12;

    /// `open_channel`.
    struct OpenChannel {
        header: Header,
        relid: U32,
        open_id: U32,
        ring_gpadl: U32,
        target_vp: U32,
        downstream_page_offset: U32,
        user_data: [u8; USER_DATA_BYTES],
    } = 148;

    /// `open_result`.
    struct OpenResult { header: Header, relid: U32, open_id: U32, status: U32, } = 20;

    /// `gpadl_header` up to, not including, its first range.
    struct GpadlHeader {
        header: Header,
        relid: U32,
        gpadl: U32,
        range_bytes: U16,
        range_count: U16,
    } = 20;

    /// `gpadl_body` up to, not including, its pages.
    struct GpadlBody { header: Header, message_number: U32, gpadl: U32, } = 16;

    /// `gpadl_created`.
    struct GpadlCreated { header: Header, relid: U32, gpadl: U32, status: U32, } = 20;

    /// `gpadl_teardown`.
    struct GpadlTeardown { header: Header, relid: U32, gpadl: U32, } = 16;

    /// `gpadl_torndown`.
    struct GpadlTorndown { header: Header, gpadl: U32, } = 12;

    /// `initiate_contact`; `interrupt` is an address before 5.0 and four fields after.
    struct InitiateContact {
        header: Header,
        version: U32,
        target_vp: U32,
        interrupt: [u8; 8],
        monitor_to_guest: U64,
        monitor_to_host: U64,
    } = 40;

    /// The second face of `interrupt` above.
    struct ContactInterrupt { sint: u8, vtl: u8, reserved: [u8; 2], features: U32, } = 8;

    /// `version_supported`: the part of a version response that all versions have.
    struct VersionSupported { header: Header, supported: u8, } = 9;

    /// `version_response`, and the feature bits that 6.0 adds after it.
    struct VersionResponse {
        header: Header,
        supported: u8,
        state: u8,
        padding: U16,
        connection_id: U32,
        features: U32,
    } = 20;

    /// `modifychannel`.
    struct ModifyChannel { header: Header, relid: U32, target_vp: U32, } = 16;

    /// `modifychannel_response`.
    struct ModifyResponse { header: Header, relid: U32, status: U32, } = 16;

    /// `tl_connect_request`.
    struct SocketConnect { header: Header, guest_endpoint: Guid, host_service: Guid, } = 40;

    /// Not in the Linux header; OpenVMM's protocol definitions name the three fields.
    struct SocketConnectResult {
        header: Header,
        guest_endpoint: Guid,
        host_service: Guid,
        status: U32,
    } = 44;
}

impl Header {
    /// A header of the given kind.
    pub(crate) fn new(kind: MessageType) -> Self {
        Self {
            kind: U32::new(kind.to_wire()),
            padding: U32::ZERO,
        }
    }

    /// The kind of the message.
    pub(crate) fn message_type(&self) -> MessageType {
        MessageType::from_wire(self.kind.get())
    }
}
