// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What disks and DVD drives say of themselves, and what they refuse.

use hvhost::device::Device;
use storvsc_wire::scsi::capacity::Capacity;
use storvsc_wire::scsi::cdb::Extent;
use storvsc_wire::scsi::inquiry::{DeviceType, Inquiry, Qualifier};
use storvsc_wire::scsi::mode::{self, ModeView};
use storvsc_wire::scsi::vpd::{self, BlockLimits, Provisioning};
use storvsc_wire::scsi::{opcode, Command, Sense, SenseKey, Width};
use storvsc_wire::{Address, DataDirection, SrbStatus};

use crate::guest::{image, pattern, srb, Data, Driver};

fn inquiry(driver: &mut Driver, lun: u8, page: Option<u8>) -> Vec<u8> {
    let command = Command::Inquiry {
        page,
        allocation: 255,
    };
    driver.execute(lun, command, Data::In(255)).good()
}

fn capacity(driver: &mut Driver, lun: u8) -> Capacity {
    let command = Command::ReadCapacity {
        width: Width::Sixteen,
        allocation: 32,
    };
    let data = driver.execute(lun, command, Data::In(32)).good();
    Capacity::parse_16(&data).unwrap()
}

fn mode_sense(driver: &mut Driver, lun: u8, width: Width, page: u8) -> Vec<u8> {
    let command = Command::ModeSense {
        width,
        no_descriptor: false,
        control: 0,
        page,
        subpage: 0,
        allocation: 192,
    };
    driver.execute(lun, command, Data::In(192)).good()
}

#[test]
fn a_disk_tells_all_that_linux_asks() {
    let mut driver = Driver::ready(&["ram:64M,serial=ABC-1", "ram:64M,sector=4096"]);
    assert_eq!(driver.units(), [0, 1]);
    let standard = Inquiry::parse(&inquiry(&mut driver, 0, None)).unwrap();
    assert_eq!(standard.device_type, DeviceType::DISK);
    assert_eq!(standard.qualifier, Qualifier::CONNECTED);
    assert_eq!(&standard.vendor, b"Msft    ");
    assert!(standard.version >= 5, "else Linux asks no long capacity");
    assert!(!standard.removable);

    let pages = inquiry(&mut driver, 0, Some(vpd::SUPPORTED_PAGES));
    let pages = vpd::body(&pages, vpd::SUPPORTED_PAGES).unwrap().to_vec();
    assert_eq!(pages, [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
    for page in &pages {
        let data = inquiry(&mut driver, 0, Some(*page));
        assert!(vpd::body(&data, *page).is_some(), "page {page:#x}");
    }
    let serial = inquiry(&mut driver, 0, Some(vpd::UNIT_SERIAL));
    assert_eq!(vpd::body(&serial, vpd::UNIT_SERIAL).unwrap(), b"ABC-1");
    let names = |driver: &mut Driver, lun| inquiry(driver, lun, Some(vpd::DEVICE_IDENTIFICATION));
    assert_ne!(names(&mut driver, 0), names(&mut driver, 1));
    let again = names(&mut driver, 0);
    assert_eq!(names(&mut driver, 0), again);

    let limits = inquiry(&mut driver, 1, Some(vpd::BLOCK_LIMITS));
    let limits = BlockLimits::parse(&limits).unwrap();
    assert_eq!(limits.unmap_granularity, 1);
    assert!(limits.max_unmap_blocks > 0 && limits.max_unmap_descriptors > 0);
    assert!(limits.max_write_same > 0 && limits.max_transfer >= 256);
    let provisioning = inquiry(&mut driver, 0, Some(vpd::BLOCK_PROVISIONING));
    let provisioning = Provisioning::parse(&provisioning).unwrap();
    assert!(provisioning.unmap && provisioning.reads_zeroes && provisioning.thin);

    let short = capacity(&mut driver, 0);
    assert_eq!((short.last_lba, short.block_bytes), (131_071, 512));
    assert_eq!(short.physical_exponent, 3);
    assert!(short.thin && short.reads_zeroes);
    let long = capacity(&mut driver, 1);
    assert_eq!((long.last_lba, long.block_bytes), (16_383, 4096));
    assert_eq!(long.physical_exponent, 0);
    let command = Command::ReadCapacity {
        width: Width::Ten,
        allocation: 8,
    };
    let data = driver.execute(0, command, Data::In(8)).good();
    assert_eq!(Capacity::parse_10(&data).unwrap().last_lba, 131_071);

    for width in [Width::Six, Width::Ten] {
        let data = mode_sense(&mut driver, 0, width, mode::ALL_PAGES);
        let view = ModeView::parse(&data, width).unwrap();
        assert!(!view.header.write_protected && view.header.honours_fua);
        assert_eq!(view.header.blocks, Some((131_072, 512)));
        assert_eq!(view.write_cache(), Some(false), "memory has none");
        assert!(view.page(mode::CONTROL).is_some());
    }
}

#[test]
fn answers_are_as_long_as_the_guest_has_room_for() {
    let mut driver = Driver::ready(&["ram:1M"]);
    let command = |allocation| Command::Inquiry {
        page: None,
        allocation,
    };
    assert_eq!(driver.execute(0, command(5), Data::In(64)).good().len(), 5);
    assert_eq!(driver.execute(0, command(64), Data::In(5)).good().len(), 5);
    let answer = driver.execute(0, command(96), Data::In(96));
    assert_eq!(answer.srb.transferred, 36);
    let none = driver.execute(0, command(0), Data::None);
    assert_eq!(none.srb.transferred, 0);
    assert!(none.srb.srb_status.is_success());
    // Data where the guest gives data.
    let answer = driver.execute(0, command(36), Data::Out(&[0; 36]));
    assert_eq!(answer.srb.srb_status, SrbStatus::INVALID_REQUEST);
}

#[test]
fn a_file_has_a_cache_and_a_protected_one_is_protected() {
    let path = image("protected", 1 << 20);
    let name = path.display().to_string();
    let mut driver = Driver::ready(&[&format!("{name},ro"), "ram:1M,ro"]);
    let data = mode_sense(&mut driver, 0, Width::Six, mode::CACHING);
    let view = ModeView::parse(&data, Width::Six).unwrap();
    assert!(view.header.write_protected);
    assert_eq!(view.write_cache(), Some(false), "nothing is written");
    for lun in 0..2 {
        let write = driver.write(lun, 0, &[1; 512], 512);
        assert_eq!(write.sense(), Sense::WRITE_PROTECTED);
        assert_eq!(driver.read(lun, 0, 1, 512).good(), [0; 512]);
        let unmap = Command::Unmap {
            anchor: false,
            length: 24,
        };
        let answer = driver.execute(lun, unmap, Data::Out(&[0; 24]));
        assert_eq!(answer.sense(), Sense::WRITE_PROTECTED);
        assert!(!capacity(&mut driver, lun).thin);
    }
    // The file can be had again as soon as the disk is gone.
    let first = serde_json::json!({"lun": 0});
    driver.controller.control("remove-disk", &first).unwrap();
    let mut driver = Driver::ready(&[&name]);
    let data = mode_sense(&mut driver, 0, Width::Ten, mode::CACHING);
    let view = ModeView::parse(&data, Width::Ten).unwrap();
    assert!(!view.header.write_protected);
    assert_eq!(view.write_cache(), Some(true));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn what_makes_no_sense_is_refused_with_the_right_sense() {
    let mut driver = Driver::ready(&["ram:1M"]);
    let last = 2047;
    driver.read(0, last, 1, 512).good();
    for (lba, blocks) in [(last, 2), (last + 1, 1), (u64::MAX, 1), (u64::MAX - 5, 9)] {
        let answer = driver.read(0, lba, blocks, 512);
        assert_eq!(answer.sense(), Sense::LBA_OUT_OF_RANGE, "{lba} {blocks}");
        assert_eq!(answer.srb.transferred, 0);
    }
    let cases: &[(&[u8], Sense)] = &[
        (&[0xff; 16], Sense::INVALID_OPCODE),
        (
            &[opcode::MODE_SELECT_6, 0, 0, 0, 0, 0],
            Sense::INVALID_OPCODE,
        ),
        (&[0x5e, 0, 0, 0, 0, 0, 0, 0, 0, 0], Sense::INVALID_OPCODE),
        (&[0x5f, 0, 0, 0, 0, 0, 0, 0, 0, 0], Sense::INVALID_OPCODE),
        (
            &[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            Sense::INVALID_OPCODE,
        ),
        (
            &[opcode::READ_TOC, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            Sense::INVALID_OPCODE,
        ),
        (
            &[opcode::INQUIRY, 1, 0xc0, 0, 255, 0],
            Sense::INVALID_FIELD_IN_CDB,
        ),
        (
            &[opcode::INQUIRY, 0, 0x80, 0, 255, 0],
            Sense::INVALID_FIELD_IN_CDB,
        ),
        (
            &[opcode::MODE_SENSE_6, 0, 0x19, 0, 255, 0],
            Sense::INVALID_FIELD_IN_CDB,
        ),
        (
            &[opcode::MODE_SENSE_6, 0, 0xc8, 0, 255, 0],
            Sense::SAVING_NOT_SUPPORTED,
        ),
        (&[opcode::READ_10, 0, 0], Sense::INVALID_FIELD_IN_CDB),
        // Protection information, of which there is none.
        (
            &[opcode::READ_10, 0x20, 0, 0, 0, 0, 0, 0, 1, 0],
            Sense::INVALID_FIELD_IN_CDB,
        ),
        (
            &[opcode::VERIFY_10, 2, 0, 0, 0, 0, 0, 0, 1, 0],
            Sense::INVALID_FIELD_IN_CDB,
        ),
        (
            &[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0],
            Sense::INVALID_FIELD_IN_CDB,
        ),
        // All blocks.
        (
            &[opcode::WRITE_SAME_10, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            Sense::INVALID_FIELD_IN_CDB,
        ),
    ];
    for (cdb, sense) in cases {
        let pending = driver.submit(0, 0, cdb, Data::In(512), 0);
        assert_eq!(driver.wait(&pending).sense(), *sense, "{cdb:02x?}");
    }
    let unmap = |length| Command::Unmap {
        anchor: false,
        length,
    };
    for (command, data, sense) in [
        (unmap(4), vec![0; 24], Sense::PARAMETER_LIST_LENGTH),
        (
            unmap(24),
            [0, 22, 0, 32].into_iter().chain([0; 20]).collect(),
            Sense::PARAMETER_LIST_LENGTH,
        ),
        (
            unmap(24),
            [
                0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0, 0, 0, 0,
            ]
            .to_vec(),
            Sense::LBA_OUT_OF_RANGE,
        ),
    ] {
        assert_eq!(driver.execute(0, command, Data::Out(&data)).sense(), sense);
    }
    // Sense in the format asked for, cut to the guest's room.
    let mut request = srb(0, &[0xff; 6], DataDirection::None, 0);
    for (room, expected) in [(20, 18), (18, 18), (8, 8), (0, 0)] {
        request.sense_length = room;
        let pending = driver.submit(0, 0, &[0xff; 6], Data::None, 0);
        driver.wait(&pending).sense();
        let id = u64::from(room) + 1_000_000;
        driver.send_srb(0, id, &request, &[], 0, 0);
        let received = driver.channels[0].receive(hvhost::testing::LIMIT).unwrap();
        assert_eq!(received.transaction_id, id);
        assert_eq!(received.payload[21], expected);
        assert_eq!(
            received.payload[14] & 0x80 != 0,
            expected > 0,
            "autosense valid"
        );
    }
    let sense = Command::RequestSense {
        descriptor: true,
        allocation: 252,
    };
    let data = driver.execute(0, sense, Data::In(252)).good();
    assert_eq!(Sense::parse(&data), Some(Sense::NONE));
    let verify = Command::Verify {
        width: Width::Ten,
        extent: Extent { lba: 0, blocks: 9 },
        byte_check: 0,
    };
    driver.execute(0, verify, Data::None).good();
}

#[test]
fn where_there_is_no_unit() {
    let mut driver = Driver::ready(&["ram:1M,lun=3", "ram:1M,lun=63"]);
    // Also asked where there is none, as Linux does.
    assert_eq!(driver.units(), [3, 63]);
    let absent = inquiry(&mut driver, 0, None);
    assert_eq!(absent[0], 0x7f);
    let answer = driver.test_unit_ready(0);
    assert_eq!(answer.srb.srb_status, SrbStatus::INVALID_LUN);
    assert_eq!(answer.srb.address.lun, 0);
    assert!(!answer.status.is_success());
    let read = driver.read(64, 0, 1, 512);
    assert_eq!(read.srb.srb_status, SrbStatus::INVALID_LUN);
    assert_eq!(read.srb.address.lun, 64);
    driver.test_unit_ready(63).good();

    // Other targets: nothing that has Linux remove the unit of that number at target 0.
    for (path, target) in [(1, 0), (0, 1), (7, 1)] {
        let mut ask = |cdb: &[u8], bytes: u32| {
            let mut request = srb(3, cdb, DataDirection::In, bytes);
            request.address = Address {
                path,
                target,
                lun: 3,
                port: 0,
            };
            let pfns = driver.guest.alloc(1);
            driver.guest.pages(&pfns).write(0, &[0xee; 64]).unwrap();
            driver.send_srb(0, 77, &request, &pfns, 0, bytes);
            let received = driver.channels[0].receive(hvhost::testing::LIMIT).unwrap();
            let mut data = vec![0; 64];
            driver.guest.pages(&pfns).read(0, &mut data).unwrap();
            driver.guest.free(&pfns);
            (SrbStatus(received.payload[14]), data)
        };
        let (status, data) = ask(&[opcode::INQUIRY, 0, 0, 0, 36, 0], 36);
        assert_eq!((status, data[0]), (SrbStatus::SUCCESS, 0x7f));
        let (status, data) = ask(&[opcode::REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], 64);
        assert_eq!(status, SrbStatus::SUCCESS);
        assert_eq!(data[..8], [0; 8]);
        let (status, _) = ask(&[opcode::TEST_UNIT_READY, 0, 0, 0, 0, 0], 1);
        assert_eq!(status, SrbStatus::SELECTION_TIMEOUT);
    }
}

#[test]
fn a_dvd_is_read_ejected_and_loaded() {
    let path = image("dvd", 1 << 20);
    let content = pattern(1 << 20, 42);
    std::fs::write(&path, &content).unwrap();
    let mut driver = Driver::ready(&[&format!("{},cdrom", path.display())]);
    let standard = Inquiry::parse(&inquiry(&mut driver, 0, None)).unwrap();
    assert_eq!(standard.device_type, DeviceType::CDROM);
    assert!(standard.removable);
    let size = capacity(&mut driver, 0);
    assert_eq!((size.last_lba, size.block_bytes), (511, 2048));
    let data = driver.read(0, 100, 4, 2048).good();
    assert!(data == content[100 * 2048..104 * 2048]);
    let refused = driver.write(0, 0, &[0; 2048], 2048);
    assert_eq!(refused.sense(), Sense::WRITE_PROTECTED);

    let toc = |format, msf| Command::ReadToc {
        msf,
        format,
        track: 0,
        allocation: 64,
    };
    let data = driver.execute(0, toc(0, false), Data::In(64)).good();
    assert_eq!(data[..4], [0, 18, 1, 1]);
    assert_eq!(data[4..12], [0, 0x14, 1, 0, 0, 0, 0, 0]);
    assert_eq!(data[12..20], [0, 0x14, 0xaa, 0, 0, 0, 2, 0]);
    let data = driver.execute(0, toc(0, true), Data::In(64)).good();
    assert_eq!(
        data[4..12],
        [0, 0x14, 1, 0, 0, 0, 2, 0],
        "after two seconds"
    );
    driver.execute(0, toc(1, false), Data::In(64)).good();
    let data = mode_sense(&mut driver, 0, Width::Ten, mode::CD_CAPABILITIES);
    let view = ModeView::parse(&data, Width::Ten).unwrap();
    assert_eq!(view.page(mode::CD_CAPABILITIES).unwrap().len(), 26);
    let configuration = Command::GetConfiguration {
        kind: 0,
        feature: 0,
        allocation: 32,
    };
    let data = driver.execute(0, configuration, Data::In(32)).good();
    assert_eq!(data[..4], [0, 0, 0, 16]);

    let events = Command::GetEventStatus {
        polled: true,
        classes: 0x10,
        allocation: 8,
    };
    let event = |driver: &mut Driver| {
        let data = driver.execute(0, events, Data::In(8)).good();
        (data[4], data[5])
    };
    assert_eq!(event(&mut driver), (0, 2), "there is a medium");
    let tray = |start| Command::StartStop {
        start,
        load_eject: true,
        power: 0,
    };
    let lock = |prevent| Command::PreventAllow { prevent };
    driver.execute(0, lock(true), Data::None).good();
    let eject = driver.execute(0, tray(false), Data::None);
    assert_eq!(eject.sense().key, SenseKey::ILLEGAL_REQUEST);
    driver.execute(0, lock(false), Data::None).good();
    driver.execute(0, tray(false), Data::None).good();
    assert_eq!(driver.test_unit_ready(0).sense(), Sense::NO_MEDIUM);
    assert_eq!(driver.read(0, 0, 1, 2048).sense(), Sense::NO_MEDIUM);
    assert_eq!(event(&mut driver), (0, 0));
    driver.execute(0, tray(true), Data::None).good();
    assert_eq!(event(&mut driver), (2, 2), "a new one");
    assert_eq!(event(&mut driver), (0, 2), "told once");
    driver.read(0, 0, 1, 2048).good();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn images_that_cannot_be_used_say_why() {
    let driver = Driver::ready(&[]);
    let path = image("odd", 1000);
    let name = path.display().to_string();
    let fails = |spec: &str, words: &[&str]| {
        let error = driver.controller.add(&Driver::spec(spec)).unwrap_err();
        let text = format!("{error:#}");
        assert!(!text.contains('\n'), "{text}");
        for word in words {
            assert!(text.contains(word), "{text}");
        }
    };
    fails("/nowhere/x.img", &["/nowhere/x.img", "No such file"]);
    fails("/dev/null", &["/dev/null", "neither"]);
    fails("/", &["neither"]);
    fails(&name, &[&name, "1000 bytes"]);
    std::fs::write(&path, vec![0; 4096]).unwrap();
    assert_eq!(driver.controller.add(&Driver::spec(&name)).unwrap(), 0);
    fails(&name, &["in use"]);
    fails("ram:1M,lun=0", &["LUN 0", "taken"]);
    for lun in 1..64 {
        assert_eq!(driver.controller.add(&Driver::spec("ram:1M")).unwrap(), lun);
    }
    fails("ram:1M", &["no LUN left"]);
    std::fs::remove_file(path).unwrap();
}
