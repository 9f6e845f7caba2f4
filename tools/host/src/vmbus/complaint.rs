// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Log lines that a guest can cause as often as it likes.

use std::time::{Duration, Instant};

/// Lines let through in each [`PERIOD`].
const LINES: u32 = 20;
/// How long a period is.
const PERIOD: Duration = Duration::from_secs(1);

/// Says whether to log one more line.
#[derive(Debug)]
pub(super) struct Complaints {
    since: Instant,
    lines: u32,
    swallowed: u64,
}

impl Complaints {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            lines: 0,
            swallowed: 0,
        }
    }

    /// Logs what the guest did wrong, unless it does so all the time.
    pub(super) fn say(&mut self, what: std::fmt::Arguments<'_>) {
        let now = Instant::now();
        if now.duration_since(self.since) >= PERIOD {
            if self.swallowed > 0 {
                tracing::warn!("{} more complaints about the guest", self.swallowed);
            }
            self.since = now;
            self.lines = 0;
            self.swallowed = 0;
        }
        if self.lines < LINES {
            self.lines += 1;
            tracing::warn!("{what}");
        } else {
            self.swallowed = self.swallowed.saturating_add(1);
        }
    }
}

/// `complain!(state, "...", ...)`: a rate-limited warning.
macro_rules! complain {
    ($state:expr, $($words:tt)+) => {
        $state.complaints.say(format_args!($($words)+))
    };
}
pub(super) use complain;
