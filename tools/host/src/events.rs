// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What happens, told to whoever watches: the control socket's subscribers, tests.
//!
//! Telling never waits and never fails: each subscriber has a queue of its own with an end to it,
//! and one that doesn't keep up is told how many events it missed.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::{Condvar, Mutex};
use serde_json::{Map, Value};

/// Events that wait for one subscriber.
const QUEUE: usize = 1024;
/// Events that are remembered for those who come later.
const HISTORY: usize = 256;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Counts up from 1.
    pub number: u64,
    /// When, since there are events.
    pub at: Duration,
    /// What, in words with hyphens: `channel-opened`.
    pub name: String,
    /// Its particulars.
    pub fields: Map<String, Value>,
}

/// Where events are told and heard; cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Events(Arc<Mutex<Hub>>);

#[derive(Debug)]
struct Hub {
    since: Instant,
    last: u64,
    history: VecDeque<Event>,
    subscribers: Vec<Arc<Queue>>,
}

impl Default for Events {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Hub {
            since: Instant::now(),
            last: 0,
            history: VecDeque::new(),
            subscribers: Vec::new(),
        })))
    }
}

impl Events {
    /// Tells everyone. `fields` is an object; anything else becomes the field `value`.
    pub fn emit(&self, name: &str, fields: Value) {
        let fields = match fields {
            Value::Object(fields) => fields,
            Value::Null => Map::new(),
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        let mut hub = self.0.lock();
        hub.last += 1;
        let event = Event {
            number: hub.last,
            at: hub.since.elapsed(),
            name: name.to_owned(),
            fields,
        };
        if hub.history.len() >= HISTORY {
            hub.history.pop_front();
        }
        hub.history.push_back(event.clone());
        hub.subscribers.retain(|queue| Arc::strong_count(queue) > 1);
        for queue in &hub.subscribers {
            queue.push(event.clone());
        }
    }

    /// Hears everything from now on.
    ///
    /// # Errors
    ///
    /// When the system has no event file left.
    pub fn subscribe(&self) -> io::Result<Subscription> {
        self.subscribe_since(u64::MAX)
    }

    /// Hears everything after the event with this number, 0 for all, as far as it is remembered.
    ///
    /// # Errors
    ///
    /// When the system has no event file left.
    pub fn subscribe_since(&self, number: u64) -> io::Result<Subscription> {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            ready: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
        });
        let mut hub = self.0.lock();
        for event in hub.history.iter().filter(|event| event.number > number) {
            queue.push(event.clone());
        }
        hub.subscribers.push(queue.clone());
        Ok(Subscription { queue })
    }

    /// Number of the last event.
    pub fn last(&self) -> u64 {
        self.0.lock().last
    }
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
    lost: u64,
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    /// Readable when there are events.
    ready: EventFd,
}

impl Queue {
    fn push(&self, event: Event) {
        let mut waiting = self.waiting.lock();
        if waiting.events.len() < QUEUE {
            waiting.events.push_back(event);
        } else {
            waiting.lost += 1;
        }
        // A counter that is full is readable all the same.
        let _ = self.ready.write(1);
        self.arrived.notify_one();
    }
}

/// One who hears; dropping it ends that.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
}

impl Subscription {
    /// The next event, if there is one. After a gap it is one named `lost` with their `count`.
    pub fn try_next(&self) -> Option<Event> {
        let mut waiting = self.queue.waiting.lock();
        let event = waiting.events.pop_front().or_else(|| {
            (waiting.lost > 0).then(|| {
                let count = std::mem::take(&mut waiting.lost);
                Event {
                    number: 0,
                    at: Duration::ZERO,
                    name: "lost".to_owned(),
                    fields: Map::from_iter([("count".to_owned(), count.into())]),
                }
            })
        });
        if event.is_none() {
            // Nothing left: not readable any more. It fails only when it wasn't.
            let _ = self.queue.ready.read();
        }
        event
    }

    /// Waits for an event.
    pub fn next(&self, limit: Duration) -> Option<Event> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            let mut waiting = self.queue.waiting.lock();
            if !waiting.events.is_empty() || waiting.lost > 0 {
                continue;
            }
            if self
                .queue
                .arrived
                .wait_until(&mut waiting, deadline)
                .timed_out()
            {
                drop(waiting);
                return self.try_next();
            }
        }
    }

    /// Readable when [`Self::try_next`] has something.
    pub fn ready(&self) -> BorrowedFd<'_> {
        self.queue.ready.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everyone_hears_what_comes_after_subscribing() {
        let events = Events::default();
        events.emit("early", Value::Null);
        let one = events.subscribe().unwrap();
        let two = events.subscribe().unwrap();
        events.emit("link", json!({"device": "net0", "up": true}));
        for hearer in [&one, &two] {
            let event = hearer.try_next().unwrap();
            assert_eq!(event.name, "link");
            assert_eq!(event.fields["device"], "net0");
            assert!(hearer.try_next().is_none());
        }
        drop(two);
        events.emit("again", json!(7));
        assert_eq!(events.0.lock().subscribers.len(), 1);
        assert_eq!(one.try_next().unwrap().fields["value"], 7);
    }

    #[test]
    fn who_sleeps_is_told_how_much_was_missed() {
        let events = Events::default();
        let hearer = events.subscribe().unwrap();
        for n in 0..QUEUE + 5 {
            events.emit("tick", json!({ "n": n }));
        }
        for n in 0..QUEUE {
            assert_eq!(hearer.try_next().unwrap().fields["n"], n);
        }
        let lost = hearer.try_next().unwrap();
        assert_eq!(
            (lost.name.as_str(), &lost.fields["count"]),
            ("lost", &json!(5))
        );
        assert!(hearer.try_next().is_none());
        events.emit("tick", Value::Null);
        assert_eq!(hearer.try_next().unwrap().name, "tick");
    }

    #[test]
    fn who_comes_late_hears_what_is_remembered() {
        let events = Events::default();
        for n in 1..=HISTORY + 10 {
            events.emit("tick", json!({ "n": n }));
        }
        let number = events.last();
        assert_eq!(number, HISTORY as u64 + 10);
        let all = events.subscribe_since(0).unwrap();
        assert_eq!(all.try_next().unwrap().fields["n"], 11);
        let some = events.subscribe_since(number - 1).unwrap();
        let event = some.try_next().unwrap();
        assert_eq!((event.number, &event.fields["n"]), (number, &json!(number)));
        assert!(some.try_next().is_none());
    }

    #[test]
    fn waiting_ends_with_the_event_or_the_time() {
        let events = Events::default();
        let hearer = events.subscribe().unwrap();
        assert!(hearer.next(Duration::from_millis(20)).is_none());
        let teller = events.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            teller.emit("now", Value::Null);
        });
        assert_eq!(hearer.next(Duration::from_secs(10)).unwrap().name, "now");
        thread.join().unwrap();
    }
}
