// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A host answers requests in any order, twice, late, and requests that never were.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;
use vmbus_wire::pending::{PendingError, PendingTable, Slot};

#[derive(Arbitrary, Debug)]
enum Step {
    Insert,
    TakeKnown(u16),
    TakeAny(u64),
    /// An id that differs from a real one in a bit.
    TakeNear(u16, u8),
    TakeWhere(u32),
    Drain,
}

fuzz_target!(|input: (u8, Vec<Step>)| {
    let (slots, steps) = input;
    let storage: Vec<Slot<u32>> = (0..slots % 17).map(|_| Slot::new()).collect();
    let capacity = storage.len();
    let mut table = PendingTable::new(storage);
    let mut known = Vec::new();
    let mut waiting = HashMap::new();
    for (number, step) in (0u32..).zip(steps) {
        match step {
            Step::Insert => match table.insert(number) {
                Ok(id) => {
                    assert!(id != 0 && !known.contains(&id));
                    known.push(id);
                    waiting.insert(id, number);
                }
                Err(back) => assert!(back == number && waiting.len() == capacity),
            },
            Step::TakeKnown(pick) if !known.is_empty() => {
                let id = known[usize::from(pick) % known.len()];
                match waiting.remove(&id) {
                    Some(number) => assert_eq!(table.take(id), Ok(number)),
                    None => assert_eq!(table.take(id), Err(PendingError::AlreadyTaken { id })),
                }
            }
            Step::TakeNear(pick, bit) if !known.is_empty() => {
                let id = known[usize::from(pick) % known.len()] ^ 1 << (bit % 64);
                take_foreign(&mut table, id, &known);
            }
            Step::TakeAny(id) => take_foreign(&mut table, id, &known),
            Step::TakeWhere(number) => {
                let taken = table.take_where(|n| *n == number);
                waiting.retain(|_, n| Some(*n) != taken);
            }
            Step::Drain => {
                let mut drained = 0;
                table.drain(|_| drained += 1);
                assert_eq!(drained, waiting.len());
                waiting.clear();
            }
            Step::TakeKnown(_) | Step::TakeNear(..) => {}
        }
        assert_eq!(table.len(), waiting.len());
    }
});

fn take_foreign(table: &mut PendingTable<Vec<Slot<u32>>>, id: u64, known: &[u64]) {
    if !known.contains(&id) {
        assert_eq!(table.take(id), Err(PendingError::Unknown { id }));
    }
}
