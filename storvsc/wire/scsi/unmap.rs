// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which blocks to forget: the data of UNMAP (SBC-3, 5.28).

use super::cdb::Extent;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::*;

/// Bytes before the first range.
pub const HEADER_BYTES: usize = 8;
/// Bytes of a range.
pub const DESCRIPTOR_BYTES: usize = 16;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    /// Bytes behind this field.
    data_length: U16,
    descriptors_length: U16,
    reserved: U32,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawDescriptor {
    lba: U64,
    blocks: U32,
    reserved: U32,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES);
const _: () = assert!(size_of::<RawDescriptor>() == DESCRIPTOR_BYTES);

/// The data is shorter than its header says, or its header makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadUnmapList;

/// The ranges to forget.
#[derive(Clone, Debug)]
pub struct UnmapList<'b> {
    descriptors: core::slice::Iter<'b, RawDescriptor>,
}

impl<'b> UnmapList<'b> {
    /// Reads the data; part of a range at the end is left out, as the standard says.
    ///
    /// # Errors
    ///
    /// [`BadUnmapList`].
    pub fn parse(bytes: &'b [u8]) -> Result<Self, BadUnmapList> {
        let (header, rest) = RawHeader::ref_from_prefix(bytes).map_err(|_| BadUnmapList)?;
        let length = usize::from(header.descriptors_length.get());
        let inside = usize::from(header.data_length.get())
            .checked_sub(HEADER_BYTES - 2)
            .ok_or(BadUnmapList)?;
        if length > inside {
            return Err(BadUnmapList);
        }
        let rest = rest.get(..length).ok_or(BadUnmapList)?;
        let whole = rest.len() / DESCRIPTOR_BYTES;
        let (descriptors, _) =
            <[RawDescriptor]>::ref_from_prefix_with_elems(rest, whole).map_err(|_| BadUnmapList)?;
        Ok(Self {
            descriptors: descriptors.iter(),
        })
    }
}

impl Iterator for UnmapList<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        self.descriptors.next().map(|raw| Extent {
            lba: raw.lba.get(),
            blocks: raw.blocks.get(),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.descriptors.size_hint()
    }
}

impl ExactSizeIterator for UnmapList<'_> {}

/// Writes the data for these ranges; answers how many bytes it has. `None` where they don't fit
/// in `out` or in the length fields.
pub fn encode(extents: &[Extent], out: &mut [u8]) -> Option<usize> {
    let length = extents.len().checked_mul(DESCRIPTOR_BYTES)?;
    let total = length.checked_add(HEADER_BYTES)?;
    let out = out.get_mut(..total)?;
    let (head, rest) = out.split_at_mut_checked(HEADER_BYTES)?;
    let header = RawHeader {
        data_length: U16::new(u16::try_from(total.checked_sub(2)?).ok()?),
        descriptors_length: U16::new(u16::try_from(length).ok()?),
        reserved: U32::ZERO,
    };
    header.write_to(head).ok()?;
    for (to, extent) in rest.chunks_exact_mut(DESCRIPTOR_BYTES).zip(extents) {
        let raw = RawDescriptor {
            lba: U64::new(extent.lba),
            blocks: U32::new(extent.blocks),
            reserved: U32::ZERO,
        };
        raw.write_to(to).ok()?;
    }
    Some(total)
}
