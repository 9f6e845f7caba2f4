// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The bus as a guest sees it: versions, offers, withdrawal, leaving and coming back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hvhost::testing::{Echo, FakeGuest, GuestConfig, LIMIT, SHORT};
use hvhost::vmbus::bus::BusConfig;
use vmbus_wire::message::guest;
use vmbus_wire::packet::OutPacket;
use vmbus_wire::version::FeatureFlags;
use vmbus_wire::{HostMessage, Offer, ProtocolVersion};

fn capped(max_version: ProtocolVersion) -> FakeGuest {
    FakeGuest::with(GuestConfig {
        bus: BusConfig {
            max_version,
            monitor: false,
        },
        ..GuestConfig::default()
    })
}

/// A guest with one echo, connected.
fn with_echo() -> (FakeGuest, Arc<Echo>, Offer) {
    let guest = FakeGuest::new();
    let echo = Echo::new("echo0");
    guest.bus().add(echo.clone()).unwrap();
    let offers = guest.connect();
    assert_eq!(offers.len(), 1);
    (guest, echo, offers[0])
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn bus_counter(guest: &FakeGuest, name: &str) -> u64 {
    guest.bus().stats()["connection"][name].as_u64().unwrap()
}

#[test]
fn every_version_in_turn() {
    for max in ProtocolVersion::OFFERED {
        let guest = capped(max);
        guest.bus().add(Echo::new("echo0")).unwrap();
        for version in ProtocolVersion::OFFERED {
            let answer = guest.contact(version);
            if version.has_connection_id() && !max.has_connection_id() {
                assert_eq!(answer, None, "an old host has no connection 4");
                continue;
            }
            let answer = answer.unwrap();
            assert_eq!(answer.supported, version <= max, "{version} at {max}");
            assert_eq!(answer.features.is_some(), version.has_feature_flags());
            assert_eq!(answer.features.unwrap_or_default(), FeatureFlags::NONE);
            if version.has_connection_id() {
                assert_eq!(answer.connection_id, Some(4));
            }
            if answer.supported {
                break;
            }
        }
        assert_eq!(guest.version(), max);
        let offers = guest.request_offers();
        let mut channel = guest.open(&offers[0]);
        assert_eq!(channel.transact(3, &[b"hello"], |_| ()), b"hello\0\0\0");
        channel.close();
        let stats = guest.bus().stats();
        assert_eq!(stats["connection"]["version"], max.to_string());
        guest.unload();
    }
}

#[test]
fn versions_that_are_no_versions_are_refused() {
    let guest = FakeGuest::new();
    for version in [
        ProtocolVersion::WS2008,
        ProtocolVersion::WIN7,
        ProtocolVersion::new(5, 9),
        ProtocolVersion::new(7, 0),
        ProtocolVersion::from_wire(u32::MAX),
        ProtocolVersion::from_wire(0),
    ] {
        assert!(!guest.contact(version).unwrap().supported, "{version}");
    }
    assert!(!guest.post_bytes(2, 1, guest::unload().as_bytes()));
    assert!(!guest.post_bytes(0x80_0074, 1, guest::unload().as_bytes()));
    // Messages for a processor that isn't there.
    let answer = guest.contact_on(4, ProtocolVersion::V6_0, 4).unwrap();
    assert!(!answer.supported);
}

#[test]
fn messages_go_where_the_guest_wants_them() {
    for (version, want) in [(ProtocolVersion::WIN8, 0), (ProtocolVersion::WIN8_1, 3)] {
        let guest = FakeGuest::new();
        guest.contact_on(1, version, 3).unwrap();
        guest.post(&guest::request_offers());
        let (vp, _) = guest.hypervisor().take_message(LIMIT).unwrap();
        assert_eq!(vp, want, "{version}");
    }
}

#[test]
fn offers_come_once_and_later_devices_at_once() {
    let guest = FakeGuest::new();
    for name in ["a", "b", "c"] {
        guest.bus().add(Echo::new(name)).unwrap();
    }
    assert!(guest.bus().add(Echo::new("b")).is_err(), "its name");
    let mut twin = Echo::identity_of("b");
    twin.name = "twin".to_owned();
    assert!(guest.bus().add(Echo::with(twin, None)).is_err(), "its id");
    let offers = guest.connect();
    let identity = Echo::identity_of("b");
    assert_eq!(offers.len(), 3);
    assert_eq!(offers[1].instance, identity.instance);
    assert_eq!(offers[1].class, identity.class);
    assert!(offers[1].dedicated_interrupt && offers[1].monitor.is_none());
    let mut connections: Vec<u32> = offers.iter().map(|offer| offer.connection_id).collect();
    connections.dedup();
    assert_eq!(connections.len(), 3);
    assert!(guest.message(SHORT).is_none());
    guest.bus().add(Echo::new("d")).unwrap();
    assert_eq!(guest.offer().instance, Echo::identity_of("d").instance);
    guest.post(&guest::request_offers());
    assert!(guest.message(SHORT).is_none(), "offers are asked for once");
    assert_eq!(guest.bus().names(), ["a", "b", "c", "d"]);
    assert!(guest.bus().device("d").is_some() && guest.bus().device("e").is_none());
}

#[test]
fn a_rescinded_device_comes_back_when_its_id_was_released() {
    let (guest, echo, offer) = with_echo();
    let mut channel = guest.open(&offer);
    channel.transact(1, &[b"x"], |_| ());
    guest.bus().rescind("echo0").unwrap();
    assert!(guest.bus().rescind("echo0").is_err());
    assert_eq!(guest.rescinded(), offer.relid);
    assert_eq!(echo.serving(), 0, "told only when it is over");
    guest.bus().reoffer("echo0").unwrap();
    assert!(guest.bus().reoffer("echo0").is_err());
    assert!(guest.message(SHORT).is_none(), "the old id is in use");
    channel.release();
    let again = guest.offer();
    assert_eq!(again.instance, offer.instance);
    assert_ne!(again.relid, offer.relid);
    let mut channel = guest.open(&again);
    channel.transact(2, &[b"y"], |_| ());
    channel.close();
}

#[test]
fn a_device_that_isn_t_open_is_rescinded_too() {
    let (guest, _, offer) = with_echo();
    guest.bus().rescind("echo0").unwrap();
    assert_eq!(guest.rescinded(), offer.relid);
    // The guest was about to use it.
    assert!(guest.create_gpadl(offer.relid, &guest.alloc(2)).is_err());
    guest.post(&guest::relid_released(offer.relid));
    until("released", || {
        guest.bus().stats()["devices"][0]["channels"] == serde_json::json!([])
    });
}

#[test]
fn removal_waits_for_the_guest() {
    let (guest, _, offer) = with_echo();
    let channel = guest.open(&offer);
    let bus = guest.bus().clone();
    let gone = Arc::new(AtomicBool::new(false));
    let flag = gone.clone();
    let remover = thread::spawn(move || {
        bus.remove("echo0").unwrap();
        flag.store(true, Ordering::SeqCst);
    });
    assert_eq!(guest.rescinded(), offer.relid);
    thread::sleep(SHORT);
    assert!(!gone.load(Ordering::SeqCst));
    channel.release();
    remover.join().unwrap();
    assert!(guest.bus().names().is_empty());
    assert!(guest.bus().remove("echo0").is_err());
    // Name and instance are free again.
    guest.bus().add(Echo::new("echo0")).unwrap();
    assert_eq!(guest.offer().instance, offer.instance);
}

#[test]
fn removal_without_a_guest_is_at_once() {
    let guest = FakeGuest::new();
    guest.bus().add(Echo::new("echo0")).unwrap();
    let since = Instant::now();
    guest.bus().remove("echo0").unwrap();
    assert!(since.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_guest_may_give_an_offer_back() {
    let (guest, _, offer) = with_echo();
    guest.post(&guest::relid_released(offer.relid));
    until("refused", || bus_counter(&guest, "refused") == 1);
    assert!(guest.message(SHORT).is_none(), "it isn't offered again");
    guest.bus().reoffer("echo0").unwrap();
    assert_ne!(guest.offer().relid, offer.relid);
}

#[test]
fn unload_ends_everything_before_it_is_answered() {
    let (guest, echo, offer) = with_echo();
    let mut channel = guest.open(&offer);
    channel.transact(1, &[b"x"], |_| ());
    assert_eq!((echo.serving(), echo.resets()), (1, 0));
    guest.unload();
    assert_eq!((echo.serving(), echo.resets()), (0, 1));
    assert!(!guest.hypervisor().is_connected(offer.connection_id));
    let stats = guest.bus().stats();
    assert_eq!(stats["connection"]["state"], "disconnected");
    assert_eq!(stats["connection"]["gpadls"], 0);
    // Nothing is heard without a connection.
    guest.post(&guest::request_offers());
    assert!(guest.message(SHORT).is_none());
    // The next kernel.
    let offers = guest.connect();
    let mut channel = guest.open(&offers[0]);
    channel.transact(1, &[b"x"], |_| ());
    channel.close();
}

#[test]
fn another_contact_is_another_guest() {
    let (guest, echo, offer) = with_echo();
    let mut channel = guest.open(&offer);
    channel.transact(1, &[b"x"], |_| ());
    // A crashed guest's next kernel says nothing of unloading.
    let offers = guest.connect();
    assert_eq!((echo.serving(), echo.resets()), (0, 1));
    let mut channel = guest.open(&offers[0]);
    channel.transact(1, &[b"x"], |_| ());
    // A version that isn't there ends the connection as well.
    let answer = guest.contact(ProtocolVersion::new(9, 9)).unwrap();
    assert!(!answer.supported);
    assert_eq!((echo.serving(), echo.resets()), (0, 2));
    assert_eq!(guest.bus().stats()["connection"]["state"], "disconnected");
}

#[test]
fn a_reset_machine_has_no_channels() {
    use hvhost::hypervisor::MessageSink;
    let (guest, echo, offer) = with_echo();
    let mut channel = guest.open(&offer);
    channel.transact(1, &[b"x"], |_| ());
    guest.bus().reset();
    assert_eq!((echo.serving(), echo.resets()), (0, 1));
    assert!(guest.message(SHORT).is_none());
    assert_eq!(guest.connect().len(), 1);
}

#[test]
fn rescinded_devices_stay_away_from_the_next_guest() {
    let (guest, _, offer) = with_echo();
    guest.bus().rescind("echo0").unwrap();
    assert_eq!(guest.rescinded(), offer.relid);
    assert!(guest.connect().is_empty());
    guest.bus().reoffer("echo0").unwrap();
    guest.offer();
}

#[test]
fn events_tell_what_happened() {
    let guest = FakeGuest::new();
    let heard = guest.bus().events().subscribe().unwrap();
    guest.bus().add(Echo::new("echo0")).unwrap();
    let offer = guest.connect()[0];
    let mut channel = guest.open(&offer);
    channel.transact(1, &[b"x"], |_| ());
    channel.close();
    guest.bus().rescind("echo0").unwrap();
    guest.rescinded();
    guest.unload();
    let mut names = Vec::new();
    while names.last().map(String::as_str) != Some("guest-unloaded") {
        names.push(heard.next(LIMIT).unwrap().name);
    }
    assert_eq!(
        names,
        [
            "guest-connected",
            "offered",
            "channel-opened",
            "channel-closed",
            "rescinded",
            "guest-unloaded"
        ]
    );
}

#[test]
fn two_thousand_devices_are_offered_and_no_more() {
    let guest = FakeGuest::new();
    for n in 0..2047 {
        guest.bus().add(Echo::new(&format!("e{n}"))).unwrap();
    }
    assert!(guest.bus().add(Echo::new("one-too-many")).is_err());
    let offers = guest.connect();
    assert_eq!(offers.len(), 2047);
    let mut relids: Vec<u32> = offers.iter().map(|offer| offer.relid.get()).collect();
    relids.sort_unstable();
    assert_eq!(relids, (1..2048).collect::<Vec<_>>());
}

#[test]
fn sockets_are_refused() {
    use vmbus_wire::message::{SocketConnect, SocketEndpoints};
    let connect = SocketConnect {
        endpoints: SocketEndpoints {
            guest_endpoint: Echo::identity_of("g").instance,
            host_service: Echo::identity_of("h").instance,
        },
    };
    for (version, answered) in [
        (ProtocolVersion::WIN8_1, false),
        (ProtocolVersion::WIN10, false),
        (ProtocolVersion::V4_1, true),
    ] {
        let guest = capped(version);
        guest.connect();
        guest.post(&connect.message());
        let answer = guest.message(if answered { LIMIT } else { SHORT });
        match answer {
            Some(HostMessage::SocketConnectResult(result)) => {
                assert!(answered && !result.status.is_success());
                assert_eq!(result.endpoints, connect.endpoints);
            }
            other => assert!(!answered && other.is_none(), "{other:?}"),
        }
    }
}

#[test]
fn statistics_count_what_was_said() {
    let (guest, _, offer) = with_echo();
    let mut channel = guest.open(&offer);
    for n in 0..10 {
        channel.send(&OutPacket::in_band(n, &[&[7; 100]])).unwrap();
        assert_eq!(channel.receive(LIMIT).unwrap().transaction_id, n);
    }
    let stats = guest.bus().stats();
    let connection = &stats["connection"];
    assert_eq!(connection["messages_in"]["open_channel"], 1);
    assert_eq!(connection["messages_in"]["gpadl_header"], 1);
    assert_eq!(connection["messages_in"]["gpadl_body"], 1);
    assert_eq!(connection["messages_out"]["offer_channel"], 1);
    assert_eq!(connection["gpadl_pages"], 34);
    let of = &stats["devices"][0]["channels"][0];
    assert_eq!(of["relid"], offer.relid.get());
    assert_eq!(of["state"], "open");
    assert_eq!(
        (&of["packets_in"], &of["packets_out"]),
        (&10.into(), &10.into())
    );
    // Descriptor, payload with padding, trailer.
    assert_eq!(of["bytes_in"], 10 * (16 + 104 + 8));
    assert_eq!(of["ring_in_bytes"], 16 * 4096);
    assert_eq!(of["signals"], channel.signals);
    assert_eq!(
        of["interrupts"],
        guest.hypervisor().signals(offer.relid.get() as u16)
    );
    channel.close();
    assert_eq!(guest.bus().stats()["connection"]["gpadl_pages"], 0);
}
