// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Standard inquiry data: what kind of unit it is (SPC-4, 6.4.2).

use super::Data;
use zerocopy::FromBytes;
use zerocopy_derive::*;

/// Bytes of the data that every unit answers.
pub const INQUIRY_BYTES: usize = 36;

/// Kind of unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceType(pub u8);

impl DeviceType {
    /// A disk.
    pub const DISK: Self = Self(0x00);
    /// A CD or DVD drive.
    pub const CDROM: Self = Self(0x05);
    /// Not known, or no device.
    pub const UNKNOWN: Self = Self(0x1f);
}

/// Whether there is a device at the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Qualifier(pub u8);

impl Qualifier {
    /// There is.
    pub const CONNECTED: Self = Self(0);
    /// There could be one, but now there is none.
    pub const NOT_CONNECTED: Self = Self(1);
    /// There can't be one.
    pub const NOT_CAPABLE: Self = Self(3);
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawInquiry {
    peripheral: u8,
    removable: u8,
    version: u8,
    format: u8,
    additional_length: u8,
    flags5: u8,
    flags6: u8,
    flags7: u8,
    vendor: [u8; 8],
    product: [u8; 16],
    revision: [u8; 4],
}

const _: () = assert!(size_of::<RawInquiry>() == INQUIRY_BYTES);

/// Flag of byte 7: commands may be queued.
const CMD_QUEUE: u8 = 0x02;
/// Format of the data since SCSI-2; bit 4: units are numbered hierarchically.
const FORMAT: u8 = 0x02;

/// What kind of unit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// Whether it is there.
    pub qualifier: Qualifier,
    /// Its kind.
    pub device_type: DeviceType,
    /// The medium can be changed.
    pub removable: bool,
    /// The standard it keeps: 4 is SPC-2, 5 SPC-3, 6 SPC-4.
    pub version: u8,
    /// Commands may be queued.
    pub queueing: bool,
    /// Vendor, filled with spaces.
    pub vendor: [u8; 8],
    /// Product, filled with spaces.
    pub product: [u8; 16],
    /// Revision of the product.
    pub revision: [u8; 4],
}

impl Inquiry {
    /// What a host answers where there is no unit: byte 0 is 0x7f. Linux takes any other answer
    /// for a disk, for it has to take failed inquiries for good ones.
    pub const ABSENT: Self = Self {
        qualifier: Qualifier::NOT_CAPABLE,
        device_type: DeviceType::UNKNOWN,
        removable: false,
        version: 5,
        queueing: false,
        vendor: *b"        ",
        product: *b"                ",
        revision: *b"    ",
    };

    /// The bytes.
    pub fn encode(&self) -> Data {
        Data::of(&RawInquiry {
            peripheral: (self.qualifier.0 << 5) | (self.device_type.0 & 0x1f),
            removable: if self.removable { 0x80 } else { 0 },
            version: self.version,
            format: FORMAT,
            additional_length: (INQUIRY_BYTES - 5) as u8,
            flags5: 0,
            flags6: 0,
            flags7: if self.queueing { CMD_QUEUE } else { 0 },
            vendor: self.vendor,
            product: self.product,
            revision: self.revision,
        })
    }

    /// Reads an answer; `None` where it is too short.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawInquiry::read_from_prefix(bytes).ok()?;
        Some(Self {
            qualifier: Qualifier(raw.peripheral >> 5),
            device_type: DeviceType(raw.peripheral & 0x1f),
            removable: raw.removable & 0x80 != 0,
            version: raw.version,
            queueing: raw.flags7 & CMD_QUEUE != 0,
            vendor: raw.vendor,
            product: raw.product,
            revision: raw.revision,
        })
    }
}
