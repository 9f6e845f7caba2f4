// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SCSI: commands, sense data, and the data of the commands that disks and DVD drives need.
//!
//! Names and layouts are those of SPC-4 (inquiry, sense, mode, units), SBC-3 (blocks) and MMC-6
//! (DVD). Everything is big-endian.

use core::fmt;

pub mod capacity;
pub mod cdb;
pub mod data;
pub mod inquiry;
pub mod luns;
pub mod mmc;
pub mod mode;
pub mod opcode;
pub mod sense;
pub mod unmap;
pub mod vpd;

pub use cdb::{Cdb, CdbError, Command, Width};
pub use data::Data;
pub use sense::{Sense, SenseBytes, SenseKey};

/// How a command ended for the unit (SAM-5, status codes).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ScsiStatus(pub u8);

impl ScsiStatus {
    /// It worked.
    pub const GOOD: Self = Self(0x00);
    /// Sense data says why it didn't.
    pub const CHECK_CONDITION: Self = Self(0x02);
    /// Try again later.
    pub const BUSY: Self = Self(0x08);
    /// Somebody else has reserved the unit.
    pub const RESERVATION_CONFLICT: Self = Self(0x18);
    /// Too many commands.
    pub const TASK_SET_FULL: Self = Self(0x28);
    /// Aborted on behalf of another initiator.
    pub const TASK_ABORTED: Self = Self(0x40);
}

impl fmt::Display for ScsiStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::GOOD => f.write_str("good"),
            Self::CHECK_CONDITION => f.write_str("check condition"),
            Self::BUSY => f.write_str("busy"),
            Self::RESERVATION_CONFLICT => f.write_str("reservation conflict"),
            Self::TASK_SET_FULL => f.write_str("task set full"),
            Self::TASK_ABORTED => f.write_str("task aborted"),
            Self(other) => write!(f, "status {other:#04x}"),
        }
    }
}

impl fmt::Debug for ScsiStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
