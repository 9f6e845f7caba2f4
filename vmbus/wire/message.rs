// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Channel messages: what host and guest tell each other about channels, outside of the rings.
//!
//! Every message starts with an 8-byte header (`struct vmbus_channel_message_header`) and is at
//! most [`MAX_MESSAGE_BYTES`] long. [`HostMessage::parse`] turns a received payload into an
//! owned value; the structs and functions of [`guest`] build what the guest sends. Both are the
//! only places where these layouts are known.

use crate::{Guid, MAX_MESSAGE_BYTES};
use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub mod guest;
pub(crate) mod layout;
pub mod offer;
mod received;

pub use guest::{InitiateContact, ModifyChannel, MonitorPages, OpenChannel, SocketConnect};
pub use offer::{Offer, OfferFlags};
pub use received::{
    GpadlCreated, HostMessage, ModifyResponse, OpenResult, SocketConnectResult, VersionResponse,
};

/// Bytes a driver may hand to the other side with an offer or an open request
/// (`MAX_USER_DEFINED_BYTES`).
pub const USER_DATA_BYTES: usize = 120;

/// Number of the kind of a message (`enum vmbus_channel_message_type`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageType(u32);

macro_rules! message_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $from:ident;)*) => {
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
        }
    };
}

/// The side of the bus that sends a kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The host.
    Host,
    /// The guest.
    Guest,
}

message_types! {
    /// A channel is offered.
    OFFER_CHANNEL = 1, Host;
    /// An offer is withdrawn, open or not.
    RESCIND_OFFER = 2, Host;
    /// The guest asks for offers.
    REQUEST_OFFERS = 3, Guest;
    /// All channels that existed when the guest asked have been offered.
    ALL_OFFERS_DELIVERED = 4, Host;
    /// Open a channel on a ring.
    OPEN_CHANNEL = 5, Guest;
    /// Answer to OPEN_CHANNEL.
    OPEN_RESULT = 6, Host;
    /// Close a channel; not answered.
    CLOSE_CHANNEL = 7, Guest;
    /// Start of a page list.
    GPADL_HEADER = 8, Guest;
    /// More of a page list.
    GPADL_BODY = 9, Guest;
    /// Answer to a complete page list.
    GPADL_CREATED = 10, Host;
    /// The guest wants its pages back.
    GPADL_TEARDOWN = 11, Guest;
    /// Answer to GPADL_TEARDOWN: the host has let go.
    GPADL_TORNDOWN = 12, Host;
    /// The guest won't use a rescinded channel's id again.
    RELID_RELEASED = 13, Guest;
    /// First message: asks for a protocol version.
    INITIATE_CONTACT = 14, Guest;
    /// Answer to INITIATE_CONTACT.
    VERSION_RESPONSE = 15, Host;
    /// The guest leaves the bus.
    UNLOAD = 16, Guest;
    /// Answer to UNLOAD.
    UNLOAD_RESPONSE = 17, Host;
    /// The guest connects to a Hyper-V socket of the host.
    TL_CONNECT_REQUEST = 21, Guest;
    /// Move a channel's interrupt to another virtual processor.
    MODIFY_CHANNEL = 22, Guest;
    /// Answer to TL_CONNECT_REQUEST; only failures are reported.
    TL_CONNECT_RESULT = 23, Host;
    /// Answer to MODIFY_CHANNEL.
    MODIFY_CHANNEL_RESPONSE = 24, Host;
}

impl MessageType {
    /// Takes any number; see [`MessageType::name`] for whether it means something.
    pub const fn from_wire(value: u32) -> Self {
        Self(value)
    }

    /// The number on the wire.
    pub const fn to_wire(self) -> u32 {
        self.0
    }
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
pub enum MessageError {
    /// Not even a message header.
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
        /// Bytes this kind has at least.
        want: usize,
    },
    /// Longer than any message can be.
    TooLong {
        /// Bytes received.
        got: usize,
    },
    /// A number that no message has.
    UnknownType(MessageType),
    /// A message that only the receiving side sends.
    WrongDirection(MessageType),
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

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader { got } => write!(f, "message of {got} bytes has no header"),
            Self::TooShort {
                message_type,
                got,
                want,
            } => write!(f, "{message_type} of {got} bytes is shorter than {want}"),
            Self::TooLong { got } => write!(
                f,
                "message of {got} bytes is longer than {MAX_MESSAGE_BYTES}"
            ),
            Self::UnknownType(message_type) => write!(f, "unknown message {message_type}"),
            Self::WrongDirection(message_type) => {
                write!(f, "{message_type} is never sent in this direction")
            }
            Self::BadField {
                message_type,
                field,
                value,
            } => write!(f, "{message_type} has {field} {value:#x}"),
        }
    }
}

impl core::error::Error for MessageError {}

/// Id of a channel while it is offered: 1 to 2047, also the number of its event flag
/// (`child_relid`; `HV_EVENT_FLAGS_COUNT` bounds it).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Relid(u16);

impl Relid {
    /// One more than the largest id: the size of a table indexed by it.
    pub const LIMIT: u32 = crate::events::EVENT_FLAG_COUNT;

    /// Checks the range.
    pub const fn new(value: u32) -> Option<Self> {
        if value == 0 || value >= Self::LIMIT {
            None
        } else {
            Some(Self(value as u16))
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// The number as an index into a table of [`Relid::LIMIT`] entries.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Relid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Relid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The host's verdict on a request: an NTSTATUS, 0 for success.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// The request was carried out.
    pub const SUCCESS: Self = Self(0);

    /// True for [`Status::SUCCESS`]; the bus uses no other success code.
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A message ready to be posted. Bytes past the length are zero.
#[derive(Clone)]
pub struct OutMessage {
    bytes: [u8; MAX_MESSAGE_BYTES],
    length: usize,
}

impl OutMessage {
    /// A message with the bytes of a wire struct.
    pub(crate) fn of<T: IntoBytes + Immutable>(value: &T) -> Self {
        const { assert!(size_of::<T>() <= MAX_MESSAGE_BYTES) };
        let mut message = Self {
            bytes: [0; MAX_MESSAGE_BYTES],
            length: 0,
        };
        message.append(value.as_bytes());
        message
    }

    /// Adds bytes at the end; false, and nothing added, when they don't fit.
    pub(crate) fn append(&mut self, more: &[u8]) -> bool {
        let free = self.bytes.get_mut(self.length..).unwrap_or_default();
        match free.get_mut(..more.len()) {
            Some(place) => {
                place.copy_from_slice(more);
                self.length += more.len();
                true
            }
            None => false,
        }
    }

    /// Cuts the message to its first `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// The bytes to post, at most [`MAX_MESSAGE_BYTES`].
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }

    /// The kind of message, for log lines and traces.
    pub fn message_type(&self) -> MessageType {
        match layout::Header::read_from_prefix(&self.bytes) {
            Ok((header, _)) => header.message_type(),
            Err(_) => MessageType(0),
        }
    }
}

impl fmt::Debug for OutMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:02x?}", self.message_type(), self.as_bytes())
    }
}

/// Splits a payload into its kind and the whole payload, after the checks all kinds share.
pub(crate) fn message_type(payload: &[u8]) -> Result<MessageType, MessageError> {
    if payload.len() > MAX_MESSAGE_BYTES {
        return Err(MessageError::TooLong { got: payload.len() });
    }
    match layout::Header::read_from_prefix(payload) {
        Ok((header, _)) => Ok(header.message_type()),
        Err(_) => Err(MessageError::NoHeader { got: payload.len() }),
    }
}

/// Reads the fixed part of a message and what follows it. Longer than needed is fine: newer hosts
/// add fields at the end.
pub(crate) fn read<T: FromBytes>(
    message_type: MessageType,
    payload: &[u8],
) -> Result<(T, &[u8]), MessageError> {
    T::read_from_prefix(payload).map_err(|_| MessageError::TooShort {
        message_type,
        got: payload.len(),
        want: size_of::<T>(),
    })
}

/// Checks a channel id.
pub(crate) fn relid(message_type: MessageType, value: u32) -> Result<Relid, MessageError> {
    Relid::new(value).ok_or(MessageError::BadField {
        message_type,
        field: "child_relid",
        value: value.into(),
    })
}

/// GUID pair of a Hyper-V socket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketEndpoints {
    /// The guest's end, chosen by the guest.
    pub guest_endpoint: Guid,
    /// The service of the host.
    pub host_service: Guid,
}
