// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NVSP messages: the payload of every packet in the rings of a synthetic NIC.
//!
//! A message is its number, a `u32`, and fields; it is padded to
//! [`Version::message_bytes`](crate::Version::message_bytes). [`GuestMessage`] is what a guest
//! sends, [`HostMessage`] what a host sends. Answers travel as completion packets: which of the
//! two kinds of packet a message came in is for the channel's user to check, with
//! [`GuestMessage::is_completion`] and [`HostMessage::is_completion`].
//!
//! A few numbers are used by both sides: RNDIS packets and their completions, and the sub-channel
//! request with its answer.

use crate::version::Version;
use core::fmt;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes};

mod chimney;
mod guest;
mod host;
mod layout;
mod setup;
mod table;

pub use chimney::{
    AllocHandle, ChimneyCompletion, ChimneyEvent, DelegatedBuffer, Disconnect, ObjectType,
    PostReceive, Quotas, SendData, Stage, Terminate, Terminated, CHIMNEY_REVISION,
    NO_CHIMNEY_SECTION,
};
pub use guest::GuestMessage;
pub use host::{HostMessage, InitComplete};
pub use setup::{
    Capabilities, ChannelType, DataPath, NdisConfig, OidQueryEx, RndisPacket, Section, SectionUse,
    Sections, SharedBuffer, Status, SubchannelOperation, VfAssociation, NO_SECTION,
    RECEIVE_BUFFER_ID, SEND_BUFFER_ID, SEND_SECTION_BYTES,
};
pub use table::{SendTable, SEND_TABLE_ENTRIES};

/// Bytes of the longest message, the send indirection table.
pub const MAX_MESSAGE_BYTES: usize = 40 + 4 * SEND_TABLE_ENTRIES;

/// The side of the channel that sends a kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The host.
    Host,
    /// The guest.
    Guest,
    /// Either.
    Both,
}

/// Number of the kind of a message (`NVSP_MSG*_TYPE_*`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageType(pub u32);

macro_rules! message_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $from:ident, $since:ident;)*) => {
        impl MessageType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name of the constant, `None` for a number that isn't assigned.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// Who sends it; `None` for a number that isn't assigned.
            pub const fn sender(self) -> Option<Sender> {
                match self.0 {
                    $($value => Some(Sender::$from),)*
                    _ => None,
                }
            }

            /// The oldest version that has it; `None` for a number that isn't assigned.
            pub const fn since(self) -> Option<Version> {
                match self.0 {
                    $($value => Some(Version::$since),)*
                    _ => None,
                }
            }
        }
    };
}

message_types! {
    /// Asks for a version.
    INIT = 1, Guest, V1;
    /// Answer to INIT.
    INIT_COMPLETE = 2, Host, V1;
    /// The NDIS version whose objects the guest speaks; not answered.
    SEND_NDIS_VERSION = 100, Guest, V1;
    /// The buffer that the host puts frames into.
    SEND_RECEIVE_BUFFER = 101, Guest, V1;
    /// Answer to SEND_RECEIVE_BUFFER: how the host divides it.
    SEND_RECEIVE_BUFFER_COMPLETE = 102, Host, V1;
    /// The guest wants the receive buffer back.
    REVOKE_RECEIVE_BUFFER = 103, Guest, V1;
    /// The buffer that the guest copies small frames into.
    SEND_SEND_BUFFER = 104, Guest, V1;
    /// Answer to SEND_SEND_BUFFER: how long its sections are.
    SEND_SEND_BUFFER_COMPLETE = 105, Host, V1;
    /// The guest wants the send buffer back.
    REVOKE_SEND_BUFFER = 106, Guest, V1;
    /// RNDIS messages are in a buffer, in transfer pages or in guest pages.
    SEND_RNDIS_PACKET = 107, Both, V1;
    /// Answer to SEND_RNDIS_PACKET: their place can be used again.
    SEND_RNDIS_PACKET_COMPLETE = 108, Both, V1;
    /// The buffer that state of offloaded connections travels in.
    SEND_CHIMNEY_DELEGATED_BUFFER = 109, Guest, V2;
    /// Answer to SEND_CHIMNEY_DELEGATED_BUFFER: quotas.
    SEND_CHIMNEY_DELEGATED_BUFFER_COMPLETE = 110, Host, V2;
    /// The guest wants that buffer back.
    REVOKE_CHIMNEY_DELEGATED_BUFFER = 111, Guest, V2;
    /// The host may indicate received data of a connection again.
    RESUME_CHIMNEY_RX_INDICATION = 112, Guest, V2;
    /// Ends the offload of an object.
    TERMINATE_CHIMNEY = 113, Guest, V2;
    /// Answer to TERMINATE_CHIMNEY.
    TERMINATE_CHIMNEY_COMPLETE = 114, Host, V2;
    /// Something happened to a connection, or to all.
    INDICATE_CHIMNEY_EVENT = 115, Host, V2;
    /// Data of a connection to send.
    SEND_CHIMNEY_PACKET = 116, Guest, V2;
    /// Answer to SEND_CHIMNEY_PACKET: the peer has acknowledged the data.
    SEND_CHIMNEY_PACKET_COMPLETE = 117, Host, V2;
    /// Room for data of a connection.
    POST_CHIMNEY_RECEIVE_REQUEST = 118, Guest, V2;
    /// Answer to POST_CHIMNEY_RECEIVE_REQUEST: it holds data.
    POST_CHIMNEY_RECEIVE_REQUEST_COMPLETE = 119, Host, V2;
    /// Asks the guest for a receive buffer of a queue.
    ALLOC_RECEIVE_BUFFER = 120, Host, V2;
    /// Answer to ALLOC_RECEIVE_BUFFER.
    ALLOC_RECEIVE_BUFFER_COMPLETE = 121, Guest, V2;
    /// The host no longer uses such a buffer. No source names the sender; it names a buffer by the
    /// id that the guest gave the host for it.
    FREE_RECEIVE_BUFFER = 122, Host, V2;
    /// RNDIS messages are in such buffers.
    SEND_VMQ_RNDIS_PACKET = 123, Host, V2;
    /// Answer to SEND_VMQ_RNDIS_PACKET: the buffers can be used again.
    SEND_VMQ_RNDIS_PACKET_COMPLETE = 124, Guest, V2;
    /// MTU and capabilities of the guest; not answered.
    SEND_NDIS_CONFIG = 125, Guest, V2;
    /// Asks for the host's handle of an object that shall be offloaded.
    ALLOC_CHIMNEY_HANDLE = 126, Guest, V2;
    /// Answer to ALLOC_CHIMNEY_HANDLE.
    ALLOC_CHIMNEY_HANDLE_COMPLETE = 127, Host, V2;
    /// A virtual function came or went.
    SEND_VF_ASSOCIATION = 128, Host, V4;
    /// The guest uses the virtual function, or no longer; answered by an empty completion.
    SWITCH_DATA_PATH = 129, Guest, V4;
    /// Never sent by any released host.
    UPLINK_CONNECT_STATE_DEPRECATED = 130, Host, V4;
    /// A query of an object without RNDIS around it. No source names the sender; requests for
    /// objects come from guests.
    OID_QUERY_EX = 131, Guest, V5;
    /// Answer to OID_QUERY_EX.
    OID_QUERY_EX_COMPLETE = 132, Host, V5;
    /// Asks for sub-channels, and the answer to it.
    SUBCHANNEL = 133, Both, V5;
    /// Which channel the guest shall send a flow on.
    SEND_INDIRECTION_TABLE = 134, Host, V5;
    /// A PacketDirect request and its answer.
    PD_API = 135, Both, V6_1;
    /// PacketDirect buffers for a queue.
    PD_POST_BATCH = 136, Both, V6_1;
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "type {}", self.0),
        }
    }
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NvspError {
    /// Not even the number of its kind.
    NoHeader {
        /// Bytes received.
        got: usize,
    },
    /// Shorter than its kind needs.
    TooShort {
        /// Its kind.
        message_type: MessageType,
        /// Bytes received.
        got: usize,
        /// Bytes it has to have.
        want: usize,
    },
    /// A number that no message has.
    UnknownType(MessageType),
    /// A message that only the receiving side sends.
    WrongDirection(MessageType),
    /// A message of PacketDirect, which neither side of this crate speaks.
    PacketDirect(MessageType),
    /// A field holds what it never may.
    BadField {
        /// The kind of message.
        message_type: MessageType,
        /// Name of the field.
        field: &'static str,
        /// What it held.
        value: u64,
    },
}

impl fmt::Display for NvspError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader { got } => write!(f, "NVSP message of {got} bytes has no header"),
            Self::TooShort {
                message_type,
                got,
                want,
            } => write!(f, "{message_type} of {got} bytes is shorter than {want}"),
            Self::UnknownType(message_type) => write!(f, "unknown NVSP message {message_type}"),
            Self::WrongDirection(message_type) => {
                write!(f, "{message_type} is never sent in this direction")
            }
            Self::PacketDirect(message_type) => {
                write!(
                    f,
                    "{message_type} belongs to PacketDirect, which isn't spoken"
                )
            }
            Self::BadField {
                message_type,
                field,
                value,
            } => write!(f, "{message_type} has {field} {value:#x}"),
        }
    }
}

impl core::error::Error for NvspError {}

/// A message ready to be sent: the payload of a packet.
#[derive(Clone)]
pub struct OutMessage {
    bytes: [u8; MAX_MESSAGE_BYTES],
    length: usize,
}

impl OutMessage {
    /// A message with the bytes of a wire struct, padded to what `version` wants.
    pub(crate) fn of<T: IntoBytes + Immutable>(version: Version, value: &T) -> Self {
        const { assert!(size_of::<T>() <= MAX_MESSAGE_BYTES) };
        Self::of_parts(version, &[value.as_bytes()])
    }

    /// The same from several structs, one after the other; together they aren't longer than
    /// [`MAX_MESSAGE_BYTES`].
    pub(crate) fn of_parts(version: Version, parts: &[&[u8]]) -> Self {
        let mut bytes = [0; MAX_MESSAGE_BYTES];
        let mut free = bytes.as_mut_slice();
        let mut length = 0;
        for part in parts {
            let Some(rest) = crate::layout::put(free, part) else {
                break;
            };
            free = rest;
            length += part.len();
        }
        Self {
            bytes,
            length: length.max(version.message_bytes()),
        }
    }

    /// The bytes of the packet's payload.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }

    /// The kind of message, for log lines and traces.
    pub fn message_type(&self) -> MessageType {
        message_type(&self.bytes).unwrap_or(MessageType(0))
    }
}

impl fmt::Debug for OutMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:02x?}", self.message_type(), self.as_bytes())
    }
}

/// The kind of a message.
///
/// # Errors
///
/// [`NvspError::NoHeader`].
pub fn message_type(payload: &[u8]) -> Result<MessageType, NvspError> {
    match U32::read_from_prefix(payload) {
        Ok((number, _)) => Ok(MessageType(number.get())),
        Err(_) => Err(NvspError::NoHeader { got: payload.len() }),
    }
}

/// Reads the fixed part of a message. Longer is fine: messages are padded.
pub(crate) fn read<T: FromBytes>(
    message_type: MessageType,
    payload: &[u8],
) -> Result<T, NvspError> {
    match T::read_from_prefix(payload) {
        Ok((value, _)) => Ok(value),
        Err(_) => Err(NvspError::TooShort {
            message_type,
            got: payload.len(),
            want: size_of::<T>(),
        }),
    }
}

/// The error for a message that the receiver doesn't take.
pub(crate) const fn refused(message_type: MessageType) -> NvspError {
    match message_type {
        MessageType::PD_API | MessageType::PD_POST_BATCH => NvspError::PacketDirect(message_type),
        _ => match message_type.sender() {
            Some(_) => NvspError::WrongDirection(message_type),
            None => NvspError::UnknownType(message_type),
        },
    }
}
