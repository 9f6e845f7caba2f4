// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a unit makes of a command: an answer at once, or work for its back end.

mod answer;
mod disc;

use std::ops::Range;

use storvsc_wire::scsi::cdb::Extent;
use storvsc_wire::scsi::unmap::{self, UnmapList};
use storvsc_wire::scsi::{Command, ScsiStatus, Sense, SenseBytes};
use storvsc_wire::{DataDirection, SrbStatus};

use super::buffer::DataBuffer;
use super::lun::Lun;
use super::work::Work;

pub(super) use answer::{absent, report_luns};

/// Most ranges of an UNMAP.
const MAX_UNMAP_RANGES: u32 = 256;
/// Most bytes of an UNMAP as it is told; more are taken.
const MAX_UNMAP_BYTES: u64 = 4 << 30;
/// Most bytes of a WRITE SAME.
const MAX_WRITE_SAME_BYTES: u64 = 64 << 20;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) srb_status: SrbStatus,
    pub(super) scsi_status: ScsiStatus,
    pub(super) sense: SenseBytes,
    pub(super) transferred: u32,
}

impl Outcome {
    /// It worked.
    pub(super) fn good(transferred: u64) -> Self {
        Self {
            srb_status: SrbStatus::SUCCESS,
            scsi_status: ScsiStatus::GOOD,
            sense: SenseBytes::EMPTY,
            transferred: u32::try_from(transferred).unwrap_or(u32::MAX),
        }
    }

    /// The unit said no.
    pub(super) fn check(sense: Sense) -> Self {
        Self {
            srb_status: SrbStatus::ERROR.with_autosense(),
            scsi_status: ScsiStatus::CHECK_CONDITION,
            sense: sense.fixed(),
            transferred: 0,
        }
    }

    /// The request never reached a unit.
    pub(super) fn port(status: SrbStatus) -> Self {
        Self {
            srb_status: status,
            scsi_status: ScsiStatus::GOOD,
            sense: SenseBytes::EMPTY,
            transferred: 0,
        }
    }

    /// What became of work: nothing, or an error number.
    pub(super) fn of_work(result: Result<(), i32>, writing: bool, transferred: u64) -> Self {
        match result {
            Ok(()) => Self::good(transferred),
            Err(libc::ENOSPC | libc::EDQUOT) => Self::check(Sense::SPACE_ALLOCATION_FAILED),
            Err(libc::EROFS | libc::EBADF | libc::EPERM) if writing => {
                Self::check(Sense::WRITE_PROTECTED)
            }
            Err(libc::EOPNOTSUPP) => Self::check(Sense::INVALID_OPCODE),
            Err(_) if writing => Self::check(Sense::WRITE_ERROR),
            Err(_) => Self::check(Sense::UNRECOVERED_READ_ERROR),
        }
    }
}

/// What a unit makes of a command.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is done.
    Done(Outcome),
    /// The back end has to do this first; then so many bytes were transferred.
    Work {
        /// What.
        work: Work,
        /// Bytes of the request's data.
        transferred: u64,
    },
}

/// No answer can be given but this.
struct Refused(Outcome);

impl From<Sense> for Refused {
    fn from(sense: Sense) -> Self {
        Self(Outcome::check(sense))
    }
}

impl From<SrbStatus> for Refused {
    fn from(status: SrbStatus) -> Self {
        Self(Outcome::port(status))
    }
}

/// Has a unit carry out a command. `most` is the largest transfer that the guest was told of.
pub(super) fn execute(lun: &Lun, command: &Command, buffer: &DataBuffer, most: u32) -> Verdict {
    // These three are carried out whatever has to be told.
    let always = matches!(
        command,
        Command::Inquiry { .. } | Command::RequestSense { .. } | Command::ReportLuns { .. }
    );
    if !always {
        if let Some(sense) = lun.take_attention() {
            return Verdict::Done(Outcome::check(sense));
        }
    }
    match carry_out(lun, command, buffer, most) {
        Ok(verdict) => verdict,
        Err(Refused(outcome)) => Verdict::Done(outcome),
    }
}

fn carry_out(
    lun: &Lun,
    command: &Command,
    buffer: &DataBuffer,
    most: u32,
) -> Result<Verdict, Refused> {
    match *command {
        Command::TestUnitReady => {
            ready(lun)?;
            Ok(done())
        }
        Command::Read { extent, .. } => {
            ready(lun)?;
            let range = blocks(lun, extent)?;
            moves(buffer, DataDirection::In, &range)?;
            Ok(transfer(range.clone(), |bytes| Work::Read {
                offset: range.start,
                bytes,
            }))
        }
        Command::Write { extent, fua, .. } => {
            writable(lun)?;
            let range = blocks(lun, extent)?;
            moves(buffer, DataDirection::Out, &range)?;
            Ok(transfer(range.clone(), |bytes| Work::Write {
                offset: range.start,
                bytes,
                durable: fua,
            }))
        }
        Command::Verify {
            extent, byte_check, ..
        } => {
            ready(lun)?;
            if byte_check != 0 {
                return Err(Sense::INVALID_FIELD_IN_CDB.into());
            }
            blocks(lun, extent)?;
            Ok(done())
        }
        Command::SynchronizeCache { extent, .. } => {
            ready(lun)?;
            blocks(lun, extent)?;
            // There is one cache for the whole unit; without one there is nothing to do.
            if lun.read_only || !lun.backend.write_cache() {
                return Ok(done());
            }
            Ok(Verdict::Work {
                work: Work::Flush,
                transferred: 0,
            })
        }
        Command::Unmap { anchor, length } => unmap_blocks(lun, anchor, length, buffer),
        Command::WriteSame {
            extent,
            unmap,
            anchor,
            no_data,
            ..
        } => {
            if anchor {
                return Err(Sense::INVALID_FIELD_IN_CDB.into());
            }
            write_same(lun, extent, unmap, no_data, buffer)
        }
        Command::StartStop {
            start, load_eject, ..
        } => {
            disc::start_stop(lun, start, load_eject)?;
            Ok(done())
        }
        Command::PreventAllow { prevent } => {
            disc::prevent(lun, prevent)?;
            Ok(done())
        }
        Command::Inquiry { page, allocation } => {
            let data = answer::inquiry(lun, page, most)?;
            give(buffer, data.as_bytes(), allocation.into())
        }
        Command::RequestSense {
            descriptor,
            allocation,
        } => {
            let sense = lun.take_attention().unwrap_or(Sense::NONE);
            let bytes = if descriptor {
                sense.descriptor()
            } else {
                sense.fixed()
            };
            give(buffer, bytes.as_bytes(), allocation.into())
        }
        Command::ReadCapacity { width, allocation } => {
            ready(lun)?;
            let data = answer::capacity(lun, width);
            give(buffer, data.as_bytes(), allocation)
        }
        Command::ModeSense {
            width,
            no_descriptor,
            control,
            page,
            subpage,
            allocation,
        } => {
            let data = answer::mode_sense(lun, width, no_descriptor, control, page, subpage)?;
            give(buffer, data.as_bytes(), allocation.into())
        }
        Command::ReadToc {
            msf,
            format,
            track,
            allocation,
        } => {
            ready(lun)?;
            let data = disc::toc(lun, msf, format, track)?;
            give(buffer, data.as_bytes(), allocation.into())
        }
        Command::GetConfiguration {
            kind,
            feature,
            allocation,
        } => {
            let data = disc::configuration(lun, kind, feature)?;
            give(buffer, data.as_bytes(), allocation.into())
        }
        Command::GetEventStatus {
            polled,
            classes,
            allocation,
        } => {
            let data = disc::event_status(lun, polled, classes)?;
            give(buffer, data.as_bytes(), allocation.into())
        }
        Command::ReadDiscInformation { allocation } => {
            ready(lun)?;
            let data = disc::information(lun)?;
            give(buffer, data.as_bytes(), allocation.into())
        }
        // The controller answers it, which knows all units.
        Command::ReportLuns { .. } => Err(Sense::INVALID_OPCODE.into()),
        // There are no reservations and nothing can be set.
        Command::PersistentReserveIn { .. }
        | Command::PersistentReserveOut { .. }
        | Command::ModeSelect { .. } => Err(Sense::INVALID_OPCODE.into()),
    }
}

fn done() -> Verdict {
    Verdict::Done(Outcome::good(0))
}

/// There is a medium.
fn ready(lun: &Lun) -> Result<(), Refused> {
    if lun.cdrom && lun.tray.lock().open {
        return Err(Sense::NO_MEDIUM.into());
    }
    Ok(())
}

fn writable(lun: &Lun) -> Result<(), Refused> {
    ready(lun)?;
    if lun.read_only {
        return Err(Sense::WRITE_PROTECTED.into());
    }
    Ok(())
}

fn blocks(lun: &Lun, extent: Extent) -> Result<Range<u64>, Refused> {
    lun.range(extent)
        .ok_or_else(|| Sense::LBA_OUT_OF_RANGE.into())
}

/// The request has room for the data and moves it the right way.
fn moves(buffer: &DataBuffer, direction: DataDirection, range: &Range<u64>) -> Result<(), Refused> {
    let bytes = range.end.saturating_sub(range.start);
    if bytes == 0 {
        return Ok(());
    }
    if buffer.direction() != direction {
        return Err(SrbStatus::INVALID_REQUEST.into());
    }
    if bytes > buffer.len() {
        return Err(SrbStatus::DATA_OVERRUN.into());
    }
    Ok(())
}

fn transfer(range: Range<u64>, work: impl FnOnce(u64) -> Work) -> Verdict {
    let bytes = range.end.saturating_sub(range.start);
    if bytes == 0 {
        return done();
    }
    Verdict::Work {
        work: work(bytes),
        transferred: bytes,
    }
}

/// Gives the guest data, as much as it has room for; it learns how much that was.
fn give(buffer: &DataBuffer, data: &[u8], allocation: u32) -> Result<Verdict, Refused> {
    let most = buffer.len().min(allocation.into());
    let given = usize::try_from(most)
        .ok()
        .and_then(|most| data.get(..most))
        .unwrap_or(data);
    if given.is_empty() {
        return Ok(done());
    }
    if buffer.direction() != DataDirection::In {
        return Err(SrbStatus::INVALID_REQUEST.into());
    }
    buffer
        .write(0, given)
        .map_err(|_| Refused::from(SrbStatus::INVALID_REQUEST))?;
    Ok(Verdict::Done(Outcome::good(given.len() as u64)))
}

/// [`give`] where there is no unit to refuse it.
pub(super) fn give_all(buffer: &DataBuffer, data: &[u8], allocation: u32) -> Outcome {
    match give(buffer, data, allocation) {
        Ok(Verdict::Done(outcome)) | Err(Refused(outcome)) => outcome,
        Ok(Verdict::Work { .. }) => Outcome::port(SrbStatus::INTERNAL_ERROR),
    }
}

/// Takes parameters from the guest.
fn take(buffer: &DataBuffer, bytes: usize) -> Result<Vec<u8>, Refused> {
    if buffer.direction() != DataDirection::Out {
        return Err(SrbStatus::INVALID_REQUEST.into());
    }
    if bytes as u64 > buffer.len() {
        return Err(SrbStatus::DATA_OVERRUN.into());
    }
    let mut data = vec![0; bytes];
    buffer
        .read(0, &mut data)
        .map_err(|_| Refused::from(SrbStatus::INVALID_REQUEST))?;
    Ok(data)
}

fn unmap_blocks(
    lun: &Lun,
    anchor: bool,
    length: u16,
    buffer: &DataBuffer,
) -> Result<Verdict, Refused> {
    if !lun.discards() {
        writable(lun)?;
        return Err(Sense::INVALID_OPCODE.into());
    }
    writable(lun)?;
    if anchor {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let length = usize::from(length);
    if length == 0 {
        return Ok(done());
    }
    if length < unmap::HEADER_BYTES {
        return Err(Sense::PARAMETER_LIST_LENGTH.into());
    }
    let data = take(buffer, length)?;
    let list = UnmapList::parse(&data).map_err(|_| Sense::PARAMETER_LIST_LENGTH)?;
    if list.len() > MAX_UNMAP_RANGES as usize {
        return Err(Sense::INVALID_FIELD_IN_PARAMETERS.into());
    }
    let mut ranges = Vec::with_capacity(list.len());
    for extent in list {
        let range = blocks(lun, extent)?;
        if !range.is_empty() {
            ranges.push(range);
        }
    }
    if ranges.is_empty() {
        return Ok(Verdict::Done(Outcome::good(length as u64)));
    }
    Ok(Verdict::Work {
        work: Work::Discard(ranges),
        transferred: length as u64,
    })
}

fn write_same(
    lun: &Lun,
    extent: Extent,
    unmap: bool,
    no_data: bool,
    buffer: &DataBuffer,
) -> Result<Verdict, Refused> {
    writable(lun)?;
    let range = blocks(lun, extent)?;
    let bytes = range.end.saturating_sub(range.start);
    // No block at all would mean all of them; the block limits page says that it doesn't.
    if bytes == 0 || bytes > MAX_WRITE_SAME_BYTES {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let block = lun.block as usize;
    let (pattern, transferred) = if no_data {
        (vec![0; block], 0)
    } else {
        (take(buffer, block)?, block as u64)
    };
    let zeroes = pattern.iter().all(|byte| *byte == 0);
    // Blocks that can't be forgotten are written: that is what the bit allows.
    let work = if unmap && zeroes && lun.discards() {
        Work::Discard(vec![range])
    } else {
        Work::Fill {
            offset: range.start,
            bytes,
            pattern,
        }
    };
    Ok(Verdict::Work { work, transferred })
}

#[cfg(test)]
mod tests;
