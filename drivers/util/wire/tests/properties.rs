// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whatever the other side sends, of every length: no panic; and what is written is read back.

use proptest::collection::vec;
use proptest::prelude::*;
use util_wire::heartbeat::Heartbeat;
use util_wire::kvp::{self, Entry, Exchange, IpInfo, Pool, Value};
use util_wire::negotiate::{self, Agreed, Offer};
use util_wire::shutdown::{self, Action, Shutdown};
use util_wire::text::Text;
use util_wire::timesync::{Purpose, TimeSample};
use util_wire::version::FRAMEWORK;
use util_wire::{Header, Message, MessageKind, Version};

/// Bytes that often start with heads that make sense.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    (vec(any::<u8>(), 0..3000), any::<bool>(), 0u16..8, 0u8..7).prop_map(
        |(mut bytes, sane, kind, operation)| {
            if sane && bytes.len() >= 32 {
                let inner = bytes.len() - 8;
                bytes[4..8].copy_from_slice(&(inner as u32).to_le_bytes());
                bytes[12..14].copy_from_slice(&kind.to_le_bytes());
                bytes[18..20].copy_from_slice(&((inner - 20) as u16).to_le_bytes());
                bytes[28] = operation;
                bytes[29] %= 6;
            }
            bytes
        },
    )
}

fn versions() -> impl Strategy<Value = Vec<Version>> {
    vec(
        (0u16..5, 0u16..3).prop_map(|(a, b)| Version::new(a, b)),
        0..8,
    )
}

fn values() -> impl Strategy<Value = (u8, String, u64)> {
    (0u8..3, "[^\0]{0,340}", any::<u64>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn parsers_take_anything(bytes in payloads()) {
        let body = match Message::parse(&bytes) {
            Ok(message) => {
                prop_assert!(message.body.len() + util_wire::header::HEADER_BYTES <= bytes.len());
                message.body
            }
            Err(error) => {
                prop_assert!(!error.to_string().is_empty());
                &bytes[..]
            }
        };
        let _ = negotiate::parse_answer(body);
        let _ = negotiate::choose(body, &FRAMEWORK, &shutdown::VERSIONS);
        let _ = Heartbeat::parse(body).map(|beat| beat.answer(0).encode());
        let _ = Shutdown::parse(body).map(|request| request.text.to_string());
        let _ = TimeSample::parse(Version::new(4, 0), body);
        let _ = TimeSample::parse(Version::new(1, 0), body);
        if let Ok(exchange) = Exchange::parse(body) {
            let text = format!("{exchange:?}");
            prop_assert!(!text.is_empty());
        }
    }

    #[test]
    fn heads_come_back(kind: u16, numbers: [u16; 4], transaction: u8, body in vec(any::<u8>(), 0..99)) {
        let [a, b, c, d] = numbers;
        let header = Header::request(MessageKind(kind), Version::new(a, b), Version::new(c, d), transaction);
        let mut bytes = header.encode(body.len()).unwrap().to_vec();
        bytes.extend(&body);
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.header, header);
        prop_assert_eq!(message.body, &body[..]);
    }

    #[test]
    fn both_sides_settle_the_same(host in versions(), own in versions()) {
        let offer = Offer::new(&FRAMEWORK, &host).unwrap();
        let agreed = negotiate::choose(offer.as_bytes(), &FRAMEWORK, &own).unwrap();
        let want = own.iter().find(|version| host.contains(version));
        prop_assert_eq!(agreed.map(|agreed| agreed.service), want.copied());
        let read = negotiate::parse_answer(negotiate::answer(agreed).as_bytes()).unwrap();
        prop_assert_eq!(read, agreed);
        let _: Option<Agreed> = read;
    }

    #[test]
    fn exchanges_come_back(operation in 0u8..6, pool in 0usize..5, key in "[^\0]{0,120}", value in values(), index: u32) {
        let pool = Pool::ALL[pool].0;
        let (kind, text, number) = &value;
        let value = match kind {
            0 => Value::Text(Text::new(text)),
            1 => Value::U32(*number as u32),
            _ => Value::U64(*number),
        };
        let key = Text::new(&key);
        let entry = Entry { key, value };
        let info = IpInfo { adapter: key, family: index as u8, dhcp: index & 256 != 0, addresses: Text::new(text), gateways: key, ..IpInfo::default() };
        let exchange = match operation {
            0 => Exchange::Get { pool, entry },
            1 => Exchange::Set { pool, entry },
            2 => Exchange::Delete { pool, key },
            3 => Exchange::Enumerate { pool, index, entry },
            4 => Exchange::GetIpInfo(info),
            _ => Exchange::SetIpInfo(info),
        };
        let mut bytes = [0xff; kvp::MAX_BYTES];
        // Characters of two units may make a string too long: then it must be refused whole.
        if let Some(length) = exchange.encode(&mut bytes) {
            prop_assert_eq!(Exchange::parse(&bytes[..length]).unwrap(), exchange);
        } else {
            prop_assert!(key.wire_bytes() > 256);
        }
    }

    #[test]
    fn shutdowns_come_back(action in 0u8..3, force: bool, reason: u32, timeout: u32, text in "[^\0]{0,500}") {
        let request = Shutdown {
            action: [Action::PowerOff, Action::Restart, Action::Hibernate][usize::from(action)],
            force, reason, timeout, text: Text::new(&text),
        };
        let mut body = [0xff; shutdown::BYTES];
        prop_assert!(request.encode(&mut body).is_some());
        prop_assert_eq!(Shutdown::parse(&body).unwrap(), request);
    }

    #[test]
    fn times_come_back(time: u64, reference: u64, purpose in 0u8..3) {
        let purpose = [Purpose::Probe, Purpose::Sync, Purpose::Sample][usize::from(purpose)];
        let sample = TimeSample { time, reference: Some(reference), purpose };
        let version = Version::new(4, 0);
        prop_assert_eq!(TimeSample::parse(version, sample.encode(version).as_bytes()).unwrap(), sample);
    }
}
