// SPDX-License-Identifier: GPL-2.0

//! Requests to the host that wait for an answer outside of the rings.
//!
//! Whoever sends such a request first says in the [`Table`] which answer it [expects](Table::expect).
//! The message path looks the answer up by its [`Key`] in a [`WaitTable`] of the wire crate; an answer
//! that nobody expects is a protocol error and touches nothing. A rescind ends every request about that channel at once, and every
//! wait has an end of its own: [`Outcome`] names all three.

use kernel::{
    prelude::*,
    sync::{Arc, Mutex},
};
use kernel_ext::wait::Completion;
use vmbus_wire::{
    waiting::{Answer, Key, WaitTable},
    Relid,
};

use crate::interrupt::ACTIVE;

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

/// Milliseconds after which somebody who waits has the message slot looked at, in case an interrupt got
/// lost, and again after as many.
const LOOK_MS: u32 = 1000;

/// Requests that may wait at a time: each has a thread behind it.
const PLACES: usize = 128;

/// Who waits, each with its key.
type Places = KVec<Option<(Key, Arc<Waiter>)>>;

/// All requests that wait for an answer.
#[pin_data]
pub(crate) struct Table {
    #[pin]
    waiting: Mutex<WaitTable<Places>>,
}

impl Table {
    /// An empty table.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let mut places = KVec::with_capacity(PLACES, GFP_KERNEL)?;
            for _ in 0..PLACES {
                places.push(None, GFP_KERNEL)?;
            }
            Ok(try_pin_init!(Self {
                waiting <- kernel::new_mutex!(WaitTable::new(places), "vmbus_waiting"),
            }? Error))
        })
    }

    /// Registers a request before it is sent.
    ///
    /// # Errors
    ///
    /// `EBUSY` when a request with the same key is under way, or too many others; `ENOMEM`.
    pub(crate) fn expect(&self, key: Key) -> Result<Request<'_>> {
        let waiter = Arc::pin_init(
            pin_init!(Waiter {
                done <- Completion::new(),
                answer <- kernel::new_mutex!(None, "vmbus_answer"),
            }),
            GFP_KERNEL,
        )?;
        self.waiting
            .lock()
            .insert(key, waiter.clone())
            .map_err(|_| EBUSY)?;
        Ok(Request {
            table: self,
            waiter,
        })
    }

    /// Hands an answer to the request that expects it; false when none does.
    pub(crate) fn answer(&self, key: &Key, answer: Answer) -> bool {
        let waiter = self.waiting.lock().take(key);
        match waiter {
            Some(waiter) => {
                waiter.finish(Ok(answer));
                true
            }
            None => false,
        }
    }

    /// Ends every request about a channel that the host has withdrawn.
    pub(crate) fn rescind(&self, relid: Relid) {
        self.waiting
            .lock()
            .rescind(relid, |waiter| waiter.finish(Err(Rescinded)));
    }

    /// Number of requests that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().len()
    }
}

impl Waiter {
    /// Ends the wait.
    fn finish(&self, answer: Result<Answer, Rescinded>) {
        *self.answer.lock() = Some(answer);
        self.done.complete_all();
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
        let mut left = milliseconds;
        while self.waiter.done.wait_timeout_ms(left.min(LOOK_MS)).is_err() {
            left = left.saturating_sub(LOOK_MS);
            // Looking is a help; without it the wait is as long.
            let connection = ACTIVE.get();
            if left == 0 {
                if let Some(connection) = connection {
                    connection.tell_of_silence(milliseconds);
                }
                return Outcome::TimedOut;
            }
            if let Some(connection) = connection {
                connection.look_for_messages();
            }
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
        let waiter = self
            .table
            .waiting
            .lock()
            .take_where(|_, waiter| Arc::ptr_eq(waiter, &self.waiter));
        drop(waiter);
    }
}
