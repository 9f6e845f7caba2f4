// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the answer to a request means to the guest.
//!
//! A host says it three times: the port's status, the unit's status, and sense data. [`judge`] makes
//! one [`Verdict`] of them. The rules are those that Linux has found out over the years
//! (`storvsc_handle_error()`, `storvsc_on_io_completion()`), with these differences: a status that
//! nobody knows is an error and never a success; sense data that make no sense are none; a busy or
//! reserved unit is told from a broken one; and a unit that isn't there is never "found" by an
//! INQUIRY whose failure is overlooked.

use crate::scsi::{opcode, ScsiStatus, Sense, SenseBytes};
use crate::{SrbCompletion, SrbStatus};

/// What the answer is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The command's operation code.
    pub opcode: u8,
    /// Bytes of data it has room for, or brings along.
    pub bytes: u32,
    /// The controller is a Fibre Channel adapter.
    pub fibre: bool,
}

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It was carried out, or the unit's status says what to do.
    Answered,
    /// It failed on the way, and may be tried again a few times.
    Error,
    /// It is to be sent again, as often as it takes.
    Requeue,
    /// It failed and isn't tried again: a command that was passed through for somebody else.
    Passthrough,
    /// The unit isn't there.
    NoConnect,
}

/// What else is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowUp {
    /// The unit changed: look at it again.
    Rescan,
    /// The unit is gone: remove it.
    Remove,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of the command.
    pub disposition: Disposition,
    /// The unit's status.
    pub status: ScsiStatus,
    /// Bytes that were transferred; at most what was asked for.
    pub transferred: u32,
    /// Sense data; empty unless they are valid and the status asks for a look at them.
    pub sense: SenseBytes,
    /// What else is to be done.
    pub follow_up: Option<FollowUp>,
    /// The host says it transferred more than there was to transfer.
    pub overrun: bool,
}

/// ATA PASS-THROUGH commands, which hosts may not know.
const ATA_12: u8 = 0xa1;
const ATA_16: u8 = 0x85;
const MAINTENANCE_IN: u8 = 0xa3;
const PERSISTENT_RESERVE_IN: u8 = 0x5e;

/// Commands whose failure hosts report although a disk could do without them
/// (`storvsc_host_mishandles_cmd()`).
fn failure_is_overlooked(asked: &Asked) -> bool {
    match asked.opcode {
        opcode::INQUIRY | opcode::MODE_SENSE_6 | opcode::MODE_SENSE_10 => true,
        MAINTENANCE_IN | PERSISTENT_RESERVE_IN => asked.fibre,
        _ => false,
    }
}

/// The unit, its target or its bus isn't there.
fn is_absent(code: SrbStatus) -> bool {
    matches!(
        code,
        SrbStatus::INVALID_LUN
            | SrbStatus::INVALID_TARGET
            | SrbStatus::INVALID_PATH
            | SrbStatus::NO_DEVICE
    )
}

/// What these sense data ask for besides telling the upper layers.
fn change(sense: &Sense) -> bool {
    match (sense.asc, sense.ascq) {
        // The unit has another size.
        (0x2a, 0x09) => true,
        // Its parameters changed; not those that say which units there are or what they are called.
        (0x3f, ascq) => ascq != 0x03 && ascq != 0x0e,
        _ => false,
    }
}

/// Judges the answer to a request.
pub fn judge(answer: &SrbCompletion, asked: &Asked) -> Verdict {
    let code = answer.srb_status.code();
    let overrun = answer.transferred > asked.bytes;
    let moved = answer.transferred.min(asked.bytes);
    let mut verdict = Verdict {
        disposition: Disposition::Answered,
        status: answer.scsi_status,
        transferred: 0,
        sense: SenseBytes::EMPTY,
        follow_up: None,
        overrun,
    };
    if is_absent(code) {
        verdict.status = ScsiStatus::GOOD;
        verdict.disposition = Disposition::NoConnect;
        if code == SrbStatus::INVALID_LUN {
            verdict.follow_up = Some(FollowUp::Remove);
        }
        return verdict;
    }
    if failure_is_overlooked(asked) {
        verdict.status = ScsiStatus::GOOD;
        verdict.transferred = moved;
        return verdict;
    }
    let check = answer.scsi_status == ScsiStatus::CHECK_CONDITION;
    let sense = (check && answer.srb_status.has_autosense())
        .then(|| answer.sense.parse())
        .flatten();
    if sense.is_some() {
        verdict.sense = answer.sense;
    }
    if code == SrbStatus::SUCCESS {
        verdict.transferred = moved;
        // Sense data that are promised and don't come would be asked for, which hosts don't know.
        if check && sense.is_none() {
            verdict.disposition = Disposition::Error;
        }
        return verdict;
    }
    if code == SrbStatus::DATA_OVERRUN {
        verdict.transferred = moved;
    }
    if let Some(sense) = sense {
        if change(&sense) {
            verdict.disposition = Disposition::Requeue;
            verdict.follow_up = Some(FollowUp::Rescan);
        }
        return verdict;
    }
    let unit_says = !check && answer.scsi_status != ScsiStatus::GOOD;
    verdict.disposition = match asked.opcode {
        // Busy, full, reserved: the upper layers know what to do.
        _ if unit_says => Disposition::Answered,
        ATA_12 | ATA_16 => Disposition::Passthrough,
        // Some hosts fail it for units that work.
        opcode::TEST_UNIT_READY if code == SrbStatus::ERROR && !check => Disposition::Answered,
        _ => Disposition::Error,
    };
    verdict
}
