// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The data of commands: byte for byte against the standards, and read back.

use proptest::collection::vec;
use proptest::prelude::*;
use storvsc_wire::scsi::capacity::Capacity;
use storvsc_wire::scsi::cdb::Extent;
use storvsc_wire::scsi::inquiry::{DeviceType, Inquiry, Qualifier};
use storvsc_wire::scsi::mmc::{self, MediaEvent};
use storvsc_wire::scsi::mode::{self, ModeData, ModeHeader, ModeView};
use storvsc_wire::scsi::unmap::{self, UnmapList};
use storvsc_wire::scsi::vpd::{self, BlockLimits, Provisioning};
use storvsc_wire::scsi::{luns, Data, Width};

#[test]
fn inquiry() {
    let inquiry = Inquiry {
        qualifier: Qualifier::CONNECTED,
        device_type: DeviceType::CDROM,
        removable: true,
        version: 5,
        queueing: true,
        vendor: *b"Msft    ",
        product: *b"Virtual DVD-ROM ",
        revision: *b"1.0 ",
    };
    let data = inquiry.encode();
    assert_eq!(data.as_bytes()[..8], [5, 0x80, 5, 2, 31, 0, 0, 2]);
    assert_eq!(&data.as_bytes()[8..], b"Msft    Virtual DVD-ROM 1.0 ");
    assert_eq!(Inquiry::parse(data.as_bytes()), Some(inquiry));
    assert_eq!(Inquiry::parse(&data.as_bytes()[..35]), None);
    assert_eq!(Inquiry::ABSENT.encode().as_bytes()[0], 0x7f);
}

#[test]
fn vital_product_data() {
    let disk = DeviceType::DISK;
    let pages = vpd::supported_pages(disk, &[0, 0x80, 0xb0]);
    assert_eq!(pages.as_bytes(), [0, 0, 0, 3, 0, 0x80, 0xb0]);
    let serial = vpd::unit_serial(disk, b"A1");
    assert_eq!(serial.as_bytes(), [0, 0x80, 0, 2, b'A', b'1']);
    assert_eq!(vpd::body(serial.as_bytes(), 0x80), Some(&b"A1"[..]));
    assert_eq!(vpd::body(serial.as_bytes(), 0x83), None);
    assert_eq!(vpd::body(&serial.as_bytes()[..5], 0x80), None);
    let long = vpd::unit_serial(disk, &[b'x'; 300]);
    assert_eq!(long.len(), 4 + vpd::MAX_SERIAL_BYTES);
    let names = vpd::device_identification(disk, b"Msft    ", b"A1", 0x3000_0000_0000_0001);
    assert_eq!(
        names.as_bytes()[..16],
        [0, 0x83, 0, 26, 1, 3, 0, 8, 0x30, 0, 0, 0, 0, 0, 0, 1]
    );
    assert_eq!(&names.as_bytes()[16..], b"\x02\x01\0\x0aMsft    A1");

    let limits = BlockLimits {
        optimal_granularity: 8,
        max_transfer: 0x0102_0304,
        optimal_transfer: 5,
        max_unmap_blocks: 6,
        max_unmap_descriptors: 7,
        unmap_granularity: 8,
        max_write_same: 9,
        write_same_non_zero: true,
    };
    let data = limits.encode(disk);
    // Offsets of SBC-3, table 204.
    let bytes = data.as_bytes();
    assert_eq!(bytes.len(), 64);
    assert_eq!(bytes[..8], [0, 0xb0, 0, 60, 1, 0, 0, 8]);
    assert_eq!(bytes[8..12], [1, 2, 3, 4]);
    for (at, value) in [(12, 5), (20, 6), (24, 7), (28, 8), (40, 9)] {
        assert_eq!(bytes[at + 3], value, "{at}");
    }
    assert_eq!(bytes[40..44], [0, 0, 0, 9], "lower half of max_write_same");
    assert_eq!(BlockLimits::parse(bytes), Some(limits));
    assert_eq!(vpd::block_characteristics(disk).as_bytes()[4..6], [0, 1]);
    assert_eq!(vpd::block_characteristics(disk).len(), 64);

    let provisioning = Provisioning {
        unmap: true,
        write_same_16: true,
        write_same_10: true,
        reads_zeroes: true,
        thin: true,
    };
    let data = provisioning.encode(disk);
    assert_eq!(data.as_bytes(), [0, 0xb2, 0, 4, 0, 0xe4, 2, 0]);
    assert_eq!(Provisioning::parse(data.as_bytes()), Some(provisioning));
}

#[test]
fn capacity() {
    let capacity = Capacity {
        last_lba: 0x1_0000_0000,
        block_bytes: 512,
        physical_exponent: 3,
        thin: true,
        reads_zeroes: true,
    };
    assert_eq!(
        capacity.encode_10().as_bytes(),
        [0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0]
    );
    let long = capacity.encode_16();
    assert_eq!(long.len(), 32);
    assert_eq!(
        long.as_bytes()[..16],
        [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 3, 0xc0, 0]
    );
    assert_eq!(Capacity::parse_16(long.as_bytes()), Some(capacity));
    assert_eq!(Capacity::parse_16(&long.as_bytes()[..31]), None);
}

#[test]
fn units() {
    let mut bytes = luns::header(2).to_vec();
    bytes.extend(luns::entry(0));
    bytes.extend(luns::entry(63));
    assert_eq!(bytes[..8], [0, 0, 0, 16, 0, 0, 0, 0]);
    assert_eq!(bytes[16..24], [0, 63, 0, 0, 0, 0, 0, 0]);
    // Flat space addressing of others, and one that means nothing here.
    bytes.extend([0x41, 2, 0, 0, 0, 0, 0, 0]);
    bytes.extend([0xc1, 0, 0, 0, 0, 0, 0, 0]);
    bytes[3] = 32;
    let all: Vec<u16> = luns::parse(&bytes).unwrap().collect();
    assert_eq!(all, [0, 63, 258]);
    // Cut off.
    let some: Vec<u16> = luns::parse(&bytes[..20]).unwrap().collect();
    assert_eq!(some, [0]);
    assert!(luns::parse(&bytes[..7]).is_none());
}

#[test]
fn modes() {
    let pages = Data::default()
        .with(mode::caching_page(true, false).as_bytes())
        .with(mode::control_page(false).as_bytes());
    let data = ModeData {
        header: ModeHeader {
            write_protected: true,
            honours_fua: true,
            blocks: Some((0x0102_0304, 512)),
        },
        pages,
    };
    let six = data.encode(Width::Six);
    assert_eq!(six.as_bytes()[..4], [43, 0, 0x90, 8]);
    assert_eq!(six.as_bytes()[4..12], [1, 2, 3, 4, 0, 0, 2, 0]);
    assert_eq!(six.as_bytes()[12..15], [8, 18, 4]);
    assert_eq!(six.len(), 44);
    let ten = data.encode(Width::Ten);
    assert_eq!(ten.as_bytes()[..8], [0, 46, 0, 0x90, 0, 0, 0, 8]);
    for (bytes, width) in [(six, Width::Six), (ten, Width::Ten)] {
        let view = ModeView::parse(bytes.as_bytes(), width).unwrap();
        assert_eq!(view.header, data.header);
        assert_eq!(view.write_cache(), Some(true));
        assert_eq!(view.page(mode::CONTROL).unwrap().len(), 10);
        assert_eq!(view.page(mode::CD_CAPABILITIES), None);
        let cut = &bytes.as_bytes()[..bytes.len() - 1];
        assert_eq!(
            ModeView::parse(cut, width).unwrap().page(mode::CONTROL),
            None
        );
    }
    let mask = mode::caching_page(true, true);
    assert!(mask.as_bytes()[2..].iter().all(|byte| *byte == 0));
}

#[test]
fn discs() {
    let toc = mmc::table_of_contents(1000, 1, false).unwrap();
    assert_eq!(toc.as_bytes()[..4], [0, 18, 1, 1]);
    assert_eq!(toc.as_bytes()[16..20], [0, 0, 3, 0xe8]);
    let lead_out = mmc::table_of_contents(75 * 60 - 150, 0xaa, true).unwrap();
    assert_eq!(
        lead_out.as_bytes(),
        [0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 1, 0, 0]
    );
    assert!(mmc::table_of_contents(u32::MAX, 0, true).is_some());
    assert!(mmc::table_of_contents(1000, 2, false).is_none());
    assert_eq!(mmc::session(false).len(), 12);
    let event = MediaEvent {
        present: true,
        ..MediaEvent::default()
    };
    assert_eq!(
        mmc::event_status(0x10, event).as_bytes(),
        [0, 6, 4, 0x10, 0, 2, 0, 0]
    );
    assert_eq!(
        mmc::event_status(0x02, event).as_bytes(),
        [0, 2, 0x80, 0x10]
    );
    assert_eq!(
        mmc::configuration(1000, 0, 0).as_bytes()[..8],
        [0, 0, 0, 16, 0, 0, 0, 8]
    );
    assert_eq!(
        mmc::configuration(1_000_000, 2, 1).as_bytes(),
        [0, 0, 0, 4, 0, 0, 0, 0x10]
    );
    assert_eq!(mmc::disc_information().len(), 34);
}

fn extents() -> impl Strategy<Value = Vec<Extent>> {
    vec(
        (any::<u64>(), any::<u32>()).prop_map(|(lba, blocks)| Extent { lba, blocks }),
        0..20,
    )
}

#[test]
fn an_unmap_list() {
    let mut out = [0; 24];
    let extent = Extent { lba: 1, blocks: 2 };
    assert_eq!(unmap::encode(&[extent], &mut out), Some(24));
    let mut expected = [0; 24];
    expected[1] = 22;
    expected[3] = 16;
    expected[15] = 1;
    expected[19] = 2;
    assert_eq!(out, expected);
    assert_eq!(unmap::encode(&[extent; 2], &mut out), None);
    // Part of a range is left out, more than there is refused.
    out[3] = 15;
    assert_eq!(UnmapList::parse(&out).unwrap().count(), 0);
    out[3] = 17;
    assert!(UnmapList::parse(&out).is_err());
    out[1] = 255;
    assert!(UnmapList::parse(&out).is_err());
    assert!(UnmapList::parse(&out[..7]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn unmap_lists_are_read_back(extents in extents()) {
        let mut out = vec![0; 1024];
        let length = unmap::encode(&extents, &mut out).unwrap();
        let list = UnmapList::parse(&out[..length]).unwrap();
        prop_assert_eq!(list.len(), extents.len());
        prop_assert_eq!(list.collect::<Vec<_>>(), extents);
    }

    /// Whatever a unit answers, its readers end.
    #[test]
    fn noise_is_read(bytes in vec(any::<u8>(), 0..300), width in prop::bool::ANY) {
        if let Ok(list) = UnmapList::parse(&bytes) {
            prop_assert!(list.count() * 16 + 8 <= bytes.len());
        }
        if let Some(units) = luns::parse(&bytes) {
            prop_assert!(units.count() * 8 + 8 <= bytes.len());
        }
        let width = if width { Width::Six } else { Width::Ten };
        if let Some(view) = ModeView::parse(&bytes, width) {
            for page in 0..64 {
                if let Some(body) = view.page(page) {
                    prop_assert!(body.len() < bytes.len());
                }
            }
            let _ = view.write_cache();
        }
        let _ = (
            Inquiry::parse(&bytes),
            BlockLimits::parse(&bytes),
            Provisioning::parse(&bytes),
            Capacity::parse_10(&bytes),
            Capacity::parse_16(&bytes),
        );
        let data = Data::of(&bytes[..]).with(&bytes[..]);
        prop_assert_eq!(data.len(), (bytes.len() * 2).min(256));
    }
}
