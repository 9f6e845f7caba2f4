// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Vital product data: pages of inquiry data (SPC-4, 7.8; SBC-3, 6.5).

use super::inquiry::DeviceType;
use super::Data;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::FromBytes;
use zerocopy_derive::*;

/// Which pages there are.
pub const SUPPORTED_PAGES: u8 = 0x00;
/// The unit's serial number.
pub const UNIT_SERIAL: u8 = 0x80;
/// Names of the unit.
pub const DEVICE_IDENTIFICATION: u8 = 0x83;
/// How much a command may ask for.
pub const BLOCK_LIMITS: u8 = 0xb0;
/// What the blocks are on.
pub const BLOCK_CHARACTERISTICS: u8 = 0xb1;
/// What forgetting blocks does.
pub const BLOCK_PROVISIONING: u8 = 0xb2;

/// Longest serial number that is told.
pub const MAX_SERIAL_BYTES: usize = 64;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawPage {
    device_type: u8,
    page: u8,
    length: U16,
}

fn page(device_type: DeviceType, page: u8, length: usize) -> Data {
    Data::of(&RawPage {
        device_type: device_type.0 & 0x1f,
        page,
        length: U16::new(length as u16),
    })
}

/// What follows a page's head; `None` where it isn't that page or is shorter than it says.
pub fn body(bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    let (head, rest) = RawPage::ref_from_prefix(bytes).ok()?;
    if head.page != wanted {
        return None;
    }
    rest.get(..usize::from(head.length.get()))
}

/// Page 0x00; at most 64 pages, in ascending order.
pub fn supported_pages(device_type: DeviceType, pages: &[u8]) -> Data {
    let pages = pages.get(..64).unwrap_or(pages);
    page(device_type, SUPPORTED_PAGES, pages.len()).with(pages)
}

/// Page 0x80; cut after [`MAX_SERIAL_BYTES`].
pub fn unit_serial(device_type: DeviceType, serial: &[u8]) -> Data {
    let serial = serial.get(..MAX_SERIAL_BYTES).unwrap_or(serial);
    page(device_type, UNIT_SERIAL, serial.len()).with(serial)
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawDesignator {
    code_set: u8,
    kind: u8,
    reserved: u8,
    length: u8,
}

const CODE_SET_BINARY: u8 = 1;
const CODE_SET_ASCII: u8 = 2;
const DESIGNATOR_T10: u8 = 1;
const DESIGNATOR_NAA: u8 = 3;

/// Page 0x83 with two names of the unit: vendor with serial number, and a number of 64 bits of
/// which the topmost four say who gives it out (3: the administrator, it need not be unique in
/// the world).
pub fn device_identification(
    device_type: DeviceType,
    vendor: &[u8; 8],
    serial: &[u8],
    naa: u64,
) -> Data {
    let serial = serial.get(..MAX_SERIAL_BYTES).unwrap_or(serial);
    let head = |code_set, kind, length: usize| RawDesignator {
        code_set,
        kind,
        reserved: 0,
        length: length as u8,
    };
    let text_bytes = vendor.len() + serial.len();
    let length = 2 * size_of::<RawDesignator>() + text_bytes + size_of::<u64>();
    page(device_type, DEVICE_IDENTIFICATION, length)
        .with(&head(CODE_SET_BINARY, DESIGNATOR_NAA, size_of::<u64>()))
        .with(&U64::new(naa))
        .with(&head(CODE_SET_ASCII, DESIGNATOR_T10, text_bytes))
        .with(vendor)
        .with(serial)
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawBlockLimits {
    flags: u8,
    max_compare_and_write: u8,
    optimal_granularity: U16,
    max_transfer: U32,
    optimal_transfer: U32,
    max_prefetch: U32,
    max_unmap_blocks: U32,
    max_unmap_descriptors: U32,
    unmap_granularity: U32,
    unmap_alignment: U32,
    max_write_same: U64,
    atomic: [U32; 5],
}

const _: () = assert!(size_of::<RawBlockLimits>() == 60);

/// How much a command may ask for, in blocks; 0: no limit, or not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockLimits {
    /// Transfers are best a multiple of this.
    pub optimal_granularity: u16,
    /// Most blocks of a transfer.
    pub max_transfer: u32,
    /// Beyond this transfers get slower.
    pub optimal_transfer: u32,
    /// Most blocks of an UNMAP; 0: there is no such command.
    pub max_unmap_blocks: u32,
    /// Most ranges of an UNMAP.
    pub max_unmap_descriptors: u32,
    /// Blocks are forgotten in multiples of this.
    pub unmap_granularity: u32,
    /// Most blocks of a WRITE SAME.
    pub max_write_same: u64,
    /// WRITE SAME of 0 blocks is refused instead of taken for all.
    pub write_same_non_zero: bool,
}

impl BlockLimits {
    /// Page 0xb0.
    pub fn encode(&self, device_type: DeviceType) -> Data {
        page(device_type, BLOCK_LIMITS, size_of::<RawBlockLimits>()).with(&RawBlockLimits {
            flags: self.write_same_non_zero.into(),
            max_compare_and_write: 0,
            optimal_granularity: U16::new(self.optimal_granularity),
            max_transfer: U32::new(self.max_transfer),
            optimal_transfer: U32::new(self.optimal_transfer),
            max_prefetch: U32::ZERO,
            max_unmap_blocks: U32::new(self.max_unmap_blocks),
            max_unmap_descriptors: U32::new(self.max_unmap_descriptors),
            unmap_granularity: U32::new(self.unmap_granularity),
            unmap_alignment: U32::ZERO,
            max_write_same: U64::new(self.max_write_same),
            atomic: [U32::ZERO; 5],
        })
    }

    /// Reads page 0xb0; `None` where it is another or too short.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawBlockLimits::read_from_prefix(body(bytes, BLOCK_LIMITS)?).ok()?;
        Some(Self {
            optimal_granularity: raw.optimal_granularity.get(),
            max_transfer: raw.max_transfer.get(),
            optimal_transfer: raw.optimal_transfer.get(),
            max_unmap_blocks: raw.max_unmap_blocks.get(),
            max_unmap_descriptors: raw.max_unmap_descriptors.get(),
            unmap_granularity: raw.unmap_granularity.get(),
            max_write_same: raw.max_write_same.get(),
            write_same_non_zero: raw.flags & 1 != 0,
        })
    }
}

/// Page 0xb1: the medium doesn't rotate.
pub fn block_characteristics(device_type: DeviceType) -> Data {
    const BODY_BYTES: usize = 60;
    const NON_ROTATING: U16 = U16::new(1);
    page(device_type, BLOCK_CHARACTERISTICS, BODY_BYTES)
        .with(&NON_ROTATING)
        .with(&[0u8; BODY_BYTES - 2])
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawProvisioning {
    threshold_exponent: u8,
    flags: u8,
    kind: u8,
    reserved: u8,
}

/// What forgetting blocks does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Provisioning {
    /// UNMAP forgets blocks.
    pub unmap: bool,
    /// WRITE SAME (16) can.
    pub write_same_16: bool,
    /// WRITE SAME (10) can.
    pub write_same_10: bool,
    /// Forgotten blocks read as zeroes.
    pub reads_zeroes: bool,
    /// Blocks take room only when they are written.
    pub thin: bool,
}

impl Provisioning {
    /// Page 0xb2.
    pub fn encode(&self, device_type: DeviceType) -> Data {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = bit(self.unmap, 0x80)
            | bit(self.write_same_16, 0x40)
            | bit(self.write_same_10, 0x20)
            | bit(self.reads_zeroes, 0x04);
        let length = size_of::<RawProvisioning>();
        page(device_type, BLOCK_PROVISIONING, length).with(&RawProvisioning {
            threshold_exponent: 0,
            flags,
            kind: if self.thin { 2 } else { 0 },
            reserved: 0,
        })
    }

    /// Reads page 0xb2; `None` where it is another or too short.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawProvisioning::read_from_prefix(body(bytes, BLOCK_PROVISIONING)?).ok()?;
        Some(Self {
            unmap: raw.flags & 0x80 != 0,
            write_same_16: raw.flags & 0x40 != 0,
            write_same_10: raw.flags & 0x20 != 0,
            reads_zeroes: raw.flags & 0x1c != 0,
            thin: raw.kind & 7 == 2,
        })
    }
}
