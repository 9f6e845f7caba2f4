// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which units there are: the answer to REPORT LUNS (SPC-4, 6.33).

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::*;

/// Bytes before the first unit.
pub const HEADER_BYTES: usize = 8;
/// Bytes of a unit.
pub const ENTRY_BYTES: usize = 8;

/// All units.
pub const SELECT_ALL: u8 = 2;
/// Units but the well known ones.
pub const SELECT_ADDRESSABLE: u8 = 0;
/// Well known units only: there are none.
pub const SELECT_WELL_KNOWN: u8 = 1;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    length: U32,
    reserved: U32,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES);

/// The bytes before the first unit.
pub fn header(units: u8) -> [u8; HEADER_BYTES] {
    let header = RawHeader {
        length: U32::new(u32::from(units) * ENTRY_BYTES as u32),
        reserved: U32::ZERO,
    };
    let mut bytes = [0; HEADER_BYTES];
    for (to, from) in bytes.iter_mut().zip(header.as_bytes()) {
        *to = *from;
    }
    bytes
}

/// A unit, in the way of numbering that reaches to 255 (peripheral device addressing).
pub const fn entry(lun: u8) -> [u8; ENTRY_BYTES] {
    [0, lun, 0, 0, 0, 0, 0, 0]
}

/// The units of an answer, as far as it was given. Units that are numbered in another way are
/// left out.
pub fn parse(bytes: &[u8]) -> Option<impl Iterator<Item = u16> + '_> {
    let (header, rest) = RawHeader::ref_from_prefix(bytes).ok()?;
    let length = usize::try_from(header.length.get()).ok()?;
    let given = rest.get(..length).unwrap_or(rest);
    Some(given.chunks_exact(ENTRY_BYTES).filter_map(|unit| {
        match *unit.first_chunk::<2>()? {
            [0, lun] => Some(lun.into()),
            // Flat space addressing has 14 bits.
            [high, low] if high >> 6 == 1 => Some(u16::from_be_bytes([high & 0x3f, low])),
            _ => None,
        }
    }))
}
