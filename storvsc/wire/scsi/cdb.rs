// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Command descriptor blocks: what a command is, whatever its length.

use super::opcode as op;
use super::Sense;
use crate::srb::MAX_CDB_BYTES;
use core::fmt;
use zerocopy::FromBytes;

mod build;
mod layout;

use layout::{Cdb10, Cdb12, Cdb16, Cdb6};

/// A command as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cdb {
    bytes: [u8; MAX_CDB_BYTES],
    len: u8,
}

impl Cdb {
    fn of<T: zerocopy::IntoBytes + zerocopy::Immutable>(wire: &T) -> Self {
        let mut bytes = [0; MAX_CDB_BYTES];
        for (to, from) in bytes.iter_mut().zip(wire.as_bytes()) {
            *to = *from;
        }
        Self {
            bytes,
            len: size_of::<T>().min(MAX_CDB_BYTES) as u8,
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.len))
            .unwrap_or(&self.bytes)
    }

    /// The bytes filled with zeroes, as a request block takes them.
    pub const fn padded(&self) -> [u8; MAX_CDB_BYTES] {
        self.bytes
    }

    /// How many bytes the command has.
    pub const fn length(&self) -> u8 {
        self.len
    }
}

/// Which of a command's forms it is: bytes of the descriptor block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// 6 bytes.
    Six,
    /// 10 bytes.
    Ten,
    /// 12 bytes.
    Twelve,
    /// 16 bytes.
    Sixteen,
}

/// Blocks that a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first.
    pub lba: u64,
    /// How many.
    pub blocks: u32,
}

/// Why a command can't be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CdbError {
    /// No such command.
    UnknownOpcode(u8),
    /// Fewer bytes than the command has.
    Short {
        /// The command.
        opcode: u8,
        /// Bytes given.
        got: usize,
    },
    /// A field that is to be zero, or has a value that makes no sense.
    BadField {
        /// The command.
        opcode: u8,
        /// Byte of the field.
        byte: u8,
    },
}

impl CdbError {
    /// What the guest is told.
    pub const fn sense(self) -> Sense {
        match self {
            Self::UnknownOpcode(_) => Sense::INVALID_OPCODE,
            Self::Short { .. } | Self::BadField { .. } => Sense::INVALID_FIELD_IN_CDB,
        }
    }
}

impl fmt::Display for CdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOpcode(opcode) => write!(f, "unknown command {opcode:#04x}"),
            Self::Short { opcode, got } => write!(f, "command {opcode:#04x} of {got} bytes"),
            Self::BadField { opcode, byte } => {
                write!(f, "command {opcode:#04x}: byte {byte} makes no sense")
            }
        }
    }
}

impl core::error::Error for CdbError {}

/// A command, whichever form it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Is the unit there and ready?
    TestUnitReady,
    /// What was the last error?
    RequestSense {
        /// In descriptor format, else in fixed format.
        descriptor: bool,
        /// Room for the answer.
        allocation: u8,
    },
    /// What kind of unit is it?
    Inquiry {
        /// This page of vital product data, else the standard data.
        page: Option<u8>,
        /// Room for the answer.
        allocation: u16,
    },
    /// How is the unit set?
    ModeSense {
        /// [`Width::Six`] or [`Width::Ten`]: the header of the answer differs.
        width: Width,
        /// Leave the block descriptor out.
        no_descriptor: bool,
        /// 0: current values, 1: which can be changed, 2: defaults, 3: saved ones.
        control: u8,
        /// Which page; 0x3f: all.
        page: u8,
        /// Which of its sub-pages.
        subpage: u8,
        /// Room for the answer.
        allocation: u16,
    },
    /// Set the unit.
    ModeSelect {
        /// [`Width::Six`] or [`Width::Ten`].
        width: Width,
        /// For ever, not only until the next reset.
        save: bool,
        /// Bytes of the parameters.
        length: u16,
    },
    /// Spin up or down, eject or load.
    StartStop {
        /// Start, else stop.
        start: bool,
        /// Load or eject the medium.
        load_eject: bool,
        /// A power condition, or 0.
        power: u8,
    },
    /// Lock or unlock the medium.
    PreventAllow {
        /// Lock.
        prevent: bool,
    },
    /// How big is the unit? [`Width::Ten`] answers 32 bits only.
    ReadCapacity {
        /// [`Width::Ten`] or [`Width::Sixteen`].
        width: Width,
        /// Room for the answer; the short form's is always 8.
        allocation: u32,
    },
    /// Read blocks.
    Read {
        /// Form.
        width: Width,
        /// What.
        extent: Extent,
        /// From the medium, not from a cache.
        fua: bool,
    },
    /// Write blocks.
    Write {
        /// Form; [`Width::Six`] has no `fua`.
        width: Width,
        /// Where to.
        extent: Extent,
        /// Done only when it is on the medium.
        fua: bool,
    },
    /// Check that blocks can be read.
    Verify {
        /// Form.
        width: Width,
        /// What.
        extent: Extent,
        /// 0: only that; else how they are to be compared with data of the guest's.
        byte_check: u8,
    },
    /// Bring written blocks to the medium.
    SynchronizeCache {
        /// Form.
        width: Width,
        /// What; 0 blocks: all from there.
        extent: Extent,
        /// Answer at once.
        immediate: bool,
    },
    /// Forget blocks; a list of which follows as data.
    Unmap {
        /// Keep them reserved.
        anchor: bool,
        /// Bytes of the list.
        length: u16,
    },
    /// Write one block many times.
    WriteSame {
        /// Form; only [`Width::Sixteen`] has `no_data`.
        width: Width,
        /// Where to; 0 blocks: all from there.
        extent: Extent,
        /// Forget the blocks if they then read as the given one.
        unmap: bool,
        /// Keep forgotten blocks reserved.
        anchor: bool,
        /// There is no data; the block is all zeroes.
        no_data: bool,
    },
    /// Which units are there?
    ReportLuns {
        /// Which kind of units.
        select: u8,
        /// Room for the answer.
        allocation: u32,
    },
    /// Who has reserved the unit?
    PersistentReserveIn {
        /// What is asked.
        action: u8,
        /// Room for the answer.
        allocation: u16,
    },
    /// Reserve the unit.
    PersistentReserveOut {
        /// What to do.
        action: u8,
        /// Bytes of the parameters.
        length: u32,
    },
    /// Which tracks has the disc?
    ReadToc {
        /// Addresses in minutes, seconds and frames.
        msf: bool,
        /// Which kind of list.
        format: u8,
        /// Begin at this track or session.
        track: u8,
        /// Room for the answer.
        allocation: u16,
    },
    /// What can the drive do?
    GetConfiguration {
        /// 0: all features, 1: those in effect, 2: one.
        kind: u8,
        /// The first, or the one.
        feature: u16,
        /// Room for the answer.
        allocation: u16,
    },
    /// Has the disc been changed?
    GetEventStatus {
        /// Answer now; the other way isn't for a guest to use.
        polled: bool,
        /// Bit per class of events.
        classes: u8,
        /// Room for the answer.
        allocation: u16,
    },
    /// Is the disc blank, complete, rewritable?
    ReadDiscInformation {
        /// Room for the answer.
        allocation: u16,
    },
}

/// The bytes as a form of command.
fn form<T: FromBytes>(cdb: &[u8]) -> Result<T, CdbError> {
    T::read_from_prefix(cdb)
        .map(|(cdb, _)| cdb)
        .map_err(|_| CdbError::Short {
            opcode: cdb.first().copied().unwrap_or(0),
            got: cdb.len(),
        })
}

fn bad(opcode: u8, byte: u8) -> CdbError {
    CdbError::BadField { opcode, byte }
}

/// Bits 7 to 5 of byte 1: protection information, which no unit here has.
fn unprotected(opcode: u8, flags: u8) -> Result<(), CdbError> {
    if flags & 0xe0 == 0 {
        Ok(())
    } else {
        Err(bad(opcode, 1))
    }
}

const FUA: u8 = 0x08;

impl Command {
    /// Reads a command; bytes behind it are ignored.
    ///
    /// # Errors
    ///
    /// What makes it impossible, as sense: [`CdbError::sense`].
    pub fn parse(cdb: &[u8]) -> Result<Self, CdbError> {
        let opcode = *cdb.first().ok_or(CdbError::Short { opcode: 0, got: 0 })?;
        Ok(match opcode {
            op::READ_6 | op::READ_10 | op::READ_12 | op::READ_16 => {
                let (width, extent, flags) = blocks(cdb)?;
                Self::Read {
                    width,
                    extent,
                    fua: flags & FUA != 0,
                }
            }
            op::WRITE_6 | op::WRITE_10 | op::WRITE_12 | op::WRITE_16 => {
                let (width, extent, flags) = blocks(cdb)?;
                Self::Write {
                    width,
                    extent,
                    fua: flags & FUA != 0,
                }
            }
            op::VERIFY_10 | op::VERIFY_12 | op::VERIFY_16 => {
                let (width, extent, flags) = blocks(cdb)?;
                Self::Verify {
                    width,
                    extent,
                    byte_check: (flags >> 1) & 3,
                }
            }
            op::SYNCHRONIZE_CACHE_10 | op::SYNCHRONIZE_CACHE_16 => {
                let (width, extent, flags) = blocks(cdb)?;
                Self::SynchronizeCache {
                    width,
                    extent,
                    immediate: flags & 2 != 0,
                }
            }
            op::WRITE_SAME_10 | op::WRITE_SAME_16 => {
                let (width, extent, flags) = blocks(cdb)?;
                // LBDATA and PBDATA are obsolete, NDOB exists in the long form only.
                let refused = if width == Width::Sixteen { 0x06 } else { 0x07 };
                if flags & refused != 0 {
                    return Err(bad(opcode, 1));
                }
                Self::WriteSame {
                    width,
                    extent,
                    unmap: flags & 0x08 != 0,
                    anchor: flags & 0x10 != 0,
                    no_data: flags & 0x01 != 0,
                }
            }
            _ => return Self::parse_other(opcode, cdb),
        })
    }

    /// Commands that name no blocks.
    fn parse_other(opcode: u8, cdb: &[u8]) -> Result<Self, CdbError> {
        Ok(match opcode {
            op::TEST_UNIT_READY => {
                form::<Cdb6>(cdb)?;
                Self::TestUnitReady
            }
            op::REQUEST_SENSE => {
                let cdb = form::<Cdb6>(cdb)?;
                Self::RequestSense {
                    descriptor: cdb.byte1 & 1 != 0,
                    allocation: cdb.length,
                }
            }
            op::INQUIRY => {
                let cdb = form::<Cdb6>(cdb)?;
                let page = cdb.byte2;
                let wants_page = cdb.byte1 & 1 != 0;
                if !wants_page && page != 0 {
                    return Err(bad(opcode, 2));
                }
                Self::Inquiry {
                    page: wants_page.then_some(page),
                    allocation: u16::from_be_bytes([cdb.byte3, cdb.length]),
                }
            }
            op::MODE_SENSE_6 => {
                let cdb = form::<Cdb6>(cdb)?;
                Self::ModeSense {
                    width: Width::Six,
                    no_descriptor: cdb.byte1 & 0x08 != 0,
                    control: cdb.byte2 >> 6,
                    page: cdb.byte2 & 0x3f,
                    subpage: cdb.byte3,
                    allocation: cdb.length.into(),
                }
            }
            op::MODE_SENSE_10 => {
                let cdb = form::<Cdb10>(cdb)?;
                let [page, subpage, ..] = cdb.lba.to_bytes();
                Self::ModeSense {
                    width: Width::Ten,
                    no_descriptor: cdb.byte1 & 0x08 != 0,
                    control: page >> 6,
                    page: page & 0x3f,
                    subpage,
                    allocation: cdb.length.get(),
                }
            }
            op::MODE_SELECT_6 => {
                let cdb = form::<Cdb6>(cdb)?;
                Self::ModeSelect {
                    width: Width::Six,
                    save: cdb.byte1 & 1 != 0,
                    length: cdb.length.into(),
                }
            }
            op::MODE_SELECT_10 => {
                let cdb = form::<Cdb10>(cdb)?;
                Self::ModeSelect {
                    width: Width::Ten,
                    save: cdb.byte1 & 1 != 0,
                    length: cdb.length.get(),
                }
            }
            op::START_STOP_UNIT => {
                let cdb = form::<Cdb6>(cdb)?;
                Self::StartStop {
                    start: cdb.length & 1 != 0,
                    load_eject: cdb.length & 2 != 0,
                    power: cdb.length >> 4,
                }
            }
            op::PREVENT_ALLOW_MEDIUM_REMOVAL => {
                let cdb = form::<Cdb6>(cdb)?;
                Self::PreventAllow {
                    prevent: cdb.length & 1 != 0,
                }
            }
            op::READ_CAPACITY_10 => {
                form::<Cdb10>(cdb)?;
                Self::ReadCapacity {
                    width: Width::Ten,
                    allocation: 8,
                }
            }
            op::SERVICE_ACTION_IN_16 => {
                let cdb = form::<Cdb16>(cdb)?;
                if cdb.byte1 & 0x1f != op::SAI_READ_CAPACITY_16 {
                    return Err(bad(opcode, 1));
                }
                Self::ReadCapacity {
                    width: Width::Sixteen,
                    allocation: cdb.length.get(),
                }
            }
            op::UNMAP => {
                let cdb = form::<Cdb10>(cdb)?;
                Self::Unmap {
                    anchor: cdb.byte1 & 1 != 0,
                    length: cdb.length.get(),
                }
            }
            op::REPORT_LUNS => {
                let cdb = form::<Cdb12>(cdb)?;
                let [select, ..] = cdb.lba.to_bytes();
                Self::ReportLuns {
                    select,
                    allocation: cdb.length.get(),
                }
            }
            op::PERSISTENT_RESERVE_IN => {
                let cdb = form::<Cdb10>(cdb)?;
                Self::PersistentReserveIn {
                    action: cdb.byte1 & 0x1f,
                    allocation: cdb.length.get(),
                }
            }
            op::PERSISTENT_RESERVE_OUT => {
                let cdb = form::<Cdb10>(cdb)?;
                let [.., high0] = cdb.lba.to_bytes();
                let [high1, low] = cdb.length.get().to_be_bytes();
                Self::PersistentReserveOut {
                    action: cdb.byte1 & 0x1f,
                    length: u32::from_be_bytes([high0, cdb.group, high1, low]),
                }
            }
            op::READ_TOC => {
                let cdb = form::<Cdb10>(cdb)?;
                let [format, ..] = cdb.lba.to_bytes();
                // Before MMC the format was in the topmost bits of the last byte.
                let old = cdb.control >> 6;
                Self::ReadToc {
                    msf: cdb.byte1 & 2 != 0,
                    format: if format & 0x0f == 0 {
                        old
                    } else {
                        format & 0x0f
                    },
                    track: cdb.group,
                    allocation: cdb.length.get(),
                }
            }
            op::GET_CONFIGURATION => {
                let cdb = form::<Cdb10>(cdb)?;
                let [high, low, ..] = cdb.lba.to_bytes();
                Self::GetConfiguration {
                    kind: cdb.byte1 & 3,
                    feature: u16::from_be_bytes([high, low]),
                    allocation: cdb.length.get(),
                }
            }
            op::GET_EVENT_STATUS => {
                let cdb = form::<Cdb10>(cdb)?;
                let [_, _, classes, _] = cdb.lba.to_bytes();
                Self::GetEventStatus {
                    polled: cdb.byte1 & 1 != 0,
                    classes,
                    allocation: cdb.length.get(),
                }
            }
            op::READ_DISC_INFORMATION => {
                let cdb = form::<Cdb10>(cdb)?;
                if cdb.byte1 & 7 != 0 {
                    return Err(bad(opcode, 1));
                }
                Self::ReadDiscInformation {
                    allocation: cdb.length.get(),
                }
            }
            other => return Err(CdbError::UnknownOpcode(other)),
        })
    }
}

/// Form, blocks and flags of a command that names blocks. The topmost three bits of the
/// operation code say how long it is.
fn blocks(cdb: &[u8]) -> Result<(Width, Extent, u8), CdbError> {
    let opcode = cdb.first().copied().unwrap_or(0);
    match opcode >> 5 {
        0 => {
            let cdb = form::<Cdb6>(cdb)?;
            let lba = u32::from_be_bytes([0, cdb.byte1 & 0x1f, cdb.byte2, cdb.byte3]);
            let extent = Extent {
                lba: lba.into(),
                // These forms can't name no block at all.
                blocks: if cdb.length == 0 {
                    256
                } else {
                    cdb.length.into()
                },
            };
            Ok((Width::Six, extent, 0))
        }
        1 | 2 => {
            let cdb = form::<Cdb10>(cdb)?;
            // Byte 1 of WRITE SAME and VERIFY has the same three bits.
            unprotected(opcode, cdb.byte1)?;
            let extent = Extent {
                lba: cdb.lba.get().into(),
                blocks: cdb.length.get().into(),
            };
            Ok((Width::Ten, extent, cdb.byte1))
        }
        4 => {
            let cdb = form::<Cdb16>(cdb)?;
            unprotected(opcode, cdb.byte1)?;
            let extent = Extent {
                lba: cdb.lba.get(),
                blocks: cdb.length.get(),
            };
            Ok((Width::Sixteen, extent, cdb.byte1))
        }
        _ => {
            let cdb = form::<Cdb12>(cdb)?;
            unprotected(opcode, cdb.byte1)?;
            let extent = Extent {
                lba: cdb.lba.get().into(),
                blocks: cdb.length.get(),
            };
            Ok((Width::Twelve, extent, cdb.byte1))
        }
    }
}
