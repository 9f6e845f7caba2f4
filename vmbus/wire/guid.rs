// SPDX-License-Identifier: GPL-2.0 OR MIT

//! GUIDs as Windows stores them: the first three fields little-endian, the rest in order.

use core::fmt;
use zerocopy_derive::*;

pub mod class;

/// A 16-byte identifier in the byte order of the wire (`guid_t` of the kernel has the same bytes).
///
/// Displayed in the usual lower-case 8-4-4-4-12 form, which is also how sysfs names devices.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct Guid([u8; 16]);

/// Where each pair of hexadecimal digits of the text form lands on the wire: (offset in the text,
/// offset in the bytes).
const TEXT_TO_WIRE: [(usize, usize); 16] = [
    (0, 3),
    (2, 2),
    (4, 1),
    (6, 0),
    (9, 5),
    (11, 4),
    (14, 7),
    (16, 6),
    (19, 8),
    (21, 9),
    (24, 10),
    (26, 11),
    (28, 12),
    (30, 13),
    (32, 14),
    (34, 15),
];

/// Length of the text form.
const TEXT_BYTES: usize = 36;

impl Guid {
    /// The GUID of all zeroes.
    pub const NULL: Guid = Guid([0; 16]);

    /// Takes the 16 bytes as they travel.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes as they travel.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// True for the GUID of all zeroes.
    pub fn is_null(&self) -> bool {
        *self == Self::NULL
    }

    /// Reads the text form `f8615163-df3e-46c5-913f-f2d2f965ed0e`, in either case and without
    /// braces. `None` for anything else. Usable in constants.
    pub const fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != TEXT_BYTES
            || text[8] != b'-'
            || text[13] != b'-'
            || text[18] != b'-'
            || text[23] != b'-'
        {
            return None;
        }
        let mut bytes = [0u8; 16];
        let mut i = 0;
        while i < TEXT_TO_WIRE.len() {
            let (from, to) = TEXT_TO_WIRE[i];
            match (hex_digit(text[from]), hex_digit(text[from + 1])) {
                (Some(high), Some(low)) => bytes[to] = (high << 4) | low,
                _ => return None,
            }
            i += 1;
        }
        Some(Self(bytes))
    }

    /// [`Guid::parse`] for constants: a malformed literal fails the build.
    ///
    /// # Panics
    ///
    /// When `text` isn't a GUID. Meant for literals only; text from outside goes through `parse`.
    pub const fn literal(text: &str) -> Self {
        match Self::parse(text) {
            Some(guid) => guid,
            None => panic!("malformed GUID literal"),
        }
    }

    /// The 32 lower-case digits without hyphens, as `MODALIAS=vmbus:` carries them: the bytes in
    /// the order of the wire.
    pub fn modalias(&self) -> impl fmt::Display {
        Modalias(*self)
    }
}

struct Modalias(Guid);

impl fmt::Display for Modalias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
             .0
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

const fn hex_digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (_, wire)) in TEXT_TO_WIRE.iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            let byte = self.0.get(*wire).copied().unwrap_or(0);
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
