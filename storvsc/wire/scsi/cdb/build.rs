// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands into bytes: what a guest sends, and what tests compare with.

use super::layout::{Cdb10, Cdb12, Cdb16, Cdb6};
use super::{Cdb, Command, Extent, Width, FUA};
use crate::scsi::opcode as op;
use zerocopy::big_endian::{U16, U32, U64};

/// Operation codes of a command's four forms; 0 where there is none.
struct Opcodes {
    six: u8,
    ten: u8,
    twelve: u8,
    sixteen: u8,
}

const READ: Opcodes = Opcodes {
    six: op::READ_6,
    ten: op::READ_10,
    twelve: op::READ_12,
    sixteen: op::READ_16,
};
const WRITE: Opcodes = Opcodes {
    six: op::WRITE_6,
    ten: op::WRITE_10,
    twelve: op::WRITE_12,
    sixteen: op::WRITE_16,
};
const VERIFY: Opcodes = Opcodes {
    six: 0,
    ten: op::VERIFY_10,
    twelve: op::VERIFY_12,
    sixteen: op::VERIFY_16,
};
const SYNCHRONIZE_CACHE: Opcodes = Opcodes {
    six: 0,
    ten: op::SYNCHRONIZE_CACHE_10,
    twelve: 0,
    sixteen: op::SYNCHRONIZE_CACHE_16,
};
const WRITE_SAME: Opcodes = Opcodes {
    six: 0,
    ten: op::WRITE_SAME_10,
    twelve: 0,
    sixteen: op::WRITE_SAME_16,
};

/// `None` where the command has no such form or the blocks don't fit in it.
fn blocks(opcodes: &Opcodes, width: Width, extent: Extent, flags: u8) -> Option<Cdb> {
    let existing = |opcode: u8| (opcode != 0).then_some(opcode);
    let short_lba = u32::try_from(extent.lba);
    Some(match width {
        Width::Six => {
            let [high, byte1, byte2, byte3] = short_lba.ok()?.to_be_bytes();
            if high != 0 || byte1 > 0x1f || extent.blocks == 0 || extent.blocks > 256 || flags != 0
            {
                return None;
            }
            Cdb::of(&Cdb6 {
                opcode: existing(opcodes.six)?,
                byte1,
                byte2,
                byte3,
                // 256 is written as 0.
                length: extent.blocks as u8,
                control: 0,
            })
        }
        Width::Ten => Cdb::of(&Cdb10 {
            opcode: existing(opcodes.ten)?,
            byte1: flags,
            lba: U32::new(short_lba.ok()?),
            group: 0,
            length: U16::new(u16::try_from(extent.blocks).ok()?),
            control: 0,
        }),
        Width::Twelve => Cdb::of(&Cdb12 {
            opcode: existing(opcodes.twelve)?,
            byte1: flags,
            lba: U32::new(short_lba.ok()?),
            length: U32::new(extent.blocks),
            group: 0,
            control: 0,
        }),
        Width::Sixteen => Cdb::of(&Cdb16 {
            opcode: existing(opcodes.sixteen)?,
            byte1: flags,
            lba: U64::new(extent.lba),
            length: U32::new(extent.blocks),
            group: 0,
            control: 0,
        }),
    })
}

const fn bit(set: bool, bit: u8) -> u8 {
    if set {
        bit
    } else {
        0
    }
}

/// A 10-byte command with parameters in the bytes of its address.
fn ten(opcode: u8, byte1: u8, parameters: [u8; 4], group: u8, length: u16) -> Cdb {
    Cdb::of(&Cdb10 {
        opcode,
        byte1,
        lba: U32::from_bytes(parameters),
        group,
        length: U16::new(length),
        control: 0,
    })
}

fn six(opcode: u8, byte1: u8, byte2: u8, byte3: u8, length: u8) -> Cdb {
    Cdb::of(&Cdb6 {
        opcode,
        byte1,
        byte2,
        byte3,
        length,
        control: 0,
    })
}

impl Command {
    /// Builds the command; `None` where it has no such form or a value doesn't fit in the form.
    pub fn encode(&self) -> Option<Cdb> {
        Some(match *self {
            Self::Read { width, extent, fua } => {
                return blocks(&READ, width, extent, bit(fua, FUA))
            }
            Self::Write { width, extent, fua } => {
                return blocks(&WRITE, width, extent, bit(fua, FUA))
            }
            Self::Verify {
                width,
                extent,
                byte_check,
            } => return blocks(&VERIFY, width, extent, (byte_check & 3) << 1),
            Self::SynchronizeCache {
                width,
                extent,
                immediate,
            } => return blocks(&SYNCHRONIZE_CACHE, width, extent, bit(immediate, 2)),
            Self::WriteSame {
                width,
                extent,
                unmap,
                anchor,
                no_data,
            } => {
                if no_data && width != Width::Sixteen {
                    return None;
                }
                let flags = bit(unmap, 0x08) | bit(anchor, 0x10) | bit(no_data, 0x01);
                return blocks(&WRITE_SAME, width, extent, flags);
            }
            Self::TestUnitReady => six(op::TEST_UNIT_READY, 0, 0, 0, 0),
            Self::RequestSense {
                descriptor,
                allocation,
            } => six(op::REQUEST_SENSE, bit(descriptor, 1), 0, 0, allocation),
            Self::Inquiry { page, allocation } => {
                let [high, low] = allocation.to_be_bytes();
                let vital = bit(page.is_some(), 1);
                six(op::INQUIRY, vital, page.unwrap_or(0), high, low)
            }
            Self::ModeSense {
                width,
                no_descriptor,
                control,
                page,
                subpage,
                allocation,
            } => {
                let byte1 = bit(no_descriptor, 0x08);
                let page = (control << 6) | (page & 0x3f);
                match width {
                    Width::Six => {
                        let length = u8::try_from(allocation).ok()?;
                        six(op::MODE_SENSE_6, byte1, page, subpage, length)
                    }
                    Width::Ten => ten(
                        op::MODE_SENSE_10,
                        byte1,
                        [page, subpage, 0, 0],
                        0,
                        allocation,
                    ),
                    Width::Twelve | Width::Sixteen => return None,
                }
            }
            Self::ModeSelect {
                width,
                save,
                length,
            } => {
                // Bit 4: the pages are laid out as the standard says.
                let byte1 = 0x10 | bit(save, 1);
                match width {
                    Width::Six => {
                        let length = u8::try_from(length).ok()?;
                        six(op::MODE_SELECT_6, byte1, 0, 0, length)
                    }
                    Width::Ten => ten(op::MODE_SELECT_10, byte1, [0; 4], 0, length),
                    Width::Twelve | Width::Sixteen => return None,
                }
            }
            Self::StartStop {
                start,
                load_eject,
                power,
            } => {
                let what = bit(start, 1) | bit(load_eject, 2) | (power << 4);
                six(op::START_STOP_UNIT, 0, 0, 0, what)
            }
            Self::PreventAllow { prevent } => {
                let what = bit(prevent, 1);
                six(op::PREVENT_ALLOW_MEDIUM_REMOVAL, 0, 0, 0, what)
            }
            Self::ReadCapacity { width, allocation } => match width {
                Width::Ten => ten(op::READ_CAPACITY_10, 0, [0; 4], 0, 0),
                Width::Sixteen => Cdb::of(&Cdb16 {
                    opcode: op::SERVICE_ACTION_IN_16,
                    byte1: op::SAI_READ_CAPACITY_16,
                    length: U32::new(allocation),
                    ..Cdb16::default()
                }),
                Width::Six | Width::Twelve => return None,
            },
            Self::Unmap { anchor, length } => ten(op::UNMAP, bit(anchor, 1), [0; 4], 0, length),
            Self::ReportLuns { select, allocation } => Cdb::of(&Cdb12 {
                opcode: op::REPORT_LUNS,
                lba: U32::from_bytes([select, 0, 0, 0]),
                length: U32::new(allocation),
                ..Cdb12::default()
            }),
            Self::PersistentReserveIn { action, allocation } => ten(
                op::PERSISTENT_RESERVE_IN,
                action & 0x1f,
                [0; 4],
                0,
                allocation,
            ),
            Self::PersistentReserveOut { action, length } => {
                let [high0, group, high1, low] = length.to_be_bytes();
                let low = u16::from_be_bytes([high1, low]);
                ten(
                    op::PERSISTENT_RESERVE_OUT,
                    action & 0x1f,
                    [0, 0, 0, high0],
                    group,
                    low,
                )
            }
            Self::ReadToc {
                msf,
                format,
                track,
                allocation,
            } => ten(
                op::READ_TOC,
                bit(msf, 2),
                [format & 0x0f, 0, 0, 0],
                track,
                allocation,
            ),
            Self::GetConfiguration {
                kind,
                feature,
                allocation,
            } => {
                let [high, low] = feature.to_be_bytes();
                let parameters = [high, low, 0, 0];
                ten(op::GET_CONFIGURATION, kind & 3, parameters, 0, allocation)
            }
            Self::GetEventStatus {
                polled,
                classes,
                allocation,
            } => ten(
                op::GET_EVENT_STATUS,
                bit(polled, 1),
                [0, 0, classes, 0],
                0,
                allocation,
            ),
            Self::ReadDiscInformation { allocation } => {
                ten(op::READ_DISC_INFORMATION, 0, [0; 4], 0, allocation)
            }
        })
    }
}
