// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The four forms of descriptor blocks. Commands that name no blocks use the fields otherwise.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy_derive::*;

macro_rules! form {
    ($name:ident { $($field:ident: $type:ty,)* } = $size:literal) => {
        #[derive(
            Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
        )]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $type,)* }
        const _: () = assert!(size_of::<$name>() == $size);
    };
}

form!(
    Cdb6 {
        opcode: u8,
        byte1: u8,
        byte2: u8,
        byte3: u8,
        length: u8,
        control: u8,
    } = 6
);
form!(
    Cdb10 {
        opcode: u8,
        byte1: u8,
        lba: U32,
        group: u8,
        length: U16,
        control: u8,
    } = 10
);
form!(
    Cdb12 {
        opcode: u8,
        byte1: u8,
        lba: U32,
        length: U32,
        group: u8,
        control: u8,
    } = 12
);
form!(
    Cdb16 {
        opcode: u8,
        byte1: u8,
        lba: U64,
        length: U32,
        group: u8,
        control: u8,
    } = 16
);
