// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages from the host.
//!
//! Every message starts with an 8-byte header (`struct dm_header`) that says how long it is. The
//! packet it came in is padded, so the header's word counts, once it has been checked against
//! what was received. [`HostMessage::parse`] is the only place that knows these layouts.

use crate::range::{PageRange, Ranges};
use core::fmt;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};
use zerocopy_derive::*;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 8;

/// Kind of a message (`enum dm_message_type`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageType(u16);

macro_rules! message_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl MessageType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The words for it in log lines; `None` for a number that isn't assigned.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

message_types! {
    /// The guest asks for a version.
    VERSION_REQUEST = 1, "version request";
    /// Whether the host speaks it.
    VERSION_RESPONSE = 2, "version response";
    /// What the guest can do.
    CAPABILITIES_REPORT = 3, "capabilities report";
    /// Whether that suits the host.
    CAPABILITIES_RESPONSE = 4, "capabilities response";
    /// How much memory the guest needs; not answered.
    STATUS_REPORT = 5, "status report";
    /// The host wants pages.
    BALLOON_REQUEST = 6, "balloon request";
    /// The pages it gets.
    BALLOON_RESPONSE = 7, "balloon response";
    /// The host returns pages.
    UNBALLOON_REQUEST = 8, "un-balloon request";
    /// The guest has taken them.
    UNBALLOON_RESPONSE = 9, "un-balloon response";
    /// The host has more memory for the guest.
    HOT_ADD_REQUEST = 10, "hot-add request";
    /// How much of it the guest has added.
    HOT_ADD_RESPONSE = 11, "hot-add response";
    /// Something worth knowing, from 1.0 on; not answered.
    INFO = 12, "info message";
    /// The host wants memory removed, from 2.0 on; only for guests that said they can.
    HOT_REMOVE_REQUEST = 13, "hot-remove request";
    /// Answer to it.
    HOT_REMOVE_RESPONSE = 14, "hot-remove response";
}

impl MessageType {
    /// Takes any number; see [`MessageType::name`] for whether it means something.
    pub const fn from_wire(value: u16) -> Self {
        Self(value)
    }

    /// The number on the wire.
    pub const fn to_wire(self) -> u16 {
        self.0
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "message of type {}", self.0),
        }
    }
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Start of every message (`struct dm_header`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) kind: U16,
    pub(crate) size: U16,
    pub(crate) transaction: U32,
}

/// `struct dm_version_response`, `struct dm_capabilities_resp_msg`, without header.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Flags {
    flags: U64,
}

const FLAG_ACCEPTED: u64 = 1 << 0;
const FLAG_HOT_REMOVE: u64 = 1 << 1;
const FLAG_NO_STATUS_REPORTS: u64 = 1 << 2;

/// `struct dm_balloon`, without header.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Balloon {
    pages: U32,
    reserved: U32,
}

/// `struct dm_unballoon_request`, without header and ranges.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Unballoon {
    flags: U32,
    range_count: U32,
}

const FLAG_MORE: u32 = 1;

/// `struct dm_info_msg`, without header and content.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Info {
    reserved: U32,
    bytes: U32,
}

/// `struct dm_info_header`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct InfoHead {
    kind: U32,
    bytes: U32,
}

/// The one known kind of information (`INFO_TYPE_MAX_PAGE_CNT`).
const INFO_MAX_PAGES: u32 = 0;

/// What the host thinks of the guest's capabilities (`struct dm_capabilities_resp_msg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilitiesResponse {
    /// False: the guest must leave the device alone.
    pub accepted: bool,
    /// The host knows hot-remove.
    pub hot_remove: bool,
    /// The host doesn't want status reports.
    pub no_status_reports: bool,
}

/// Pages that come back (`struct dm_unballoon_request`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnballoonRequest<'m> {
    /// More messages of this transaction follow; only the last is answered.
    pub more: bool,
    /// The pages. Any pages at all: whether the host ever had them is for the guest's books to say.
    pub ranges: Ranges<'m>,
}

/// More memory (`struct dm_hot_add`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotAddRequest {
    /// The pages that there are.
    pub range: PageRange,
    /// What the guest shall lay out for them and for those that may follow, where the host says
    /// so.
    pub region: Option<PageRange>,
}

/// Something worth knowing (`struct dm_info_msg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Information {
    /// Most pages the guest will ever have.
    MaxPages(u64),
    /// Information of a kind that isn't known here.
    Other(u32),
}

/// A message from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMessage<'m> {
    /// Answer to a version request.
    VersionResponse {
        /// The host speaks this version.
        accepted: bool,
    },
    /// Answer to the capabilities report.
    CapabilitiesResponse(CapabilitiesResponse),
    /// The host wants pages.
    BalloonRequest {
        /// That many.
        pages: u32,
    },
    /// The host returns pages.
    UnballoonRequest(UnballoonRequest<'m>),
    /// The host has more memory.
    HotAddRequest(HotAddRequest),
    /// Something worth knowing.
    Info(Information),
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// Too short for a header.
    NoHeader {
        /// Bytes received.
        got: usize,
    },
    /// The header announces more than was received, or less than a header.
    BadSize {
        /// The kind.
        kind: MessageType,
        /// Bytes announced.
        size: u16,
        /// Bytes received.
        got: usize,
    },
    /// Too short for its kind.
    TooShort {
        /// The kind.
        kind: MessageType,
        /// Bytes announced.
        size: u16,
    },
    /// Too short for the ranges it announces.
    TooManyRanges {
        /// Ranges announced.
        count: u32,
        /// Bytes announced.
        size: u16,
    },
    /// A range of pages is empty or leaves the page numbers.
    BadRange {
        /// The range as it came.
        wire: u64,
    },
    /// Of a kind that isn't known, that guests send, or that the guest hasn't offered to serve.
    UnexpectedType(MessageType),
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader { got } => write!(f, "{got} bytes are no message"),
            Self::BadSize { kind, size, got } => {
                write!(f, "{kind} of {size} bytes in a packet of {got}")
            }
            Self::TooShort { kind, size } => write!(f, "{size} bytes are too short: {kind}"),
            Self::TooManyRanges { count, size } => {
                write!(f, "{count} ranges in a message of {size} bytes")
            }
            Self::BadRange { wire } => write!(f, "impossible range of pages {wire:#x}"),
            Self::UnexpectedType(kind) => write!(f, "unexpected {kind}"),
        }
    }
}

impl<'m> HostMessage<'m> {
    /// Reads the message at the start of `payload`, a packet's payload in private memory.
    ///
    /// # Errors
    ///
    /// [`MessageError`] says what was wrong; nothing of such a message may be used.
    pub fn parse(payload: &'m [u8]) -> Result<Self, MessageError> {
        let got = payload.len();
        let (header, _) =
            Header::read_from_prefix(payload).map_err(|_| MessageError::NoHeader { got })?;
        let kind = MessageType::from_wire(header.kind.get());
        let size = header.size.get();
        let body = payload
            .get(HEADER_BYTES..usize::from(size))
            .ok_or(MessageError::BadSize { kind, size, got })?;
        let short = MessageError::TooShort { kind, size };
        match kind {
            MessageType::VERSION_RESPONSE => {
                let flags = fixed::<Flags>(body).ok_or(short)?.0.flags.get();
                Ok(Self::VersionResponse {
                    accepted: flags & FLAG_ACCEPTED != 0,
                })
            }
            MessageType::CAPABILITIES_RESPONSE => {
                let flags = fixed::<Flags>(body).ok_or(short)?.0.flags.get();
                Ok(Self::CapabilitiesResponse(CapabilitiesResponse {
                    accepted: flags & FLAG_ACCEPTED != 0,
                    hot_remove: flags & FLAG_HOT_REMOVE != 0,
                    no_status_reports: flags & FLAG_NO_STATUS_REPORTS != 0,
                }))
            }
            MessageType::BALLOON_REQUEST => Ok(Self::BalloonRequest {
                pages: fixed::<Balloon>(body).ok_or(short)?.0.pages.get(),
            }),
            MessageType::UNBALLOON_REQUEST => {
                let (fixed, rest) = fixed::<Unballoon>(body).ok_or(short)?;
                let count = fixed.range_count.get();
                let too_many = MessageError::TooManyRanges { count, size };
                let wanted = usize::try_from(count).map_err(|_| too_many)?;
                let (ranges, _) =
                    <[U64]>::ref_from_prefix_with_elems(rest, wanted).map_err(|_| too_many)?;
                Ok(Self::UnballoonRequest(UnballoonRequest {
                    more: fixed.flags.get() & FLAG_MORE != 0,
                    ranges: Ranges::new(ranges),
                }))
            }
            MessageType::HOT_ADD_REQUEST => {
                let (range, rest) = fixed::<U64>(body).ok_or(short)?;
                let region = match fixed::<U64>(rest) {
                    // All zeroes: the host leaves the region to the guest.
                    None => None,
                    Some((region, _)) if region.get() == 0 => None,
                    Some((region, _)) => Some(page_range(*region)?),
                };
                Ok(Self::HotAddRequest(HotAddRequest {
                    range: page_range(*range)?,
                    region,
                }))
            }
            MessageType::INFO => info(body).ok_or(short).map(Self::Info),
            other => Err(MessageError::UnexpectedType(other)),
        }
    }

    /// The kind, for log lines.
    pub const fn kind(&self) -> MessageType {
        match self {
            Self::VersionResponse { .. } => MessageType::VERSION_RESPONSE,
            Self::CapabilitiesResponse(_) => MessageType::CAPABILITIES_RESPONSE,
            Self::BalloonRequest { .. } => MessageType::BALLOON_REQUEST,
            Self::UnballoonRequest(_) => MessageType::UNBALLOON_REQUEST,
            Self::HotAddRequest(_) => MessageType::HOT_ADD_REQUEST,
            Self::Info(_) => MessageType::INFO,
        }
    }
}

/// The fixed part at the start of `bytes`, and the rest.
fn fixed<T>(bytes: &[u8]) -> Option<(&T, &[u8])>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(bytes).ok()
}

fn page_range(wire: U64) -> Result<PageRange, MessageError> {
    let wire = wire.get();
    PageRange::from_wire(wire).ok_or(MessageError::BadRange { wire })
}

/// `None` where a length promises more than there is.
fn info(body: &[u8]) -> Option<Information> {
    let (fixed_part, rest) = fixed::<Info>(body)?;
    let content = rest.get(..usize::try_from(fixed_part.bytes.get()).ok()?)?;
    let (head, data) = fixed::<InfoHead>(content)?;
    let data = data.get(..usize::try_from(head.bytes.get()).ok()?)?;
    match head.kind.get() {
        INFO_MAX_PAGES => Some(Information::MaxPages(fixed::<U64>(data)?.0.get())),
        other => Some(Information::Other(other)),
    }
}
