// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Guests that are up at the same time and are measured in turn, row by row. What else happens to
//! the machine changes from minute to minute; two guests that are measured seconds apart have the
//! same share of it. Those whose turn it isn't wait for the answer to their question, halted.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Whose turn it is.
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
    /// Held by the guest that boots: several at once on one emulated processor take far longer.
    boots: Mutex<()>,
}

/// # Invariants
///
/// `holder` is the index of a guest, and of one that takes part as long as any does.
struct State {
    guests: Vec<Part>,
    holder: usize,
}

/// What a guest has to do with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It is on its way: nobody begins without it.
    Coming,
    /// It has asked for a turn.
    Here,
    /// It is over.
    Gone,
}

impl State {
    /// Gives the turn to the next one who takes part.
    fn advance(&mut self) {
        let count = self.guests.len();
        let next = (1..=count).map(|step| (self.holder + step) % count);
        if let Some(next) = next.into_iter().find(|&i| self.guests[i] != Part::Gone) {
            self.holder = next;
        }
    }

    fn is_turn_of(&self, guest: usize) -> bool {
        self.holder == guest && !self.guests.contains(&Part::Coming)
    }
}

impl Turns {
    /// For this many guests, the first of which begins.
    pub(crate) fn new(guests: usize) -> Self {
        Self {
            state: Mutex::new(State {
                guests: vec![Part::Coming; guests],
                holder: 0,
            }),
            changed: Condvar::new(),
            boots: Mutex::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits for the turn of this guest, which it keeps until it passes it on; false when it didn't
    /// come within `limit`.
    fn take(&self, guest: usize, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.state();
        if state.guests[guest] == Part::Coming {
            state.guests[guest] = Part::Here;
            self.changed.notify_all();
        }
        while !state.is_turn_of(guest) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(|e| e.into_inner()).0;
        }
        true
    }

    /// The turn is the next guest's, if it was this one's.
    fn pass(&self, guest: usize) {
        let mut state = self.state();
        if state.holder == guest {
            state.advance();
            self.changed.notify_all();
        }
    }

    /// This guest takes part no more.
    fn leave(&self, guest: usize) {
        let mut state = self.state();
        state.guests[guest] = Part::Gone;
        if state.holder == guest {
            state.advance();
        }
        self.changed.notify_all();
    }
}

/// The part that one guest has in it. It leaves when this goes.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    guest: usize,
}

impl<'a> Turn<'a> {
    /// For the guest of this number, from 0.
    pub(crate) fn new(turns: &'a Turns, guest: usize) -> Self {
        Self { turns, guest }
    }

    /// Waits until no other guest boots; none begins to while the result is held.
    pub(crate) fn boot(&self) -> MutexGuard<'a, ()> {
        self.turns.boots.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// See [`Turns::take`].
    pub(crate) fn take(&self, limit: Duration) -> bool {
        self.turns.take(self.guest, limit)
    }

    /// See [`Turns::pass`].
    pub(crate) fn pass(&self) {
        self.turns.pass(self.guest);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.leave(self.guest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn one_guest_always_has_its_turn() {
        let turns = Turns::new(1);
        for _ in 0..3 {
            assert!(turns.take(0, NOW));
            turns.pass(0);
        }
        turns.leave(0);
    }

    #[test]
    fn nobody_begins_before_all_are_there() {
        let turns = Turns::new(2);
        assert!(!turns.take(0, NOW));
        assert!(!turns.take(1, NOW));
        assert!(turns.take(0, NOW));
    }

    #[test]
    fn guests_take_turns() {
        let turns = Turns::new(3);
        for guest in 0..3 {
            assert!(!turns.take(guest, NOW));
        }
        for round in 0..2 {
            for guest in 0..3 {
                for other in 0..3 {
                    let yes = turns.take(other, NOW);
                    assert_eq!(yes, other == guest, "round {round}, guest {guest}, {other}");
                }
                // Not its to give.
                turns.pass((guest + 1) % 3);
                turns.pass(guest);
            }
        }
    }

    #[test]
    fn who_is_gone_is_not_waited_for() {
        let turns = Turns::new(3);
        assert!(!turns.take(1, NOW));
        assert!(!turns.take(2, NOW));
        turns.leave(0);
        assert!(turns.take(1, NOW));
        turns.leave(2);
        turns.pass(1);
        assert!(turns.take(1, NOW));
        turns.leave(1);
    }

    #[test]
    fn a_turn_that_comes_wakes_who_waits() {
        let turns = Turns::new(2);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| turns.take(1, Duration::from_secs(60)));
            assert!(turns.take(0, Duration::from_secs(60)));
            turns.pass(0);
            assert!(second.join().unwrap());
        });
    }
}
