// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What every message begins with: the pipe's header and that of the services' framework.

use core::fmt;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::*;

use crate::version::WireVersion;
use crate::Version;

/// `struct vmbuspipe_hdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PipeHeader {
    flags: U32,
    bytes: U32,
}

/// The pipe carries data.
const PIPE_DATA: u32 = 1;

/// `struct icmsg_hdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireHeader {
    framework: WireVersion,
    kind: U16,
    service: WireVersion,
    bytes: U16,
    status: U32,
    transaction: u8,
    flags: u8,
    reserved: [u8; 2],
}

const PIPE_BYTES: usize = size_of::<PipeHeader>();
const FRAME_BYTES: usize = size_of::<WireHeader>();

/// Bytes before the body of every message (`ICMSG_HDR`).
pub const HEADER_BYTES: usize = PIPE_BYTES + FRAME_BYTES;

/// What a message is about (`ICMSGTYPE_*`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageKind(pub u16);

impl MessageKind {
    /// Versions are settled.
    pub const NEGOTIATE: Self = Self(0);
    /// Is the guest alive?
    pub const HEARTBEAT: Self = Self(1);
    /// A key-value pair is asked for or told.
    pub const KVP: Self = Self(2);
    /// The guest shall end.
    pub const SHUTDOWN: Self = Self(3);
    /// What time it is.
    pub const TIMESYNC: Self = Self(4);
    /// Volume shadow copies.
    pub const VSS: Self = Self(5);
    /// File copy.
    pub const FCOPY: Self = Self(7);
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::NEGOTIATE => "negotiation",
            Self::HEARTBEAT => "heartbeat",
            Self::KVP => "key-value exchange",
            Self::SHUTDOWN => "shutdown",
            Self::TIMESYNC => "time",
            Self::VSS => "shadow copy",
            Self::FCOPY => "file copy",
            Self(other) => return write!(f, "message of kind {other}"),
        })
    }
}

impl fmt::Debug for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the guest got on (`HV_S_OK` and the others of `include/uapi/linux/hyperv.h`): an HRESULT.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// Well.
    pub const OK: Self = Self(0);
    /// Not at all.
    pub const FAIL: Self = Self(0x8000_4005);
    /// There are no more items, or no such key (`HV_S_CONT`).
    pub const NO_MORE: Self = Self(0x8007_0103);
    /// Not supported.
    pub const NOT_SUPPORTED: Self = Self(0x8007_0032);
    /// Wrong argument.
    pub const INVALID_ARGUMENT: Self = Self(0x8007_0057);
    /// No such adapter (`HV_GUID_NOTFOUND`).
    pub const NOT_FOUND: Self = Self(0x8004_1002);

    /// Not a failure.
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OK => f.write_str("success"),
            Self::FAIL => f.write_str("failure"),
            Self::NO_MORE => f.write_str("no more items"),
            Self::NOT_SUPPORTED => f.write_str("not supported"),
            Self::INVALID_ARGUMENT => f.write_str("invalid argument"),
            Self::NOT_FOUND => f.write_str("not found"),
            Self(other) => write!(f, "status {other:#010x}"),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which way a message goes and whether it is answered (`ICMSGHDRFLAG_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    const TRANSACTION: u8 = 1;
    const REQUEST_BIT: u8 = 2;
    const RESPONSE_BIT: u8 = 4;

    /// A question that is answered.
    pub const REQUEST: Self = Self(Self::TRANSACTION | Self::REQUEST_BIT);
    /// An answer.
    pub const RESPONSE: Self = Self(Self::TRANSACTION | Self::RESPONSE_BIT);

    /// True for an answer.
    pub const fn is_response(self) -> bool {
        self.0 & Self::RESPONSE_BIT != 0
    }
}

/// The head of a message (`struct icmsg_hdr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the framework, all zeroes as long as it isn't settled.
    pub framework: Version,
    /// Version of the service, likewise.
    pub service: Version,
    /// What it is about.
    pub kind: MessageKind,
    /// In an answer: how it went.
    pub status: Status,
    /// Which question; the guest returns it.
    pub transaction: u8,
    /// Which way it goes.
    pub flags: Flags,
}

impl Header {
    /// A question in the versions that were settled.
    pub const fn request(
        kind: MessageKind,
        framework: Version,
        service: Version,
        transaction: u8,
    ) -> Self {
        Self {
            framework,
            service,
            kind,
            status: Status::OK,
            transaction,
            flags: Flags::REQUEST,
        }
    }

    /// The same header as an answer's.
    pub const fn response(mut self, status: Status) -> Self {
        self.status = status;
        self.flags = Flags::RESPONSE;
        self
    }

    /// What goes before a body of `bytes` bytes. `None` for more than 64 KiB less one.
    pub fn encode(&self, bytes: usize) -> Option<[u8; HEADER_BYTES]> {
        let body = u16::try_from(bytes).ok()?;
        let wire = WireHeader {
            framework: self.framework.into(),
            kind: U16::new(self.kind.0),
            service: self.service.into(),
            bytes: U16::new(body),
            status: U32::new(self.status.0),
            transaction: self.transaction,
            flags: self.flags.0,
            reserved: [0; 2],
        };
        let pipe = PipeHeader {
            flags: U32::new(PIPE_DATA),
            // Far below 4 GiB.
            bytes: U32::new(FRAME_BYTES as u32 + u32::from(body)),
        };
        let mut out = [0; HEADER_BYTES];
        let (first, second) = out.split_at_mut(PIPE_BYTES);
        first.copy_from_slice(pipe.as_bytes());
        second.copy_from_slice(wire.as_bytes());
        Some(out)
    }
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// Too short for its headers.
    NoHeader {
        /// Bytes received.
        got: usize,
    },
    /// The pipe's header announces more than was received, or the other more than the pipe's.
    BadSize {
        /// Bytes announced.
        announced: u32,
        /// Bytes there were.
        got: usize,
    },
    /// The body is too short for its kind.
    TooShort {
        /// The kind.
        kind: MessageKind,
        /// Bytes of the body.
        got: usize,
    },
    /// More versions than there can be, or than the message has room for.
    TooManyVersions {
        /// Versions announced.
        count: u32,
    },
    /// A field has a value that it can't have.
    BadField {
        /// The kind.
        kind: MessageKind,
        /// Which field.
        field: &'static str,
        /// What it was.
        value: u32,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader { got } => write!(f, "{got} bytes are no message of a service"),
            Self::BadSize { announced, got } => {
                write!(f, "message of {announced} bytes in {got}")
            }
            Self::TooShort { kind, got } => write!(f, "body of {got} bytes is too short: {kind}"),
            Self::TooManyVersions { count } => write!(f, "{count} versions in a negotiation"),
            Self::BadField { kind, field, value } => write!(f, "{kind}: {field} is {value}"),
        }
    }
}

impl core::error::Error for MessageError {}

/// A message, its head read and its length checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'m> {
    /// Its head.
    pub header: Header,
    /// Exactly the body.
    pub body: &'m [u8],
}

impl<'m> Message<'m> {
    /// Reads a packet's payload, in private memory.
    ///
    /// # Errors
    ///
    /// Too short, or of a length that isn't there.
    pub fn parse(payload: &'m [u8]) -> Result<Self, MessageError> {
        let no_header = MessageError::NoHeader { got: payload.len() };
        let (pipe, rest) = PipeHeader::read_from_prefix(payload).map_err(|_| no_header)?;
        let announced = pipe.bytes.get();
        let bad = |got| move || MessageError::BadSize { announced, got };
        let inside = usize::try_from(announced)
            .ok()
            .and_then(|bytes| rest.get(..bytes))
            .ok_or_else(bad(rest.len()))?;
        let (wire, body) = WireHeader::read_from_prefix(inside).map_err(|_| no_header)?;
        let body = body
            .get(..usize::from(wire.bytes.get()))
            .ok_or(MessageError::BadSize {
                announced: wire.bytes.get().into(),
                got: body.len(),
            })?;
        Ok(Self {
            header: Header {
                framework: wire.framework.into(),
                service: wire.service.into(),
                kind: MessageKind(wire.kind.get()),
                status: Status(wire.status.get()),
                transaction: wire.transaction,
                flags: Flags(wire.flags),
            },
            body,
        })
    }
}

/// The fixed part at the start of a body.
pub(crate) fn fixed<T>(kind: MessageKind, body: &[u8]) -> Result<(&T, &[u8]), MessageError>
where
    T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    T::ref_from_prefix(body).map_err(|_| MessageError::TooShort {
        kind,
        got: body.len(),
    })
}
