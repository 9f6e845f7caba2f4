// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Versions of the framework and of the services.

use core::fmt;
use zerocopy::little_endian::U16;
use zerocopy_derive::*;

/// A version (`struct ic_version`).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The number before the dot.
    pub major: u16,
    /// The number after it.
    pub minor: u16,
}

impl Version {
    /// Both numbers.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Versions of the framework, newest first (`UTIL_FW_VERSION`, `UTIL_WS2K8_FW_VERSION` of
/// `drivers/hv/hyperv_vmbus.h`).
pub const FRAMEWORK: [Version; 2] = [Version::new(3, 0), Version::new(1, 0)];

/// A version on the wire.
#[derive(
    Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, PartialEq, Eq,
)]
#[repr(C)]
pub(crate) struct WireVersion {
    pub(crate) major: U16,
    pub(crate) minor: U16,
}

impl From<Version> for WireVersion {
    fn from(version: Version) -> Self {
        Self {
            major: U16::new(version.major),
            minor: U16::new(version.minor),
        }
    }
}

impl From<WireVersion> for Version {
    fn from(wire: WireVersion) -> Self {
        Self::new(wire.major.get(), wire.minor.get())
    }
}
