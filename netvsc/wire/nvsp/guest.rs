// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages that a guest sends.

use super::chimney::NO_OOB;
use super::{
    layout, message_type, read, refused, AllocHandle, Capabilities, DataPath, DelegatedBuffer,
    Disconnect, MessageType, NdisConfig, NvspError, ObjectType, OidQueryEx, OutMessage,
    PostReceive, RndisPacket, SendData, SharedBuffer, Stage, Status, SubchannelOperation,
    Terminate,
};
use crate::oid::{ObjectHeader, Oid};
use crate::rndis;
use crate::version::{NdisVersion, Version};
use crate::vmq::{AllocationId, BufferId};
use zerocopy::little_endian::{U16, U32, U64};

/// Whatever a guest may tell a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestMessage {
    /// Asks for a version; answered with an INIT_COMPLETE.
    Init {
        /// The version ([`Version::from_wire`]); a number nobody knows is to be refused in the
        /// answer, not an error.
        version: u32,
        /// The same again; a guest before Windows 7 gives the end of a range of versions.
        version2: u32,
    },
    /// The NDIS version whose objects the guest speaks; not answered.
    NdisVersion(NdisVersion),
    /// MTU and capabilities; not answered.
    NdisConfig(NdisConfig),
    /// The buffer that the host puts frames into; answered.
    ReceiveBuffer(SharedBuffer),
    /// The guest wants it back. Nothing more may be put into it; not answered by any host known.
    RevokeReceiveBuffer {
        /// The buffer.
        id: u16,
    },
    /// The buffer that the guest copies frames into; answered.
    SendBuffer(SharedBuffer),
    /// The guest wants it back; as [`GuestMessage::RevokeReceiveBuffer`].
    RevokeSendBuffer {
        /// The buffer.
        id: u16,
    },
    /// RNDIS messages; answered.
    RndisPacket(RndisPacket),
    /// Completion of the host's RNDIS packet: its place can be used again.
    RndisComplete(Status),
    /// The buffer that the state of offloaded connections travels in; answered.
    DelegatedBuffer(DelegatedBuffer),
    /// The guest wants it back.
    RevokeDelegatedBuffer {
        /// Its page list.
        gpadl: u32,
    },
    /// Asks for the host's handle of an object; answered.
    AllocHandle(AllocHandle),
    /// The host may indicate received data of a connection again.
    ResumeReceive {
        /// The host's handle of the connection.
        handle: u32,
    },
    /// Ends the offload of an object; answered.
    Terminate(Terminate),
    /// Data of a connection; answered when the peer has it.
    SendData(SendData),
    /// Room for data of a connection; answered when it holds some.
    PostReceive(PostReceive),
    /// Completion of the host's request for a buffer.
    ReceiveBufferAllocated {
        /// How it went.
        status: rndis::Status,
        /// The request.
        allocation: AllocationId,
        /// The page list that the buffer consists of.
        gpadl: u32,
        /// The number the guest gave the buffer.
        buffer: BufferId,
    },
    /// Completion of the host's packet in such buffers.
    VmqComplete(Status),
    /// The way frames take from now on; answered by a completion without payload.
    SwitchDataPath(DataPath),
    /// A query without RNDIS around it; answered.
    OidQueryEx(OidQueryEx),
    /// Asks for sub-channels; answered.
    Subchannels {
        /// What is asked.
        operation: SubchannelOperation,
        /// How many.
        count: u32,
    },
}

const fn kind(message_type: MessageType) -> U32 {
    U32::new(message_type.0)
}

impl GuestMessage {
    /// Reads what a guest sent. `payload` is a private copy of the packet's payload.
    ///
    /// Whether the agreed version has the message is for the caller to ask
    /// ([`MessageType::since`]).
    ///
    /// # Errors
    ///
    /// [`NvspError`] says what was wrong; nothing of such a message may be used.
    pub fn parse(payload: &[u8]) -> Result<Self, NvspError> {
        let kind = message_type(payload)?;
        Ok(match kind {
            MessageType::SEND_RNDIS_PACKET => Self::RndisPacket(RndisPacket::parse(payload)?),
            MessageType::SEND_RNDIS_PACKET_COMPLETE => {
                let wire: layout::StatusOnly = read(kind, payload)?;
                Self::RndisComplete(Status(wire.status.get()))
            }
            MessageType::INIT => {
                let wire: layout::Init = read(kind, payload)?;
                Self::Init {
                    version: wire.version.get(),
                    version2: wire.version2.get(),
                }
            }
            MessageType::SEND_NDIS_VERSION => {
                let wire: layout::NdisVersion = read(kind, payload)?;
                Self::NdisVersion(NdisVersion {
                    major: wire.major.get(),
                    minor: wire.minor.get(),
                })
            }
            MessageType::SEND_NDIS_CONFIG => {
                let wire: layout::NdisConfig = read(kind, payload)?;
                Self::NdisConfig(NdisConfig {
                    frame_bytes: wire.mtu.get(),
                    capabilities: Capabilities(wire.capabilities.get()),
                })
            }
            MessageType::SEND_RECEIVE_BUFFER => Self::ReceiveBuffer(buffer(kind, payload)?),
            MessageType::SEND_SEND_BUFFER => Self::SendBuffer(buffer(kind, payload)?),
            MessageType::REVOKE_RECEIVE_BUFFER => Self::RevokeReceiveBuffer {
                id: read::<layout::Revoke>(kind, payload)?.id.get(),
            },
            MessageType::REVOKE_SEND_BUFFER => Self::RevokeSendBuffer {
                id: read::<layout::Revoke>(kind, payload)?.id.get(),
            },
            MessageType::ALLOC_RECEIVE_BUFFER_COMPLETE => {
                let wire: layout::AllocReceiveBufferComplete = read(kind, payload)?;
                Self::ReceiveBufferAllocated {
                    status: rndis::Status(wire.status.get()),
                    allocation: AllocationId(wire.allocation.get()),
                    gpadl: wire.gpadl.get(),
                    buffer: BufferId(wire.buffer.get()),
                }
            }
            MessageType::SEND_VMQ_RNDIS_PACKET_COMPLETE => {
                let wire: layout::StatusOnly = read(kind, payload)?;
                Self::VmqComplete(Status(wire.status.get()))
            }
            MessageType::SWITCH_DATA_PATH => {
                let wire: layout::DataPath = read(kind, payload)?;
                Self::SwitchDataPath(DataPath(wire.path.get()))
            }
            MessageType::OID_QUERY_EX => {
                let wire: layout::OidQueryEx = read(kind, payload)?;
                Self::OidQueryEx(OidQueryEx {
                    header: ObjectHeader {
                        object_type: wire.object_type,
                        revision: wire.revision,
                        size: wire.size.get(),
                    },
                    oid: Oid(wire.oid.get()),
                })
            }
            MessageType::SUBCHANNEL => {
                let wire: layout::SubchannelRequest = read(kind, payload)?;
                Self::Subchannels {
                    operation: SubchannelOperation(wire.operation.get()),
                    count: wire.count.get(),
                }
            }
            _ => return chimney(kind, payload),
        })
    }

    /// The payload of the packet that says this, as long as `version` wants it.
    pub fn encode(&self, version: Version) -> OutMessage {
        let kind = kind(self.message_type());
        match *self {
            Self::Init {
                version: wanted,
                version2,
            } => OutMessage::of(
                version,
                &layout::Init {
                    kind,
                    version: U32::new(wanted),
                    version2: U32::new(version2),
                },
            ),
            Self::NdisVersion(ndis) => OutMessage::of(
                version,
                &layout::NdisVersion {
                    kind,
                    major: U32::new(ndis.major),
                    minor: U32::new(ndis.minor),
                },
            ),
            Self::NdisConfig(config) => OutMessage::of(
                version,
                &layout::NdisConfig {
                    kind,
                    mtu: U32::new(config.frame_bytes),
                    reserved: U32::ZERO,
                    capabilities: U64::new(config.capabilities.0),
                },
            ),
            Self::ReceiveBuffer(buffer) | Self::SendBuffer(buffer) => OutMessage::of(
                version,
                &layout::Buffer {
                    kind,
                    gpadl: U32::new(buffer.gpadl),
                    id: U16::new(buffer.id),
                },
            ),
            Self::RevokeReceiveBuffer { id } | Self::RevokeSendBuffer { id } => {
                let id = U16::new(id);
                OutMessage::of(version, &layout::Revoke { kind, id })
            }
            Self::RndisPacket(packet) => OutMessage::of(version, &packet.wire()),
            Self::RndisComplete(status) | Self::VmqComplete(status) => {
                let status = U32::new(status.0);
                OutMessage::of(version, &layout::StatusOnly { kind, status })
            }
            Self::ReceiveBufferAllocated {
                status,
                allocation,
                gpadl,
                buffer,
            } => OutMessage::of(
                version,
                &layout::AllocReceiveBufferComplete {
                    kind,
                    status: U32::new(status.0),
                    allocation: U32::new(allocation.0),
                    gpadl: U32::new(gpadl),
                    buffer: U64::new(buffer.0),
                },
            ),
            Self::SwitchDataPath(path) => {
                let path = U32::new(path.0);
                OutMessage::of(version, &layout::DataPath { kind, path })
            }
            Self::OidQueryEx(query) => OutMessage::of(
                version,
                &layout::OidQueryEx {
                    kind,
                    object_type: query.header.object_type,
                    revision: query.header.revision,
                    size: U16::new(query.header.size),
                    oid: U32::new(query.oid.0),
                },
            ),
            Self::Subchannels { operation, count } => OutMessage::of(
                version,
                &layout::SubchannelRequest {
                    kind,
                    operation: U32::new(operation.0),
                    count: U32::new(count),
                },
            ),
            Self::DelegatedBuffer(_)
            | Self::RevokeDelegatedBuffer { .. }
            | Self::AllocHandle(_)
            | Self::ResumeReceive { .. }
            | Self::Terminate(_)
            | Self::SendData(_)
            | Self::PostReceive(_) => self.encode_chimney(version),
        }
    }

    fn encode_chimney(&self, version: Version) -> OutMessage {
        let kind = kind(self.message_type());
        match *self {
            Self::DelegatedBuffer(buffer) => OutMessage::of(
                version,
                &layout::DelegatedBuffer {
                    kind,
                    object_bytes: U16::new(buffer.object_bytes),
                    revision: U16::new(buffer.revision),
                    gpadl: U32::new(buffer.gpadl),
                },
            ),
            Self::AllocHandle(alloc) => OutMessage::of(
                version,
                &layout::AllocHandle {
                    kind,
                    context: U64::new(alloc.context),
                    object_type: U32::new(alloc.object_type.0),
                },
            ),
            Self::Terminate(terminate) => {
                let (flags, value) = match terminate.stage {
                    Stage::First { last_accepted } => (Terminate::FIRST_STAGE, last_accepted),
                    Stage::Final { index } => (0, index.into()),
                };
                OutMessage::of(
                    version,
                    &layout::Terminate {
                        kind,
                        handle: U32::new(terminate.handle),
                        flags: U32::new(flags),
                        value: U64::new(value),
                    },
                )
            }
            Self::SendData(send) => OutMessage::of(
                version,
                &layout::SendData {
                    kind,
                    handle: U32::new(send.handle),
                    section: U16::new(send.section),
                    section_bytes: U16::new(send.section_bytes),
                    oob: U16::new(NO_OOB),
                    disconnect: U16::new(send.disconnect.0 as u16),
                    sequence: U32::new(send.sequence),
                },
            ),
            Self::PostReceive(post) => OutMessage::of(
                version,
                &layout::PostReceive {
                    kind,
                    handle: U32::new(post.handle),
                    oob: U32::new(NO_OOB.into()),
                    flags: U16::new(if post.no_push {
                        PostReceive::NO_PUSH
                    } else {
                        0
                    }),
                    sequence: U32::new(post.sequence),
                },
            ),
            Self::RevokeDelegatedBuffer { gpadl: number }
            | Self::ResumeReceive { handle: number } => {
                let number = U32::new(number);
                OutMessage::of(version, &layout::Number { kind, number })
            }
            _ => OutMessage::of(version, &kind),
        }
    }

    /// The number of this kind of message.
    pub const fn message_type(&self) -> MessageType {
        match self {
            Self::Init { .. } => MessageType::INIT,
            Self::NdisVersion(_) => MessageType::SEND_NDIS_VERSION,
            Self::NdisConfig(_) => MessageType::SEND_NDIS_CONFIG,
            Self::ReceiveBuffer(_) => MessageType::SEND_RECEIVE_BUFFER,
            Self::RevokeReceiveBuffer { .. } => MessageType::REVOKE_RECEIVE_BUFFER,
            Self::SendBuffer(_) => MessageType::SEND_SEND_BUFFER,
            Self::RevokeSendBuffer { .. } => MessageType::REVOKE_SEND_BUFFER,
            Self::RndisPacket(_) => MessageType::SEND_RNDIS_PACKET,
            Self::RndisComplete(_) => MessageType::SEND_RNDIS_PACKET_COMPLETE,
            Self::DelegatedBuffer(_) => MessageType::SEND_CHIMNEY_DELEGATED_BUFFER,
            Self::RevokeDelegatedBuffer { .. } => MessageType::REVOKE_CHIMNEY_DELEGATED_BUFFER,
            Self::AllocHandle(_) => MessageType::ALLOC_CHIMNEY_HANDLE,
            Self::ResumeReceive { .. } => MessageType::RESUME_CHIMNEY_RX_INDICATION,
            Self::Terminate(_) => MessageType::TERMINATE_CHIMNEY,
            Self::SendData(_) => MessageType::SEND_CHIMNEY_PACKET,
            Self::PostReceive(_) => MessageType::POST_CHIMNEY_RECEIVE_REQUEST,
            Self::ReceiveBufferAllocated { .. } => MessageType::ALLOC_RECEIVE_BUFFER_COMPLETE,
            Self::VmqComplete(_) => MessageType::SEND_VMQ_RNDIS_PACKET_COMPLETE,
            Self::SwitchDataPath(_) => MessageType::SWITCH_DATA_PATH,
            Self::OidQueryEx(_) => MessageType::OID_QUERY_EX,
            Self::Subchannels { .. } => MessageType::SUBCHANNEL,
        }
    }

    /// Whether it answers a packet of the host and so travels as a completion.
    pub const fn is_completion(&self) -> bool {
        matches!(
            self,
            Self::RndisComplete(_) | Self::VmqComplete(_) | Self::ReceiveBufferAllocated { .. }
        )
    }
}

fn buffer(kind: MessageType, payload: &[u8]) -> Result<SharedBuffer, NvspError> {
    let wire: layout::Buffer = read(kind, payload)?;
    Ok(SharedBuffer {
        gpadl: wire.gpadl.get(),
        id: wire.id.get(),
    })
}

fn chimney(kind: MessageType, payload: &[u8]) -> Result<GuestMessage, NvspError> {
    Ok(match kind {
        MessageType::SEND_CHIMNEY_DELEGATED_BUFFER => {
            let wire: layout::DelegatedBuffer = read(kind, payload)?;
            GuestMessage::DelegatedBuffer(DelegatedBuffer {
                object_bytes: wire.object_bytes.get(),
                revision: wire.revision.get(),
                gpadl: wire.gpadl.get(),
            })
        }
        MessageType::REVOKE_CHIMNEY_DELEGATED_BUFFER => GuestMessage::RevokeDelegatedBuffer {
            gpadl: read::<layout::Number>(kind, payload)?.number.get(),
        },
        MessageType::RESUME_CHIMNEY_RX_INDICATION => GuestMessage::ResumeReceive {
            handle: read::<layout::Number>(kind, payload)?.number.get(),
        },
        MessageType::ALLOC_CHIMNEY_HANDLE => {
            let wire: layout::AllocHandle = read(kind, payload)?;
            GuestMessage::AllocHandle(AllocHandle {
                context: wire.context.get(),
                object_type: ObjectType(wire.object_type.get()),
            })
        }
        MessageType::TERMINATE_CHIMNEY => {
            let wire: layout::Terminate = read(kind, payload)?;
            let value = wire.value.get();
            GuestMessage::Terminate(Terminate {
                handle: wire.handle.get(),
                stage: if wire.flags.get() & Terminate::FIRST_STAGE != 0 {
                    Stage::First {
                        last_accepted: value,
                    }
                } else {
                    // The field is a u32 here; what follows it isn't anything's.
                    Stage::Final {
                        index: value as u32,
                    }
                },
            })
        }
        MessageType::SEND_CHIMNEY_PACKET => {
            let wire: layout::SendData = read(kind, payload)?;
            GuestMessage::SendData(SendData {
                handle: wire.handle.get(),
                section: wire.section.get(),
                section_bytes: wire.section_bytes.get(),
                disconnect: Disconnect(wire.disconnect.get().into()),
                sequence: wire.sequence.get(),
            })
        }
        MessageType::POST_CHIMNEY_RECEIVE_REQUEST => {
            let wire: layout::PostReceive = read(kind, payload)?;
            GuestMessage::PostReceive(PostReceive {
                handle: wire.handle.get(),
                no_push: wire.flags.get() & PostReceive::NO_PUSH != 0,
                sequence: wire.sequence.get(),
            })
        }
        _ => return Err(refused(kind)),
    })
}
