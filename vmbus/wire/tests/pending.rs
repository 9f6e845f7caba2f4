// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The table of pending requests against a map that forgets nothing.

use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;
use vmbus_wire::pending::{PendingError, PendingTable, Slot};

fn table(slots: usize) -> PendingTable<Vec<Slot<u32>>> {
    PendingTable::new((0..slots).map(|_| Slot::new()).collect::<Vec<_>>())
}

#[test]
fn an_id_is_good_once() {
    let mut table = table(2);
    let id = table.insert(7).unwrap();
    assert_ne!(id, 0);
    assert_eq!(table.get(id), Ok(&7));
    *table.get_mut(id).unwrap() = 8;
    assert_eq!(table.take(id), Ok(8));
    for _ in 0..3 {
        assert_eq!(table.take(id), Err(PendingError::AlreadyTaken { id }));
    }
    // Also while the slot serves another request.
    let other = table.insert(9).unwrap();
    assert_ne!(other, id);
    assert_eq!(table.take(id), Err(PendingError::AlreadyTaken { id }));
    assert_eq!(table.get(id), Err(PendingError::AlreadyTaken { id }));
    assert_eq!(table.take(other), Ok(9));
}

#[test]
fn ids_that_never_were() {
    let mut table = table(2);
    let id = table.insert(1).unwrap();
    for unknown in [
        0,
        1,
        2,
        3,
        u64::MAX,
        id + 1,
        id + (1 << 32),
        id + (2 << 32),
        !id,
    ] {
        assert_eq!(
            table.take(unknown),
            Err(PendingError::Unknown { id: unknown })
        );
    }
    assert_eq!(table.len(), 1);
}

#[test]
fn a_full_table_gives_the_request_back() {
    let mut table = table(2);
    let first = table.insert(1).unwrap();
    table.insert(2).unwrap();
    assert!(table.is_full());
    assert_eq!(table.insert(3), Err(3));
    assert_eq!((table.len(), table.capacity()), (2, 2));
    table.take(first).unwrap();
    table.insert(4).unwrap();
    let mut left = Vec::new();
    table.drain(|request| left.push(request));
    assert_eq!(left, [4, 2]);
    assert!(table.is_empty());
    assert_eq!(self::table(0).insert(1), Err(1));
}

#[test]
fn storage_used_again_keeps_old_ids_out() {
    let mut slots = [const { Slot::new() }; 3];
    let mut table = PendingTable::new(&mut slots[..]);
    let old: Vec<_> = (0..3).map(|n| table.insert(n).unwrap()).collect();
    assert_eq!(table.take_where(|n| *n == 1), Some(1));
    assert_eq!(table.take_where(|n| *n == 1), None);
    let mut table = PendingTable::new(&mut slots[..]);
    assert!(table.is_empty());
    table.insert(9).unwrap();
    for id in old {
        assert!(table.take(id).is_err());
    }
    assert_eq!(table.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_table_agrees_with_a_map(
        size in 1usize..9,
        steps in vec((0u8..5, any::<u16>(), any::<u64>()), 0..200),
    ) {
        let mut table = table(size);
        let mut waiting: HashMap<u64, u32> = HashMap::new();
        let mut all: Vec<u64> = Vec::new();
        let mut next = 0;
        for (step, pick, noise) in steps {
            match step {
                0 | 1 => {
                    next += 1;
                    match table.insert(next) {
                        Ok(id) => {
                            prop_assert!(!all.contains(&id));
                            all.push(id);
                            waiting.insert(id, next);
                        }
                        Err(back) => prop_assert!(back == next && waiting.len() == size),
                    }
                }
                2 | 3 if !all.is_empty() => {
                    let id = all[usize::from(pick) % all.len()];
                    match waiting.remove(&id) {
                        Some(request) => prop_assert_eq!(table.take(id), Ok(request)),
                        None => prop_assert_eq!(table.take(id), Err(PendingError::AlreadyTaken { id })),
                    }
                }
                _ => {
                    let id = if pick % 2 == 0 { noise } else { noise & 0xf_0000_000f };
                    if !all.contains(&id) {
                        prop_assert_eq!(table.take(id), Err(PendingError::Unknown { id }));
                    }
                }
            }
            prop_assert_eq!(table.len(), waiting.len());
        }
        let mut left = Vec::new();
        table.drain(|request| left.push(request));
        left.sort_unstable();
        let mut want: Vec<_> = waiting.into_values().collect();
        want.sort_unstable();
        prop_assert_eq!(left, want);
    }
}
