// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What an adapter can do.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::*;

/// Bit of the flags: the host offers sub-channels (`STORAGE_CHANNEL_SUPPORTS_MULTI_CHANNEL`).
pub const FLAG_MULTI_CHANNEL: u32 = 1;

/// Body of the answer to QUERY_PROPERTIES (`struct vmstorage_channel_properties`).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawProperties {
    reserved: U32,
    max_channel_count: U16,
    reserved1: U16,
    flags: U32,
    max_transfer_bytes: U32,
    reserved2: U64,
}

const _: () = assert!(size_of::<RawProperties>() == 24);

/// What an adapter can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelProperties {
    /// Sub-channels may be asked for.
    pub multi_channel: bool,
    /// How many; the primary channel isn't counted.
    pub max_subchannels: u16,
    /// Most bytes that a request may transfer.
    pub max_transfer_bytes: u32,
}

impl ChannelProperties {
    pub(crate) fn from_raw(raw: &RawProperties) -> Self {
        Self {
            multi_channel: raw.flags.get() & FLAG_MULTI_CHANNEL != 0,
            max_subchannels: raw.max_channel_count.get(),
            max_transfer_bytes: raw.max_transfer_bytes.get(),
        }
    }

    pub(crate) fn to_raw(self) -> RawProperties {
        RawProperties {
            reserved: U32::ZERO,
            max_channel_count: U16::new(self.max_subchannels),
            reserved1: U16::ZERO,
            flags: U32::new(if self.multi_channel {
                FLAG_MULTI_CHANNEL
            } else {
                0
            }),
            max_transfer_bytes: U32::new(self.max_transfer_bytes),
            reserved2: U64::ZERO,
        }
    }
}
