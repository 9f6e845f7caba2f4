// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The bytes of each message, and how versions are settled.

use util_wire::heartbeat::Heartbeat;
use util_wire::kvp::{Entry, Exchange, IpInfo, Pool, Value};
use util_wire::negotiate::{self, Agreed, Offer};
use util_wire::shutdown::{self, Action, Shutdown};
use util_wire::text::Text;
use util_wire::timesync::{self, Purpose, TimeSample};
use util_wire::version::FRAMEWORK;
use util_wire::{heartbeat, kvp};
use util_wire::{Flags, Header, Message, MessageError, MessageKind, Status, Version};

fn packet(header: Header, body: &[u8]) -> Vec<u8> {
    let mut bytes = header.encode(body.len()).unwrap().to_vec();
    bytes.extend(body);
    bytes
}

#[test]
fn a_head_has_the_bytes_of_the_structs() {
    let header = Header::request(
        MessageKind::SHUTDOWN,
        Version::new(3, 0),
        Version::new(3, 2),
        9,
    );
    // vmbuspipe_hdr: flags, msgsize | icmsg_hdr: icverframe, icmsgtype, icvermsg, icmsgsize,
    // status, ictransaction_id, icflags, reserved.
    let want = [
        1u8, 0, 0, 0, 24, 0, 0, 0, // 20 and a body of 4
        3, 0, 0, 0, 3, 0, 3, 0, 2, 0, 4, 0, 0, 0, 0, 0, 9, 3, 0, 0,
    ];
    assert_eq!(header.encode(4).unwrap(), want);
    assert!(header.encode(65536).is_none());

    let bytes = packet(header.response(Status::FAIL), b"body and padding");
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.header.status, Status::FAIL);
    assert_eq!(message.header.flags, Flags::RESPONSE);
    assert!(message.header.flags.is_response() && !header.flags.is_response());
    assert_eq!(message.body, b"body and padding");
}

#[test]
fn a_head_must_not_promise_more_than_there_is() {
    let header = Header::request(MessageKind::HEARTBEAT, FRAMEWORK[0], FRAMEWORK[0], 0);
    let whole = packet(header, &[7; 16]);
    for length in 0..whole.len() {
        assert!(Message::parse(&whole[..length]).is_err(), "{length}");
    }
    // The pipe says less than the inner header needs.
    let mut short = whole.clone();
    short[4] -= 1;
    assert!(matches!(
        Message::parse(&short),
        Err(MessageError::BadSize {
            announced: 16,
            got: 15
        })
    ));
    // Padding of the packet isn't the body's.
    let mut padded = whole.clone();
    padded.extend([0; 7]);
    assert_eq!(Message::parse(&padded).unwrap().body, [7; 16]);
}

#[test]
fn linux_takes_the_newest_of_each() {
    let offer = Offer::new(&FRAMEWORK, &shutdown::VERSIONS).unwrap();
    assert_eq!(offer.as_bytes().len(), 8 + 6 * 4);
    let agreed = negotiate::choose(offer.as_bytes(), &FRAMEWORK, &shutdown::VERSIONS).unwrap();
    let want = Agreed {
        framework: Version::new(3, 0),
        service: Version::new(3, 2),
    };
    assert_eq!(agreed, Some(want));
    let answer = negotiate::answer(agreed);
    // vmbus_prep_negotiate_resp: icmsgsize 0x10, counts 1 and 1, then both versions.
    assert_eq!(
        answer.as_bytes(),
        [1, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0, 2, 0]
    );
    assert_eq!(
        negotiate::parse_answer(answer.as_bytes()).unwrap(),
        Some(want)
    );
}

#[test]
fn nothing_in_common_is_no_error() {
    let offer = Offer::new(&FRAMEWORK, &[Version::new(9, 9)]).unwrap();
    let agreed = negotiate::choose(offer.as_bytes(), &FRAMEWORK, &heartbeat::VERSIONS).unwrap();
    assert_eq!(agreed, None);
    let answer = negotiate::answer(agreed);
    assert_eq!(negotiate::parse_answer(answer.as_bytes()).unwrap(), None);
    // The C code leaves the host's versions behind the zero counts.
    let mut left = answer.as_bytes().to_vec();
    left.extend([1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(negotiate::parse_answer(&left).unwrap(), None);
}

#[test]
fn lists_that_lie_are_refused() {
    // 101 versions, with all of the room they need.
    let mut long = vec![101, 0, 0, 0, 0, 0, 0, 0];
    long.extend([0; 404]);
    for body in [
        &[][..],
        &[1, 0, 1, 0, 0, 0, 0],
        &[1, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 3, 0, 0, 0],
        &long,
    ] {
        assert!(negotiate::choose(body, &FRAMEWORK, &FRAMEWORK).is_err());
        assert!(negotiate::parse_answer(body).is_err());
    }
    // Two of one kind: no answer, though a fine list.
    let two = Offer::new(&FRAMEWORK, &FRAMEWORK[..1]).unwrap();
    assert!(negotiate::parse_answer(two.as_bytes()).is_err());
    assert!(Offer::new(&[FRAMEWORK[0]; 9], &[FRAMEWORK[0]; 8]).is_none());
}

#[test]
fn heartbeats() {
    let beat = Heartbeat {
        sequence: 41,
        application_state: 0,
    };
    let body = beat.encode();
    assert_eq!(body.len(), 40);
    assert_eq!(body[0], 41);
    let answer = Heartbeat::parse(&body).unwrap().answer(1);
    assert_eq!((answer.sequence, answer.application_state), (42, 1));
    assert_eq!(Heartbeat::parse(&body[..8]).unwrap(), beat);
    assert!(Heartbeat::parse(&body[..7]).is_err());
}

#[test]
fn shutdowns() {
    let request = Shutdown {
        action: Action::Restart,
        force: true,
        reason: shutdown::REASON_PLANNED,
        timeout: 30,
        text: Text::new("späte Grüße"),
    };
    let mut body = [0xaa; shutdown::BYTES];
    request.encode(&mut body).unwrap();
    assert_eq!(body[..12], [0, 0, 0, 0x80, 30, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(body[12..16], [b's', 0, b'p', 0]);
    assert_eq!(Shutdown::parse(&body).unwrap(), request);
    for (flags, action) in [
        (0, Action::PowerOff),
        (1, Action::PowerOff),
        (2, Action::Restart),
        (4, Action::Hibernate),
        (5, Action::Hibernate),
    ] {
        body[8] = flags;
        assert_eq!(Shutdown::parse(&body).unwrap().action, action);
    }
    for flags in [6, 7, 8, 0x10] {
        body[8] = flags;
        assert!(Shutdown::parse(&body).is_err());
    }
    assert!(Shutdown::parse(&body[..shutdown::BYTES - 1]).is_err());
    let long = "x".repeat(1024);
    let long = Shutdown {
        text: Text::new(&long),
        ..request
    };
    assert!(long.encode(&mut body).is_none());
}

#[test]
fn times() {
    let sample = TimeSample {
        time: timesync::UNIX_EPOCH + 5,
        reference: Some(77),
        purpose: Purpose::Sync,
    };
    let new = sample.encode(Version::new(4, 0));
    // ictimesync_ref_data: 22 bytes; ictimesync_data: 25.
    assert_eq!(new.as_bytes().len(), 22);
    assert_eq!(new.as_bytes()[16], 1);
    assert_eq!(
        TimeSample::parse(Version::new(4, 0), new.as_bytes()).unwrap(),
        sample
    );
    let old = sample.encode(Version::new(3, 0));
    assert_eq!(old.as_bytes().len(), 25);
    assert_eq!(old.as_bytes()[24], 1);
    let back = TimeSample::parse(Version::new(3, 0), old.as_bytes()).unwrap();
    assert_eq!((back.time, back.reference), (sample.time, None));
    assert!(TimeSample::parse(Version::new(3, 0), new.as_bytes()).is_err());
}

#[test]
fn pairs() {
    let mut body = [0; kvp::MAX_BYTES];
    let set = Exchange::Set {
        pool: Pool::External,
        entry: Entry {
            key: Text::new("colour"),
            value: Value::Text(Text::new("blue")),
        },
    };
    let length = set.encode(&mut body).unwrap();
    // hv_kvp_hdr, then value_type, key_size, value_size, key, value.
    assert_eq!(length, 4 + 12 + 512 + 2048);
    assert_eq!(
        body[..16],
        [1, 0, 0, 0, 1, 0, 0, 0, 14, 0, 0, 0, 10, 0, 0, 0]
    );
    assert_eq!(body[16..20], [b'c', 0, b'o', 0]);
    assert_eq!(body[16 + 512..16 + 512 + 4], [b'b', 0, b'l', 0]);
    assert_eq!(Exchange::parse(&body[..length]).unwrap(), set);

    let length = Exchange::Delete {
        pool: Pool::Guest,
        key: Text::new("k"),
    }
    .encode(&mut body)
    .unwrap();
    assert_eq!(length, 4 + 4 + 512);
    assert_eq!(body[..10], [2, 1, 0, 0, 4, 0, 0, 0, b'k', 0]);

    let length = Exchange::Enumerate {
        pool: Pool::Auto,
        index: 3,
        entry: Entry::default(),
    }
    .encode(&mut body)
    .unwrap();
    assert_eq!(length, 4 + 4 + 12 + 512 + 2048);
    assert_eq!(body[..8], [3, 2, 0, 0, 3, 0, 0, 0]);

    let info = IpInfo {
        adapter: Text::new("00:15:5D:00:00:01"),
        family: 3,
        ..IpInfo::default()
    };
    let length = Exchange::GetIpInfo(info).encode(&mut body).unwrap();
    // hv_kvp_ip_msg has no padding behind operation and pool.
    assert_eq!(length, 2 + 7426);
    assert_eq!(body[..4], [4, 0, b'0', 0]);
    assert_eq!(
        Exchange::parse(&body[..length]).unwrap(),
        Exchange::GetIpInfo(info)
    );
}

#[test]
fn pairs_that_lie_are_refused() {
    let mut body = [0; kvp::MAX_BYTES];
    let get = Exchange::Get {
        pool: Pool::Guest,
        entry: Entry {
            key: Text::new("k"),
            value: Value::U32(7),
        },
    };
    let length = get.encode(&mut body).unwrap();
    assert_eq!(Exchange::parse(&body[..length]).unwrap(), get);
    for cut in 0..length {
        assert!(Exchange::parse(&body[..cut]).is_err(), "{cut}");
    }
    for (offset, byte) in [(0, 6), (1, 5), (4, 2), (10, 9), (9, 3), (15, 1)] {
        let mut bad = body;
        bad[offset] = byte;
        assert!(Exchange::parse(&bad[..length]).is_err(), "{offset}");
    }
}

#[test]
fn strings() {
    let wire = [b'a', 0, 0x3d, 0xd8, 0, 0xde, 0x01, 0xd8, 0, 0, b'z', 0];
    let text = Text::from_wire(&wire);
    assert_eq!(text.to_string(), "a\u{1f600}\u{fffd}");
    assert_eq!(text.wire_bytes(), 10);
    assert_eq!(format!("{:?}", Text::new("a\n\"")), "\"a\\n\\\"\"");
    assert!(Text::new("").is_empty() && Text::from_wire(&[0, 0, 1, 1]).is_empty());
    assert_eq!(Text::new("a\0b"), Text::new("a"));
    assert_eq!(Text::from_wire(b"a\0b").to_string(), "a");
}
