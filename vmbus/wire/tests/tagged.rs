// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The rules for requests with places of their own: one by one, against a map, and by threads.

use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use vmbus_wire::tagged::{place, TagError, TagWord};

#[test]
fn an_answer_is_good_once_and_on_its_channel() {
    let word = TagWord::NEW.begin(3).unwrap();
    let id = word.id(7).unwrap();
    assert_eq!(place(id, 8), Ok(7));
    assert!(word.is_under_way());
    assert_eq!(word.begin(3), None, "under way already");
    let wrong = TagError::WrongChannel { id, sent_on: 3 };
    assert_eq!(word.end(id, 2), Err(wrong));
    let ended = word.end(id, 3).unwrap();
    assert!(!ended.is_under_way());
    assert_eq!(ended.end(id, 3), Err(TagError::NotUnderWay { id }));
    // Nor while the place serves the next request.
    let next = ended.begin(3).unwrap();
    assert_eq!(next.end(id, 3), Err(TagError::NotUnderWay { id }));
    assert!(next.end(next.id(7).unwrap(), 3).is_ok());
}

#[test]
fn ids_that_name_nothing() {
    for id in [0, 5, u64::MAX, 1 << 32, 0xffff_ffff] {
        assert_eq!(place(id, 4), Err(TagError::Unknown { id }), "{id:#x}");
    }
    assert_eq!(place(4, 4), Ok(3));
    assert_eq!(TagWord::NEW.id(u32::MAX as usize), None);
    // A place that never had a request has generation 0, which no request has.
    assert_eq!(TagWord::NEW.end(1, 0), Err(TagError::NotUnderWay { id: 1 }));
    for error in [
        TagError::Unknown { id: 1 },
        TagError::NotUnderWay { id: 1 },
        TagError::WrongChannel { id: 1, sent_on: 2 },
    ] {
        assert!(error.to_string().contains("0x1"), "{error}");
    }
}

#[test]
fn the_generation_wraps_and_ids_stay_above_zero() {
    let word = TagWord::from_raw(u64::from(u32::MAX) << 32);
    let word = word.begin(u16::MAX).unwrap();
    assert_eq!(word.generation(), 0);
    assert_eq!(word.channel(), u16::MAX);
    assert_eq!(word.id(0), Some(1));
    assert_eq!(TagWord::from_raw(word.to_raw()), word);
}

#[derive(Clone, Debug)]
enum Event {
    Send {
        place: usize,
        channel: u16,
    },
    /// An answer to the n-th request ever sent.
    Answer {
        which: usize,
        channel: u16,
    },
    Forge {
        id: u64,
        channel: u16,
    },
    Abort {
        place: usize,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0..4usize, 0..3u16).prop_map(|(place, channel)| Event::Send { place, channel }),
        (0..40usize, 0..3u16).prop_map(|(which, channel)| Event::Answer { which, channel }),
        (any::<u64>(), 0..3u16).prop_map(|(id, channel)| Event::Forge { id, channel }),
        (0..4usize).prop_map(|place| Event::Abort { place }),
    ];
    vec(event, 0..200)
}

proptest! {
    /// Exactly the requests that a map says are under way can be ended, by exactly their ids.
    #[test]
    fn agrees_with_a_map(events in events()) {
        let mut words = [TagWord::NEW; 4];
        let mut sent = Vec::new();
        let mut under_way: HashMap<u64, (usize, u16)> = HashMap::new();
        for event in events {
            let (id, channel) = match event {
                Event::Send { place, channel } => {
                    let busy = under_way.values().any(|(other, _)| *other == place);
                    let next = words[place].begin(channel);
                    prop_assert_eq!(next.is_none(), busy);
                    if let Some(next) = next {
                        words[place] = next;
                        let id = next.id(place).unwrap();
                        prop_assert_ne!(id, 0);
                        prop_assert!(!sent.contains(&id), "ids are never used again");
                        sent.push(id);
                        under_way.insert(id, (place, channel));
                    }
                    continue;
                }
                Event::Abort { place } => {
                    words[place] = words[place].end_any();
                    under_way.retain(|_, (other, _)| *other != place);
                    continue;
                }
                Event::Answer { which, channel } => match sent.get(which) {
                    Some(id) => (*id, channel),
                    None => continue,
                },
                Event::Forge { id, channel } => (id, channel),
            };
            let ended = place(id, words.len())
                .and_then(|at| words[at].end(id, channel).map(|word| (at, word)));
            match under_way.get(&id) {
                Some((at, sent_on)) if *sent_on == channel => {
                    let (ended_at, word) = ended.unwrap();
                    prop_assert_eq!(ended_at, *at);
                    words[ended_at] = word;
                    under_way.remove(&id);
                }
                Some(_) => {
                    let wrong = matches!(ended, Err(TagError::WrongChannel { .. }));
                    prop_assert!(wrong, "{:?}", ended);
                }
                None => prop_assert!(ended.is_err()),
            }
        }
    }
}

/// Two hosts answer every request at the same time: one of them wins, each time.
#[test]
fn of_two_answers_at_a_time_one_counts() {
    const ROUNDS: usize = 2_000;
    let word = AtomicU64::new(TagWord::NEW.to_raw());
    let id = AtomicU64::new(0);
    let (won, tried) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let answer = |id: u64| {
        let mut now = word.load(Ordering::Acquire);
        loop {
            let Ok(next) = TagWord::from_raw(now).end(id, 0) else {
                return false;
            };
            match word.compare_exchange(now, next.to_raw(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < ROUNDS {
                    let now = id.load(Ordering::Acquire);
                    if now >> 32 == seen as u64 {
                        std::thread::yield_now();
                        continue;
                    }
                    seen += 1;
                    won.fetch_add(usize::from(answer(now)), Ordering::Relaxed);
                    tried.fetch_add(1, Ordering::Release);
                }
            });
        }
        for round in 1..=ROUNDS {
            let now = TagWord::from_raw(word.load(Ordering::Acquire));
            let next = now.begin(0).expect("the last one was answered");
            word.store(next.to_raw(), Ordering::Release);
            id.store(next.id(0).unwrap(), Ordering::Release);
            while tried.load(Ordering::Acquire) < 2 * round {
                std::thread::yield_now();
            }
        }
    });
    assert_eq!(won.load(Ordering::Relaxed), ROUNDS);
}
