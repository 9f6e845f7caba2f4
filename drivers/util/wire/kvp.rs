// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Key-value pairs: the host reads and writes what a daemon in the guest keeps in pools.
//!
//! A question and its answer have the same layout ([`Exchange`]); the guest fills in what was
//! asked for, and says in the header's status how it went.

use core::fmt;
use zerocopy::little_endian::U32;
use zerocopy::{FromZeros, IntoBytes};
use zerocopy_derive::*;

use crate::header::fixed;
use crate::text::{self, Text};
use crate::{MessageError, MessageKind, Version};

const KIND: MessageKind = MessageKind::KVP;

/// Versions, newest first (`kvp_versions[]` of `drivers/hv/hv_kvp.c`).
pub const VERSIONS: [Version; 3] = [Version::new(4, 0), Version::new(3, 0), Version::new(1, 0)];

/// Bytes of a key, zero included (`HV_KVP_EXCHANGE_MAX_KEY_SIZE`).
pub const KEY_BYTES: usize = 512;
/// Bytes of a value, zero included (`HV_KVP_EXCHANGE_MAX_VALUE_SIZE`).
pub const VALUE_BYTES: usize = 2048;

/// What is to be done (`enum hv_kvp_exchg_op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Operation {
    Get = 0,
    Set = 1,
    Delete = 2,
    Enumerate = 3,
    GetIpInfo = 4,
    SetIpInfo = 5,
}

impl Operation {
    fn from_wire(value: u8) -> Result<Self, MessageError> {
        const ALL: [Operation; 6] = [
            Operation::Get,
            Operation::Set,
            Operation::Delete,
            Operation::Enumerate,
            Operation::GetIpInfo,
            Operation::SetIpInfo,
        ];
        let found = ALL.iter().find(|operation| **operation as u8 == value);
        found.copied().ok_or(MessageError::BadField {
            kind: KIND,
            field: "operation",
            value: value.into(),
        })
    }
}

/// Where pairs are kept (`enum hv_kvp_exchg_pool`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Pool {
    /// Written by the host's users.
    External = 0,
    /// Written by the guest's users.
    Guest = 1,
    /// Made by the guest: its name, its system, its addresses.
    Auto = 2,
    /// Made by the host.
    AutoExternal = 3,
    /// Made by the guest, for itself.
    AutoInternal = 4,
}

impl Pool {
    /// All of them with their names.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::External, "external"),
        (Self::Guest, "guest"),
        (Self::Auto, "auto"),
        (Self::AutoExternal, "auto-external"),
        (Self::AutoInternal, "auto-internal"),
    ];

    /// By name.
    pub fn from_name(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(pool, _)| *pool)
    }

    fn from_wire(value: u8) -> Result<Self, MessageError> {
        let found = Self::ALL.iter().find(|(pool, _)| *pool as u8 == value);
        found.map(|(pool, _)| *pool).ok_or(MessageError::BadField {
            kind: KIND,
            field: "pool",
            value: value.into(),
        })
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(pool, _)| pool == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

/// `struct hv_kvp_hdr` without its padding.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireHead {
    operation: u8,
    pool: u8,
}

const HEAD_BYTES: usize = size_of::<WireHead>();

/// The padding, which messages about addresses don't have (`struct hv_kvp_ip_msg`).
const PADDING: usize = 2;

/// `struct hv_kvp_exchg_msg_value`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireEntry {
    value_type: U32,
    key_bytes: U32,
    value_bytes: U32,
    key: [u8; KEY_BYTES],
    value: [u8; VALUE_BYTES],
}

/// `struct hv_kvp_msg_enumerate`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireEnumerate {
    index: U32,
    entry: WireEntry,
}

/// `struct hv_kvp_msg_delete`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireDelete {
    key_bytes: U32,
    key: [u8; KEY_BYTES],
}

/// `MAX_ADAPTER_ID_SIZE`, `MAX_IP_ADDR_SIZE`, `MAX_GATEWAY_SIZE`, in bytes of UTF-16.
const ADAPTER_BYTES: usize = 256;
const ADDRESS_BYTES: usize = 2048;
const GATEWAY_BYTES: usize = 1024;

/// `struct hv_kvp_ipaddr_value`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireIpInfo {
    adapter: [u8; ADAPTER_BYTES],
    family: u8,
    dhcp: u8,
    addresses: [u8; ADDRESS_BYTES],
    subnets: [u8; ADDRESS_BYTES],
    gateways: [u8; GATEWAY_BYTES],
    name_servers: [u8; ADDRESS_BYTES],
}

/// Room for a body of any kind.
pub const MAX_BYTES: usize = HEAD_BYTES + size_of::<WireIpInfo>();

/// `REG_SZ`, `REG_U32`, `REG_U64`.
const TYPE_TEXT: u32 = 1;
const TYPE_U32: u32 = 4;
const TYPE_U64: u32 = 8;

/// What belongs to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'m> {
    /// A string.
    Text(Text<'m>),
    /// A number.
    U32(u32),
    /// A number.
    U64(u64),
}

impl Default for Value<'_> {
    fn default() -> Self {
        Self::Text(Text::default())
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::U32(number) => number.fmt(f),
            Self::U64(number) => number.fmt(f),
        }
    }
}

/// A pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry<'m> {
    /// Its key.
    pub key: Text<'m>,
    /// Its value.
    pub value: Value<'m>,
}

impl<'m> Entry<'m> {
    fn from_wire(wire: &'m WireEntry) -> Result<Self, MessageError> {
        let bytes = wire.value_bytes.get();
        let field = sized(&wire.value, bytes, "value_size")?;
        let value = match wire.value_type.get() {
            // Questions have no value yet, and no type.
            0 if bytes == 0 => Value::default(),
            TYPE_TEXT => Value::Text(Text::from_wire(field)),
            TYPE_U32 => Value::U32(u32::from_le_bytes(first(&wire.value))),
            TYPE_U64 => Value::U64(u64::from_le_bytes(first(&wire.value))),
            value => {
                return Err(MessageError::BadField {
                    kind: KIND,
                    field: "value_type",
                    value,
                })
            }
        };
        let key = sized(&wire.key, wire.key_bytes.get(), "key_size")?;
        Ok(Self {
            key: Text::from_wire(key),
            value,
        })
    }

    fn to_wire(self, wire: &mut WireEntry) -> Option<()> {
        wire.key_bytes = U32::new(text::write(&mut wire.key, self.key)?);
        let (value_type, bytes) = match self.value {
            Value::Text(text) => (TYPE_TEXT, text::write(&mut wire.value, text)?),
            Value::U32(number) => (TYPE_U32, put(&mut wire.value, &number.to_le_bytes())),
            Value::U64(number) => (TYPE_U64, put(&mut wire.value, &number.to_le_bytes())),
        };
        wire.value_type = U32::new(value_type);
        wire.value_bytes = U32::new(bytes);
        Some(())
    }
}

/// The part of a field that its length covers.
fn sized<'m>(field: &'m [u8], bytes: u32, name: &'static str) -> Result<&'m [u8], MessageError> {
    let part = usize::try_from(bytes)
        .ok()
        .and_then(|bytes| field.get(..bytes));
    part.ok_or(MessageError::BadField {
        kind: KIND,
        field: name,
        value: bytes,
    })
}

fn first<const N: usize>(field: &[u8]) -> [u8; N] {
    field.first_chunk::<N>().copied().unwrap_or([0; N])
}

fn put<const N: usize>(field: &mut [u8], bytes: &[u8; N]) -> u32 {
    field.fill(0);
    if let Some(room) = field.first_chunk_mut::<N>() {
        *room = *bytes;
    }
    // Four or eight.
    N as u32
}

/// The addresses of an adapter; several in one string have semicolons between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpInfo<'m> {
    /// Which adapter: its MAC address when asked for, its instance GUID when set.
    pub adapter: Text<'m>,
    /// Bit 0 IPv4, bit 1 IPv6 (`ADDR_FAMILY_*`).
    pub family: u8,
    /// Addresses come from DHCP.
    pub dhcp: bool,
    /// Its addresses.
    pub addresses: Text<'m>,
    /// Their masks, or prefix lengths (`/64`) for IPv6.
    pub subnets: Text<'m>,
    /// Where to.
    pub gateways: Text<'m>,
    /// Whom to ask.
    pub name_servers: Text<'m>,
}

impl<'m> IpInfo<'m> {
    fn from_wire(wire: &'m WireIpInfo) -> Self {
        Self {
            adapter: Text::from_wire(&wire.adapter),
            family: wire.family,
            dhcp: wire.dhcp != 0,
            addresses: Text::from_wire(&wire.addresses),
            subnets: Text::from_wire(&wire.subnets),
            gateways: Text::from_wire(&wire.gateways),
            name_servers: Text::from_wire(&wire.name_servers),
        }
    }

    fn to_wire(self, wire: &mut WireIpInfo) -> Option<()> {
        wire.family = self.family;
        wire.dhcp = self.dhcp.into();
        text::write(&mut wire.adapter, self.adapter)?;
        text::write(&mut wire.addresses, self.addresses)?;
        text::write(&mut wire.subnets, self.subnets)?;
        text::write(&mut wire.gateways, self.gateways)?;
        text::write(&mut wire.name_servers, self.name_servers)?;
        Some(())
    }
}

/// A question, or with more filled in its answer (`struct hv_kvp_msg`, `struct hv_kvp_ip_msg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange<'m> {
    /// What belongs to a key?
    Get {
        /// Where.
        pool: Pool,
        /// The key; in the answer its value too.
        entry: Entry<'m>,
    },
    /// Keep this.
    Set {
        /// Where.
        pool: Pool,
        /// Key and value.
        entry: Entry<'m>,
    },
    /// Forget this.
    Delete {
        /// Where.
        pool: Pool,
        /// The key.
        key: Text<'m>,
    },
    /// Which is the n-th pair?
    Enumerate {
        /// Where.
        pool: Pool,
        /// Which, from 0; ends with [`Status::NO_MORE`](crate::Status::NO_MORE).
        index: u32,
        /// In the answer: the pair.
        entry: Entry<'m>,
    },
    /// Which addresses has an adapter?
    GetIpInfo(IpInfo<'m>),
    /// Give an adapter these addresses.
    SetIpInfo(IpInfo<'m>),
}

impl<'m> Exchange<'m> {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// Too short, or with an operation, pool, type or length that there isn't.
    pub fn parse(body: &'m [u8]) -> Result<Self, MessageError> {
        let (head, rest) = fixed::<WireHead>(KIND, body)?;
        let padded = || {
            rest.get(PADDING..).ok_or(MessageError::TooShort {
                kind: KIND,
                got: body.len(),
            })
        };
        let pool = || Pool::from_wire(head.pool);
        match Operation::from_wire(head.operation)? {
            Operation::Get => Ok(Self::Get {
                pool: pool()?,
                entry: Entry::from_wire(fixed(KIND, padded()?)?.0)?,
            }),
            Operation::Set => Ok(Self::Set {
                pool: pool()?,
                entry: Entry::from_wire(fixed(KIND, padded()?)?.0)?,
            }),
            Operation::Delete => {
                let (wire, _) = fixed::<WireDelete>(KIND, padded()?)?;
                let key = sized(&wire.key, wire.key_bytes.get(), "key_size")?;
                Ok(Self::Delete {
                    pool: pool()?,
                    key: Text::from_wire(key),
                })
            }
            Operation::Enumerate => {
                let (wire, _) = fixed::<WireEnumerate>(KIND, padded()?)?;
                Ok(Self::Enumerate {
                    pool: pool()?,
                    index: wire.index.get(),
                    entry: Entry::from_wire(&wire.entry)?,
                })
            }
            Operation::GetIpInfo => Ok(Self::GetIpInfo(IpInfo::from_wire(fixed(KIND, rest)?.0))),
            Operation::SetIpInfo => Ok(Self::SetIpInfo(IpInfo::from_wire(fixed(KIND, rest)?.0))),
        }
    }

    /// Writes the body and answers its length; `None` when a string is too long for its field.
    pub fn encode(&self, out: &mut [u8; MAX_BYTES]) -> Option<usize> {
        out.fill(0);
        match *self {
            Self::Get { pool, entry } => {
                let mut wire = WireEntry::new_zeroed();
                entry.to_wire(&mut wire)?;
                finish(out, Operation::Get, pool as u8, PADDING, &wire)
            }
            Self::Set { pool, entry } => {
                let mut wire = WireEntry::new_zeroed();
                entry.to_wire(&mut wire)?;
                finish(out, Operation::Set, pool as u8, PADDING, &wire)
            }
            Self::Delete { pool, key } => {
                let mut wire = WireDelete::new_zeroed();
                wire.key_bytes = U32::new(text::write(&mut wire.key, key)?);
                finish(out, Operation::Delete, pool as u8, PADDING, &wire)
            }
            Self::Enumerate { pool, index, entry } => {
                let mut wire = WireEnumerate::new_zeroed();
                wire.index = U32::new(index);
                entry.to_wire(&mut wire.entry)?;
                finish(out, Operation::Enumerate, pool as u8, PADDING, &wire)
            }
            Self::GetIpInfo(info) => {
                let mut wire = WireIpInfo::new_zeroed();
                info.to_wire(&mut wire)?;
                finish(out, Operation::GetIpInfo, 0, 0, &wire)
            }
            Self::SetIpInfo(info) => {
                let mut wire = WireIpInfo::new_zeroed();
                info.to_wire(&mut wire)?;
                finish(out, Operation::SetIpInfo, 0, 0, &wire)
            }
        }
    }
}

fn finish(
    out: &mut [u8; MAX_BYTES],
    operation: Operation,
    pool: u8,
    padding: usize,
    wire: &(impl IntoBytes + zerocopy::Immutable),
) -> Option<usize> {
    let head = WireHead {
        operation: operation as u8,
        pool,
    };
    let from = wire.as_bytes();
    // A few KiB at most.
    let start = HEAD_BYTES + padding;
    let end = start + from.len();
    out.get_mut(..HEAD_BYTES)?.copy_from_slice(head.as_bytes());
    out.get_mut(start..end)?.copy_from_slice(from);
    Some(end)
}

// Nothing is larger than what there is room for.
const _: () = assert!(HEAD_BYTES + PADDING + size_of::<WireEnumerate>() <= MAX_BYTES);
