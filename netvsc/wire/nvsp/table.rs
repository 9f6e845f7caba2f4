// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The send indirection table: which channel the guest shall send a flow on.
//!
//! The table follows the message, at an offset that the message names. Hosts of 6.0 and before
//! place it behind a message of 40 bytes and yet may name another offset, so for those versions
//! the offset isn't read where the table can lie there (`netvsc_send_table`,
//! `drivers/net/hyperv/netvsc.c`).

use super::{layout, read, MessageType, NvspError};
use crate::layout::part;
use crate::version::Version;
use zerocopy::little_endian::U32;
use zerocopy::FromBytes;

/// Entries of the table (`VRSS_SEND_TAB_SIZE`).
pub const SEND_TABLE_ENTRIES: usize = 16;

const TABLE_BYTES: u32 = 4 * SEND_TABLE_ENTRIES as u32;
/// Bytes of the longest other message: where the table is.
const TABLE_OFFSET: u32 = 40;

/// The table: for each value of a flow's hash modulo 16 the number of a channel, 0 for the
/// primary one. Numbers aren't checked against the channels there are: hosts send the table before
/// the guest has opened all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendTable {
    /// The entries.
    pub channels: [u32; SEND_TABLE_ENTRIES],
}

impl SendTable {
    /// All channels in turn.
    pub fn spread(channels: u32) -> Self {
        let mut table = Self {
            channels: [0; SEND_TABLE_ENTRIES],
        };
        for (entry, number) in table.channels.iter_mut().zip(0u32..) {
            *entry = number.checked_rem(channels).unwrap_or(0);
        }
        table
    }

    /// The channel for a flow, never out of `channels`.
    pub fn channel(&self, hash: u32, channels: u32) -> u32 {
        let entry = self.channels.get(Self::index(hash)).copied();
        Self::within(entry.unwrap_or(0), channels)
    }

    /// Which entry a flow has, by its hash.
    pub const fn index(hash: u32) -> usize {
        hash as usize % SEND_TABLE_ENTRIES
    }

    /// The channel that an entry means, never out of `channels`.
    pub fn within(entry: u32, channels: u32) -> u32 {
        entry.checked_rem(channels).unwrap_or(0)
    }

    pub(super) fn parse(version: Version, payload: &[u8]) -> Result<Self, NvspError> {
        const KIND: MessageType = MessageType::SEND_INDIRECTION_TABLE;
        let wire: layout::SendTable = read(KIND, payload)?;
        if wire.count.get() != SEND_TABLE_ENTRIES as u32 {
            return Err(NvspError::BadField {
                message_type: KIND,
                field: "count",
                value: wire.count.get().into(),
            });
        }
        let quirk = !version.has_right_table_offset()
            && payload.len() >= (TABLE_OFFSET + TABLE_BYTES) as usize;
        let offset = if quirk {
            TABLE_OFFSET
        } else {
            wire.offset.get()
        };
        let entries = part(payload, offset, TABLE_BYTES)
            .and_then(|bytes| <[U32; SEND_TABLE_ENTRIES]>::read_from_bytes(bytes).ok())
            .ok_or(NvspError::BadField {
                message_type: KIND,
                field: "offset",
                value: offset.into(),
            })?;
        Ok(Self {
            channels: entries.map(U32::get),
        })
    }

    /// The whole message.
    pub(super) fn wire(&self) -> (layout::SendTable, [u8; 28], [U32; SEND_TABLE_ENTRIES]) {
        let head = layout::SendTable {
            kind: U32::new(MessageType::SEND_INDIRECTION_TABLE.0),
            count: U32::new(SEND_TABLE_ENTRIES as u32),
            offset: U32::new(TABLE_OFFSET),
        };
        (head, [0; 28], self.channels.map(U32::new))
    }
}
