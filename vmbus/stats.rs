// SPDX-License-Identifier: GPL-2.0

//! Counters that anybody may raise in any context and debugfs and sysfs read.

use core::fmt;
use kernel_ext::atomic::{Atomic, Relaxed};

/// An event counter. Never decreases; wraps after 2^64 events.
pub struct Counter(Atomic<u64>);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Counts `n` events.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Counts one event.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n` events without a locked instruction: for counters that are only raised under one
    /// lock, or by one reader at a time. Otherwise events get lost.
    #[inline]
    pub fn add_under_lock(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Relaxed);
    }

    /// Events so far.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}
