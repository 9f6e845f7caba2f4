// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How received flows are spread over queues: `struct ndis_recv_scale_cap` and
//! `struct ndis_recv_scale_param`, `drivers/net/hyperv/hyperv_net.h`.

use super::{read, ObjectHeader, OidError, WireObjectHeader};
use crate::layout::{part, put, wire};
use crate::rss::{table_index, HashTypes, Key, KEY_BYTES};
use core::fmt;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::*;

wire! {
    /// `struct ndis_recv_scale_cap`.
    struct WireCapabilities {
        header: WireObjectHeader,
        flags: U32,
        interrupts: U32,
        queues: U32,
        table_entries: U16,
    } = 18;

    /// `struct ndis_recv_scale_param`; not packed, so there are gaps.
    struct WireParameters {
        header: WireObjectHeader,
        flags: U16,
        base_cpu: U16,
        hash: U32,
        table_bytes: U16,
        gap: U16,
        table_offset: U32,
        key_bytes: U16,
        gap2: U16,
        key_offset: U32,
        masks_offset: U32,
        masks: U32,
        mask_bytes: U32,
    } = 40;
}

/// Bytes of `struct ndis_recv_scale_param` up to the processor masks: all that revision 1 has.
const REV1_BYTES: usize = 28;

/// Most entries of an indirection table (`ITAB_NUM_MAX`).
pub const MAX_TABLE_ENTRIES: usize = 256;

/// Bytes of the longest [`ScaleParameters`].
pub const MAX_SCALE_PARAMETERS_BYTES: usize =
    size_of::<WireParameters>() + 4 * MAX_TABLE_ENTRIES + KEY_BYTES;

/// How a NIC can spread flows (`struct ndis_recv_scale_cap`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScaleCapabilities {
    /// Bits `NDIS_RSS_CAPS_*` and the hash function; [`ScaleCapabilities::FLAGS`].
    pub flags: u32,
    /// Interrupts it has.
    pub interrupts: u32,
    /// Receive queues it has.
    pub queues: u32,
    /// Entries of its indirection table; 0 from hosts that don't say, which means 128.
    pub table_entries: u16,
}

impl ScaleCapabilities {
    /// Bytes of the record.
    pub const BYTES: usize = size_of::<WireCapabilities>();

    /// Toeplitz over TCP and addresses, IPv4 and IPv6, with one interrupt a queue
    /// (`NDIS_RSS_CAPS_MESSAGE_SIGNALED_INTERRUPTS`, `_CLASSIFICATION_AT_DPC`,
    /// `_HASH_TYPE_TCP_IPV4`, `_HASH_TYPE_TCP_IPV6`, `NDIS_HASH_FUNC_TOEPLITZ`).
    pub const FLAGS: u32 = 0x0100_0000 | 0x0400_0000 | 0x100 | 0x200 | 0x1;

    /// Reads the record. Hosts of different age send it with or without padding at the end.
    ///
    /// # Errors
    ///
    /// [`OidError`] says what was wrong.
    pub fn parse(info: &[u8]) -> Result<Self, OidError> {
        let wire: WireCapabilities = read(info)?;
        if wire.header.object_type != ObjectHeader::RSS_CAPABILITIES {
            return Err(OidError::BadField {
                field: "object type",
                value: wire.header.object_type.into(),
            });
        }
        Ok(Self {
            flags: wire.flags.get(),
            interrupts: wire.interrupts.get(),
            queues: wire.queues.get(),
            table_entries: wire.table_entries.get(),
        })
    }

    /// The header that goes into a query for the record.
    pub const fn header() -> ObjectHeader {
        ObjectHeader {
            object_type: ObjectHeader::RSS_CAPABILITIES,
            revision: 2,
            size: Self::BYTES as u16,
        }
    }

    /// The record.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let wire = WireCapabilities {
            header: Self::header().to_wire(),
            flags: U32::new(self.flags),
            interrupts: U32::new(self.interrupts),
            queues: U32::new(self.queues),
            table_entries: U16::new(self.table_entries),
        };
        let mut out = [0; Self::BYTES];
        let _ = put(&mut out, wire.as_bytes());
        out
    }
}

/// What of [`ScaleParameters`] counts (`NDIS_RSS_PARAM_FLAG_*`).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ScaleFlags(pub u16);

impl ScaleFlags {
    /// Everything.
    pub const NONE: Self = Self(0);
    /// Not the base CPU.
    pub const BASE_CPU_UNCHANGED: Self = Self(0x01);
    /// Not the hash types.
    pub const HASH_INFO_UNCHANGED: Self = Self(0x02);
    /// Not the table.
    pub const TABLE_UNCHANGED: Self = Self(0x04);
    /// Not the key.
    pub const KEY_UNCHANGED: Self = Self(0x08);
    /// Spread no flows.
    pub const DISABLE: Self = Self(0x10);

    /// True when all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for ScaleFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// An indirection table: numbers of channels, 0 for the primary one. They aren't checked against
/// the channels there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ScaleTable<'a>(&'a [U32]);

impl<'a> ScaleTable<'a> {
    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = u32> + 'a {
        self.0.iter().map(|entry| entry.get())
    }

    /// Number of entries.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entry for a hash; 0 where there are none.
    pub fn channel(&self, hash: u32) -> u32 {
        let index = table_index(hash, self.0.len());
        self.0.get(index).map_or(0, |entry| entry.get())
    }
}

impl fmt::Debug for ScaleTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// How flows shall be spread (`struct ndis_recv_scale_param`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleParameters<'a> {
    /// What of the rest counts.
    pub flags: ScaleFlags,
    /// What goes into the hash.
    pub hash: HashTypes,
    /// Which channel a hash goes to.
    pub table: ScaleTable<'a>,
    /// The key; shorter ones than [`KEY_BYTES`] are filled up with zeroes. `None`: it stays.
    pub key: Option<Key>,
}

impl<'a> ScaleParameters<'a> {
    /// Reads the record. As Windows hosts do, its header isn't looked at. A part that the flags
    /// say is unchanged, or that spreading needs no more, need not be there.
    ///
    /// # Errors
    ///
    /// [`OidError`] says what was wrong.
    pub fn parse(info: &'a [u8]) -> Result<Self, OidError> {
        let mut fixed = [0; size_of::<WireParameters>()];
        for (to, from) in fixed.iter_mut().zip(info) {
            *to = *from;
        }
        if info.len() < REV1_BYTES {
            return Err(OidError::TooShort {
                got: info.len(),
                want: REV1_BYTES,
            });
        }
        let wire: WireParameters = read(&fixed)?;
        let flags = ScaleFlags(wire.flags.get());
        let off = flags.contains(ScaleFlags::DISABLE);

        let table = if off || flags.contains(ScaleFlags::TABLE_UNCHANGED) {
            &[][..]
        } else {
            table(info, wire.table_offset.get(), wire.table_bytes.get())?
        };
        let key = if off || flags.contains(ScaleFlags::KEY_UNCHANGED) {
            None
        } else {
            Some(key(info, wire.key_offset.get(), wire.key_bytes.get())?)
        };
        Ok(Self {
            flags,
            hash: HashTypes(wire.hash.get()),
            table: ScaleTable(table),
            key,
        })
    }

    /// Writes the record with a whole table and key to the start of `out` and returns its length.
    ///
    /// # Errors
    ///
    /// [`OidError::NoRoom`], [`OidError::BadField`] for a table of more than
    /// [`MAX_TABLE_ENTRIES`].
    pub fn encode(
        flags: ScaleFlags,
        hash: HashTypes,
        table: &[u32],
        key: &Key,
        out: &mut [u8],
    ) -> Result<usize, OidError> {
        if table.len() > MAX_TABLE_ENTRIES {
            return Err(OidError::BadField {
                field: "table's entries",
                value: u32::try_from(table.len()).unwrap_or(u32::MAX),
            });
        }
        let table_bytes = 4 * table.len(); // at most 1 KiB
        let key_offset = size_of::<WireParameters>() + table_bytes;
        let need = key_offset + KEY_BYTES;
        let wire = WireParameters {
            header: ObjectHeader {
                object_type: ObjectHeader::RSS_PARAMETERS,
                revision: 2,
                size: size_of::<WireParameters>() as u16,
            }
            .to_wire(),
            flags: U16::new(flags.0),
            base_cpu: U16::ZERO,
            hash: U32::new(hash.0),
            table_bytes: U16::new(table_bytes as u16),
            gap: U16::ZERO,
            table_offset: U32::new(size_of::<WireParameters>() as u32),
            key_bytes: U16::new(KEY_BYTES as u16),
            gap2: U16::ZERO,
            key_offset: U32::new(key_offset as u32),
            masks_offset: U32::ZERO,
            masks: U32::ZERO,
            mask_bytes: U32::ZERO,
        };
        let no_room = OidError::NoRoom { need };
        let mut rest = put(out, wire.as_bytes()).ok_or(no_room)?;
        for entry in table {
            rest = put(rest, &entry.to_le_bytes()).ok_or(no_room)?;
        }
        put(rest, &key.0).ok_or(no_room)?;
        Ok(need)
    }
}

fn table(info: &[u8], offset: u32, bytes: u16) -> Result<&[U32], OidError> {
    let length = u32::from(bytes);
    let entries = part(info, offset, length)
        .and_then(|bytes| <[U32]>::ref_from_bytes(bytes).ok())
        .ok_or(OidError::OutOfBounds {
            part: "indirection table",
            offset,
            length,
        })?;
    if entries.is_empty() || entries.len() > MAX_TABLE_ENTRIES {
        return Err(OidError::BadField {
            field: "indirect_tabsize",
            value: length,
        });
    }
    Ok(entries)
}

fn key(info: &[u8], offset: u32, bytes: u16) -> Result<Key, OidError> {
    let length = u32::from(bytes);
    if length == 0 || length > KEY_BYTES as u32 {
        return Err(OidError::BadField {
            field: "hashkey_size",
            value: length,
        });
    }
    let bytes = part(info, offset, length).ok_or(OidError::OutOfBounds {
        part: "hash key",
        offset,
        length,
    })?;
    let mut key = [0; KEY_BYTES];
    for (to, from) in key.iter_mut().zip(bytes) {
        *to = *from;
    }
    Ok(Key(key))
}
