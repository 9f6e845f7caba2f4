// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NVSP messages byte by byte. The bytes were written by a C program that filled in the structs
//! of `drivers/net/hyperv/hyperv_net.h`, and for the chimney those of FreeBSD's `hv_net_vsc.h`.

mod common;

use common::hex;
use netvsc_wire::nvsp::*;
use netvsc_wire::rndis;
use netvsc_wire::version::{NdisVersion, Version};
use netvsc_wire::vmq::{AllocationId, BufferId, VmqPacket};

/// `sizeof(struct nvsp_message)`: what 6.1 has, and what Linux sends with any version.
const LONG: usize = 40;
const SHORT: usize = 28;

fn padded(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.resize(length, 0);
    bytes
}

#[track_caller]
fn guest(bytes: &str, message: GuestMessage) {
    let bytes = hex(bytes);
    assert_eq!(GuestMessage::parse(&bytes), Ok(message));
    let long = message.encode(Version::V6_1);
    assert_eq!(long.as_bytes(), padded(bytes.clone(), LONG));
    assert_eq!(long.message_type(), message.message_type());
    let short = message.encode(Version::V6);
    assert_eq!(short.as_bytes(), &long.as_bytes()[..SHORT]);
    assert_eq!(GuestMessage::parse(short.as_bytes()), Ok(message));
    assert_ne!(message.message_type().sender(), Some(Sender::Host));
}

#[track_caller]
fn host(bytes: &str, message: HostMessage) {
    let bytes = hex(bytes);
    assert_eq!(HostMessage::parse(Version::V6_1, &bytes), Ok(message));
    let long = message.encode(Version::V6_1);
    let length = bytes.len().max(LONG);
    assert_eq!(long.as_bytes(), padded(bytes, length));
    assert_eq!(long.message_type(), message.message_type());
    for version in Version::OFFERED {
        let built = message.encode(version);
        assert!(built.as_bytes().len() >= version.message_bytes());
        assert_eq!(HostMessage::parse(version, built.as_bytes()), Ok(message));
    }
    assert_ne!(message.message_type().sender(), Some(Sender::Guest));
}

#[test]
fn guest_init() {
    guest(
        "010000000100060001000600000000000000000000000000000000000000000000000000\
         00000000",
        GuestMessage::Init {
            version: 0x6_0001,
            version2: 0x6_0001,
        },
    );
}

#[test]
fn guest_ndis_ver() {
    guest(
        "64000000060000001e000000000000000000000000000000000000000000000000000000\
         00000000",
        GuestMessage::NdisVersion(NdisVersion::NDIS_6_30),
    );
}

#[test]
fn guest_ndis_config() {
    guest(
        "7d0000003623000000000000ac0000000000000000000000000000000000000000000000\
         00000000",
        GuestMessage::NdisConfig(NdisConfig {
            frame_bytes: 9014,
            capabilities: Capabilities::IEEE8021Q
                .with(Capabilities::SRIOV)
                .with(Capabilities::TEAMING)
                .with(Capabilities::RSC),
        }),
    );
}

#[test]
fn guest_recv_buf() {
    guest(
        "65000000101e0e00feca0000000000000000000000000000000000000000000000000000\
         00000000",
        GuestMessage::ReceiveBuffer(SharedBuffer {
            gpadl: 0xe1e10,
            id: RECEIVE_BUFFER_ID,
        }),
    );
}

#[test]
fn guest_revoke_recv() {
    guest(
        "67000000feca000000000000000000000000000000000000000000000000000000000000\
         00000000",
        GuestMessage::RevokeReceiveBuffer {
            id: RECEIVE_BUFFER_ID,
        },
    );
}

#[test]
fn guest_send_buf() {
    guest(
        "68000000111e0e0000000000000000000000000000000000000000000000000000000000\
         00000000",
        GuestMessage::SendBuffer(SharedBuffer {
            gpadl: 0xe1e11,
            id: SEND_BUFFER_ID,
        }),
    );
}

#[test]
fn guest_revoke_send() {
    guest(
        "6a0000003412000000000000000000000000000000000000000000000000000000000000\
         00000000",
        GuestMessage::RevokeSendBuffer { id: 0x1234 },
    );
}

#[test]
fn guest_rndis() {
    guest(
        "6b0000000000000011000000dc0500000000000000000000000000000000000000000000\
         00000000",
        GuestMessage::RndisPacket(RndisPacket {
            channel_type: ChannelType::Data,
            section: Some(SectionUse {
                index: 17,
                bytes: 1500,
            }),
        }),
    );
}

#[test]
fn guest_rndis_ctl() {
    guest(
        "6b00000001000000ffffffff000000000000000000000000000000000000000000000000\
         00000000",
        GuestMessage::RndisPacket(RndisPacket {
            channel_type: ChannelType::Control,
            section: None,
        }),
    );
}

#[test]
fn guest_rndis_complete() {
    guest(
        "6c0000000100000000000000000000000000000000000000000000000000000000000000\
         00000000",
        GuestMessage::RndisComplete(Status::SUCCESS),
    );
}

#[test]
fn guest_alloc_rxbuf_comp() {
    guest(
        "790000009a0000c007000000121e0e008877665544332211000000000000000000000000\
         00000000",
        GuestMessage::ReceiveBufferAllocated {
            status: rndis::Status::RESOURCES,
            allocation: AllocationId(7),
            gpadl: 0xe1e12,
            buffer: BufferId(0x1122_3344_5566_7788),
        },
    );
}

#[test]
fn guest_dp() {
    guest(
        "810000000100000000000000000000000000000000000000000000000000000000000000\
         00000000",
        GuestMessage::SwitchDataPath(DataPath::VIRTUAL_FUNCTION),
    );
}

#[test]
fn guest_sub() {
    guest(
        "850000000100000003000000000000000000000000000000000000000000000000000000\
         00000000",
        GuestMessage::Subchannels {
            operation: SubchannelOperation::ALLOCATE,
            count: 3,
        },
    );
}

#[test]
fn guest_chim_buf() {
    guest(
        "6d00000080010200131e0e00",
        GuestMessage::DelegatedBuffer(DelegatedBuffer {
            object_bytes: 0x180,
            revision: CHIMNEY_REVISION,
            gpadl: 0xe1e13,
        }),
    );
}

#[test]
fn guest_handle() {
    guest(
        "7e000000887766554433221103000000",
        GuestMessage::AllocHandle(AllocHandle {
            context: 0x1122_3344_5566_7788,
            object_type: ObjectType::TCP,
        }),
    );
}

#[test]
fn guest_term1() {
    guest(
        "7100000055000000010000000807060504030201",
        GuestMessage::Terminate(Terminate {
            handle: 0x55,
            stage: Stage::First {
                last_accepted: 0x0102_0304_0506_0708,
            },
        }),
    );
}

#[test]
fn guest_term0() {
    guest(
        "7100000055000000000000000900000000000000",
        GuestMessage::Terminate(Terminate {
            handle: 0x55,
            stage: Stage::Final { index: 9 },
        }),
    );
}

#[test]
fn guest_send() {
    guest(
        "7400000055000000ffff0000ffff010007000000",
        GuestMessage::SendData(SendData {
            handle: 0x55,
            section: NO_CHIMNEY_SECTION,
            section_bytes: 0,
            disconnect: Disconnect::GRACEFUL,
            sequence: 7,
        }),
    );
}

#[test]
fn guest_post() {
    guest(
        "7600000055000000ffff0000010008000000",
        GuestMessage::PostReceive(PostReceive {
            handle: 0x55,
            no_push: true,
            sequence: 8,
        }),
    );
}

#[test]
fn host_init_complete() {
    host(
        "02000000ffffffff22000000010000000000000000000000000000000000000000000000\
         00000000",
        HostMessage::InitComplete(InitComplete::new(Some(Version::V6_1), Status::SUCCESS)),
    );
}

#[test]
fn host_recv_buf_complete() {
    host(
        "66000000010000000100000000000000c0060000ed250000c0faff000000000000000000\
         00000000",
        HostMessage::ReceiveBufferComplete {
            status: Status::SUCCESS,
            sections: Sections::one(Section {
                offset: 0,
                piece_bytes: 1728,
                pieces: 9709,
                end: 0xff_fac0,
            }),
        },
    );
}

#[test]
fn host_send_buf_complete() {
    host(
        "690000000100000000180000000000000000000000000000000000000000000000000000\
         00000000",
        HostMessage::SendBufferComplete {
            status: Status::SUCCESS,
            section_bytes: SEND_SECTION_BYTES,
        },
    );
}

#[test]
fn host_rndis_ctl() {
    host(
        "6b00000001000000ffffffff000000000000000000000000000000000000000000000000\
         00000000",
        HostMessage::RndisPacket(RndisPacket {
            channel_type: ChannelType::Control,
            section: None,
        }),
    );
}

#[test]
fn host_rndis_complete() {
    host(
        "6c0000000100000000000000000000000000000000000000000000000000000000000000\
         00000000",
        HostMessage::RndisComplete(Status::SUCCESS),
    );
}

#[test]
fn host_alloc_rxbuf() {
    host(
        "780000000700000000001000000000000000000000000000000000000000000000000000\
         00000000",
        HostMessage::AllocReceiveBuffer {
            allocation: AllocationId(7),
            length: 0x10_0000,
        },
    );
}

#[test]
fn host_free_rxbuf() {
    host(
        "7a0000008877665544332211000000000000000000000000000000000000000000000000\
         00000000",
        HostMessage::FreeReceiveBuffer {
            buffer: BufferId(0x1122_3344_5566_7788),
        },
    );
}

#[test]
fn host_vmq() {
    host(
        "7b0000000000000088776655443322113c00000000100000",
        HostMessage::VmqPacket(VmqPacket {
            buffer: BufferId(0x1122_3344_5566_7788),
            offset: 0x1000,
            bytes: 0x3c,
        }),
    );
}

#[test]
fn host_vf() {
    host(
        "800000000100000002000000000000000000000000000000000000000000000000000000\
         00000000",
        HostMessage::VfAssociation(VfAssociation {
            allocated: true,
            serial: 2,
        }),
    );
}

#[test]
fn host_sub_comp() {
    host(
        "850000000100000003000000000000000000000000000000000000000000000000000000\
         00000000",
        HostMessage::SubchannelsComplete {
            status: Status::SUCCESS,
            count: 3,
        },
    );
}

#[test]
fn host_table() {
    host(
        "860000001000000028000000000000000000000000000000000000000000000000000000\
         000000000000000001000000020000000300000000000000010000000200000003000000\
         0000000001000000020000000300000000000000010000000200000003000000",
        HostMessage::SendTable(SendTable::spread(4)),
    );
}

#[test]
fn host_chim_buf_c() {
    host(
        "6e000000000000002000000010000000",
        HostMessage::Quotas(Quotas {
            status: rndis::Status::SUCCESS,
            sends: 32,
            receives: 16,
        }),
    );
}

#[test]
fn host_term_c() {
    host(
        "72000000887766554433221101000000",
        HostMessage::Terminated(Terminated {
            context: 0x1122_3344_5566_7788,
            data_corrupted: true,
        }),
    );
}

#[test]
fn host_event() {
    host(
        "73000000030000000a0000008877665544332211",
        HostMessage::ChimneyEvent(ChimneyEvent {
            event: 3,
            info: 10,
            context: 0x1122_3344_5566_7788,
        }),
    );
}

#[test]
fn messages_without_a_c_struct() {
    // 127 `nvsp_2_msg_alloc_chimney_handle_complete`, 112, 111: one number.
    host(
        "7f00000044332211",
        HostMessage::HandleAllocated {
            handle: 0x1122_3344,
        },
    );
    guest(
        "7000000044332211",
        GuestMessage::ResumeReceive {
            handle: 0x1122_3344,
        },
    );
    guest(
        "6f00000044332211",
        GuestMessage::RevokeDelegatedBuffer { gpadl: 0x1122_3344 },
    );
    // 117 and 119: status and bytes.
    let done = ChimneyCompletion {
        status: rndis::Status::REQUEST_ABORTED,
        bytes: 0x1000,
    };
    host("750000000c0001c000100000", HostMessage::DataSent(done));
    host("770000000c0001c000100000", HostMessage::DataReceived(done));
    // 124: status.
    guest(
        "7c00000002000000",
        GuestMessage::VmqComplete(Status::FAILURE),
    );
    // 131 and 132.
    guest(
        "83000000 a7039c00 0d0201fc",
        GuestMessage::OidQueryEx(OidQueryEx {
            header: netvsc_wire::oid::OffloadRevision::Rev3.header(),
            oid: netvsc_wire::oid::Oid::TCP_OFFLOAD_HARDWARE_CAPABILITIES,
        }),
    );
    host(
        "84000000 bb0000c0 9c000000",
        HostMessage::OidQueryExComplete {
            status: rndis::Status::NOT_SUPPORTED,
            bytes: 156,
        },
    );
}
