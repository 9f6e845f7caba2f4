// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames with their per-packet info, several after one another, as either side may send them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netvsc_wire::ppi::{ReceiveInfo, SendInfo, MAX_HEAD_BYTES};
use netvsc_wire::rndis::{messages, Packet, PacketHead};
use netvsc_wire::rss::{Flow, HashTypes, DEFAULT_KEY};

fn one(bytes: &[u8]) {
    // The head alone says the same as the whole.
    let head = PacketHead::parse(bytes, bytes.len());
    let packet = match Packet::parse(bytes) {
        Ok(packet) => packet,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return assert_eq!(head.err(), Some(error));
        }
    };
    let head = head.expect("the whole was read");
    assert_eq!(&bytes[head.data()], packet.frame);
    assert!(packet.ppis.clone().count() <= bytes.len() / 12 + 1);

    let mut out = [0; MAX_HEAD_BYTES];
    let length = packet.frame.len();
    match SendInfo::collect(packet.ppis.clone()) {
        Ok(info) => {
            let head = info
                .encode(length as u32, 3, &mut out)
                .expect("room for a head");
            let again = PacketHead::parse(&out[..head], head + length + 3).expect("own head");
            assert_eq!(SendInfo::collect(again.ppis.clone()), Ok(info));
            assert_eq!(again.data(), head..head + length);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(info) = ReceiveInfo::collect(packet.ppis) {
        let head = info
            .encode(length as u32, 0, &mut out)
            .expect("room for a head");
        let again = PacketHead::parse(&out[..head], head + length).expect("own head");
        assert_eq!(ReceiveInfo::collect(again.ppis), Ok(info));
    }
    if let Some(flow) = Flow::of_frame(packet.frame) {
        let hash = DEFAULT_KEY.hash_flow(&flow);
        // More of the frame than that makes no difference.
        let start = &packet.frame[..length.min(Flow::FRAME_BYTES)];
        assert_eq!(Flow::of_frame(start), Some(flow));
        assert_eq!(flow.restricted(HashTypes::LINUX), Some(flow));
        assert_eq!(hash, DEFAULT_KEY.hash_flow(&flow));
    }
}

fuzz_target!(|bytes: &[u8]| {
    one(bytes);
    let mut total = 0;
    for message in messages(bytes).flatten() {
        total += message.bytes.len();
        one(message.bytes);
    }
    assert!(total <= bytes.len());
});
