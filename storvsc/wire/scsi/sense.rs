// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sense data: why a command failed (SPC-4, 4.5).

use crate::srb::SENSE_ROOM;
use core::fmt;

/// Bytes of sense data in fixed format.
pub const FIXED_BYTES: usize = 18;
/// Bytes of sense data in descriptor format, without descriptors.
pub const DESCRIPTOR_BYTES: usize = 8;

/// Response code of current errors in fixed format; deferred ones have the next number.
const FIXED: u8 = 0x70;
/// Response code of current errors in descriptor format; deferred ones have the next number.
const DESCRIPTOR: u8 = 0x72;

/// The kind of failure.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SenseKey(pub u8);

impl SenseKey {
    /// None.
    pub const NO_SENSE: Self = Self(0x0);
    /// It worked, with some effort.
    pub const RECOVERED_ERROR: Self = Self(0x1);
    /// The unit can't be used now.
    pub const NOT_READY: Self = Self(0x2);
    /// The medium failed.
    pub const MEDIUM_ERROR: Self = Self(0x3);
    /// The unit failed.
    pub const HARDWARE_ERROR: Self = Self(0x4);
    /// The command makes no sense.
    pub const ILLEGAL_REQUEST: Self = Self(0x5);
    /// Something else happened that is to be known first.
    pub const UNIT_ATTENTION: Self = Self(0x6);
    /// Not allowed.
    pub const DATA_PROTECT: Self = Self(0x7);
    /// The unit gave up; it may be tried again.
    pub const ABORTED_COMMAND: Self = Self(0xb);
    /// The data differ.
    pub const MISCOMPARE: Self = Self(0xe);
}

impl fmt::Debug for SenseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Why a command failed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Sense {
    /// The kind of failure.
    pub key: SenseKey,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
}

impl Sense {
    /// Nothing to tell.
    pub const NONE: Self = Self::new(SenseKey::NO_SENSE, 0, 0);
    /// The drive is empty.
    pub const NO_MEDIUM: Self = Self::new(SenseKey::NOT_READY, 0x3a, 0);
    /// Blocks couldn't be read.
    pub const UNRECOVERED_READ_ERROR: Self = Self::new(SenseKey::MEDIUM_ERROR, 0x11, 0);
    /// Blocks couldn't be written.
    pub const WRITE_ERROR: Self = Self::new(SenseKey::MEDIUM_ERROR, 0x0c, 0);
    /// There is no room for the blocks.
    pub const SPACE_ALLOCATION_FAILED: Self = Self::new(SenseKey::DATA_PROTECT, 0x27, 0x07);
    /// The unit failed.
    pub const INTERNAL_TARGET_FAILURE: Self = Self::new(SenseKey::HARDWARE_ERROR, 0x44, 0);
    /// No such command.
    pub const INVALID_OPCODE: Self = Self::new(SenseKey::ILLEGAL_REQUEST, 0x20, 0);
    /// Blocks beyond the end.
    pub const LBA_OUT_OF_RANGE: Self = Self::new(SenseKey::ILLEGAL_REQUEST, 0x21, 0);
    /// A field of the command makes no sense.
    pub const INVALID_FIELD_IN_CDB: Self = Self::new(SenseKey::ILLEGAL_REQUEST, 0x24, 0);
    /// No such unit.
    pub const LUN_NOT_SUPPORTED: Self = Self::new(SenseKey::ILLEGAL_REQUEST, 0x25, 0);
    /// A field of the data sent along makes no sense.
    pub const INVALID_FIELD_IN_PARAMETERS: Self = Self::new(SenseKey::ILLEGAL_REQUEST, 0x26, 0);
    /// The data sent along is too short or too long.
    pub const PARAMETER_LIST_LENGTH: Self = Self::new(SenseKey::ILLEGAL_REQUEST, 0x1a, 0);
    /// Parameters can't be saved.
    pub const SAVING_NOT_SUPPORTED: Self = Self::new(SenseKey::ILLEGAL_REQUEST, 0x39, 0);
    /// The medium can't be written.
    pub const WRITE_PROTECTED: Self = Self::new(SenseKey::DATA_PROTECT, 0x27, 0);
    /// Power on, reset, or the like.
    pub const POWER_ON: Self = Self::new(SenseKey::UNIT_ATTENTION, 0x29, 0);
    /// The bus was reset.
    pub const BUS_RESET: Self = Self::new(SenseKey::UNIT_ATTENTION, 0x29, 0x02);
    /// The unit has another size.
    pub const CAPACITY_CHANGED: Self = Self::new(SenseKey::UNIT_ATTENTION, 0x2a, 0x09);
    /// The target has other units.
    pub const REPORTED_LUNS_CHANGED: Self = Self::new(SenseKey::UNIT_ATTENTION, 0x3f, 0x0e);
    /// There is another medium.
    pub const MEDIUM_CHANGED: Self = Self::new(SenseKey::UNIT_ATTENTION, 0x28, 0);

    /// Sense of these three numbers.
    pub const fn new(key: SenseKey, asc: u8, ascq: u8) -> Self {
        Self { key, asc, ascq }
    }

    /// In fixed format.
    pub fn fixed(self) -> SenseBytes {
        let mut bytes = [0; FIXED_BYTES];
        bytes[0] = FIXED;
        bytes[2] = self.key.0 & 0xf;
        // Bytes behind this one.
        bytes[7] = (FIXED_BYTES - 8) as u8;
        bytes[12] = self.asc;
        bytes[13] = self.ascq;
        SenseBytes::new(&bytes)
    }

    /// In descriptor format.
    pub fn descriptor(self) -> SenseBytes {
        let mut bytes = [0; DESCRIPTOR_BYTES];
        bytes[0] = DESCRIPTOR;
        bytes[1] = self.key.0 & 0xf;
        bytes[2] = self.asc;
        bytes[3] = self.ascq;
        SenseBytes::new(&bytes)
    }

    /// Reads either format. Codes that a short answer leaves out are 0. `None` where the bytes
    /// are no sense data.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
        match at(0) & 0x7e {
            FIXED => {
                let key = SenseKey(bytes.get(2)? & 0xf);
                // Codes count only as far as the additional length reaches.
                let reach = usize::from(at(7)).saturating_add(8);
                let code = |index: usize| if index < reach { at(index) } else { 0 };
                Some(Self::new(key, code(12), code(13)))
            }
            DESCRIPTOR => {
                let key = SenseKey(bytes.get(1)? & 0xf);
                Some(Self::new(key, at(2), at(3)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, asc, ascq } = self;
        write!(f, "sense {:x}/{asc:02x}/{ascq:02x}", key.0)
    }
}

impl fmt::Debug for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Sense data as it travels, at most as long as a request block has room for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SenseBytes {
    bytes: [u8; SENSE_ROOM],
    len: u8,
}

impl SenseBytes {
    /// None.
    pub const EMPTY: Self = Self {
        bytes: [0; SENSE_ROOM],
        len: 0,
    };

    /// Takes bytes; what doesn't fit is left out.
    pub fn new(from: &[u8]) -> Self {
        let mut bytes = [0; SENSE_ROOM];
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = *from;
        }
        Self {
            bytes,
            len: from.len().min(SENSE_ROOM) as u8,
        }
    }

    /// The first bytes of it.
    #[must_use]
    pub fn cut(self, bytes: usize) -> Self {
        Self::new(self.as_bytes().get(..bytes).unwrap_or(self.as_bytes()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.len))
            .unwrap_or(&self.bytes)
    }

    /// What they say.
    pub fn parse(&self) -> Option<Sense> {
        Sense::parse(self.as_bytes())
    }
}

impl fmt::Debug for SenseBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parse() {
            Some(sense) => fmt::Display::fmt(&sense, f),
            None => write!(f, "{:02x?}", self.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let sense = Sense::CAPACITY_CHANGED;
        assert_eq!(sense.fixed().parse(), Some(sense));
        assert_eq!(sense.descriptor().parse(), Some(sense));
        assert_eq!(
            sense.fixed().as_bytes(),
            [0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 9, 0, 0, 0, 0]
        );
        assert_eq!(
            sense.descriptor().as_bytes(),
            [0x72, 6, 0x2a, 9, 0, 0, 0, 0]
        );
    }

    #[test]
    fn short_and_foreign_bytes() {
        assert_eq!(Sense::parse(&[]), None);
        assert_eq!(Sense::parse(&[0x70, 0]), None);
        assert_eq!(Sense::parse(&[0x7f; 18]), None);
        let key_only = Sense::new(SenseKey::NOT_READY, 0, 0);
        assert_eq!(Sense::parse(&[0xf0, 0, 2]), Some(key_only));
        // The additional length ends before the codes.
        let mut bytes = [0xff; 18];
        bytes[0] = 0x71;
        bytes[2] = 0xe2;
        bytes[7] = 4;
        assert_eq!(Sense::parse(&bytes), Some(key_only));
        assert_eq!(SenseBytes::new(&[1; 99]).as_bytes().len(), 20);
        assert_eq!(SenseBytes::new(&[1; 9]).cut(4).as_bytes(), [1; 4]);
        assert_eq!(SenseBytes::new(&[1; 4]).cut(9).as_bytes(), [1; 4]);
    }
}
