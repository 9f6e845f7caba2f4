// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How structs of the wire are declared.

/// Declares structs as they lie on the wire and checks their sizes.
macro_rules! wire {
    ($($(#[$meta:meta])* struct $name:ident { $($field:ident: $type:ty,)* } = $size:literal;)*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
            #[repr(C)]
            pub(crate) struct $name { $(pub(crate) $field: $type,)* }
            const _: () = assert!(size_of::<$name>() == $size);
        )*
    };
}

/// A number with names for some of its values.
macro_rules! named_numbers {
    (
        $(#[$about:meta])*
        pub struct $type:ident($format:literal);
        $($(#[$doc:meta])* $name:ident = $value:literal;)*
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub u32);

        impl $type {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name of the constant, `None` for a number that has none here.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => write!(f, concat!("{} (", $format, ")"), name, self.0),
                    None => write!(f, $format, self.0),
                }
            }
        }

        impl core::fmt::Debug for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    };
}

pub(crate) use {named_numbers, wire};

/// Copies `from` to the start of `to` and returns the rest of `to`; `None` where it is too short.
pub(crate) fn put<'a>(to: &'a mut [u8], from: &[u8]) -> Option<&'a mut [u8]> {
    let (place, rest) = to.split_at_mut_checked(from.len())?;
    place.copy_from_slice(from);
    Some(rest)
}

/// The bytes `offset..offset + length` of `bytes`; `None` where they don't lie inside.
pub(crate) fn part(bytes: &[u8], offset: u32, length: u32) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    bytes.get(start..end)
}
