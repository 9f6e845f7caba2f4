// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests, answers and rescinds in any order: every request gets at most one end, the right one,
//! and an answer that nobody waits for touches nothing. Messages are built by the host's encoder and
//! go through the parser, as they do in the module.

use proptest::prelude::*;
use vmbus_wire::host;
use vmbus_wire::message::{GpadlCreated, HostMessage, ModifyResponse, OpenResult};
use vmbus_wire::waiting::{answer, Answer, Key, WaitError, WaitTable};
use vmbus_wire::{Relid, Status};

/// Few values, so that they meet.
fn relid() -> impl Strategy<Value = Relid> {
    (1u32..4).prop_map(|value| Relid::new(value).unwrap())
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        Just(Key::Offers),
        Just(Key::Unload),
        (relid(), 0u32..3).prop_map(|(relid, open_id)| Key::Open { relid, open_id }),
        (relid(), 0u32..3).prop_map(|(relid, gpadl)| Key::GpadlCreated { relid, gpadl }),
        (relid(), 0u32..3).prop_map(|(relid, gpadl)| Key::GpadlTorndown {
            relid: Some(relid),
            gpadl
        }),
        relid().prop_map(|relid| Key::Modify { relid }),
    ]
}

fn message() -> impl Strategy<Value = HostMessage> {
    prop_oneof![
        Just(HostMessage::AllOffersDelivered),
        Just(HostMessage::UnloadComplete),
        (relid(), 0u32..3, any::<u32>()).prop_map(|(relid, open_id, status)| {
            HostMessage::OpenResult(OpenResult {
                relid,
                open_id,
                status: Status(status),
            })
        }),
        (relid(), 0u32..3, any::<u32>()).prop_map(|(relid, gpadl, status)| {
            HostMessage::GpadlCreated(GpadlCreated {
                relid,
                gpadl,
                status: Status(status),
            })
        }),
        (0u32..3).prop_map(|gpadl| HostMessage::GpadlTorndown { gpadl }),
        (relid(), any::<u32>()).prop_map(|(relid, status)| {
            HostMessage::ModifyResponse(ModifyResponse {
                relid,
                status: Status(status),
            })
        }),
        relid().prop_map(|relid| HostMessage::Rescind { relid }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    /// A request begins to wait.
    Expect(Key),
    /// The host says something.
    Hear(HostMessage),
    /// The oldest request gives up: its time is over.
    GiveUp,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => key().prop_map(Step::Expect),
        4 => message().prop_map(Step::Hear),
        1 => Just(Step::GiveUp),
    ]
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Answered(Answer),
    Rescinded,
    TimedOut,
}

proptest! {
    #[test]
    fn every_request_ends_once_and_with_its_own_answer(steps in prop::collection::vec(step(), 0..200)) {
        const PLACES: usize = 6;
        let mut places: [Option<(Key, usize)>; PLACES] = Default::default();
        let mut table = WaitTable::new(&mut places[..]);
        // Number of the request -> its key and its end.
        let mut requests: Vec<(Key, Option<End>)> = Vec::new();

        for step in steps {
            let waiting: Vec<usize> = (0..requests.len()).filter(|i| requests[*i].1.is_none()).collect();
            prop_assert_eq!(table.len(), waiting.len());
            match step {
                Step::Expect(key) => {
                    let same = waiting.iter().any(|i| requests[*i].0.accepts(&key));
                    match table.insert(key, requests.len()) {
                        Ok(()) => {
                            prop_assert!(!same && waiting.len() < PLACES);
                            requests.push((key, None));
                        }
                        Err(WaitError::Busy) => prop_assert!(same),
                        Err(WaitError::Full) => prop_assert!(!same && waiting.len() == PLACES),
                    }
                }
                Step::Hear(message) => {
                    // Over the wire, as the module gets it.
                    let bytes = host::encode(&message);
                    let message = HostMessage::parse(bytes.as_bytes()).unwrap();
                    if let HostMessage::Rescind { relid } = message {
                        let mut ended = Vec::new();
                        table.rescind(relid, |request| ended.push(request));
                        ended.sort_unstable();
                        let want: Vec<usize> = waiting
                            .into_iter()
                            .filter(|i| requests[*i].0.relid() == Some(relid))
                            .collect();
                        prop_assert_eq!(&ended, &want);
                        for request in ended {
                            requests[request].1 = Some(End::Rescinded);
                        }
                        continue;
                    }
                    let (key, said) = answer(&message).unwrap();
                    let want = waiting.into_iter().find(|i| requests[*i].0.accepts(&key));
                    let found = table.take(&key);
                    prop_assert_eq!(found, want);
                    if let Some(request) = found {
                        requests[request].1 = Some(End::Answered(said));
                        // The same again finds nobody.
                        prop_assert_eq!(table.take(&key), None);
                    }
                }
                Step::GiveUp => {
                    if let Some(oldest) = waiting.first().copied() {
                        let taken = table.take_where(|_, request| *request == oldest);
                        prop_assert_eq!(taken, Some(oldest));
                        requests[oldest].1 = Some(End::TimedOut);
                    }
                }
            }
        }
    }

    #[test]
    fn whatever_is_heard_answers_at_most_what_it_names(bytes in prop::collection::vec(any::<u8>(), 0..=256)) {
        let mut places = [Some((Key::Unload, 1)), Some((Key::Offers, 2))];
        let mut table = WaitTable::new(&mut places[..]);
        if let Ok(message) = HostMessage::parse(&bytes) {
            let before = table.len();
            let taken = answer(&message).and_then(|(key, _)| table.take(&key));
            prop_assert_eq!(table.len(), before - usize::from(taken.is_some()));
        }
    }
}
