// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a unit tells of itself.

use storvsc_wire::scsi::capacity::Capacity;
use storvsc_wire::scsi::inquiry::{DeviceType, Inquiry, Qualifier};
use storvsc_wire::scsi::mode::{self, ModeData, ModeHeader};
use storvsc_wire::scsi::vpd::{self, BlockLimits, Provisioning};
use storvsc_wire::scsi::{luns, Data, Sense, Width};

use super::super::lun::{Lun, ALLOCATION_BYTES};
use super::{Refused, MAX_UNMAP_BYTES, MAX_UNMAP_RANGES, MAX_WRITE_SAME_BYTES};

/// What Hyper-V's units say; Linux' driver looks for it before it trusts a unit with WRITE SAME.
const VENDOR: [u8; 8] = *b"Msft    ";
const DISK: [u8; 16] = *b"Virtual Disk    ";
const DVD: [u8; 16] = *b"Virtual DVD-ROM ";
const REVISION: [u8; 4] = *b"1.0 ";
/// SPC-3.
const VERSION: u8 = 5;

const DISK_PAGES: [u8; 6] = [
    vpd::SUPPORTED_PAGES,
    vpd::UNIT_SERIAL,
    vpd::DEVICE_IDENTIFICATION,
    vpd::BLOCK_LIMITS,
    vpd::BLOCK_CHARACTERISTICS,
    vpd::BLOCK_PROVISIONING,
];
const DVD_PAGES: [u8; 3] = [
    vpd::SUPPORTED_PAGES,
    vpd::UNIT_SERIAL,
    vpd::DEVICE_IDENTIFICATION,
];

fn device_type(lun: &Lun) -> DeviceType {
    if lun.cdrom {
        DeviceType::CDROM
    } else {
        DeviceType::DISK
    }
}

/// INQUIRY of a unit.
pub(super) fn inquiry(lun: &Lun, page: Option<u8>, most: u32) -> Result<Data, Refused> {
    let kind = device_type(lun);
    let Some(page) = page else {
        return Ok(Inquiry {
            qualifier: Qualifier::CONNECTED,
            device_type: kind,
            removable: lun.cdrom,
            version: VERSION,
            queueing: true,
            vendor: VENDOR,
            product: if lun.cdrom { DVD } else { DISK },
            revision: REVISION,
        }
        .encode());
    };
    let pages = if lun.cdrom {
        DVD_PAGES.as_slice()
    } else {
        DISK_PAGES.as_slice()
    };
    if !pages.contains(&page) {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let serial = lun.serial.as_bytes();
    Ok(match page {
        vpd::SUPPORTED_PAGES => vpd::supported_pages(kind, pages),
        vpd::UNIT_SERIAL => vpd::unit_serial(kind, serial),
        vpd::DEVICE_IDENTIFICATION => vpd::device_identification(kind, &VENDOR, serial, lun.naa),
        vpd::BLOCK_LIMITS => limits(lun, most).encode(kind),
        vpd::BLOCK_CHARACTERISTICS => vpd::block_characteristics(kind),
        _ => provisioning(lun).encode(kind),
    })
}

/// INQUIRY where there is no unit: any page is told that.
pub(in super::super) fn absent() -> Data {
    Inquiry::ABSENT.encode()
}

fn limits(lun: &Lun, most: u32) -> BlockLimits {
    let block = lun.block.max(1);
    let blocks = |bytes: u64| u32::try_from(bytes / u64::from(block)).unwrap_or(u32::MAX);
    let granularity = (ALLOCATION_BYTES / block).max(1);
    let discards = lun.discards();
    let unmap = |value: u32| if discards { value } else { 0 };
    BlockLimits {
        optimal_granularity: u16::try_from(granularity).unwrap_or(1),
        max_transfer: most / block,
        optimal_transfer: 0,
        max_unmap_blocks: unmap(blocks(MAX_UNMAP_BYTES)),
        max_unmap_descriptors: unmap(MAX_UNMAP_RANGES),
        unmap_granularity: unmap(granularity),
        max_write_same: MAX_WRITE_SAME_BYTES / u64::from(block),
        write_same_non_zero: true,
    }
}

fn provisioning(lun: &Lun) -> Provisioning {
    let discards = lun.discards();
    Provisioning {
        unmap: discards,
        write_same_16: discards,
        write_same_10: discards,
        reads_zeroes: discards,
        thin: discards,
    }
}

/// READ CAPACITY.
pub(super) fn capacity(lun: &Lun, width: Width) -> Data {
    let capacity = Capacity {
        last_lba: lun.blocks().saturating_sub(1),
        block_bytes: lun.block,
        physical_exponent: if lun.cdrom {
            0
        } else {
            (ALLOCATION_BYTES / lun.block.max(1))
                .checked_ilog2()
                .unwrap_or(0) as u8
        },
        thin: lun.discards(),
        reads_zeroes: lun.discards(),
    };
    match width {
        Width::Sixteen => capacity.encode_16(),
        _ => capacity.encode_10(),
    }
}

/// MODE SENSE.
pub(super) fn mode_sense(
    lun: &Lun,
    width: Width,
    no_descriptor: bool,
    control: u8,
    page: u8,
    subpage: u8,
) -> Result<Data, Refused> {
    const CHANGEABLE: u8 = 1;
    const SAVED: u8 = 3;
    if control == SAVED {
        return Err(Sense::SAVING_NOT_SUPPORTED.into());
    }
    if subpage != 0 && subpage != mode::ALL_SUBPAGES {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let changeable = control == CHANGEABLE;
    let build = |page: u8| match page {
        mode::CACHING => {
            mode::caching_page(lun.backend.write_cache() && !lun.read_only, changeable)
        }
        mode::CONTROL => mode::control_page(changeable),
        mode::CD_CAPABILITIES => mode::cd_capabilities_page(changeable),
        _ => mode::informational_exceptions_page(changeable),
    };
    let existing = if lun.cdrom {
        [mode::CD_CAPABILITIES].as_slice()
    } else {
        [mode::CACHING, mode::CONTROL, mode::INFORMATIONAL_EXCEPTIONS].as_slice()
    };
    let mut pages = Data::default();
    for code in existing {
        if page == mode::ALL_PAGES || page == *code {
            pages = pages.with(build(*code).as_bytes());
        }
    }
    // Page 0 is the vendor's: header and descriptor alone are an answer to it.
    if pages.is_empty() && page != 0 {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let blocks = u32::try_from(lun.blocks()).unwrap_or(u32::MAX);
    let header = ModeHeader {
        // The device-specific byte of DVD drives has other flags.
        write_protected: lun.read_only && !lun.cdrom,
        honours_fua: !lun.cdrom,
        blocks: (!no_descriptor && !lun.cdrom).then_some((blocks, lun.block)),
    };
    Ok(ModeData { header, pages }.encode(width))
}

/// REPORT LUNS: those that exist. `None` for a kind of units that there isn't.
pub(in super::super) fn report_luns(
    select: u8,
    units: impl ExactSizeIterator<Item = u8>,
) -> Option<Vec<u8>> {
    match select {
        luns::SELECT_ADDRESSABLE | luns::SELECT_ALL => {
            let count = u8::try_from(units.len()).ok()?;
            let mut bytes = luns::header(count).to_vec();
            units.for_each(|unit| bytes.extend(luns::entry(unit)));
            Some(bytes)
        }
        luns::SELECT_WELL_KNOWN => Some(luns::header(0).to_vec()),
        _ => None,
    }
}
