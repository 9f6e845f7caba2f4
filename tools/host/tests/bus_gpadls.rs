// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Page lists: their shapes, what a device sees of them, and when the guest gets them back.

use std::sync::{mpsc, Arc, Mutex};

use hvhost::testing::{Echo, FakeGuest, Hook, LIMIT, SHORT};
use hvhost::vmbus::channel::Channel;
use hvhost::vmbus::gpadl::Gpadl;
use vmbus_wire::gpadl::{GpaRange, MAX_PFNS};
use vmbus_wire::message::guest;
use vmbus_wire::Offer;

/// A guest with one device, connected.
fn with_echo(name: &str, hook: Option<Hook>) -> (FakeGuest, Offer) {
    let guest = FakeGuest::new();
    let echo = Echo::with(Echo::identity_of(name), hook);
    guest.bus().add(echo).unwrap();
    let offers = guest.connect();
    (guest, offers[0])
}

#[test]
fn page_lists_of_any_shape() {
    let (guest, offer) = with_echo("echo0", None);
    let relid = offer.relid;
    for count in [1u32, 26, 27, 54, 55, 1000, MAX_PFNS as u32] {
        let pfns = guest.alloc(count);
        let gpadl = guest.create_gpadl(relid, &pfns).unwrap();
        assert_eq!(
            guest.bus().stats()["connection"]["gpadl_pages"],
            u64::from(count)
        );
        guest.teardown(relid, gpadl);
        guest.free(&pfns);
    }
    // Several ranges, over several messages, parts of pages among them.
    let pfns = guest.alloc_scattered(100);
    let ranges = [
        GpaRange {
            byte_offset: 0,
            byte_count: 40 * 4096,
            pfns: &pfns[..40],
        },
        GpaRange {
            byte_offset: 4095,
            byte_count: 2,
            pfns: &pfns[40..42],
        },
        GpaRange {
            byte_offset: 8,
            byte_count: 58 * 4096 - 16,
            pfns: &pfns[42..100],
        },
    ];
    let gpadl = guest.create_gpadl_ranges(relid, &ranges).unwrap();
    guest.teardown(relid, gpadl);
    // Outside of the guest's memory: refused, and told so.
    for pfns in [vec![1u64 << 40], vec![u64::MAX], vec![5, 6, 1 << 20]] {
        assert!(guest.create_gpadl(relid, &pfns).is_err());
    }
    assert_eq!(guest.bus().stats()["connection"]["gpadls"], 0);
}

#[test]
fn a_device_reads_what_a_page_list_holds() {
    let (found, lists) = mpsc::channel::<(u32, Vec<u8>)>();
    let hook = move |channel: &mut Channel, got: &hvhost::testing::Got| {
        let id = u32::from_le_bytes(got.payload[..4].try_into()?);
        let list = channel
            .gpadl(id)
            .ok_or_else(|| anyhow::anyhow!("no list {id:#x}"))?;
        let mut all = Vec::new();
        for range in &list.ranges {
            let mut bytes = vec![0; range.len() as usize];
            range.read(0, &mut bytes)?;
            all.extend(bytes);
        }
        found.send((list.id, all))?;
        Ok(true)
    };
    let (guest, offer) = with_echo("reader", Some(Box::new(hook)));
    let mut channel = guest.open(&offer);
    let pfns = guest.alloc_scattered(60);
    let data: Vec<u8> = (0..60 * 4096u32).map(|n| (n / 7) as u8).collect();
    guest.pages(&pfns).write(0, &data).unwrap();
    let gpadl = guest.create_gpadl(offer.relid, &pfns).unwrap();
    channel.transact(1, &[&gpadl.to_le_bytes()], |_| ());
    let (id, seen) = lists.recv_timeout(LIMIT).unwrap();
    assert_eq!(id, gpadl);
    assert!(seen == data);
    guest.teardown(offer.relid, gpadl);
    channel.close();
}

#[test]
fn a_list_is_torn_down_when_its_device_lets_go_of_it() {
    let held: Arc<Mutex<Option<Arc<Gpadl>>>> = Arc::default();
    let keeper = held.clone();
    let hook = move |channel: &mut Channel, got: &hvhost::testing::Got| {
        let id = u32::from_le_bytes(got.payload[..4].try_into()?);
        *keeper.lock().unwrap() = channel.gpadl(id);
        Ok(true)
    };
    let (guest, offer) = with_echo("keeper", Some(Box::new(hook)));
    let mut channel = guest.open(&offer);
    let relid = offer.relid;
    // Nobody has it: at once, though the channel is open.
    let gpadl = guest.create_gpadl(relid, &guest.alloc(3)).unwrap();
    guest.teardown(relid, gpadl);
    // The device has it and gives it back (0 is no list).
    let gpadl = guest.create_gpadl(relid, &guest.alloc(3)).unwrap();
    channel.transact(1, &[&gpadl.to_le_bytes()], |_| ());
    assert!(!guest.teardown_within(relid, gpadl, SHORT));
    channel.transact(2, &[&[0; 4]], |_| ());
    assert!(guest.torn_down(gpadl, LIMIT));
    // The device keeps it: when the channel is closed.
    let gpadl = guest.create_gpadl(relid, &guest.alloc(3)).unwrap();
    channel.transact(3, &[&gpadl.to_le_bytes()], |_| ());
    assert!(held.lock().unwrap().is_some());
    guest.post(&guest::gpadl_teardown(relid, gpadl));
    assert!(!guest.torn_down(gpadl, SHORT));
    channel.close();
    assert!(guest.torn_down(gpadl, LIMIT));
}
