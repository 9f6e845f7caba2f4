// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Resets: whatever was under way when the guest asked for one is answered before the reset is.
//!
//! Requests belong to one of two generations. A reset begins the next one and waits until nothing
//! of the old one is under way; only one reset at a time does so, others wait their turn.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What is under way on all channels of a controller.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// Parity is the generation in force.
    generation: AtomicUsize,
    under_way: [AtomicUsize; 2],
    /// 0, or 1 more than the channel whose reset is going on.
    owner: AtomicUsize,
}

/// A request's membership; given back with [`Drain::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(bool);

impl Drain {
    fn slot(&self, generation: Generation) -> &AtomicUsize {
        let [even, odd] = &self.under_way;
        if generation.0 {
            odd
        } else {
            even
        }
    }

    /// The generation in force.
    pub(super) fn current(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire) & 1 != 0)
    }

    /// A request begins.
    pub(super) fn enter(&self) -> Generation {
        let generation = self.current();
        self.slot(generation).fetch_add(1, Ordering::AcqRel);
        generation
    }

    /// A request has been answered.
    pub(super) fn leave(&self, generation: Generation) {
        self.slot(generation).fetch_sub(1, Ordering::AcqRel);
    }

    /// Begins a reset for a channel; none: another one is going on.
    pub(super) fn begin(&self, channel: u16) -> Option<Generation> {
        self.owner
            .compare_exchange(
                0,
                usize::from(channel) + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .ok()?;
        let old = self.generation.fetch_add(1, Ordering::AcqRel);
        Some(Generation(old & 1 != 0))
    }

    /// Nothing of that generation is under way.
    pub(super) fn is_drained(&self, generation: Generation) -> bool {
        self.slot(generation).load(Ordering::Acquire) == 0
    }

    /// Ends the reset of a channel, if it is its.
    pub(super) fn end(&self, channel: u16) {
        let owner = usize::from(channel) + 1;
        // Not ours: nothing to end.
        let _ = self
            .owner
            .compare_exchange(owner, 0, Ordering::AcqRel, Ordering::Acquire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_waits_for_what_came_before_and_for_nothing_else() {
        let drain = Drain::default();
        let before = drain.enter();
        let old = drain.begin(3).unwrap();
        assert_eq!(old, before);
        assert!(drain.begin(4).is_none(), "one at a time");
        let after = drain.enter();
        assert_ne!(after, before);
        assert!(!drain.is_drained(old));
        drain.leave(before);
        assert!(drain.is_drained(old));
        drain.end(4);
        assert!(drain.begin(4).is_none(), "only its owner ends it");
        drain.end(3);
        assert_eq!(drain.begin(4), Some(after));
    }
}
