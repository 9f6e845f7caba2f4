// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The bytes of each message, its number first. Named after the structs of
//! `drivers/net/hyperv/hyperv_net.h` with `nvsp_*_message_` left out, the chimney messages after
//! those of FreeBSD's `hv_net_vsc.h` with `nvsp_2_msg_` left out; all are packed there.

use crate::layout::wire;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::*;

wire! {
    /// `init`.
    struct Init { kind: U32, version: U32, version2: U32, } = 12;

    /// `init_complete`.
    struct InitComplete { kind: U32, deprecated: U32, max_mdl_chain: U32, status: U32, } = 16;

    /// `send_ndis_version`.
    struct NdisVersion { kind: U32, major: U32, minor: U32, } = 12;

    /// `send_receive_buffer`, `send_send_buffer`.
    struct Buffer { kind: U32, gpadl: U32, id: U16, } = 10;

    /// `send_receive_buffer_complete`; sections follow.
    struct ReceiveBufferComplete { kind: U32, status: U32, count: U32, } = 12;

    /// `receive_buffer_section`.
    struct Section { offset: U32, bytes: U32, count: U32, end: U32, } = 16;

    /// `revoke_receive_buffer`, `revoke_send_buffer`.
    struct Revoke { kind: U32, id: U16, } = 6;

    /// `send_send_buffer_complete`.
    struct SendBufferComplete { kind: U32, status: U32, section_bytes: U32, } = 12;

    /// `send_rndis_packet`.
    struct RndisPacket { kind: U32, channel_type: U32, section: U32, section_bytes: U32, } = 16;

    /// `send_rndis_packet_complete`, `send_vmq_rndis_pkt_complete`.
    struct StatusOnly { kind: U32, status: U32, } = 8;

    /// `send_ndis_config`.
    struct NdisConfig { kind: U32, mtu: U32, reserved: U32, capabilities: U64, } = 20;

    /// `send_chimney_buf`.
    struct DelegatedBuffer { kind: U32, object_bytes: U16, revision: U16, gpadl: U32, } = 12;

    /// `send_chimney_buf_complete`.
    struct Quotas { kind: U32, status: U32, send: U32, receive: U32, } = 16;

    /// `revoke_chimney_buf`, `resume_chimney_rx_indication`, `alloc_chimney_handle_complete`.
    struct Number { kind: U32, number: U32, } = 8;

    /// `alloc_chimney_handle`.
    struct AllocHandle { kind: U32, context: U64, object_type: U32, } = 16;

    /// `terminate_chimney`; the last field is a `u32` index or a `u64` sequence number.
    struct Terminate { kind: U32, handle: U32, flags: U32, value: U64, } = 20;

    /// `terminate_chimney_complete`.
    struct Terminated { kind: U32, context: U64, flags: U32, } = 16;

    /// `indicate_chimney_event`.
    struct ChimneyEvent { kind: U32, event: U32, info: U32, context: U64, } = 20;

    /// `send_chimney_pkt`.
    struct SendData {
        kind: U32,
        handle: U32,
        section: U16,
        section_bytes: U16,
        oob: U16,
        disconnect: U16,
        sequence: U32,
    } = 20;

    /// `post_chimney_rx_request`.
    struct PostReceive { kind: U32, handle: U32, oob: U32, flags: U16, sequence: U32, } = 18;

    /// `send_chimney_pkt_complete`, `post_chimney_rx_request_complete`.
    struct Transferred { kind: U32, status: U32, bytes: U32, } = 12;

    /// `alloc_rxbuf`.
    struct AllocReceiveBuffer { kind: U32, allocation: U32, length: U32, } = 12;

    /// `alloc_rxbuf_comp`.
    struct AllocReceiveBufferComplete {
        kind: U32,
        status: U32,
        allocation: U32,
        gpadl: U32,
        buffer: U64,
    } = 24;

    /// `free_rxbuf`.
    struct FreeReceiveBuffer { kind: U32, buffer: U64, } = 12;

    /// `send_vmq_rndis_pkt` with its `nvsp_xfer_page_range`.
    struct VmqPacket {
        kind: U32,
        channel_type: U32,
        buffer: U64,
        byte_count: U32,
        byte_offset: U32,
    } = 24;

    /// `send_vf_association`.
    struct VfAssociation { kind: U32, allocated: U32, serial: U32, } = 12;

    /// `sw_datapath`.
    struct DataPath { kind: U32, path: U32, } = 8;

    /// `Message5OidQueryEx` of OpenVMM's `netvsp/src/protocol.rs`.
    struct OidQueryEx { kind: U32, object_type: u8, revision: u8, size: U16, oid: U32, } = 12;

    /// `Message5OidQueryExComplete`, the same.
    struct OidQueryExComplete { kind: U32, status: U32, bytes: U32, } = 12;

    /// `subchannel_request`.
    struct SubchannelRequest { kind: U32, operation: U32, count: U32, } = 12;

    /// `subchannel_complete`.
    struct SubchannelComplete { kind: U32, status: U32, count: U32, } = 12;

    /// `send_indirect_table`.
    struct SendTable { kind: U32, count: U32, offset: U32, } = 12;
}
