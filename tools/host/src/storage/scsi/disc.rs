// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a DVD drive does that a disk doesn't.

use storvsc_wire::scsi::mmc::{self, MediaEvent};
use storvsc_wire::scsi::{Data, Sense, SenseKey};

use super::super::lun::Lun;
use super::Refused;

/// The guest itself has locked the tray.
const REMOVAL_PREVENTED: Sense = Sense::new(SenseKey::ILLEGAL_REQUEST, 0x53, 0x02);

fn drive(lun: &Lun) -> Result<(), Refused> {
    if lun.cdrom {
        Ok(())
    } else {
        Err(Sense::INVALID_OPCODE.into())
    }
}

fn blocks(lun: &Lun) -> u32 {
    u32::try_from(lun.blocks()).unwrap_or(u32::MAX)
}

/// START STOP UNIT. A disk needs no spinning up.
pub(super) fn start_stop(lun: &Lun, start: bool, load_eject: bool) -> Result<(), Refused> {
    if !lun.cdrom || !load_eject {
        return Ok(());
    }
    let mut tray = lun.tray.lock();
    if !start && tray.locked {
        return Err(REMOVAL_PREVENTED.into());
    }
    tray.new_medium |= start && tray.open;
    tray.open = !start;
    Ok(())
}

/// PREVENT ALLOW MEDIUM REMOVAL.
pub(super) fn prevent(lun: &Lun, prevent: bool) -> Result<(), Refused> {
    drive(lun)?;
    lun.tray.lock().locked = prevent;
    Ok(())
}

/// READ TOC: one track, one session.
pub(super) fn toc(lun: &Lun, msf: bool, format: u8, track: u8) -> Result<Data, Refused> {
    drive(lun)?;
    match format {
        0 => mmc::table_of_contents(blocks(lun), track, msf)
            .ok_or_else(|| Sense::INVALID_FIELD_IN_CDB.into()),
        1 => Ok(mmc::session(msf)),
        _ => Err(Sense::INVALID_FIELD_IN_CDB.into()),
    }
}

/// GET CONFIGURATION.
pub(super) fn configuration(lun: &Lun, kind: u8, feature: u16) -> Result<Data, Refused> {
    drive(lun)?;
    Ok(mmc::configuration(blocks(lun), kind, feature))
}

/// GET EVENT STATUS NOTIFICATION.
pub(super) fn event_status(lun: &Lun, polled: bool, classes: u8) -> Result<Data, Refused> {
    drive(lun)?;
    if !polled {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let mut tray = lun.tray.lock();
    let asked = classes & mmc::EVENT_MEDIA != 0;
    let event = MediaEvent {
        eject_request: false,
        new_medium: tray.new_medium && !tray.open,
        present: !tray.open,
    };
    if asked {
        tray.new_medium = false;
    }
    Ok(mmc::event_status(classes, event))
}

/// READ DISC INFORMATION.
pub(super) fn information(lun: &Lun) -> Result<Data, Refused> {
    drive(lun)?;
    Ok(mmc::disc_information())
}
