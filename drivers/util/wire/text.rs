// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Strings: UTF-16 with a zero at the end, in fields of a fixed size.

use core::fmt;
use core::fmt::Write as _;

/// A string, from the wire or for it.
#[derive(Clone, Copy)]
pub struct Text<'m>(Source<'m>);

#[derive(Clone, Copy)]
enum Source<'m> {
    /// UTF-16, without the zero and whatever follows it.
    Wire(&'m [u8]),
    /// Of our own.
    Utf8(&'m str),
}

impl<'m> Text<'m> {
    /// Takes a field up to its first zero, or whole. An odd byte at its end doesn't count.
    pub fn from_wire(field: &'m [u8]) -> Self {
        let units = field.chunks_exact(2).position(|unit| unit == [0, 0]);
        let bytes = match units {
            // No overflow: twice it is at most the field's length.
            Some(units) => 2 * units,
            None => field.len() & !1,
        };
        Self(Source::Wire(field.get(..bytes).unwrap_or_default()))
    }

    /// A string of our own; ends at its first zero.
    pub fn new(text: &'m str) -> Self {
        Self(Source::Utf8(text.split('\0').next().unwrap_or_default()))
    }

    /// Its code units in UTF-16.
    pub fn units(&self) -> impl Iterator<Item = u16> + 'm {
        let (wire, own) = match self.0 {
            Source::Wire(bytes) => (bytes, ""),
            Source::Utf8(text) => (&[][..], text),
        };
        wire.chunks_exact(2)
            .filter_map(|unit| unit.first_chunk::<2>())
            .map(|unit| u16::from_le_bytes(*unit))
            .chain(own.encode_utf16())
    }

    /// Its characters; what is no valid UTF-16 is replaced.
    pub fn chars(&self) -> impl Iterator<Item = char> + 'm {
        char::decode_utf16(self.units()).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        match self.0 {
            Source::Wire(bytes) => bytes.is_empty(),
            Source::Utf8(text) => text.is_empty(),
        }
    }

    /// Bytes on the wire, the zero included.
    pub fn wire_bytes(&self) -> usize {
        self.units().count().saturating_add(1).saturating_mul(2)
    }
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self::new("")
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.units().eq(other.units())
    }
}

impl Eq for Text<'_> {}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.units().eq(other.encode_utf16())
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars()
            .try_for_each(|character| f.write_char(character))
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.chars()
            .flat_map(char::escape_debug)
            .try_for_each(|character| f.write_char(character))?;
        f.write_char('"')
    }
}

/// Fills a field: the string, a zero, and zeroes to its end. Answers the bytes up to and with the
/// first zero; `None` when it doesn't fit.
pub(crate) fn write(field: &mut [u8], text: Text<'_>) -> Option<u32> {
    let bytes = text.wire_bytes();
    if bytes > field.len() {
        return None;
    }
    field.fill(0);
    for (slot, unit) in field.chunks_exact_mut(2).zip(text.units()) {
        slot.copy_from_slice(&unit.to_le_bytes());
    }
    u32::try_from(bytes).ok()
}
