// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The integration services through real rings, with a guest that behaves as hv_utils does, and
//! with guests that don't.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hvhost::device::Device;
use hvhost::events::{Event, Subscription};
use hvhost::hypervisor::Hypervisor;
use hvhost::services::heartbeat::Heartbeat;
use hvhost::services::kvp::Pairs;
use hvhost::services::service::{Kind, Service};
use hvhost::services::shutdown::Shutdown;
use hvhost::services::timesync::TimeSync;
use hvhost::testing::{FakeGuest, GuestChannel, LIMIT, SHORT};
use serde_json::{json, Value};
use util_wire::heartbeat::Heartbeat as Beat;
use util_wire::kvp::{self, Entry, Exchange, IpInfo, Value as PairValue};
use util_wire::negotiate;
use util_wire::shutdown::{Action, Shutdown as Request};
use util_wire::text::Text;
use util_wire::timesync::{self, Purpose, TimeSample};
use util_wire::version::FRAMEWORK;
use util_wire::{Flags, Header, Message, MessageKind, Status, Version};
use vmbus_wire::packet::{OutPacket, PacketType};

/// A message as the guest got it.
struct Got {
    header: Header,
    body: Vec<u8>,
    transaction_id: u64,
}

/// The guest's side of a service.
struct Util {
    channel: GuestChannel,
    version: Version,
}

impl Util {
    /// Opens the channel of a class and settles a version, as hv_utils does.
    fn open<K: Kind>(guest: &FakeGuest, versions: &[Version]) -> Self {
        let offer = FakeGuest::find(&guest.connect(), K::CLASS);
        assert!(offer.flags.is_pipe());
        assert_eq!(offer.pipe_mode(), Some(4));
        let mut util = Self {
            channel: guest.open(&offer),
            version: Version::default(),
        };
        util.negotiate(versions);
        util
    }

    fn negotiate(&mut self, versions: &[Version]) {
        let got = self.receive();
        assert_eq!(got.header.kind, MessageKind::NEGOTIATE);
        assert_eq!(got.header.flags, Flags::REQUEST);
        let agreed = negotiate::choose(&got.body, &FRAMEWORK, versions).unwrap();
        self.version = agreed.map_or(Version::default(), |agreed| agreed.service);
        self.answer(&got, Status::OK, negotiate::answer(agreed).as_bytes());
    }

    fn receive(&mut self) -> Got {
        self.try_receive(LIMIT).expect("a message")
    }

    fn try_receive(&mut self, limit: Duration) -> Option<Got> {
        let received = self.channel.receive(limit)?;
        assert_eq!(received.packet_type, PacketType::IN_BAND);
        assert!(!received.completion_requested);
        let Message { header, body } = Message::parse(&received.payload).unwrap();
        Some(Got {
            header,
            body: body.to_vec(),
            transaction_id: received.transaction_id,
        })
    }

    fn answer(&mut self, to: &Got, status: Status, body: &[u8]) {
        let header = to.header.response(status).encode(body.len()).unwrap();
        self.send(to.transaction_id, &[&header, body]);
    }

    fn send(&mut self, transaction_id: u64, payload: &[&[u8]]) {
        self.channel
            .send(&OutPacket::in_band(transaction_id, payload))
            .unwrap();
    }
}

/// A guest with one service on its bus.
struct Host {
    guest: FakeGuest,
    events: Subscription,
    device: Arc<dyn Device>,
}

fn host<K: Kind>(kind: K) -> Host {
    let guest = FakeGuest::new();
    let events = guest.bus().events().subscribe().unwrap();
    let device: Arc<dyn Device> = Arc::new(Service::new(kind));
    guest.bus().add(device.clone()).unwrap();
    Host {
        guest,
        events,
        device,
    }
}

impl Host {
    fn event(&self, name: &str) -> Event {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self
                .events
                .next(left)
                .unwrap_or_else(|| panic!("no {name}"));
            if event.name == name {
                return event;
            }
        }
    }

    /// A command on a thread of its own, as the control socket has it.
    fn ask(&self, command: &str, arguments: Value) -> JoinHandle<Result<Value, String>> {
        let device = self.device.clone();
        let command = command.to_owned();
        // The versions are settled when the guest's answer was taken, a moment after it was sent.
        until(|| self.device.stats()["ready"] == true);
        std::thread::spawn(move || {
            device
                .control(&command, &arguments)
                .map_err(|error| format!("{error:#}"))
        })
    }
}

fn until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "never");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn quick() -> Heartbeat {
    Heartbeat::with(Duration::from_millis(30), Duration::from_millis(150))
}

#[test]
fn heartbeats_are_counted_lost_and_found() {
    let host = host(quick());
    let mut util = Util::open::<Heartbeat>(&host.guest, &util_wire::heartbeat::VERSIONS);
    let mut last = 0;
    for _ in 0..3 {
        let got = util.receive();
        assert_eq!(got.header.kind, MessageKind::HEARTBEAT);
        assert_eq!(got.header.service, Version::new(3, 0));
        let beat = Beat::parse(&got.body).unwrap();
        assert!(beat.sequence > last);
        last = beat.sequence;
        util.answer(&got, Status::OK, &beat.answer(1).encode());
    }
    assert_eq!(host.event("heartbeat").fields["after"], "unknown");
    until(|| host.device.stats()["sequence"] == last + 1);
    let stats = host.device.stats();
    assert_eq!(
        (&stats["pulse"], &stats["ready"], &stats["version"]),
        (&json!("ok"), &json!(true), &json!("3.0"))
    );
    assert_eq!(stats["application_state"], 1);

    // The guest is silent: that is told, and no heap of messages is made.
    let lost = host.event("heartbeat-lost");
    assert_eq!(lost.fields["device"], "heartbeat");
    assert_eq!(host.device.stats()["pulse"], "lost");
    std::thread::sleep(Duration::from_millis(300));
    let mut waiting = Vec::new();
    while let Some(got) = util.try_receive(SHORT) {
        waiting.push(got);
    }
    assert!((1..=4).contains(&waiting.len()), "{}", waiting.len());
    for got in &waiting {
        let beat = Beat::parse(&got.body).unwrap();
        util.answer(got, Status::OK, &beat.answer(0).encode());
    }
    assert_eq!(host.event("heartbeat").fields["after"], "lost");
    let answer = host.ask("heartbeat", json!({})).join().unwrap().unwrap();
    assert_eq!(answer["losses"], 1);
    util.channel.close();
    until(|| host.device.stats()["pulse"] == "unknown");
}

#[test]
fn a_service_can_be_opened_again() {
    let host = host(quick());
    for _ in 0..3 {
        let mut util = Util::open::<Heartbeat>(&host.guest, &[Version::new(1, 0)]);
        assert_eq!(util.version, Version::new(1, 0));
        let got = util.receive();
        let beat = Beat::parse(&got.body).unwrap();
        assert_eq!(beat.sequence, 1);
        util.answer(&got, Status::OK, &beat.answer(0).encode());
        until(|| host.device.stats()["pulse"] == "ok");
        util.channel.close();
        host.guest.unload();
    }
    assert_eq!(host.device.stats()["opened"], 3);
}

#[test]
fn shutdowns_are_asked_for_and_may_be_refused() {
    let host = host(Shutdown::default());
    let refused = host.device.control("power-off", &json!({})).unwrap_err();
    assert!(refused.to_string().contains("no driver"), "{refused}");
    let mut util = Util::open::<Shutdown>(&host.guest, &util_wire::shutdown::VERSIONS);
    assert_eq!(util.version, Version::new(3, 2));
    for (command, action, status) in [
        ("power-off", Action::PowerOff, Status::OK),
        ("reboot", Action::Restart, Status::OK),
        ("hibernate", Action::Hibernate, Status::FAIL),
    ] {
        let asked = host.ask(command, json!({"force": false, "text": "good night"}));
        let got = util.receive();
        assert_eq!(got.header.kind, MessageKind::SHUTDOWN);
        let request = Request::parse(&got.body).unwrap();
        assert_eq!((request.action, request.force), (action, false));
        assert_eq!(request.text, Text::new("good night"));
        util.answer(&got, status, &got.body);
        let answer = asked.join().unwrap();
        if status.is_ok() {
            assert_eq!(answer.unwrap(), json!({"status": "success"}));
        } else {
            assert_eq!(answer.unwrap_err(), "the guest refuses: failure");
        }
    }
    // What can't be sent is refused, and the next one is carried out all the same.
    let long = "x".repeat(2000);
    let asked = host.ask("power-off", json!({ "text": long }));
    assert!(asked.join().unwrap().unwrap_err().contains("too long"));
    for arguments in [
        json!({"force": 1}),
        json!({"reason": -1}),
        json!({"text": 1}),
        json!({"timeout": "x"}),
        json!({"timeout": -1}),
        json!({"timeout": 1e9}),
    ] {
        let asked = host.ask("power-off", arguments.clone());
        assert!(asked.join().unwrap().is_err(), "{arguments}");
    }
    assert!(host.ask("frob", json!({})).join().unwrap().is_err());
    // No answer in time; it comes later, and the service goes on.
    let asked = host.ask("power-off", json!({"timeout": 0.05}));
    let late = util.receive();
    assert!(asked.join().unwrap().unwrap_err().contains("no answer"));
    util.answer(&late, Status::OK, &late.body);
    let asked = host.ask("reboot", json!({}));
    let got = util.receive();
    util.answer(&got, Status::OK, &got.body);
    asked.join().unwrap().unwrap();
    // The guest goes while somebody waits.
    let asked = host.ask("power-off", json!({}));
    util.receive();
    util.channel.close();
    assert!(asked.join().unwrap().unwrap_err().contains("closed"));
}

#[test]
fn an_old_guest_is_not_asked_for_what_it_does_not_know() {
    let host = host(Shutdown::default());
    let mut util = Util::open::<Shutdown>(&host.guest, &[Version::new(3, 0)]);
    let error = host.ask("reboot", json!({})).join().unwrap().unwrap_err();
    assert!(error.contains("needs 3.1"), "{error}");
    assert!(util.try_receive(SHORT).is_none());
}

/// A clock that can be told by the guest's reference time.
struct Clock(u64);

impl Hypervisor for Clock {
    fn processors(&self) -> u32 {
        1
    }
    fn post_message(&self, _: u32, _: u8, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
    fn signal(&self, _: u32, _: u8, _: u16) {}
    fn connect_event(&self, _: u32, _: Arc<vmm_sys_util::eventfd::EventFd>) -> std::io::Result<()> {
        Ok(())
    }
    fn disconnect_event(&self, _: u32) {}
    fn reference_time(&self) -> Option<(u64, SystemTime)> {
        (self.0 != 0).then(|| (self.0, SystemTime::now()))
    }
}

#[test]
fn the_guest_is_told_the_time() {
    for (reference, version) in [(4711, Version::new(4, 0)), (0, Version::new(3, 0))] {
        let host = host(TimeSync::new(Arc::new(Clock(reference))));
        let mut util = Util::open::<TimeSync>(&host.guest, &timesync::VERSIONS);
        assert_eq!(util.version, version);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = now.as_nanos() as u64 / 100 + timesync::UNIX_EPOCH;
        let got = util.receive();
        let sample = TimeSample::parse(version, &got.body).unwrap();
        assert_eq!(sample.purpose, Purpose::Sync);
        assert_eq!(sample.reference, (reference != 0).then_some(reference));
        assert!(sample.time.abs_diff(now) < 100_000_000, "10 s");
        util.answer(&got, Status::OK, &got.body);

        for (set, purpose) in [(true, Purpose::Sync), (false, Purpose::Sample)] {
            let asked = host.ask("timesync", json!({ "set": set }));
            let got = util.receive();
            let sample = TimeSample::parse(version, &got.body).unwrap();
            assert_eq!(sample.purpose, purpose);
            util.answer(&got, Status::OK, &got.body);
            let answer = asked.join().unwrap().unwrap();
            assert_eq!(answer["set"], set);
            assert_eq!(answer["reference"], json!(sample.reference));
        }
        assert_eq!(host.device.stats()["last"]["set"], false);
        assert!(host
            .ask("timesync", json!({"set": 1}))
            .join()
            .unwrap()
            .is_err());
    }
}

#[test]
fn samples_come_by_themselves() {
    let host = host(TimeSync::new(Arc::new(Clock(7))));
    let mut util = Util::open::<TimeSync>(&host.guest, &timesync::VERSIONS);
    let first = util.receive();
    util.answer(&first, Status::OK, &first.body);
    let start = Instant::now();
    let got = util.receive();
    assert!(start.elapsed() > Duration::from_secs(3));
    let sample = TimeSample::parse(util.version, &got.body).unwrap();
    assert_eq!(sample.purpose, Purpose::Sample);
}

/// Answers as the daemon in the guest does.
fn daemon(util: &mut Util, pairs: &mut Vec<(String, String)>) {
    let got = util.receive();
    assert_eq!(got.header.kind, MessageKind::KVP);
    let mut out = [0; kvp::MAX_BYTES];
    let mut status = Status::OK;
    let exchange = Exchange::parse(&got.body).unwrap();
    let find = |pairs: &Vec<(String, String)>, key: &Text<'_>| {
        pairs.iter().position(|(known, _)| *key == **known)
    };
    let (key, value);
    let answer = match exchange {
        Exchange::Get { pool, entry } => match find(pairs, &entry.key) {
            Some(at) => {
                let entry = Entry {
                    key: entry.key,
                    value: PairValue::Text(Text::new(&pairs[at].1)),
                };
                Exchange::Get { pool, entry }
            }
            None => {
                status = Status::NO_MORE;
                exchange
            }
        },
        Exchange::Set { entry, .. } => {
            pairs.push((entry.key.to_string(), entry.value.to_string()));
            exchange
        }
        Exchange::Delete { key, .. } => {
            match find(pairs, &key) {
                Some(at) => drop(pairs.remove(at)),
                None => status = Status::NO_MORE,
            }
            exchange
        }
        Exchange::Enumerate { pool, index, .. } => match pairs.get(index as usize) {
            Some(pair) => {
                (key, value) = pair.clone();
                let entry = Entry {
                    key: Text::new(&key),
                    value: PairValue::Text(Text::new(&value)),
                };
                Exchange::Enumerate { pool, index, entry }
            }
            None => {
                status = Status::NO_MORE;
                exchange
            }
        },
        Exchange::GetIpInfo(info) => Exchange::GetIpInfo(IpInfo {
            addresses: Text::new("10.0.0.2;fe80::1"),
            subnets: Text::new("255.255.255.0;/64"),
            dhcp: true,
            ..info
        }),
        Exchange::SetIpInfo(_) => panic!("nobody asked for that"),
    };
    let length = answer.encode(&mut out).unwrap();
    // As long as the question, as the kernel has it.
    assert_eq!(length, got.body.len());
    util.answer(&got, status, &out[..length]);
}

#[test]
fn pairs_are_read_and_written() {
    let host = host(Pairs::default());
    let mut util = Util::open::<Pairs>(&host.guest, &kvp::VERSIONS);
    assert_eq!(util.version, Version::new(4, 0));
    let mut pairs = vec![("OSName".to_owned(), "Linux".to_owned())];
    let mut ask = |questions: usize, command: &str, arguments: Value| {
        let asked = host.ask(command, arguments);
        for _ in 0..questions {
            daemon(&mut util, &mut pairs);
        }
        asked.join().unwrap()
    };
    assert_eq!(
        ask(1, "kvp-get", json!({"key": "OSName", "pool": "auto"})),
        Ok(json!({"value": "Linux"}))
    );
    assert_eq!(
        ask(1, "kvp-get", json!({"key": "OSName", "direct": true})),
        Ok(json!({"value": "Linux"}))
    );
    assert_eq!(
        ask(1, "kvp-set", json!({"key": "grün", "value": "ja"})),
        Ok(json!({}))
    );
    ask(1, "kvp-set", json!({"key": "n", "value": 7})).unwrap();
    ask(1, "kvp-set", json!({"key": "m", "value": 1u64 << 40})).unwrap();
    assert_eq!(
        ask(5, "kvp-list", json!({"pool": "external"})),
        Ok(json!({
            "pool": "external",
            "pairs": {"OSName": "Linux", "grün": "ja", "n": "7", "m": "1099511627776"},
        }))
    );
    ask(1, "kvp-delete", json!({"key": "n"})).unwrap();
    for (questions, command, direct) in [
        (1, "kvp-get", true),
        (4, "kvp-get", false),
        (1, "kvp-delete", false),
    ] {
        let arguments = json!({"key": "n", "direct": direct});
        let error = ask(questions, command, arguments).unwrap_err();
        assert_eq!(error, "the guest has no such key");
    }
    let answer = ask(1, "kvp-addresses", json!({"mac": "00:15:5D:00:00:01"})).unwrap();
    assert_eq!(answer["addresses"], json!(["10.0.0.2", "fe80::1"]));
    assert_eq!(answer["dhcp"], true);
    for (command, arguments) in [
        ("kvp-get", json!({})),
        ("kvp-get", json!({"key": 7})),
        ("kvp-get", json!({"key": "x".repeat(256), "direct": true})),
        ("kvp-set", json!({"key": "a"})),
        ("kvp-set", json!({"key": "a", "value": [1]})),
        ("kvp-set", json!({"key": "a", "value": "x".repeat(1024)})),
        ("kvp-list", json!({"pool": "swimming"})),
        ("frob", json!({})),
    ] {
        assert!(ask(0, command, arguments.clone()).is_err(), "{arguments}");
    }
}

#[test]
fn without_a_daemon_nobody_is_asked() {
    let host = host(Pairs::default());
    let offer = FakeGuest::find(&host.guest.connect(), Pairs::CLASS);
    let channel = host.guest.open(&offer);
    let error = host.device.control("kvp-list", &json!({})).unwrap_err();
    assert!(error.to_string().contains("no driver"), "{error}");
    // The guest's kernel leaves the question for versions in the ring; closing works all the same.
    channel.close();
    host.event("channel-closed");
}

#[test]
fn guests_that_break_the_protocol_lose_the_channel() {
    let good = Header::request(MessageKind::HEARTBEAT, FRAMEWORK[0], FRAMEWORK[0], 1);
    let packet = |header: Header, body: &[u8]| {
        let mut bytes = header.encode(body.len()).unwrap().to_vec();
        bytes.extend(body);
        bytes
    };
    let beat = |sequence| {
        Beat {
            sequence,
            application_state: 0,
        }
        .encode()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("garbage", vec![0xff; 64]),
        ("a question", packet(good, &beat(2))),
        (
            "another kind",
            packet(
                Header {
                    kind: MessageKind::KVP,
                    ..good.response(Status::OK)
                },
                &beat(2),
            ),
        ),
        ("too short", packet(good.response(Status::OK), &[0; 7])),
        ("not sent yet", packet(good.response(Status::OK), &beat(99))),
        ("sent never", packet(good.response(Status::OK), &beat(0))),
        (
            "negotiation again",
            packet(
                Header {
                    kind: MessageKind::NEGOTIATE,
                    ..good.response(Status::OK)
                },
                &beat(2),
            ),
        ),
    ];
    let host = host(quick());
    for (name, payload) in cases {
        let mut util = Util::open::<Heartbeat>(&host.guest, &util_wire::heartbeat::VERSIONS);
        util.receive();
        util.send(7, &[&payload]);
        let failed = host.event("channel-failed");
        assert_eq!(failed.fields["device"], "heartbeat", "{name}");
        assert_eq!(host.device.stats()["ready"], false, "{name}");
        util.channel.close();
        host.guest.unload();
    }
    // It serves the next one as if nothing had been.
    let mut util = Util::open::<Heartbeat>(&host.guest, &util_wire::heartbeat::VERSIONS);
    let got = util.receive();
    let first = Beat::parse(&got.body).unwrap();
    util.answer(&got, Status::OK, &first.answer(0).encode());
    until(|| host.device.stats()["pulse"] == "ok");
}

#[test]
fn negotiations_that_make_no_sense_end_the_channel() {
    let host = host(Shutdown::default());
    for (name, framework, service) in [
        ("nothing in common", vec![], vec![]),
        ("not offered", vec![FRAMEWORK[0]], vec![Version::new(7, 7)]),
        (
            "no framework",
            vec![Version::new(2, 0)],
            vec![Version::new(3, 2)],
        ),
        ("two", FRAMEWORK.to_vec(), vec![Version::new(3, 2)]),
    ] {
        let offer = FakeGuest::find(&host.guest.connect(), Shutdown::CLASS);
        let mut util = Util {
            channel: host.guest.open(&offer),
            version: Version::default(),
        };
        let got = util.receive();
        let body = negotiate::Offer::new(&framework, &service).unwrap();
        util.answer(&got, Status::OK, body.as_bytes());
        let failed = host.event("channel-failed");
        assert!(failed.fields["error"].is_string(), "{name}");
        util.channel.close();
        host.guest.unload();
    }
}

#[test]
fn questions_wait_for_their_turn() {
    let host = host(Shutdown::default());
    let mut util = Util::open::<Shutdown>(&host.guest, &util_wire::shutdown::VERSIONS);
    let asked: Vec<_> = (0..3)
        .map(|_| host.ask("power-off", json!({"timeout": 5})))
        .collect();
    for _ in 0..3 {
        let got = util.receive();
        util.answer(&got, Status::OK, &got.body);
    }
    for asked in asked {
        asked.join().unwrap().unwrap();
    }
}

#[test]
fn services_are_offered_with_the_instances_of_hyper_v() {
    let guest = FakeGuest::new();
    let hypervisor: Arc<dyn Hypervisor> = guest.hypervisor().clone();
    for device in hvhost::services::all(&hypervisor) {
        guest.bus().add(device).unwrap();
    }
    let mut names = guest.bus().names();
    names.sort();
    assert_eq!(names, ["heartbeat", "kvp", "shutdown", "timesync"]);
    let offers = guest.connect();
    for instance in [
        "fd149e91-82e0-4a7d-afa6-2a4166cbd7c0",
        "242ff919-07db-4180-9c2e-b86cb68c8c55",
        "b6650ff7-33bc-4840-8048-e0676786f393",
        "2dd1ce17-079e-403c-b352-a1921ee207ee",
    ] {
        let found = offers
            .iter()
            .any(|offer| offer.instance.to_string() == instance);
        assert!(found, "{instance}");
    }
}
