// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands: the bytes of each, and that reading undoes writing.

use proptest::collection::vec;
use proptest::prelude::*;
use storvsc_wire::scsi::cdb::Extent;
use storvsc_wire::scsi::{Command, Sense, Width};

#[test]
fn as_the_standards_and_linux_write_them() {
    let extent = |lba, blocks| Extent { lba, blocks };
    let cases: &[(&[u8], Command)] = &[
        (&[0; 6], Command::TestUnitReady),
        (
            &[0x12, 0, 0, 0, 36, 0],
            Command::Inquiry {
                page: None,
                allocation: 36,
            },
        ),
        (
            &[0x12, 1, 0xb0, 0x02, 0, 0],
            Command::Inquiry {
                page: Some(0xb0),
                allocation: 512,
            },
        ),
        (
            &[0x08, 0x1f, 0xff, 0xff, 0, 0],
            Command::Read {
                width: Width::Six,
                extent: extent(0x1f_ffff, 256),
                fua: false,
            },
        ),
        (
            &[0x2a, 0x08, 0, 0, 1, 0, 0, 0, 8, 0],
            Command::Write {
                width: Width::Ten,
                extent: extent(256, 8),
                fua: true,
            },
        ),
        (
            &[0xa8, 0, 0, 0, 0, 16, 0, 1, 0, 0, 0, 0],
            Command::Read {
                width: Width::Twelve,
                extent: extent(16, 0x1_0000),
                fua: false,
            },
        ),
        (
            &[0x8a, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0],
            Command::Write {
                width: Width::Sixteen,
                extent: extent(0x1_0000_0002, 3),
                fua: false,
            },
        ),
        (
            &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            Command::SynchronizeCache {
                width: Width::Ten,
                extent: extent(0, 0),
                immediate: false,
            },
        ),
        (
            &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0],
            Command::ReadCapacity {
                width: Width::Sixteen,
                allocation: 32,
            },
        ),
        (
            &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0],
            Command::Unmap {
                anchor: false,
                length: 24,
            },
        ),
        (
            &[0x93, 0x08, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0],
            Command::WriteSame {
                width: Width::Sixteen,
                extent: extent(9, 8),
                unmap: true,
                anchor: false,
                no_data: false,
            },
        ),
        (
            &[0x1a, 0, 0x3f, 0, 4, 0],
            Command::ModeSense {
                width: Width::Six,
                no_descriptor: false,
                control: 0,
                page: 0x3f,
                subpage: 0,
                allocation: 4,
            },
        ),
        (
            &[0x5a, 0x08, 0x48, 0x01, 0, 0, 0, 0, 192, 0],
            Command::ModeSense {
                width: Width::Ten,
                no_descriptor: true,
                control: 1,
                page: 8,
                subpage: 1,
                allocation: 192,
            },
        ),
        (
            &[0xa0, 0, 2, 0, 0, 0, 0, 0, 0x10, 8, 0, 0],
            Command::ReportLuns {
                select: 2,
                allocation: 4104,
            },
        ),
        (
            &[0x5f, 3, 0, 0, 0, 0, 0, 1, 24, 0],
            Command::PersistentReserveOut {
                action: 3,
                length: 280,
            },
        ),
        (
            &[0x43, 2, 0, 0, 0, 0, 1, 0, 12, 0],
            Command::ReadToc {
                msf: true,
                format: 0,
                track: 1,
                allocation: 12,
            },
        ),
        (
            &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0],
            Command::GetEventStatus {
                polled: true,
                classes: 0x10,
                allocation: 8,
            },
        ),
    ];
    for (bytes, command) in cases {
        assert_eq!(Command::parse(bytes), Ok(*command), "{bytes:02x?}");
        assert_eq!(command.encode().unwrap().as_bytes(), *bytes, "{command:?}");
        // A byte less is too few.
        let error = Command::parse(&bytes[..bytes.len() - 1]).unwrap_err();
        assert_eq!(error.sense(), Sense::INVALID_FIELD_IN_CDB);
    }
    // The format where it was before MMC.
    let old = Command::parse(&[0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40]).unwrap();
    assert!(matches!(old, Command::ReadToc { format: 1, .. }));
}

#[test]
fn what_does_not_fit_a_form_is_not_written() {
    let read = |width, lba, blocks, fua| Command::Read {
        width,
        extent: Extent { lba, blocks },
        fua,
    };
    assert!(read(Width::Six, 0x20_0000, 1, false).encode().is_none());
    assert!(read(Width::Six, 0, 0, false).encode().is_none());
    assert!(read(Width::Six, 0, 257, false).encode().is_none());
    assert!(read(Width::Six, 0, 1, true).encode().is_none());
    assert!(read(Width::Ten, 1 << 32, 1, false).encode().is_none());
    assert!(read(Width::Ten, 0, 1 << 16, false).encode().is_none());
    assert!(read(Width::Twelve, 1 << 32, 1, false).encode().is_none());
    assert!(read(Width::Sixteen, u64::MAX, u32::MAX, true)
        .encode()
        .is_some());
}

#[test]
fn refused() {
    for (bytes, sense) in [
        (&[][..], Sense::INVALID_FIELD_IN_CDB),
        (&[0xff; 16], Sense::INVALID_OPCODE),
        (&[0x85; 16], Sense::INVALID_OPCODE),
        (&[0x12, 0, 0x80, 0, 255, 0], Sense::INVALID_FIELD_IN_CDB),
        (
            &[0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0],
            Sense::INVALID_FIELD_IN_CDB,
        ),
        // LBDATA.
        (
            &[0x41, 0x02, 0, 0, 0, 0, 0, 0, 1, 0],
            Sense::INVALID_FIELD_IN_CDB,
        ),
        // No data, in the form that doesn't know it.
        (
            &[0x41, 0x01, 0, 0, 0, 0, 0, 0, 1, 0],
            Sense::INVALID_FIELD_IN_CDB,
        ),
        // GET LBA STATUS.
        (&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], {
            Sense::INVALID_FIELD_IN_CDB
        }),
    ] {
        let error = Command::parse(bytes).unwrap_err();
        assert_eq!(error.sense(), sense, "{bytes:02x?}");
        assert!(!error.to_string().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4096,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever was read can be written, and then says the same.
    #[test]
    fn reading_undoes_writing(
        opcode in prop_oneof![
            1 => any::<u8>(),
            4 => prop::sample::select(vec![
                0x00u8, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2a, 0x2f,
                0x35, 0x41, 0x42, 0x43, 0x46, 0x4a, 0x51, 0x55, 0x5a, 0x5e, 0x5f, 0x88, 0x8a,
                0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xaf,
            ]),
        ],
        rest in vec(any::<u8>(), 0..16),
    ) {
        let mut cdb = vec![opcode];
        cdb.extend(rest);
        match Command::parse(&cdb) {
            Ok(command) => {
                let again = command.encode();
                prop_assert!(again.is_some(), "{command:?}");
                let again = again.unwrap();
                prop_assert_eq!(again.as_bytes()[0], opcode);
                prop_assert_eq!(usize::from(again.length()), again.as_bytes().len());
                prop_assert!(again.as_bytes().len() <= cdb.len());
                prop_assert_eq!(Command::parse(again.as_bytes()), Ok(command));
                prop_assert_eq!(Command::parse(&again.padded()), Ok(command));
            }
            Err(error) => prop_assert_eq!(error.sense().key.0, 5),
        }
    }
}
