// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How a unit is set: the answer to MODE SENSE (SPC-4, 7.5; SBC-3, 6.4; MMC-3, 6.3.11).

use super::{Data, Width};
use zerocopy::big_endian::{U16, U32};
use zerocopy::FromBytes;
use zerocopy_derive::*;

/// Page: how reads and writes use the cache.
pub const CACHING: u8 = 0x08;
/// Page: how commands are queued.
pub const CONTROL: u8 = 0x0a;
/// Page: how failures to come are told.
pub const INFORMATIONAL_EXCEPTIONS: u8 = 0x1c;
/// Page: what a CD or DVD drive can do.
pub const CD_CAPABILITIES: u8 = 0x2a;
/// All pages.
pub const ALL_PAGES: u8 = 0x3f;
/// All sub-pages.
pub const ALL_SUBPAGES: u8 = 0xff;

/// Device-specific flag of disks: the medium can't be written.
const WRITE_PROTECT: u8 = 0x80;
/// Device-specific flag of disks: reads and writes can bypass the cache (DPOFUA).
const DPO_FUA: u8 = 0x10;
/// Flag of the caching page: writes are done before they are on the medium.
const WRITE_CACHE_ENABLED: u8 = 0x04;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader6 {
    /// Bytes behind this field.
    length: u8,
    medium: u8,
    device: u8,
    descriptors_length: u8,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader10 {
    /// Bytes behind this field.
    length: U16,
    medium: u8,
    device: u8,
    long_lba: u8,
    reserved: u8,
    descriptors_length: U16,
}

/// Short block descriptor of disks.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawBlocks {
    blocks: U32,
    /// Of three bytes; the topmost is density, here always 0.
    block_bytes: U32,
}

const _: () = assert!(size_of::<RawBlocks>() == 8);

/// How a unit is set, but for its pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModeHeader {
    /// The medium can't be written.
    pub write_protected: bool,
    /// FUA of reads and writes is honoured.
    pub honours_fua: bool,
    /// Blocks and bytes of one, where a descriptor is given.
    pub blocks: Option<(u32, u32)>,
}

/// What MODE SENSE tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeData {
    /// Header.
    pub header: ModeHeader,
    /// Pages, one behind the other.
    pub pages: Data,
}

/// The caching page (SBC-3, 6.4.5). `changeable`: as a mask of what can be changed, nothing.
pub fn caching_page(write_cache: bool, changeable: bool) -> Data {
    let mut bytes = [0; 20];
    bytes[0] = CACHING;
    bytes[1] = 18;
    if write_cache && !changeable {
        bytes[2] = WRITE_CACHE_ENABLED;
    }
    Data::of(&bytes)
}

/// The control page (SPC-4, 7.5.8). `changeable`: as a mask of what can be changed, nothing.
pub fn control_page(changeable: bool) -> Data {
    let mut bytes = [0; 12];
    bytes[0] = CONTROL;
    bytes[1] = 10;
    if !changeable {
        // Commands may be reordered (queue algorithm modifier 1).
        bytes[3] = 0x10;
    }
    Data::of(&bytes)
}

/// The informational exceptions page (SPC-4, 7.5.11): failures to come aren't told.
pub fn informational_exceptions_page(changeable: bool) -> Data {
    let mut bytes = [0; 12];
    bytes[0] = INFORMATIONAL_EXCEPTIONS;
    bytes[1] = 10;
    if !changeable {
        // DEXCPT: reporting is off.
        bytes[2] = 0x08;
    }
    Data::of(&bytes)
}

/// The capabilities page of a drive that reads CDs and DVDs and writes nothing (MMC-3, 6.3.11).
pub fn cd_capabilities_page(changeable: bool) -> Data {
    let mut bytes = [0; 28];
    bytes[0] = CD_CAPABILITIES;
    bytes[1] = 26;
    if !changeable {
        // Reads CD-R, CD-RW, and DVD-ROM.
        bytes[2] = 0x0b;
        // Tray, which can be locked and ejected.
        bytes[6] = 0x29;
        // Reads at 8 MB/s at most, and does so now; as many kB of cache.
        let speed = 8467u16.to_be_bytes();
        [bytes[8], bytes[9]] = speed;
        [bytes[14], bytes[15]] = speed;
        [bytes[12], bytes[13]] = 256u16.to_be_bytes();
    }
    Data::of(&bytes)
}

impl ModeData {
    /// The bytes.
    pub fn encode(&self, width: Width) -> Data {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let device = flag(self.header.write_protected, WRITE_PROTECT)
            | flag(self.header.honours_fua, DPO_FUA);
        let descriptors = match self.header.blocks {
            Some((blocks, block_bytes)) => Data::of(&RawBlocks {
                blocks: U32::new(blocks),
                block_bytes: U32::new(block_bytes & 0xff_ffff),
            }),
            None => Data::default(),
        };
        let behind = descriptors.len().saturating_add(self.pages.len());
        let head = if width == Width::Six {
            Data::of(&RawHeader6 {
                length: behind
                    .saturating_add(size_of::<RawHeader6>() - 1)
                    .min(u8::MAX.into()) as u8,
                medium: 0,
                device,
                descriptors_length: descriptors.len() as u8,
            })
        } else {
            Data::of(&RawHeader10 {
                length: U16::new(
                    behind
                        .saturating_add(size_of::<RawHeader10>() - 2)
                        .min(u16::MAX.into()) as u16,
                ),
                medium: 0,
                device,
                long_lba: 0,
                reserved: 0,
                descriptors_length: U16::new(descriptors.len() as u16),
            })
        };
        head.with(descriptors.as_bytes())
            .with(self.pages.as_bytes())
    }
}

/// What an answer to MODE SENSE says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeView<'b> {
    /// Header.
    pub header: ModeHeader,
    pages: &'b [u8],
}

impl<'b> ModeView<'b> {
    /// Reads an answer; `None` where it is too short for its header or its descriptors.
    pub fn parse(bytes: &'b [u8], width: Width) -> Option<Self> {
        let (device, descriptors, rest) = if width == Width::Six {
            let (head, rest) = RawHeader6::read_from_prefix(bytes).ok()?;
            (head.device, usize::from(head.descriptors_length), rest)
        } else {
            let (head, rest) = RawHeader10::read_from_prefix(bytes).ok()?;
            let length = head.descriptors_length.get();
            (head.device, usize::from(length), rest)
        };
        let (descriptors, pages) = rest.split_at_checked(descriptors)?;
        let blocks = RawBlocks::read_from_prefix(descriptors)
            .ok()
            .map(|(raw, _)| (raw.blocks.get(), raw.block_bytes.get() & 0xff_ffff));
        Some(Self {
            header: ModeHeader {
                write_protected: device & WRITE_PROTECT != 0,
                honours_fua: device & DPO_FUA != 0,
                blocks,
            },
            pages,
        })
    }

    /// What follows a page's head; `None` where it isn't there or is cut off.
    pub fn page(&self, wanted: u8) -> Option<&'b [u8]> {
        let mut rest = self.pages;
        // Each turn takes at least the two bytes of a page's head.
        loop {
            let ([code, length], behind) = rest.split_first_chunk::<2>()?;
            let (body, next) = behind.split_at_checked((*length).into())?;
            if code & 0x3f == wanted {
                return Some(body);
            }
            rest = next;
        }
    }

    /// The caching page says that writes are done before they are on the medium.
    pub fn write_cache(&self) -> Option<bool> {
        let flags = self.page(CACHING)?.first()?;
        Some(flags & WRITE_CACHE_ENABLED != 0)
    }
}
