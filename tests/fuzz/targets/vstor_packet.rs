// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A guest and a host send any vstor packet: the first byte chooses the layout, the rest is the
//! packet. What is accepted, the other side's builder says the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use storvsc_wire::scsi::Command;
use storvsc_wire::{host, GuestPacket, HostPacket, Layout};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, packet)) = data.split_first() else {
        return;
    };
    let layout = if choice & 1 == 0 {
        Layout::Long
    } else {
        Layout::Short
    };
    match GuestPacket::parse(packet, layout) {
        Ok(read) => {
            assert!(packet.len() >= layout.packet_bytes());
            let again = read.encode(layout);
            assert_eq!(GuestPacket::parse(again.as_bytes(), layout), Ok(read));
            if let GuestPacket::ExecuteSrb(srb) = read {
                assert!(srb.cdb().len() <= 16);
                if let Ok(command) = Command::parse(srb.cdb()) {
                    let cdb = command.encode().expect("what was read can be written");
                    assert_eq!(Command::parse(cdb.as_bytes()), Ok(command));
                }
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match HostPacket::parse(packet, layout) {
        Ok(HostPacket::Completion(completion)) => {
            let srb = completion.srb().expect("long enough");
            assert!(srb.sense.as_bytes().len() <= layout.sense_bytes());
            let again = host::complete_srb(layout, &srb);
            let Ok(HostPacket::Completion(again)) = HostPacket::parse(again.as_bytes(), layout)
            else {
                panic!("a completion");
            };
            assert_eq!(again.srb(), Ok(srb));
            let properties = completion.properties().expect("long enough");
            let again = host::complete_properties(layout, properties);
            let Ok(HostPacket::Completion(again)) = HostPacket::parse(again.as_bytes(), layout)
            else {
                panic!("a completion");
            };
            assert_eq!(again.properties(), Ok(properties));
        }
        Ok(_) => assert!(packet.len() >= 4),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
