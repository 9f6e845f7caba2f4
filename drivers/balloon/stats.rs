// SPDX-License-Identifier: GPL-2.0

//! What is counted, for debugfs.

use vmbus::stats::Counter;

/// Counters of one device.
pub(crate) struct Stats {
    /// Requests for pages.
    pub(crate) up_requests: Counter,
    /// Messages with pages that came back.
    pub(crate) down_requests: Counter,
    /// Offers of more memory.
    pub(crate) hot_add_requests: Counter,
    /// Status reports that were sent.
    pub(crate) pressure_reports: Counter,
    /// Messages that make no sense, pages that came back without having been given, answers that
    /// couldn't be sent.
    pub(crate) errors: Counter,
}

impl Stats {
    pub(crate) const fn new() -> Self {
        Self {
            up_requests: Counter::new(),
            down_requests: Counter::new(),
            hot_add_requests: Counter::new(),
            pressure_reports: Counter::new(),
            errors: Counter::new(),
        }
    }
}
