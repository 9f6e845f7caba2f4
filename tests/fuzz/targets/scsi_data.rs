// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Data of SCSI commands: the first byte chooses whose, the rest is the data.
#![no_main]

use libfuzzer_sys::fuzz_target;
use storvsc_wire::scsi::capacity::Capacity;
use storvsc_wire::scsi::inquiry::Inquiry;
use storvsc_wire::scsi::mode::ModeView;
use storvsc_wire::scsi::unmap::{self, UnmapList};
use storvsc_wire::scsi::vpd::{self, BlockLimits, Provisioning};
use storvsc_wire::scsi::{luns, Command, Sense, SenseBytes, Width};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    match choice % 7 {
        0 => {
            if let Some(sense) = Sense::parse(data) {
                assert_eq!(sense.fixed().parse(), Some(sense));
                assert_eq!(sense.descriptor().parse(), Some(sense));
            }
            assert!(SenseBytes::new(data).as_bytes().len() <= 20);
        }
        1 => {
            if let Ok(list) = UnmapList::parse(data) {
                let extents: Vec<_> = list.collect();
                let mut out = vec![0; data.len()];
                let length = unmap::encode(&extents, &mut out).expect("no longer than before");
                let again = UnmapList::parse(&out[..length]).expect("what was built");
                assert_eq!(again.collect::<Vec<_>>(), extents);
            }
        }
        2 => {
            if let Some(units) = luns::parse(data) {
                assert!(units.count() * luns::ENTRY_BYTES < data.len());
            }
        }
        3 => {
            for width in [Width::Six, Width::Ten] {
                if let Some(view) = ModeView::parse(data, width) {
                    for page in 0..=0x3f {
                        assert!(view.page(page).is_none_or(|body| body.len() < data.len()));
                    }
                    let _ = view.write_cache();
                }
            }
        }
        4 => {
            for page in [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2] {
                assert!(vpd::body(data, page).is_none_or(|body| body.len() + 4 <= data.len()));
            }
            let _ = (BlockLimits::parse(data), Provisioning::parse(data));
        }
        5 => {
            if let Some(inquiry) = Inquiry::parse(data) {
                let again = inquiry.encode();
                assert_eq!(Inquiry::parse(again.as_bytes()), Some(inquiry));
            }
            if let Some(capacity) = Capacity::parse_16(data) {
                let again = capacity.encode_16();
                assert_eq!(Capacity::parse_16(again.as_bytes()), Some(capacity));
            }
            let _ = Capacity::parse_10(data);
        }
        _ => match Command::parse(data) {
            Ok(command) => {
                let cdb = command.encode().expect("what was read can be written");
                assert_eq!(Command::parse(cdb.as_bytes()), Ok(command));
            }
            Err(error) => assert_eq!(error.sense().key.0, 5),
        },
    }
});
