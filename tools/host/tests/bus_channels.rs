// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Channels: rings in both directions, sub-channels, interrupts, pauses.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hvhost::device::{Device, Identity};
use hvhost::testing::{Echo, FakeGuest, GuestConfig, OpenOptions, LIMIT, SHORT};
use hvhost::vmbus::bus::BusConfig;
use hvhost::vmbus::channel::{Channel, ChannelError, PacketBuffer, Wake};
use hvhost::vmbus::handle::DeviceHandle;
use nix::sys::eventfd::{EfdFlags, EventFd};
use serde_json::{json, Value};
use vmbus_wire::message::guest;
use vmbus_wire::packet::{OutPacket, PacketType};
use vmbus_wire::{Offer, ProtocolVersion};

fn with(device: Arc<dyn Device>, config: GuestConfig) -> (FakeGuest, Offer) {
    let guest = FakeGuest::with(config);
    guest.bus().add(device).unwrap();
    let offers = guest.connect();
    (guest, offers[0])
}

fn with_echo() -> (FakeGuest, Arc<Echo>, Offer) {
    let echo = Echo::new("echo0");
    let (guest, offer) = with(echo.clone(), GuestConfig::default());
    (guest, echo, offer)
}

fn channel_stats(guest: &FakeGuest, nth: usize) -> Value {
    guest.bus().stats()["devices"][0]["channels"][nth].clone()
}

/// A device made of a function.
struct Scripted {
    serve: Box<dyn Fn(Channel) -> anyhow::Result<()> + Send + Sync>,
    handle: Mutex<Option<DeviceHandle>>,
}

impl Scripted {
    fn new(serve: impl Fn(Channel) -> anyhow::Result<()> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            serve: Box::new(serve),
            handle: Mutex::default(),
        })
    }

    fn handle(&self) -> DeviceHandle {
        self.handle.lock().unwrap().clone().unwrap()
    }
}

impl Device for Scripted {
    fn identity(&self) -> Identity {
        Echo::identity_of("scripted")
    }
    fn attached(&self, bus: DeviceHandle) {
        *self.handle.lock().unwrap() = Some(bus);
    }
    fn serve(self: Arc<Self>, channel: Channel) -> anyhow::Result<()> {
        (self.serve)(channel)
    }
    fn stats(&self) -> Value {
        json!({})
    }
}

#[test]
fn packets_of_all_sizes_go_round_rings_of_all_shapes() {
    let (guest, _, offer) = with_echo();
    for (out_pages, in_pages, contiguous) in
        [(2, 2, true), (2, 5, false), (17, 3, false), (33, 33, true)]
    {
        let options = OpenOptions {
            out_pages,
            in_pages,
            contiguous,
            ..OpenOptions::default()
        };
        let mut channel = guest.open_with(&offer, &options).unwrap();
        // Many times round, with every alignment.
        for n in 0..600u64 {
            let length = (n * 37) as usize % 3900;
            let payload: Vec<u8> = (0..length).map(|at| (at as u64 * 7 + n) as u8).collect();
            channel.send_all(&OutPacket::in_band(n, &[&payload]));
            let answer = channel.receive(LIMIT).unwrap();
            assert_eq!(answer.transaction_id, n);
            assert_eq!(answer.packet_type, PacketType::IN_BAND);
            assert_eq!(answer.payload[..length], payload[..]);
        }
        channel.close();
    }
}

#[test]
fn blocked_writers_on_both_sides_get_room() {
    let (guest, _, offer) = with_echo();
    let options = OpenOptions {
        out_pages: 3,
        in_pages: 2,
        ..OpenOptions::default()
    };
    let mut channel = guest.open_with(&offer, &options).unwrap();
    // The guest takes nothing until its own ring is full, so both ends block.
    let payload = [9u8; 1000];
    let mut sent = 0u64;
    loop {
        match channel.send(&OutPacket::in_band(sent, &[&payload])) {
            Ok(()) => sent += 1,
            Err(_) => {
                thread::sleep(SHORT);
                if channel
                    .send(&OutPacket::in_band(sent, &[&payload]))
                    .is_err()
                {
                    break;
                }
                sent += 1;
            }
        }
    }
    assert!(sent >= 8, "{sent} packets fit in both rings");
    for n in 0..sent {
        assert_eq!(channel.receive(LIMIT).unwrap().transaction_id, n);
    }
    assert!(channel_stats(&guest, 0)["full"].as_u64().unwrap() > 0);
    // The other way round: the guest waits for room while its answers are taken.
    for n in 0..200 {
        channel.send_all(&OutPacket::in_band(n, &[&payload]));
        while channel.try_receive().is_some() {}
    }
    channel.close();
}

#[test]
fn a_busy_ring_needs_few_signals() {
    let (guest, _, offer) = with_echo();
    let options = OpenOptions {
        out_pages: 65,
        in_pages: 65,
        ..OpenOptions::default()
    };
    let mut channel = guest.open_with(&offer, &options).unwrap();
    let count = 20_000u64;
    let mut back = 0;
    for n in 0..count {
        channel.send_all(&OutPacket::in_band(n, &[&[1; 64]]));
        while let Some(received) = channel.try_receive() {
            assert_eq!(received.transaction_id, back);
            back += 1;
        }
    }
    while back < count {
        assert_eq!(channel.receive(LIMIT).unwrap().transaction_id, back);
        back += 1;
    }
    let stats = channel_stats(&guest, 0);
    assert_eq!(stats["packets_in"], count);
    // Each side signals an empty ring only.
    assert!(channel.signals < count);
    assert!(stats["interrupts"].as_u64().unwrap() < count);
    channel.close();
}

#[test]
fn a_guest_that_masks_is_not_interrupted() {
    let (guest, _, offer) = with_echo();
    let mut channel = guest.open(&offer);
    channel.mask(true);
    let before = guest.hypervisor().signals(offer.relid.get() as u16);
    channel.send(&OutPacket::in_band(1, &[b"quiet"])).unwrap();
    let deadline = Instant::now() + LIMIT;
    while channel.try_receive().is_none() {
        assert!(Instant::now() < deadline);
    }
    assert!(!channel.wait(SHORT));
    assert_eq!(guest.hypervisor().signals(offer.relid.get() as u16), before);
    channel.mask(false);
    channel.send(&OutPacket::in_band(2, &[b"loud"])).unwrap();
    assert!(channel.receive(LIMIT).is_some());
    channel.close();
}

#[test]
fn subchannels_come_and_go_with_the_primary() {
    let (guest, echo, offer) = with_echo();
    assert!(echo.handle().offer_subchannels(1).is_err(), "not open");
    let mut primary = guest.open(&offer);
    assert_eq!(echo.handle().offer_subchannels(3).unwrap(), 3);
    let subs: Vec<Offer> = (0..3).map(|_| guest.offer()).collect();
    for (n, sub) in (1..).zip(&subs) {
        assert_eq!((sub.subchannel, sub.instance), (n, offer.instance));
    }
    assert_eq!(echo.handle().offer_subchannels(1).unwrap(), 4);
    let fourth = guest.offer();
    assert_eq!(fourth.subchannel, 4);
    let mut opened: Vec<_> = (0..3)
        .map(|n| {
            let options = OpenOptions {
                target_vp: n + 1,
                ..OpenOptions::default()
            };
            guest.open_with(&subs[n as usize], &options).unwrap()
        })
        .collect();
    for (n, channel) in (1u32..).zip(&mut opened) {
        channel.send(&OutPacket::in_band(5, &[b"sub"])).unwrap();
        assert_eq!(channel.interrupted(LIMIT), Some(n));
        assert!(channel.try_receive().is_some());
    }
    primary.transact(1, &[b"primary"], |_| ());
    assert_eq!(echo.serving(), 4);
    // As Linux does: sub-channels first, then the primary; the host takes the sub-channels back.
    for channel in opened {
        channel.close();
    }
    assert_eq!(channel_stats(&guest, 1)["state"], "offered");
    primary.close();
    for _ in 0..4 {
        let relid = guest.rescinded();
        assert_ne!(relid, offer.relid);
        guest.post(&guest::relid_released(relid));
    }
    let mut primary = guest.open(&offer);
    assert_eq!(echo.handle().offer_subchannels(2).unwrap(), 2);
    assert_eq!((guest.offer().subchannel, guest.offer().subchannel), (1, 2));
    primary.transact(2, &[b"again"], |_| ());
    primary.close();
}

#[test]
fn rescind_takes_subchannels_first() {
    let (guest, echo, offer) = with_echo();
    let primary = guest.open(&offer);
    echo.handle().offer_subchannels(2).unwrap();
    let (one, two) = (guest.offer(), guest.offer());
    let sub = guest.open(&one);
    guest.bus().rescind("echo0").unwrap();
    let order: Vec<_> = (0..3).map(|_| guest.rescinded()).collect();
    assert_eq!(order.last(), Some(&offer.relid));
    assert!(order.contains(&one.relid) && order.contains(&two.relid));
    assert_eq!(echo.serving(), 0);
    sub.release();
    guest.post(&guest::relid_released(two.relid));
    primary.release();
    guest.bus().reoffer("echo0").unwrap();
    assert!(guest.offer().is_primary());
}

#[test]
fn one_subchannel_can_be_rescinded() {
    let (guest, echo, offer) = with_echo();
    let mut primary = guest.open(&offer);
    echo.handle().offer_subchannels(2).unwrap();
    let (one, two) = (guest.offer(), guest.offer());
    let first = guest.open(&one);
    let mut second = guest.open(&two);
    // An answer shows that a channel is served; its opening is answered before.
    primary.transact(1, &[b"primary"], |_| ());
    second.transact(2, &[b"second"], |_| ());
    for none in [0, 3] {
        assert!(guest.bus().rescind_subchannel("echo0", none).is_err());
    }
    guest.bus().rescind_subchannel("echo0", 1).unwrap();
    assert_eq!(guest.rescinded(), one.relid);
    assert!(guest.bus().rescind_subchannel("echo0", 1).is_err(), "twice");
    assert_eq!(echo.serving(), 2);
    first.release();
    primary.transact(3, &[b"primary"], |_| ());
    second.transact(4, &[b"second"], |_| ());
    second.close();
    primary.close();
}

#[test]
fn interrupts_move() {
    for (version, answered) in [
        (ProtocolVersion::WIN10, None),
        (ProtocolVersion::V5_2, None),
        (ProtocolVersion::V5_3, Some(true)),
        (ProtocolVersion::V6_0, Some(true)),
    ] {
        let guest = FakeGuest::new();
        guest.bus().add(Echo::new("echo0")).unwrap();
        assert!(guest.contact(version).unwrap().supported);
        let offer = guest.request_offers()[0];
        let mut channel = guest.open(&offer);
        channel.send(&OutPacket::in_band(1, &[b"x"])).unwrap();
        assert_eq!(channel.interrupted(LIMIT), Some(0));
        channel.try_receive().unwrap();
        assert_eq!(channel.modify(3), answered, "{version}");
        // Where there is no answer: the bus works in order, and this is answered.
        let probe = guest.create_gpadl(offer.relid, &guest.alloc(1)).unwrap();
        channel.send(&OutPacket::in_band(2, &[b"x"])).unwrap();
        let moved = version.has_modify_channel();
        assert_eq!(channel.interrupted(LIMIT), Some(if moved { 3 } else { 0 }));
        if answered.is_some() {
            assert_eq!(channel.modify(4), Some(false), "no such processor");
        }
        guest.teardown(offer.relid, probe);
        channel.close();
    }
}

#[test]
fn triggers_in_the_monitor_page_signal_the_host() {
    let mut identity = Echo::identity_of("monitored");
    identity.monitor_latency = Some(1000);
    let config = |allowed| GuestConfig {
        bus: BusConfig {
            max_version: ProtocolVersion::V6_0,
            monitor: allowed,
        },
        monitor: true,
        ..GuestConfig::default()
    };
    let (_, offer) = with(Echo::with(identity.clone(), None), config(false));
    assert!(offer.monitor.is_none(), "not allowed");
    let (guest, offer) = with(Echo::with(identity, None), config(true));
    let monitor = offer.monitor.unwrap();
    let page = guest.monitor_pages().unwrap().to_host;
    let latency: u16 = guest
        .memory()
        .load(page + monitor.latency_offset() as u64)
        .unwrap();
    let connection: u32 = guest
        .memory()
        .load(page + monitor.connection_id_offset() as u64)
        .unwrap();
    assert_eq!((latency, connection), (1000, offer.connection_id));
    let mut channel = guest.open(&offer);
    for n in 0..50 {
        channel.transact(n, &[b"tick"], |_| ());
    }
    // The answer may come before the trigger is looked at, as the device takes what it finds.
    let pending = || -> u32 {
        let at = page + monitor.pending_offset() as u64;
        guest.memory().load(at).unwrap()
    };
    let deadline = Instant::now() + LIMIT;
    while pending() != 0 {
        assert!(Instant::now() < deadline, "the trigger is never taken");
        thread::sleep(Duration::from_millis(1));
    }
    // Two triggers before one look are one.
    let stats = channel_stats(&guest, 0);
    assert_eq!(stats["monitor_id"], monitor.get());
    let signals = stats["monitor_signals"].as_u64().unwrap();
    assert!((1..=channel.signals).contains(&signals), "{signals}");
    channel.close();
    // Another device has another trigger, and the page of the next guest is another page.
    let mut second = Echo::identity_of("second");
    second.monitor_latency = Some(500);
    guest.bus().add(Echo::with(second, None)).unwrap();
    let other = guest.offer();
    assert_ne!(other.monitor, offer.monitor);
    let mut channel = guest.open(&other);
    channel.transact(1, &[b"tick"], |_| ());
    channel.close();
    guest.unload();
}

#[test]
fn a_paused_device_leaves_packets_in_the_ring() {
    let (guest, _, offer) = with_echo();
    let mut channel = guest.open(&offer);
    channel.transact(1, &[b"x"], |_| ());
    guest.bus().pause("echo0", true).unwrap();
    for n in 0..5 {
        channel.send(&OutPacket::in_band(n, &[b"later"])).unwrap();
    }
    assert!(channel.receive(SHORT).is_none());
    assert_eq!(guest.bus().stats()["devices"][0]["paused"], true);
    guest.bus().pause("echo0", false).unwrap();
    for n in 0..5 {
        assert_eq!(channel.receive(LIMIT).unwrap().transaction_id, n);
    }
    // Closing goes on while it is paused.
    guest.bus().pause("echo0", true).unwrap();
    channel.close();
    assert!(guest.bus().pause("nobody", true).is_err());
    let mut channel = guest.open(&offer);
    channel.send(&OutPacket::in_band(9, &[b"later"])).unwrap();
    assert!(channel.receive(SHORT).is_none());
    guest.bus().pause("echo0", false).unwrap();
    assert!(channel.receive(LIMIT).is_some());
    channel.close();
}

#[test]
fn a_thread_is_woken_by_nudges_files_and_time() {
    let (wakes, seen) = mpsc::channel::<Wake>();
    let file = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
    let watched = file.clone();
    let device = Scripted::new(move |mut channel| {
        let mut buffer = PacketBuffer::default();
        channel.watch(watched.as_fd(), 1)?;
        channel.watch(watched.as_fd(), 77)?;
        wakes.send(channel.wait(Some(Duration::from_millis(5)))?)?;
        loop {
            while channel.receive(&mut buffer)?.is_some() {
                wakes.send(Wake {
                    ring: true,
                    ..Wake::default()
                })?;
            }
            let wake = channel.wait(None)?;
            if wake.ring {
                continue;
            }
            wakes.send(wake.clone())?;
            if wake.stop {
                return Ok(());
            }
            if !wake.ready.is_empty() {
                watched.read()?;
                channel.unwatch(watched.as_fd())?;
                assert!(channel.unwatch(watched.as_fd()).is_err());
            }
        }
    });
    let (guest, offer) = with(device.clone(), GuestConfig::default());
    let mut channel = guest.open(&offer);
    let next = || seen.recv_timeout(LIMIT).unwrap();
    let quiet = next();
    assert!(!quiet.stop && !quiet.ring && !quiet.nudged && quiet.ready.is_empty());
    device.handle().nudge(0);
    device.handle().nudge(1);
    assert!(next().nudged);
    file.write(1).unwrap();
    assert_eq!(next().ready, [77]);
    channel.send(&OutPacket::in_band(1, &[b"x"])).unwrap();
    assert!(next().ring);
    file.write(1).unwrap();
    assert!(seen.recv_timeout(SHORT).is_err(), "it is watched no longer");
    assert_eq!(device.handle().processors(), 4);
    channel.close();
    assert!(next().stop);
}

#[test]
fn watched_files_are_seen_beside_a_busy_ring() {
    let (wakes, seen) = mpsc::channel::<u32>();
    let file = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
    file.write(1).unwrap();
    let watched = file.clone();
    // Takes one packet a wait, so that there is always one more.
    let device = Scripted::new(move |mut channel| {
        let mut buffer = PacketBuffer::default();
        channel.watch(watched.as_fd(), 5)?;
        loop {
            let wake = channel.wait(None)?;
            channel.receive(&mut buffer)?;
            for token in wake.ready {
                watched.read()?;
                wakes.send(token)?;
            }
            if wake.stop {
                return Ok(());
            }
        }
    });
    let (guest, offer) = with(device, GuestConfig::default());
    let mut channel = guest.open(&offer);
    for n in 0..200 {
        channel.send_all(&OutPacket::in_band(n, &[b"x"]));
    }
    assert_eq!(seen.recv_timeout(LIMIT), Ok(5));
    channel.close();
}

#[test]
fn what_was_sent_before_the_end_arrives() {
    // Sends a packet when it is told to stop, as one that completes what is under way.
    let device = Scripted::new(|mut channel| {
        while !channel.wait(None)?.stop {}
        assert!(channel.stopped());
        channel.send(&OutPacket::in_band(99, &[b"last words"]))?;
        Ok(())
    });
    let (guest, offer) = with(device, GuestConfig::default());
    let mut channel = guest.open(&offer);
    guest.bus().rescind("scripted").unwrap();
    guest.rescinded();
    assert_eq!(channel.receive(LIMIT).unwrap().transaction_id, 99);
    channel.release();
}

#[test]
fn a_channel_is_opened_again_while_the_last_one_ends() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let rounds = Arc::new(AtomicUsize::new(0));
    let counted = rounds.clone();
    let device = Scripted::new(move |mut channel| {
        counted.fetch_add(1, Ordering::SeqCst);
        while !channel.wait(None)?.stop {}
        gate.lock().unwrap().recv()?;
        Ok(())
    });
    let (guest, offer) = with(device, GuestConfig::default());
    let first = guest.open(&offer);
    let relid = offer.relid;
    let ring = first.ring_gpadl();
    guest.post(&guest::close_channel(relid));
    // Its pages are in use until the thread returns.
    assert!(!guest.teardown_within(relid, ring, SHORT));
    let pfns = guest.alloc(4);
    let gpadl = guest.create_gpadl(relid, &pfns).unwrap();
    let open = vmbus_wire::message::OpenChannel {
        relid,
        open_id: 5,
        ring_gpadl: gpadl,
        target_vp: 0,
        downstream_page_offset: 2,
        user_data: [0; 120],
    };
    guest.post(&open.message());
    assert!(guest.message(SHORT).is_none());
    go.send(()).unwrap();
    assert!(guest.torn_down(ring, LIMIT));
    let status = guest.expect("OPEN_RESULT", |message| match message {
        vmbus_wire::HostMessage::OpenResult(result) => Some((result.open_id, result.status)),
        _ => None,
    });
    assert_eq!(status, (5, vmbus_wire::Status::SUCCESS));
    assert_eq!(channel_stats(&guest, 0)["ring_gpadl"], gpadl);
    go.send(()).unwrap();
    guest.unload();
    assert_eq!(rounds.load(Ordering::SeqCst), 2);
}

#[test]
fn a_packet_that_never_fits_is_the_devices_fault_alone() {
    let (told, result) = mpsc::channel();
    let device = Scripted::new(move |mut channel| {
        let (_, to_guest) = channel.ring_bytes();
        let huge = vec![0; to_guest as usize];
        let error = channel.send(&OutPacket::in_band(1, &[&huge])).unwrap_err();
        told.send(matches!(error, ChannelError::Ring(_)))?;
        channel.send(&OutPacket::in_band(2, &[b"fine"]))?;
        while !channel.wait(None)?.stop {}
        Ok(())
    });
    let (guest, offer) = with(device, GuestConfig::default());
    let mut channel = guest.open(&offer);
    assert!(result.recv_timeout(LIMIT).unwrap());
    assert_eq!(channel.receive(LIMIT).unwrap().transaction_id, 2);
    channel.close();
}
