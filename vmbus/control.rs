// SPDX-License-Identifier: GPL-2.0

//! Requests to the host that wait for an answer outside of the rings.
//!
//! Whoever sends such a request first says in the [`Table`] which answer it [expects](Table::expect).
//! The message path looks the answer up by its [`Key`]; an answer that nobody expects is a protocol
//! error and touches nothing. A rescind ends every request about that channel at once, and every
//! wait has an end of its own: [`Outcome`] names all three.

use kernel::{
    prelude::*,
    sync::{Arc, Mutex},
};
use kernel_ext::wait::Completion;
use vmbus_wire::{message::VersionResponse, Relid, Status};

/// What an answer is about. Two requests with the same key can't be under way at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    /// VERSION_RESPONSE.
    Version,
    /// ALL_OFFERS_DELIVERED.
    Offers,
    /// OPEN_RESULT of a channel.
    Open {
        /// The channel.
        relid: Relid,
        /// The id the open request carried.
        open_id: u32,
    },
    /// GPADL_CREATED.
    GpadlCreated {
        /// The channel.
        relid: Relid,
        /// The page list.
        gpadl: u32,
    },
    /// GPADL_TORNDOWN. The message names no channel; the request does, for rescinds.
    GpadlTorndown {
        /// The channel.
        relid: Relid,
        /// The page list.
        gpadl: u32,
    },
    /// MODIFY_CHANNEL_RESPONSE.
    Modify {
        /// The channel.
        relid: Relid,
    },
    /// UNLOAD_RESPONSE.
    Unload,
}

impl Key {
    /// The channel a request is about, if it is about one.
    fn relid(&self) -> Option<Relid> {
        match *self {
            Key::Open { relid, .. }
            | Key::GpadlCreated { relid, .. }
            | Key::GpadlTorndown { relid, .. }
            | Key::Modify { relid } => Some(relid),
            Key::Version | Key::Offers | Key::Unload => None,
        }
    }

    /// Whether an answer with key `answer` is the one this request waits for.
    fn accepts(&self, answer: &Key) -> bool {
        match (self, answer) {
            // The answer to a teardown names the page list only.
            (Key::GpadlTorndown { gpadl, .. }, Key::GpadlTorndown { gpadl: other, .. }) => {
                gpadl == other
            }
            _ => self == answer,
        }
    }
}

/// What the host answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The message itself says all.
    Done,
    /// The request's verdict.
    Status(Status),
    /// A version was accepted or refused.
    Version(VersionResponse),
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a time-out or a rescind must be handled"]
pub enum Outcome<T> {
    /// The host answered.
    Answered(T),
    /// The host didn't answer in time. It may still do so later.
    TimedOut,
    /// The channel was rescinded; the host won't answer any more.
    Rescinded,
}

/// One request's place to wait.
#[pin_data]
struct Waiter {
    #[pin]
    done: Completion,
    #[pin]
    answer: Mutex<Option<Result<Answer, Rescinded>>>,
}

/// Marks a request whose channel went away.
#[derive(Clone, Copy)]
struct Rescinded;

struct Entry {
    key: Key,
    waiter: Arc<Waiter>,
}

/// All requests that wait for an answer.
#[pin_data]
pub(crate) struct Table {
    #[pin]
    entries: Mutex<KVec<Entry>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            entries <- kernel::new_mutex!(KVec::new(), "vmbus_control"),
        })
    }

    /// Registers a request before it is sent.
    ///
    /// # Errors
    ///
    /// `EBUSY` when a request with the same key is under way, `ENOMEM`.
    pub(crate) fn expect(&self, key: Key) -> Result<Request<'_>> {
        let waiter = Arc::pin_init(
            pin_init!(Waiter {
                done <- Completion::new(),
                answer <- kernel::new_mutex!(None, "vmbus_answer"),
            }),
            GFP_KERNEL,
        )?;
        let mut entries = self.entries.lock();
        if entries.iter().any(|entry| entry.key.accepts(&key)) {
            return Err(EBUSY);
        }
        entries.push(
            Entry {
                key,
                waiter: waiter.clone(),
            },
            // The message path wants this lock too, and never waits for memory.
            GFP_ATOMIC,
        )?;
        Ok(Request {
            table: self,
            waiter,
        })
    }

    /// Hands an answer to the request that expects it; false when none does.
    pub(crate) fn answer(&self, key: Key, answer: Answer) -> bool {
        self.finish(|entry| entry.accepts(&key), Ok(answer)) != 0
    }

    /// Ends every request about a channel that the host has withdrawn.
    pub(crate) fn rescind(&self, relid: Relid) {
        self.finish(|entry| entry.relid() == Some(relid), Err(Rescinded));
    }

    /// Ends the requests that `which` picks; returns how many there were.
    fn finish(&self, which: impl Fn(&Key) -> bool, answer: Result<Answer, Rescinded>) -> usize {
        let mut found = 0;
        let mut entries = self.entries.lock();
        let mut at = 0;
        while let Some(entry) = entries.get(at) {
            if !which(&entry.key) {
                at += 1;
                continue;
            }
            found += 1;
            *entry.waiter.answer.lock() = Some(answer);
            entry.waiter.done.complete_all();
            // One answer each: a second one finds nobody.
            if entries.remove(at).is_err() {
                break;
            }
        }
        found
    }

    /// Number of requests that wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().len()
    }
}

/// A request under way; dropping it forgets about the answer.
pub(crate) struct Request<'a> {
    table: &'a Table,
    waiter: Arc<Waiter>,
}

impl Request<'_> {
    /// Waits for the answer, at most `milliseconds`. Process context.
    pub(crate) fn wait(&self, milliseconds: u32) -> Outcome<Answer> {
        if self.waiter.done.wait_timeout_ms(milliseconds).is_err() {
            return Outcome::TimedOut;
        }
        match *self.waiter.answer.lock() {
            Some(Ok(answer)) => Outcome::Answered(answer),
            Some(Err(Rescinded)) => Outcome::Rescinded,
            None => Outcome::TimedOut,
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let mut entries = self.table.entries.lock();
        let place = entries
            .iter()
            .position(|entry| Arc::ptr_eq(&entry.waiter, &self.waiter));
        if let Some(place) = place {
            let _ = entries.remove(place);
        }
    }
}
