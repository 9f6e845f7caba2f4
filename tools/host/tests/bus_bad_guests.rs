// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Guests that lie, scribble and never answer: the bus says no or lets the channel die, and goes
//! on with everything else.

use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hvhost::device::{Device, Identity};
use hvhost::hypervisor::MessageSink;
use hvhost::testing::{Echo, FakeGuest, GuestChannel, GuestConfig, LIMIT, SHORT};
use hvhost::vmbus::channel::Channel;
use hvhost::vmbus::handle::DeviceHandle;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{json, Value};
use vmbus_wire::gpadl::GpaRange;
use vmbus_wire::message::{guest, OpenChannel};
use vmbus_wire::packet::OutPacket;
use vmbus_wire::ring::{READ_INDEX_OFFSET, WRITE_INDEX_OFFSET};
use vmbus_wire::{Offer, ProtocolVersion, Status};

/// A guest with two echoes, connected.
fn with_two() -> (FakeGuest, Vec<Arc<Echo>>, Vec<Offer>) {
    let guest = FakeGuest::new();
    let echoes = vec![Echo::new("echo0"), Echo::new("echo1")];
    for echo in &echoes {
        guest.bus().add(echo.clone()).unwrap();
    }
    let offers = guest.connect();
    (guest, echoes, offers)
}

fn counter(guest: &FakeGuest, name: &str) -> u64 {
    guest.bus().stats()["connection"][name].as_u64().unwrap()
}

fn channel_state(guest: &FakeGuest, device: usize) -> String {
    let stats = guest.bus().stats();
    let state = &stats["devices"][device]["channels"][0]["state"];
    state.as_str().unwrap_or("none").to_owned()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + 2 * LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn open_message(offer: &Offer, ring_gpadl: u32, downstream: u32) -> OpenChannel {
    OpenChannel {
        relid: offer.relid,
        open_id: 1,
        ring_gpadl,
        target_vp: 0,
        downstream_page_offset: downstream,
        user_data: [0; 120],
    }
}

/// Whatever went before: another guest finds a bus that works.
fn still_works(guest: &FakeGuest) {
    while guest.message(Duration::from_millis(20)).is_some()
        || guest.bus().stats()["connection"]["state"] == "resetting"
    {}
    let answer = guest.contact_on(4, ProtocolVersion::V6_0, 0).unwrap();
    assert!(answer.supported);
    for offer in guest.request_offers() {
        let mut channel = guest.open(&offer);
        assert_eq!(channel.transact(1, &[b"alive"], |_| ())[..5], *b"alive");
        channel.close();
    }
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let words = prop_oneof![
        4 => 0u32..6,
        2 => 0xe1e10u32..0xe1e16,
        1 => (0u32..0x20).prop_map(|n| n << 12),
        1 => any::<u32>(),
    ];
    prop_oneof![
        // Any bytes behind any type.
        2 => (0u32..32, vec(any::<u8>(), 0..256)).prop_map(|(kind, rest)| {
            let mut bytes = kind.to_le_bytes().to_vec();
            bytes.extend(rest);
            bytes.truncate(256);
            bytes
        }),
        // Types that guests send, with numbers that may mean something.
        5 => (3u32..25, vec(words, 0..60)).prop_map(|(kind, words)| {
            let mut bytes = kind.to_le_bytes().to_vec();
            bytes.extend([0; 4]);
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            bytes.truncate(240);
            bytes
        }),
        1 => vec(any::<u8>(), 0..16),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_messages_leave_a_bus_that_works(messages in vec(message(), 1..60)) {
        let (guest, _, offers) = with_two();
        let mut channel = guest.open(&offers[0]);
        channel.transact(1, &[b"x"], |_| ());
        for bytes in messages {
            guest.post_bytes(4, 1, &bytes);
        }
        still_works(&guest);
    }

    #[test]
    fn any_control_words_leave_a_bus_that_works(
        scribbles in vec((any::<bool>(), 0u64..18, prop_oneof![any::<u32>(), (0u32..9000).prop_map(|n| n * 8)]), 1..30),
        data in vec(any::<u8>(), 64),
    ) {
        let (guest, echoes, offers) = with_two();
        let mut channel = guest.open(&offers[0]);
        channel.transact(1, &[b"x"], |_| ());
        let ring = channel.control_page(false) + 4096;
        guest.memory().write(ring, &data.repeat(64)).unwrap();
        for (to_guest, word, value) in scribbles {
            channel.scribble(to_guest, word * 4, value);
            channel.signal();
        }
        // The other device doesn't notice.
        let mut other = guest.open(&offers[1]);
        other.transact(2, &[b"y"], |_| ());
        other.close();
        channel.close();
        until("closed", || echoes[0].serving() == 0);
        still_works(&guest);
    }
}

#[test]
fn opening_needs_everything_right() {
    let (guest, _, offers) = with_two();
    let offer = &offers[0];
    let relid = offer.relid;
    let good = guest.create_gpadl(relid, &guest.alloc(6)).unwrap();
    let others = guest
        .create_gpadl(offers[1].relid, &guest.alloc(6))
        .unwrap();
    let pfns = guest.alloc(6);
    let range = |byte_offset, byte_count, pfns| GpaRange {
        byte_offset,
        byte_count,
        pfns,
    };
    let two = guest
        .create_gpadl_ranges(
            relid,
            &[
                range(0, 3 * 4096, &pfns[..3]),
                range(0, 3 * 4096, &pfns[3..]),
            ],
        )
        .unwrap();
    let unaligned = guest
        .create_gpadl_ranges(relid, &[range(8, 5 * 4096, &pfns)])
        .unwrap();
    let mut bad = vec![
        open_message(offer, 12345, 3),
        open_message(offer, others, 3),
        open_message(offer, two, 3),
        open_message(offer, unaligned, 3),
    ];
    for downstream in [0, 1, 5, 6, 7, u32::MAX] {
        bad.push(open_message(offer, good, downstream));
    }
    bad.push(OpenChannel {
        target_vp: 4,
        ..open_message(offer, good, 3)
    });
    bad.push(OpenChannel {
        relid: vmbus_wire::Relid::new(99).unwrap(),
        ..open_message(offer, good, 3)
    });
    let count = bad.len() as u64;
    for open in bad {
        assert!(!guest.open_raw(&open).is_success(), "{open:?}");
    }
    assert_eq!(counter(&guest, "refused"), count);
    // The system refuses.
    guest.hypervisor().refuse_connections(true);
    assert!(!guest.open_raw(&open_message(offer, good, 3)).is_success());
    guest.hypervisor().refuse_connections(false);
    // Cursors that make no sense from the start.
    let ring = guest.alloc(4);
    let broken = guest.create_gpadl(relid, &ring).unwrap();
    for (page, offset) in [(0, READ_INDEX_OFFSET), (2, WRITE_INDEX_OFFSET)] {
        let address = ring[page] * 4096 + offset as u64;
        for index in [4u32, 4096, u32::MAX] {
            guest.memory().write(address, &index.to_le_bytes()).unwrap();
            let status = guest.open_raw(&open_message(offer, broken, 2));
            assert!(!status.is_success());
        }
        guest.memory().write(address, &[0; 4]).unwrap();
    }
    assert!(guest.open_raw(&open_message(offer, good, 3)).is_success());
    assert!(
        !guest.open_raw(&open_message(offer, good, 3)).is_success(),
        "it is open"
    );
    still_works(&guest);
}

#[test]
fn page_lists_that_lie_are_answered() {
    let (guest, _, offers) = with_two();
    let relid = offers[0].relid;
    let header = |id: u32, bytes: u16, ranges: u16, words: &[u64]| {
        let mut message = vec![8, 0, 0, 0, 0, 0, 0, 0];
        message.extend(relid.get().to_le_bytes());
        message.extend(id.to_le_bytes());
        message.extend(bytes.to_le_bytes());
        message.extend(ranges.to_le_bytes());
        message.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        guest.post_bytes(4, 1, &message);
    };
    let cases: [(u16, u16, &[u64]); 10] = [
        (0, 0, &[]),
        (0, 1, &[4096, 5]),
        (15, 1, &[4096, 5]),
        (16, 0, &[4096, 5]),
        // More pages announced than listed, fewer, and none.
        (16, 1, &[8192, 5]),
        (24, 1, &[4096, 5, 6]),
        (8, 1, &[4096]),
        (16, 2, &[4096, 5]),
        // A range that begins beyond its page, and one without bytes.
        (16, 1, &[(4096 << 32) | 4096, 5]),
        (16, 1, &[0, 5]),
    ];
    for (id, (bytes, ranges, words)) in (1..).zip(cases) {
        header(id, bytes, ranges, words);
        let status = guest.gpadl_created(id);
        assert!(!status.is_success(), "{bytes} {ranges} {words:?}");
    }
    // Parts of nothing.
    let mut body = vec![9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    body.extend(77u32.to_le_bytes());
    body.extend([0; 16]);
    guest.post_bytes(4, 1, &body);
    assert!(guest.message(SHORT).is_none());
    // A list twice.
    let id = guest.create_gpadl(relid, &guest.alloc(1)).unwrap();
    header(id, 16, 1, &[4096, 5]);
    assert!(!guest.gpadl_created(id).is_success());
    // Begun, never ended: only so many, and they can be torn down.
    for id in 1000..1128 {
        header(id, 160, 1, &[19 * 4096]);
    }
    header(2000, 160, 1, &[19 * 4096]);
    assert_eq!(guest.gpadl_created(2000), Status(0xc000_009a));
    guest.teardown(relid, 1000);
    guest.teardown(relid, id);
    guest.create_gpadl(relid, &guest.alloc(1)).unwrap();
    assert_eq!(counter(&guest, "gpadls_begun"), 127);
    still_works(&guest);
    assert_eq!(counter(&guest, "gpadls"), 0);
}

#[test]
fn a_guest_shares_only_so_much() {
    let (guest, _, offers) = with_two();
    let relid = offers[0].relid;
    // The same pages over and over cost the guest nothing.
    let pfns: Vec<u64> = (1..=8190).collect();
    let lists = 1280 * 256 / 8190;
    let ids: Vec<u32> = (0..lists)
        .map(|_| guest.create_gpadl(relid, &pfns).unwrap())
        .collect();
    assert_eq!(guest.create_gpadl(relid, &pfns), Err(Status(0xc000_009a)));
    guest.teardown(relid, ids[0]);
    let last = guest.create_gpadl(relid, &pfns).unwrap();
    guest.teardown(relid, last);
}

#[test]
fn a_list_in_use_isn_t_torn_down() {
    let (guest, _, offers) = with_two();
    let relid = offers[0].relid;
    let mut channel = guest.open(&offers[0]);
    let ring = channel.ring_gpadl();
    assert!(!guest.teardown_within(relid, ring, SHORT));
    // Nor on somebody else's word, nor twice.
    assert!(!guest.teardown_within(offers[1].relid, ring, SHORT));
    assert!(!guest.teardown_within(relid, ring, SHORT));
    channel.transact(1, &[b"still open"], |_| ());
    guest.post(&guest::close_channel(relid));
    assert!(guest.torn_down(ring, LIMIT));
    assert!(!guest.torn_down(ring, SHORT), "one answer");
    guest.post(&guest::close_channel(relid));
    guest.post(&guest::close_channel(relid));
    let refused = counter(&guest, "refused");
    still_works(&guest);
    assert!(refused >= 2);
}

#[test]
fn an_id_of_an_open_channel_isn_t_released() {
    let (guest, _, offers) = with_two();
    let mut channel = guest.open(&offers[0]);
    guest.post(&guest::relid_released(offers[0].relid));
    channel.transact(1, &[b"x"], |_| ());
    until("refused", || counter(&guest, "refused") == 1);
    channel.close();
}

/// Scribbles into a ring that is being served; the channel must die, and nothing else.
fn dies(scribble: impl FnOnce(&mut GuestChannel)) {
    let (guest, echoes, offers) = with_two();
    let heard = guest.bus().events().subscribe().unwrap();
    let mut channel = guest.open(&offers[0]);
    channel.transact(1, &[b"x"], |_| ());
    let mut other = guest.open(&offers[1]);
    scribble(&mut channel);
    channel.signal();
    until("dead", || channel_state(&guest, 0) == "dead");
    assert_eq!(echoes[0].serving(), 0);
    assert_eq!(counter(&guest, "died"), 1);
    loop {
        let event = heard.next(LIMIT).unwrap();
        if event.name == "channel-failed" {
            assert_eq!(event.fields["device"], "echo0");
            assert!(event.fields["error"].is_string());
            break;
        }
    }
    other.transact(2, &[b"y"], |_| ());
    // It can be closed and opened again.
    channel.close();
    let mut channel = guest.open(&offers[0]);
    channel.transact(3, &[b"z"], |_| ());
    channel.close();
    other.close();
}

#[test]
fn corrupt_cursors_kill_the_channel() {
    for (to_guest, offset, value) in [
        (false, WRITE_INDEX_OFFSET, u32::MAX),
        (false, WRITE_INDEX_OFFSET, 16 * 4096),
        (false, WRITE_INDEX_OFFSET, 4),
    ] {
        dies(|channel| channel.scribble(to_guest, offset as u64, value));
    }
    // Found when something is sent.
    dies(|channel| {
        channel.scribble(true, READ_INDEX_OFFSET as u64, 12345);
        let _ = channel.send(&OutPacket::in_band(9, &[b"answer me"]));
    });
}

#[test]
fn corrupt_packets_kill_the_channel() {
    // Type, offset, length: in units of eight bytes.
    for words in [
        [6u16, 2, 0],
        [6, 0, 3],
        [6, 9, 3],
        [6, 2, u16::MAX],
        [6, 2, 4],
        // A kind that is never sent, and one whose head isn't there.
        [8, 2, 3],
        [0, 2, 3],
        [9, 2, 3],
        [7, 2, 3],
    ] {
        dies(|channel| {
            // A packet of four units and its trailer, then over its descriptor; the host may be
            // there first, so it is paused meanwhile.
            let bus = channel.guest().bus().clone();
            bus.pause("echo0", true).unwrap();
            let (at, _) = channel.indices();
            channel.send(&OutPacket::in_band(9, &[&[0xff; 8]])).unwrap();
            let address = channel.control_page(false) + 4096 + u64::from(at);
            let memory = channel.guest().memory();
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            memory.write(address, &bytes).unwrap();
            bus.pause("echo0", false).unwrap();
        });
    }
}

#[test]
fn a_guest_that_takes_nothing_can_still_close() {
    let (guest, echoes, offers) = with_two();
    let mut channel = guest.open(&offers[0]);
    while channel.send(&OutPacket::in_band(1, &[&[0; 2000]])).is_ok() {}
    thread::sleep(SHORT);
    while channel.send(&OutPacket::in_band(1, &[&[0; 2000]])).is_ok() {}
    channel.close();
    assert_eq!(echoes[0].serving(), 0);
}

#[test]
fn a_device_that_panics_takes_its_channel_only() {
    let hook = |_: &mut Channel, got: &hvhost::testing::Got| {
        assert!(got.payload[0] != b'!', "told to panic");
        anyhow::ensure!(got.payload[0] != b'?', "told to fail");
        Ok(true)
    };
    let guest = FakeGuest::new();
    let device = Echo::with(Echo::identity_of("fragile"), Some(Box::new(hook)));
    guest.bus().add(device).unwrap();
    let offer = guest.connect()[0];
    for (bad, error) in [(b"!", "the device panicked"), (b"?", "told to fail")] {
        let mut channel = guest.open(&offer);
        channel.transact(1, &[b"x"], |_| ());
        channel.send(&OutPacket::in_band(2, &[bad])).unwrap();
        until("dead", || channel_state(&guest, 0) == "dead");
        let died = guest.bus().stats()["devices"][0]["channels"][0]["died"].clone();
        assert_eq!(died, error);
        channel.close();
    }
    still_works(&guest);
}

#[test]
fn messages_beyond_number_are_turned_away() {
    let (guest, _, _) = with_two();
    let unload = guest::relid_released(vmbus_wire::Relid::new(2000).unwrap());
    // Nobody can keep up with that; whatever is turned away, is counted.
    let mut refused = 0;
    for _ in 0..200_000 {
        if !guest.post_bytes(4, 1, unload.as_bytes()) {
            refused += 1;
        }
    }
    assert_eq!(counter(&guest, "overrun"), refused);
    still_works(&guest);
}

#[test]
fn monitor_pages_outside_of_memory_are_refused() {
    use vmbus_wire::message::{InitiateContact, MonitorPages};
    let guest = FakeGuest::new();
    for (to_guest, to_host) in [(1 << 40, 4096), (4096, 1 << 40), (4096, 8200)] {
        let contact = InitiateContact {
            version: ProtocolVersion::V6_0,
            target_vp: 0,
            interrupt_page: 0,
            trust_level: 0,
            features: Default::default(),
            monitor_pages: Some(MonitorPages { to_guest, to_host }),
        };
        guest.post_bytes(4, 1, contact.message().as_bytes());
        let supported = guest.expect("VERSION_RESPONSE", |message| match message {
            vmbus_wire::HostMessage::VersionResponse(response) => Some(response.supported),
            _ => None,
        });
        assert!(!supported);
    }
}

/// Doesn't return when it is told to, but when it is let go.
struct Stubborn {
    gate: Mutex<mpsc::Receiver<()>>,
    resets: Mutex<u32>,
}

impl Stubborn {
    fn new() -> (Arc<Self>, mpsc::Sender<()>) {
        let (go, gate) = mpsc::channel();
        let device = Arc::new(Self {
            gate: Mutex::new(gate),
            resets: Mutex::default(),
        });
        (device, go)
    }
}

impl Device for Stubborn {
    fn identity(&self) -> Identity {
        Echo::identity_of("stubborn")
    }
    fn attached(&self, _: DeviceHandle) {}
    fn serve(self: Arc<Self>, mut channel: Channel) -> anyhow::Result<()> {
        self.gate.lock().unwrap().recv()?;
        // Whatever it tries now, the rings are out of its reach.
        let packet = OutPacket::in_band(1, &[b"too late"]);
        if channel.send(&packet).is_ok() {
            anyhow::bail!("it could still send");
        }
        channel.wait(None)?;
        anyhow::bail!("it could still wait")
    }
    fn reset(&self) {
        *self.resets.lock().unwrap() += 1;
    }
    fn stats(&self) -> Value {
        json!({})
    }
}

#[test]
fn a_device_that_holds_on_keeps_its_pages_reserved() {
    let (device, go) = Stubborn::new();
    let guest = FakeGuest::new();
    guest.bus().add(device).unwrap();
    guest.bus().add(Echo::new("echo0")).unwrap();
    let offers = guest.connect();
    let relid = offers[0].relid;
    let channel = guest.open(&offers[0]);
    let ring = channel.ring_gpadl();
    guest.post(&guest::close_channel(relid));
    guest.post(&guest::gpadl_teardown(relid, ring));
    until("abandoned", || channel_state(&guest, 0) == "abandoned");
    assert_eq!(counter(&guest, "abandoned"), 1);
    assert!(!guest.torn_down(ring, SHORT));
    // Everything else goes on.
    let mut other = guest.open(&offers[1]);
    other.transact(1, &[b"x"], |_| ());
    // Even its withdrawal; the id stays reserved.
    guest.bus().rescind("stubborn").unwrap();
    assert_eq!(guest.rescinded(), relid);
    go.send(()).unwrap();
    assert!(guest.torn_down(ring, LIMIT));
    guest.post(&guest::relid_released(relid));
    guest.bus().reoffer("stubborn").unwrap();
    assert_eq!(guest.offer().instance, offers[0].instance);
    other.close();
}

#[test]
fn a_reset_goes_on_without_a_device_that_holds_on() {
    let (device, go) = Stubborn::new();
    let guest = FakeGuest::with(GuestConfig::default());
    guest.bus().add(device.clone()).unwrap();
    guest.bus().add(Echo::new("echo0")).unwrap();
    let offers = guest.connect();
    guest.open(&offers[0]);
    let since = Instant::now();
    guest.bus().reset();
    assert!(since.elapsed() < Duration::from_secs(15));
    // The next guest doesn't see it, until it has let go.
    let seen = guest.connect();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].instance, offers[1].instance);
    let resets = *device.resets.lock().unwrap();
    assert_eq!(resets, 0, "not while it serves");
    go.send(()).unwrap();
    assert_eq!(guest.offer().instance, offers[0].instance);
    assert_eq!(*device.resets.lock().unwrap(), 1);
}

#[test]
fn removal_goes_on_without_a_guest_that_holds_on() {
    let (guest, _, offers) = with_two();
    let _open = guest.open(&offers[0]);
    let since = Instant::now();
    guest.bus().remove("echo0").unwrap();
    assert!(since.elapsed() < Duration::from_secs(20));
    assert_eq!(guest.bus().names(), ["echo1"]);
    let stats = guest.bus().stats();
    assert_eq!(stats["left"][0]["relid"], offers[0].relid.get());
    // Its instance isn't offered again before the guest has let go of it.
    guest.rescinded();
    guest.bus().add(Echo::new("echo0")).unwrap();
    assert!(guest.message(SHORT).is_none());
    guest.post(&guest::relid_released(offers[0].relid));
    assert_eq!(guest.offer().instance, offers[0].instance);
}
