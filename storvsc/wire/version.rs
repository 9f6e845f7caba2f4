// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Protocol versions and what each brought.
//!
//! A guest asks for the newest version first and goes down its list until the host agrees.

use crate::packet::Layout;
use core::fmt;

/// A version of the storage protocol: major in the upper, minor in the lower 8 bits
/// (`VMSTOR_PROTO_VERSION`). Ordered by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion(u16);

impl ProtocolVersion {
    /// 2.0, Windows Server 2008.
    pub const WIN6: Self = Self::new(2, 0);
    /// 4.2, Windows 7 and Server 2008 R2.
    pub const WIN7: Self = Self::new(4, 2);
    /// 5.1, Windows 8 and Server 2012: the oldest that Linux still asks for.
    pub const WIN8: Self = Self::new(5, 1);
    /// 6.0, Windows 8.1 and Server 2012 R2.
    pub const WIN8_1: Self = Self::new(6, 0);
    /// 6.2, Windows 10 and Server 2016.
    pub const WIN10: Self = Self::new(6, 2);

    /// Every version there is, newest first.
    pub const KNOWN: [Self; 5] = [
        Self::WIN10,
        Self::WIN8_1,
        Self::WIN8,
        Self::WIN7,
        Self::WIN6,
    ];

    /// What a guest asks for, newest first (`protocol_version[]`).
    pub const OFFERED: [Self; 3] = [Self::WIN10, Self::WIN8_1, Self::WIN8];

    /// A version from its two numbers.
    pub const fn new(major: u8, minor: u8) -> Self {
        Self(((major as u16) << 8) | minor as u16)
    }

    /// A version from the number on the wire. Any value is accepted; whether it is one that is
    /// spoken is for the caller to say, see [`Self::is_known`].
    pub const fn from_wire(value: u16) -> Self {
        Self(value)
    }

    /// The number on the wire.
    pub const fn to_wire(self) -> u16 {
        self.0
    }

    /// The number before the dot.
    pub const fn major(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The number after the dot.
    pub const fn minor(self) -> u8 {
        self.0 as u8
    }

    /// One of [`Self::KNOWN`].
    pub fn is_known(self) -> bool {
        Self::KNOWN.contains(&self)
    }

    /// Reads the text form, `6.2`. `None` for anything else, known version or not.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let number = |text: &str| {
            text.bytes()
                .all(|digit| digit.is_ascii_digit())
                .then(|| text.parse::<u8>().ok())
                .flatten()
        };
        Some(Self::new(number(major)?, number(minor)?))
    }

    const fn at_least(self, other: Self) -> bool {
        self.0 >= other.0
    }

    /// How long packets are: the request block grew with 5.1.
    pub const fn layout(self) -> Layout {
        if self.at_least(Self::WIN8) {
            Layout::Long
        } else {
            Layout::Short
        }
    }

    /// The host may offer sub-channels (5.1).
    pub const fn has_multi_channel(self) -> bool {
        self.at_least(Self::WIN8)
    }

    /// The host tells of added and removed units with ENUMERATE_BUS (4.2).
    pub const fn has_enumerate_bus(self) -> bool {
        self.at_least(Self::WIN7)
    }

    /// The host is trusted with WRITE SAME (6.2; `storvsc_sdev_configure`).
    pub const fn has_write_same(self) -> bool {
        self.at_least(Self::WIN10)
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

impl fmt::Debug for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn text_and_number_agree() {
        for version in ProtocolVersion::KNOWN {
            assert_eq!(ProtocolVersion::parse(&version.to_string()), Some(version));
            assert_eq!(ProtocolVersion::from_wire(version.to_wire()), version);
        }
        assert_eq!(ProtocolVersion::WIN10.to_wire(), 0x0602);
        for text in ["", "6", "6.", ".2", "6.2.1", "+6.2", "6.256", "six.two"] {
            assert_eq!(ProtocolVersion::parse(text), None, "{text}");
        }
    }

    #[test]
    fn newer_versions_have_more() {
        assert!(ProtocolVersion::KNOWN
            .windows(2)
            .all(|pair| pair[0] > pair[1]));
        assert_eq!(ProtocolVersion::WIN7.layout(), Layout::Short);
        assert_eq!(ProtocolVersion::WIN8.layout(), Layout::Long);
        assert!(!ProtocolVersion::WIN6.has_enumerate_bus());
        assert!(!ProtocolVersion::WIN8_1.has_write_same());
        assert!(!ProtocolVersion::new(6, 1).is_known());
    }
}
