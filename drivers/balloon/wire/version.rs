// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Versions of the dynamic memory protocol.

use core::fmt;

/// A version: major number in the upper half, minor in the lower (`DYNMEM_MAKE_VERSION`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32);

impl Version {
    /// Windows 7 and Server 2008 R2 (`DYNMEM_PROTOCOL_VERSION_WIN7`).
    pub const V0_3: Self = Self(3);
    /// Windows 8 and Server 2012 (`DYNMEM_PROTOCOL_VERSION_WIN8`).
    pub const V1_0: Self = Self(1 << 16);
    /// Windows 10 and Server 2016 (`DYNMEM_PROTOCOL_VERSION_WIN10`).
    pub const V2_0: Self = Self(2 << 16);

    /// What a guest asks for, in this order, until the host agrees.
    pub const PREFERENCE: [Self; 3] = [Self::V2_0, Self::V1_0, Self::V0_3];

    /// The number on the wire.
    pub const fn to_wire(self) -> u32 {
        self.0
    }

    /// The major number.
    pub const fn major(self) -> u32 {
        self.0 >> 16
    }

    /// The minor number.
    pub const fn minor(self) -> u32 {
        self.0 & 0xffff
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
