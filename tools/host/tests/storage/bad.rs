// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Guests that lie, leave in the middle, or send noise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hvhost::device::Device;
use hvhost::storage::{Controller, ControllerOptions};
use hvhost::testing::{LIMIT, SHORT};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use storvsc_wire::scsi::opcode;
use storvsc_wire::{DataDirection, GuestPacket, HostPacket, SrbStatus};
use vmbus_wire::packet::{OutPacket, PageBuffer};

use crate::guest::{image, pattern, read, srb, write, Data, Driver};

/// The status in a completion.
fn status(payload: &[u8]) -> SrbStatus {
    SrbStatus(payload[14])
}

#[test]
fn data_that_is_not_there() {
    let mut driver = Driver::ready(&["ram:1M"]);
    let page = driver.guest.alloc(1);
    let cdb = read(0, 8).encode().unwrap();
    let past = driver.guest.memory().map().clone();
    let end = {
        use vm_memory::GuestMemory as _;
        past.last_addr().0 / 4096 + 1
    };
    let cases: Vec<(Vec<u64>, u32, u32, SrbStatus)> = vec![
        // Fewer bytes than the request says.
        (page.clone(), 512, 4096, SrbStatus::INVALID_REQUEST),
        (vec![], 0, 4096, SrbStatus::INVALID_REQUEST),
        (page.clone(), 4096, u32::MAX, SrbStatus::INVALID_REQUEST),
        // Fewer bytes than the command moves.
        (page.clone(), 4096, 512, SrbStatus::DATA_OVERRUN),
        (vec![], 0, 0, SrbStatus::DATA_OVERRUN),
        // Not the guest's memory.
        (vec![end], 4096, 4096, SrbStatus::INVALID_REQUEST),
        (vec![u64::MAX], 4096, 4096, SrbStatus::INVALID_REQUEST),
        (
            vec![u64::MAX / 4096],
            4096,
            4096,
            SrbStatus::INVALID_REQUEST,
        ),
    ];
    for (n, (pfns, bytes, says, expected)) in cases.into_iter().enumerate() {
        let request = srb(0, cdb.as_bytes(), DataDirection::In, says);
        driver.send_srb(0, n as u64 + 100, &request, &pfns, 0, bytes);
        let received = driver.channels[0].receive(LIMIT).unwrap();
        assert_eq!(received.transaction_id, n as u64 + 100);
        assert_eq!(status(&received.payload), expected, "case {n}");
    }
    // The wrong way round.
    let request = srb(0, cdb.as_bytes(), DataDirection::Out, 4096);
    driver.send_srb(0, 9, &request, &page, 0, 4096);
    let received = driver.channels[0].receive(LIMIT).unwrap();
    assert_eq!(status(&received.payload), SrbStatus::INVALID_REQUEST);
    assert!(driver.count("/channels/0/bad_buffers") >= 6);
    driver.read(0, 0, 1, 512).good();
}

#[test]
fn several_ranges_are_one_buffer() {
    let mut driver = Driver::ready(&["ram:1M"]);
    let pfns = driver.guest.alloc_scattered(3);
    let ranges = [
        PageBuffer::new(pfns[0], 512, 1024).unwrap(),
        PageBuffer::new(pfns[1], 0, 512).unwrap(),
        PageBuffer::new(pfns[2], 2048, 2048).unwrap(),
    ];
    let data = pattern(3584, 1);
    driver.write(0, 0, &data, 512).good();
    let cdb = read(0, 7).encode().unwrap();
    let request = srb(0, cdb.as_bytes(), DataDirection::In, 3584);
    let out = GuestPacket::ExecuteSrb(request).encode(driver.layout);
    let payload = [out.as_bytes()];
    driver.channels[0].send_all(&OutPacket::page_buffers(5, &ranges, &payload));
    let received = driver.channels[0].receive(LIMIT).unwrap();
    assert!(status(&received.payload).is_success());
    let mut back = Vec::new();
    for range in ranges {
        let mut part = vec![0; range.byte_count.get() as usize];
        let address = range.pfn.get() * 4096 + u64::from(range.byte_offset.get());
        driver.guest.memory().read(address, &mut part).unwrap();
        back.extend(part);
    }
    assert_eq!(back, data);
}

#[test]
fn fields_that_make_no_sense_fail_the_request_only() {
    let mut driver = Driver::ready(&["ram:1M"]);
    let request = srb(0, &[0; 6], DataDirection::None, 0);
    let good = GuestPacket::ExecuteSrb(request).encode(driver.layout);
    // Length of the command, direction of the data.
    for (at, value) in [(20, 17), (20, 255), (22, 3), (22, 255)] {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = value;
        let answer = driver.transact(0, &bytes);
        assert_eq!(status(&answer), SrbStatus::INVALID_REQUEST, "{at} {value}");
    }
    driver.test_unit_ready(0).good();
}

#[test]
fn a_malformed_packet_ends_the_channel_and_nothing_else() {
    let mut driver = Driver::ready(&["ram:1M"]);
    let other = Arc::new(Controller::new(1, ControllerOptions::default()));
    other.add(&Driver::spec("ram:1M")).unwrap();
    driver.guest.bus().add(other).unwrap();
    let offer = driver.guest.offer();
    let mut second = driver.guest.open(&offer);
    for payload in [
        &[0u8; 0][..],
        &[3; 8],
        &[3; 40],
        &[3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
    ] {
        driver.reopen();
        driver.set_up();
        driver.test_unit_ready(0).good();
        let parts = [payload];
        let packet = OutPacket::in_band(1, &parts).requesting_completion();
        driver.channels[0].send_all(&packet);
        assert!(driver.channels[0].receive(SHORT).is_none(), "dead");
    }
    // A request of the old layout on a channel that speaks the new one.
    driver.reopen();
    driver.set_up();
    let short = [3u8; 48];
    let parts = [&short[..]];
    driver.channels[0].send_all(&OutPacket::in_band(1, &parts).requesting_completion());
    assert!(driver.channels[0].receive(SHORT).is_none());
    // A completion, which nobody waits for.
    driver.reopen();
    driver.channels[0].send_all(&OutPacket::completion(1, &[&[0; 64]]));
    assert!(driver.channels[0].receive(SHORT).is_none());
    // The other controller is as well as before, and so is this one when it is opened again.
    let begin = GuestPacket::BeginInitialization.encode(driver.layout);
    let answer = second.transact(1, &[begin.as_bytes()], |_| {});
    assert!(matches!(
        HostPacket::parse(&answer, driver.layout).unwrap(),
        HostPacket::Completion(completion) if completion.status.is_success()
    ));
    driver.reopen();
    driver.set_up();
    driver.read(0, 0, 1, 512).good();
}

#[test]
fn requests_without_a_wish_for_an_answer_get_none() {
    let mut driver = Driver::ready(&["ram:1M"]);
    let request = srb(0, &[0; 6], DataDirection::None, 0);
    let out = GuestPacket::ExecuteSrb(request).encode(driver.layout);
    driver.channels[0].send_all(&OutPacket::in_band(5, &[out.as_bytes()]));
    assert!(driver.channels[0].receive(SHORT).is_none());
    driver.test_unit_ready(0).good();
    assert_eq!(driver.count("/luns/0/commands"), 2);
}

#[test]
fn closed_and_rescinded_in_the_middle() {
    let path = image("close", 64 << 20);
    let file = path.display().to_string();
    let mut driver = Driver::new(ControllerOptions::default(), 4, &["ram:8M", &file]);
    for round in 0..6u32 {
        driver.set_up();
        driver.open_subchannels(3);
        let delay = serde_json::json!({
            "lun": 0, "kind": "delay", "ms": 3_600_000, "count": 8
        });
        driver.controller.control("inject", &delay).unwrap();
        let data = pattern(1 << 20, round);
        let mut pending = Vec::new();
        for n in 0..24u64 {
            let channel = (n % 4) as usize;
            let lun = (n % 2) as u8;
            let lba = (n % 4) * 2048;
            if n % 3 == 0 {
                let cdb = write(lba, 2048, n % 2 == 0).encode().unwrap();
                let data = Data::Out(&data);
                pending.push(driver.submit(channel, lun, cdb.as_bytes(), data, 0));
            } else {
                let cdb = read(lba, 2048).encode().unwrap();
                let data = Data::In(1 << 20);
                pending.push(driver.submit(channel, lun, cdb.as_bytes(), data, 0));
            }
        }
        let since = Instant::now();
        if round % 2 == 0 {
            driver.reopen();
        } else {
            driver.guest.bus().rescind("scsi0").unwrap();
            for _ in 0..driver.channels.len() {
                driver.guest.rescinded();
            }
            for channel in driver.channels.drain(..).rev() {
                channel.release();
            }
            driver.guest.bus().reoffer("scsi0").unwrap();
            driver.offer = loop {
                let offer = driver.guest.offer();
                if offer.is_primary() {
                    break offer;
                }
            };
            let primary = driver.guest.open(&driver.offer);
            driver.channels.push(primary);
        }
        assert!(since.elapsed() < LIMIT, "{:?}", since.elapsed());
        for pending in pending {
            driver.forget(&pending);
        }
        // Nothing is under way any more: guest pages are the guest's.
        for lun in 0..2 {
            assert_eq!(driver.count(&format!("/luns/{lun}/in_flight")), 0);
        }
        let none = serde_json::json!({"lun": 0, "kind": "none"});
        driver.controller.control("inject", &none).unwrap();
    }
    driver.set_up();
    driver.read(1, 0, 1, 512).good();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn thousands_of_requests_at_once() {
    let path = image("many", 8 << 20);
    let file = path.display().to_string();
    let mut driver = Driver::new(ControllerOptions::default(), 1, &[&file]);
    driver.set_up();
    // None is answered before the last was sent: more than the host has under way at a time.
    let delay = serde_json::json!({"lun": 0, "kind": "delay", "ms": 300, "count": 3000});
    driver.controller.control("inject", &delay).unwrap();
    let page = driver.guest.alloc(1);
    let cdb = read(0, 1).encode().unwrap();
    let request = srb(0, cdb.as_bytes(), DataDirection::In, 512);
    let mut sent = 0u64;
    let mut answered = 0u64;
    while answered < 3000 {
        // The ring holds some hundreds: answers make room for more, if somebody takes them.
        let more = sent < 3000 && driver.try_send_srb(sent + 1, &request, &page, 512);
        sent += u64::from(more);
        while let Some(received) = driver.channels[0].try_receive() {
            assert!(status(&received.payload).is_success());
            answered += 1;
        }
        if !more && answered < sent {
            let received = driver.channels[0].receive(LIMIT).expect("an answer");
            assert!(status(&received.payload).is_success());
            answered += 1;
        }
    }
    assert!(driver.count("/luns/0/max_in_flight") <= 1024);
    assert_eq!(driver.count("/luns/0/in_flight"), 0);
    driver.read(0, 0, 1, 512).good();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_guest_that_takes_no_answers() {
    let mut driver = Driver::ready(&["ram:1M"]);
    let request = srb(
        0,
        &[opcode::TEST_UNIT_READY, 0, 0, 0, 0, 0],
        DataDirection::None,
        0,
    );
    let out = GuestPacket::ExecuteSrb(request).encode(driver.layout);
    let before = driver.count("/channels/0/packets");
    let until = Instant::now() + LIMIT;
    while driver.count("/channels/0/ring_full") == 0 {
        assert!(Instant::now() < until);
        let payload = [out.as_bytes()];
        let packet = OutPacket::in_band(1, &payload).requesting_completion();
        if driver.channels[0].send(&packet).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let busy = driver.count("/channels/0/wakes");
    std::thread::sleep(Duration::from_millis(100));
    let wakes = driver.count("/channels/0/wakes") - busy;
    assert!(wakes < 200, "{wakes} wakes while nothing happens");
    let sent = driver.count("/channels/0/packets") - before;
    let mut got = 0;
    while driver.channels[0].receive(SHORT).is_some() {
        got += 1;
    }
    assert!(got >= sent, "{got} of {sent}");
}

/// A request that is more or less likely to be carried out.
fn requests() -> impl Strategy<Value = (u8, Vec<u8>, u8, u32, bool)> {
    let opcodes = prop_oneof![
        6 => prop::sample::select(vec![
            0x00u8, 0x03, 0x08, 0x0a, 0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2a, 0x2f, 0x35, 0x41,
            0x42, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0x5e, 0x5f, 0x88, 0x8a, 0x8f, 0x91, 0x93, 0x9e,
            0xa0, 0xa8, 0xaa,
        ]),
        1 => any::<u8>(),
    ];
    let small = prop_oneof![3 => Just(0u8), 1 => any::<u8>()];
    (
        prop_oneof![8 => 0u8..3, 1 => any::<u8>()],
        (opcodes, prop::collection::vec(small, 0..16)).prop_map(|(opcode, rest)| {
            let mut cdb = vec![opcode];
            cdb.extend(rest);
            cdb
        }),
        0u8..3,
        prop_oneof![4 => 0u32..40_000, 1 => any::<u32>()],
        any::<bool>(),
    )
}

#[test]
fn whatever_is_asked_is_answered() {
    let path = image("noise", 1 << 20);
    let file = path.display().to_string();
    let dvd = image("noise-dvd", 1 << 20);
    let driver = Driver::ready(&["ram:1M", &file, &format!("{},cdrom", dvd.display())]);
    let pages = driver.guest.alloc_scattered(10);
    let fence = driver.guest.alloc(1);
    driver.guest.pages(&fence).write(0, &[0x5a; 4096]).unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 3000,
        failure_persistence: None,
        ..Config::default()
    });
    let driver = std::cell::RefCell::new(driver);
    runner
        .run(&requests(), |(lun, cdb, direction, bytes, with_pages)| {
            let mut driver = driver.borrow_mut();
            let direction = DataDirection::from_wire(direction).unwrap();
            let request = srb(lun, &cdb, direction, bytes);
            let listed = if with_pages { &pages[..] } else { &[] };
            driver.send_srb(0, 3, &request, listed, 0, 40_960);
            let received = driver.channels[0].receive(LIMIT);
            let received = received.ok_or_else(|| TestCaseError::fail("no answer"))?;
            prop_assert_eq!(received.transaction_id, 3);
            let Ok(HostPacket::Completion(completion)) =
                HostPacket::parse(&received.payload, driver.layout)
            else {
                return Err(TestCaseError::fail("no completion"));
            };
            let answer = completion.srb().unwrap();
            prop_assert!(answer.transferred <= bytes);
            prop_assert_ne!(answer.srb_status, SrbStatus::PENDING);
            prop_assert_eq!(
                answer.srb_status.has_autosense(),
                answer.sense.parse().is_some()
            );
            prop_assert_eq!(
                completion.status.is_success(),
                answer.srb_status.is_success()
            );
            Ok(())
        })
        .unwrap();
    let mut driver = driver.into_inner();
    let mut there = [0; 4096];
    driver.guest.pages(&fence).read(0, &mut there).unwrap();
    assert_eq!(there, [0x5a; 4096]);
    let none = serde_json::json!({});
    assert!(driver.controller.control("nothing", &none).is_err());
    driver.test_unit_ready(0).good();
    std::fs::remove_file(path).unwrap();
    std::fs::remove_file(dvd).unwrap();
}
