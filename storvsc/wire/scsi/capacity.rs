// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How big a unit is (SBC-3, 5.15 and 5.16).

use super::Data;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::FromBytes;
use zerocopy_derive::*;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawCapacity10 {
    last_lba: U32,
    block_bytes: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawCapacity16 {
    last_lba: U64,
    block_bytes: U32,
    protection: u8,
    exponents: u8,
    provisioning: U16,
    reserved: [u8; 16],
}

const _: () = assert!(size_of::<RawCapacity16>() == 32);

/// Forgotten blocks take no room (LBPME).
const THIN: u16 = 0x8000;
/// Forgotten blocks read as zeroes (LBPRZ).
const READS_ZEROES: u16 = 0x4000;

/// How big a unit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// The last block.
    pub last_lba: u64,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// A physical block is 2 to this many blocks. In the long form only.
    pub physical_exponent: u8,
    /// Blocks can be forgotten. In the long form only.
    pub thin: bool,
    /// Forgotten blocks read as zeroes. In the long form only.
    pub reads_zeroes: bool,
}

impl Capacity {
    /// Answer to READ CAPACITY (10). A last block that doesn't fit is all ones: ask for the long
    /// form.
    pub fn encode_10(&self) -> Data {
        Data::of(&RawCapacity10 {
            last_lba: U32::new(u32::try_from(self.last_lba).unwrap_or(u32::MAX)),
            block_bytes: U32::new(self.block_bytes),
        })
    }

    /// Answer to READ CAPACITY (16).
    pub fn encode_16(&self) -> Data {
        let thin = if self.thin { THIN } else { 0 };
        let zeroes = if self.reads_zeroes { READS_ZEROES } else { 0 };
        Data::of(&RawCapacity16 {
            last_lba: U64::new(self.last_lba),
            block_bytes: U32::new(self.block_bytes),
            protection: 0,
            exponents: self.physical_exponent & 0xf,
            provisioning: U16::new(thin | zeroes),
            reserved: [0; 16],
        })
    }

    /// Reads the answer to READ CAPACITY (10); `None` where it is too short. A last block of all
    /// ones means that the long form is to be asked.
    pub fn parse_10(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawCapacity10::read_from_prefix(bytes).ok()?;
        Some(Self {
            last_lba: raw.last_lba.get().into(),
            block_bytes: raw.block_bytes.get(),
            ..Self::default()
        })
    }

    /// Reads the answer to READ CAPACITY (16); `None` where it is too short.
    pub fn parse_16(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawCapacity16::read_from_prefix(bytes).ok()?;
        Some(Self {
            last_lba: raw.last_lba.get(),
            block_bytes: raw.block_bytes.get(),
            physical_exponent: raw.exponents & 0xf,
            thin: raw.provisioning.get() & THIN != 0,
            reads_zeroes: raw.provisioning.get() & READS_ZEROES != 0,
        })
    }
}
