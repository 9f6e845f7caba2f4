// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages that a host sends.

use super::{
    layout, message_type, read, refused, ChannelType, ChimneyCompletion, ChimneyEvent, MessageType,
    NvspError, OutMessage, Quotas, RndisPacket, Sections, SendTable, Status, Terminated,
    VfAssociation,
};
use crate::rndis;
use crate::version::Version;
use crate::vmq::{AllocationId, BufferId, VmqPacket};
use zerocopy::little_endian::{U32, U64};
use zerocopy::IntoBytes;

/// Answer to INIT (`struct nvsp_message_init_complete`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitComplete {
    /// Whether the host speaks the version.
    pub status: Status,
    /// Pieces of memory that the host takes for one frame; Linux doesn't look at it.
    pub max_mdl_chain: u32,
    /// The agreed version, from hosts before Windows 7; see [`InitComplete::new`].
    pub deprecated: u32,
}

impl InitComplete {
    /// What Hyper-V says of the pieces of memory.
    pub const MDL_CHAIN: u32 = 34;

    /// The answer to a guest that asked for `version`.
    pub fn new(version: Option<Version>, status: Status) -> Self {
        Self {
            status,
            max_mdl_chain: Self::MDL_CHAIN,
            deprecated: match version {
                Some(Version::V1) => Version::V1.to_wire(),
                _ => u32::MAX,
            },
        }
    }
}

/// Whatever a host may tell a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostMessage {
    /// Completion of INIT.
    InitComplete(InitComplete),
    /// Completion of the guest's receive buffer.
    ReceiveBufferComplete {
        /// Whether the host has taken it.
        status: Status,
        /// How the host divides it.
        sections: Sections,
    },
    /// Completion of the guest's send buffer.
    SendBufferComplete {
        /// Whether the host has taken it.
        status: Status,
        /// How long its sections are.
        section_bytes: u32,
    },
    /// RNDIS messages; the guest completes the packet.
    RndisPacket(RndisPacket),
    /// Completion of the guest's RNDIS packet: its memory can be used again.
    RndisComplete(Status),
    /// Completion of the guest's delegated buffer.
    Quotas(Quotas),
    /// Completion of a request for a handle.
    HandleAllocated {
        /// The host's handle.
        handle: u32,
    },
    /// Completion of the end of an offload.
    Terminated(Terminated),
    /// Something happened to a connection, or to all.
    ChimneyEvent(ChimneyEvent),
    /// Completion of data to send.
    DataSent(ChimneyCompletion),
    /// Completion of room for data.
    DataReceived(ChimneyCompletion),
    /// Asks for a receive buffer; the guest completes the packet with the buffer.
    AllocReceiveBuffer {
        /// The request.
        allocation: AllocationId,
        /// Bytes it shall have.
        length: u32,
    },
    /// The host no longer uses such a buffer.
    FreeReceiveBuffer {
        /// The buffer.
        buffer: BufferId,
    },
    /// RNDIS messages in such buffers; the guest completes the packet.
    VmqPacket(VmqPacket),
    /// A virtual function came or went.
    VfAssociation(VfAssociation),
    /// Completion of a query without RNDIS around it.
    OidQueryExComplete {
        /// How it went.
        status: rndis::Status,
        /// Bytes of the answer.
        bytes: u32,
    },
    /// Completion of a request for sub-channels; they are offered on their own.
    SubchannelsComplete {
        /// How it went.
        status: Status,
        /// How many the host offers, at most as many as were asked for.
        count: u32,
    },
    /// Which channel the guest shall send a flow on.
    SendTable(SendTable),
}

const fn kind(message_type: MessageType) -> U32 {
    U32::new(message_type.0)
}

impl HostMessage {
    /// Reads what a host sent to a guest that agreed on `version`. `payload` is a private copy
    /// of the packet's payload.
    ///
    /// # Errors
    ///
    /// [`NvspError`] says what was wrong; nothing of such a message may be used.
    pub fn parse(version: Version, payload: &[u8]) -> Result<Self, NvspError> {
        let kind = message_type(payload)?;
        Ok(match kind {
            MessageType::SEND_RNDIS_PACKET => Self::RndisPacket(RndisPacket::parse(payload)?),
            MessageType::SEND_RNDIS_PACKET_COMPLETE => {
                let wire: layout::StatusOnly = read(kind, payload)?;
                Self::RndisComplete(Status(wire.status.get()))
            }
            MessageType::INIT_COMPLETE => {
                let wire: layout::InitComplete = read(kind, payload)?;
                Self::InitComplete(InitComplete {
                    status: Status(wire.status.get()),
                    max_mdl_chain: wire.max_mdl_chain.get(),
                    deprecated: wire.deprecated.get(),
                })
            }
            MessageType::SEND_RECEIVE_BUFFER_COMPLETE => {
                let (status, sections) = Sections::parse(payload)?;
                Self::ReceiveBufferComplete { status, sections }
            }
            MessageType::SEND_SEND_BUFFER_COMPLETE => {
                let wire: layout::SendBufferComplete = read(kind, payload)?;
                Self::SendBufferComplete {
                    status: Status(wire.status.get()),
                    section_bytes: wire.section_bytes.get(),
                }
            }
            MessageType::ALLOC_RECEIVE_BUFFER => {
                let wire: layout::AllocReceiveBuffer = read(kind, payload)?;
                Self::AllocReceiveBuffer {
                    allocation: AllocationId(wire.allocation.get()),
                    length: wire.length.get(),
                }
            }
            MessageType::FREE_RECEIVE_BUFFER => {
                let wire: layout::FreeReceiveBuffer = read(kind, payload)?;
                Self::FreeReceiveBuffer {
                    buffer: BufferId(wire.buffer.get()),
                }
            }
            MessageType::SEND_VMQ_RNDIS_PACKET => vmq_packet(kind, payload)?,
            MessageType::SEND_VF_ASSOCIATION => {
                let wire: layout::VfAssociation = read(kind, payload)?;
                Self::VfAssociation(VfAssociation {
                    allocated: wire.allocated.get() != 0,
                    serial: wire.serial.get(),
                })
            }
            MessageType::OID_QUERY_EX_COMPLETE => {
                let wire: layout::OidQueryExComplete = read(kind, payload)?;
                Self::OidQueryExComplete {
                    status: rndis::Status(wire.status.get()),
                    bytes: wire.bytes.get(),
                }
            }
            MessageType::SUBCHANNEL => {
                let wire: layout::SubchannelComplete = read(kind, payload)?;
                Self::SubchannelsComplete {
                    status: Status(wire.status.get()),
                    count: wire.count.get(),
                }
            }
            MessageType::SEND_INDIRECTION_TABLE => {
                Self::SendTable(SendTable::parse(version, payload)?)
            }
            _ => return chimney(kind, payload),
        })
    }

    /// The payload of the packet that says this, as long as `version` wants it.
    pub fn encode(&self, version: Version) -> OutMessage {
        let kind = kind(self.message_type());
        match *self {
            Self::InitComplete(init) => OutMessage::of(
                version,
                &layout::InitComplete {
                    kind,
                    deprecated: U32::new(init.deprecated),
                    max_mdl_chain: U32::new(init.max_mdl_chain),
                    status: U32::new(init.status.0),
                },
            ),
            Self::ReceiveBufferComplete { status, sections } => {
                let (head, wire) = sections.wire(status);
                let wire = wire.get(..sections.as_slice().len()).unwrap_or_default();
                OutMessage::of_parts(version, &[head.as_bytes(), wire.as_bytes()])
            }
            Self::SendBufferComplete {
                status,
                section_bytes,
            } => OutMessage::of(
                version,
                &layout::SendBufferComplete {
                    kind,
                    status: U32::new(status.0),
                    section_bytes: U32::new(section_bytes),
                },
            ),
            Self::RndisPacket(packet) => OutMessage::of(version, &packet.wire()),
            Self::RndisComplete(status) => {
                let status = U32::new(status.0);
                OutMessage::of(version, &layout::StatusOnly { kind, status })
            }
            Self::AllocReceiveBuffer { allocation, length } => OutMessage::of(
                version,
                &layout::AllocReceiveBuffer {
                    kind,
                    allocation: U32::new(allocation.0),
                    length: U32::new(length),
                },
            ),
            Self::FreeReceiveBuffer { buffer } => {
                let buffer = U64::new(buffer.0);
                OutMessage::of(version, &layout::FreeReceiveBuffer { kind, buffer })
            }
            Self::VmqPacket(packet) => OutMessage::of(
                version,
                &layout::VmqPacket {
                    kind,
                    channel_type: ChannelType::Data.to_wire(),
                    buffer: U64::new(packet.buffer.0),
                    byte_count: U32::new(packet.bytes),
                    byte_offset: U32::new(packet.offset),
                },
            ),
            Self::VfAssociation(vf) => OutMessage::of(
                version,
                &layout::VfAssociation {
                    kind,
                    allocated: U32::new(vf.allocated.into()),
                    serial: U32::new(vf.serial),
                },
            ),
            Self::OidQueryExComplete { status, bytes } => OutMessage::of(
                version,
                &layout::OidQueryExComplete {
                    kind,
                    status: U32::new(status.0),
                    bytes: U32::new(bytes),
                },
            ),
            Self::SubchannelsComplete { status, count } => OutMessage::of(
                version,
                &layout::SubchannelComplete {
                    kind,
                    status: U32::new(status.0),
                    count: U32::new(count),
                },
            ),
            Self::SendTable(table) => {
                let (head, gap, entries) = table.wire();
                OutMessage::of_parts(version, &[head.as_bytes(), &gap, entries.as_bytes()])
            }
            Self::Quotas(_)
            | Self::HandleAllocated { .. }
            | Self::Terminated(_)
            | Self::ChimneyEvent(_)
            | Self::DataSent(_)
            | Self::DataReceived(_) => self.encode_chimney(version),
        }
    }

    fn encode_chimney(&self, version: Version) -> OutMessage {
        let kind = kind(self.message_type());
        match *self {
            Self::Quotas(quotas) => OutMessage::of(
                version,
                &layout::Quotas {
                    kind,
                    status: U32::new(quotas.status.0),
                    send: U32::new(quotas.sends),
                    receive: U32::new(quotas.receives),
                },
            ),
            Self::HandleAllocated { handle } => {
                let number = U32::new(handle);
                OutMessage::of(version, &layout::Number { kind, number })
            }
            Self::Terminated(terminated) => OutMessage::of(
                version,
                &layout::Terminated {
                    kind,
                    context: U64::new(terminated.context),
                    flags: U32::new(terminated.data_corrupted.into()),
                },
            ),
            Self::ChimneyEvent(event) => OutMessage::of(
                version,
                &layout::ChimneyEvent {
                    kind,
                    event: U32::new(event.event),
                    info: U32::new(event.info),
                    context: U64::new(event.context),
                },
            ),
            Self::DataSent(done) | Self::DataReceived(done) => OutMessage::of(
                version,
                &layout::Transferred {
                    kind,
                    status: U32::new(done.status.0),
                    bytes: U32::new(done.bytes),
                },
            ),
            _ => OutMessage::of(version, &kind),
        }
    }

    /// The number of this kind of message.
    pub const fn message_type(&self) -> MessageType {
        match self {
            Self::InitComplete(_) => MessageType::INIT_COMPLETE,
            Self::ReceiveBufferComplete { .. } => MessageType::SEND_RECEIVE_BUFFER_COMPLETE,
            Self::SendBufferComplete { .. } => MessageType::SEND_SEND_BUFFER_COMPLETE,
            Self::RndisPacket(_) => MessageType::SEND_RNDIS_PACKET,
            Self::RndisComplete(_) => MessageType::SEND_RNDIS_PACKET_COMPLETE,
            Self::Quotas(_) => MessageType::SEND_CHIMNEY_DELEGATED_BUFFER_COMPLETE,
            Self::HandleAllocated { .. } => MessageType::ALLOC_CHIMNEY_HANDLE_COMPLETE,
            Self::Terminated(_) => MessageType::TERMINATE_CHIMNEY_COMPLETE,
            Self::ChimneyEvent(_) => MessageType::INDICATE_CHIMNEY_EVENT,
            Self::DataSent(_) => MessageType::SEND_CHIMNEY_PACKET_COMPLETE,
            Self::DataReceived(_) => MessageType::POST_CHIMNEY_RECEIVE_REQUEST_COMPLETE,
            Self::AllocReceiveBuffer { .. } => MessageType::ALLOC_RECEIVE_BUFFER,
            Self::FreeReceiveBuffer { .. } => MessageType::FREE_RECEIVE_BUFFER,
            Self::VmqPacket(_) => MessageType::SEND_VMQ_RNDIS_PACKET,
            Self::VfAssociation(_) => MessageType::SEND_VF_ASSOCIATION,
            Self::OidQueryExComplete { .. } => MessageType::OID_QUERY_EX_COMPLETE,
            Self::SubchannelsComplete { .. } => MessageType::SUBCHANNEL,
            Self::SendTable(_) => MessageType::SEND_INDIRECTION_TABLE,
        }
    }

    /// Whether it answers a packet of the guest and so travels as a completion.
    pub const fn is_completion(&self) -> bool {
        !matches!(
            self,
            Self::RndisPacket(_)
                | Self::ChimneyEvent(_)
                | Self::AllocReceiveBuffer { .. }
                | Self::FreeReceiveBuffer { .. }
                | Self::VmqPacket(_)
                | Self::VfAssociation(_)
                | Self::SendTable(_)
        )
    }
}

fn vmq_packet(kind: MessageType, payload: &[u8]) -> Result<HostMessage, NvspError> {
    let wire: layout::VmqPacket = read(kind, payload)?;
    match ChannelType::from_wire(kind, wire.channel_type.get())? {
        ChannelType::Data => Ok(HostMessage::VmqPacket(VmqPacket {
            buffer: BufferId(wire.buffer.get()),
            offset: wire.byte_offset.get(),
            bytes: wire.byte_count.get(),
        })),
        ChannelType::Control => Err(NvspError::BadField {
            message_type: kind,
            field: "channel_type",
            value: wire.channel_type.get().into(),
        }),
    }
}

fn chimney(kind: MessageType, payload: &[u8]) -> Result<HostMessage, NvspError> {
    Ok(match kind {
        MessageType::SEND_CHIMNEY_DELEGATED_BUFFER_COMPLETE => {
            let wire: layout::Quotas = read(kind, payload)?;
            HostMessage::Quotas(Quotas {
                status: rndis::Status(wire.status.get()),
                sends: wire.send.get(),
                receives: wire.receive.get(),
            })
        }
        MessageType::ALLOC_CHIMNEY_HANDLE_COMPLETE => HostMessage::HandleAllocated {
            handle: read::<layout::Number>(kind, payload)?.number.get(),
        },
        MessageType::TERMINATE_CHIMNEY_COMPLETE => {
            let wire: layout::Terminated = read(kind, payload)?;
            HostMessage::Terminated(Terminated {
                context: wire.context.get(),
                data_corrupted: wire.flags.get() & 1 != 0,
            })
        }
        MessageType::INDICATE_CHIMNEY_EVENT => {
            let wire: layout::ChimneyEvent = read(kind, payload)?;
            HostMessage::ChimneyEvent(ChimneyEvent {
                event: wire.event.get(),
                info: wire.info.get(),
                context: wire.context.get(),
            })
        }
        MessageType::SEND_CHIMNEY_PACKET_COMPLETE => {
            HostMessage::DataSent(transferred(kind, payload)?)
        }
        MessageType::POST_CHIMNEY_RECEIVE_REQUEST_COMPLETE => {
            HostMessage::DataReceived(transferred(kind, payload)?)
        }
        _ => return Err(refused(kind)),
    })
}

fn transferred(kind: MessageType, payload: &[u8]) -> Result<ChimneyCompletion, NvspError> {
    let wire: layout::Transferred = read(kind, payload)?;
    Ok(ChimneyCompletion {
        status: rndis::Status(wire.status.get()),
        bytes: wire.bytes.get(),
    })
}
