// SPDX-License-Identifier: GPL-2.0

//! Messages that a host can trigger don't flood the log.
//!
//! The counting is our own, with the kernel's defaults: a `struct ratelimit_state` contains a spin
//! lock, which can't be initialised in a Rust static. This one takes no lock and works in any
//! context.

use crate::atomic::{Atomic, Relaxed};

/// How long a period is.
const PERIOD_MS: u32 = 5_000;

/// How many messages a period lets through.
const BURST: u32 = 10;

/// Lets some messages through and counts the others.
///
/// One for each kind of message: in a static by [`pr_warn_ratelimited!`], or in a field, so that
/// one misbehaving device doesn't silence another's messages.
///
/// [`pr_warn_ratelimited!`]: crate::pr_warn_ratelimited
pub struct RateLimit {
    /// When the period began, in jiffies with the lowest bit set; 0: there was none yet.
    begin: Atomic<u64>,
    passed: Atomic<u32>,
    missed: Atomic<u32>,
}

impl RateLimit {
    /// A limit of 10 messages in 5 seconds.
    pub const fn new() -> Self {
        Self {
            begin: Atomic::new(0),
            passed: Atomic::new(0),
            missed: Atomic::new(0),
        }
    }

    /// Whether a message may be printed now. If so, the number is how many weren't since the last
    /// time that this was asked in another period.
    pub fn allow(&self) -> Option<u32> {
        // SAFETY: Reads a clock.
        let now = unsafe { hv_bindings::jiffies_64() } | 1;
        // SAFETY: A pure conversion.
        let period = unsafe { hv_bindings::msecs_to_jiffies(PERIOD_MS) } as u64;
        let begin = self.begin.load(Relaxed);
        let over = begin == 0 || now.wrapping_sub(begin) >= period;
        // Of several CPUs that find the period over, one begins the next.
        if over && self.begin.cmpxchg(begin, now, Relaxed).is_ok() {
            self.passed.store(1, Relaxed);
            return Some(self.missed.xchg(0, Relaxed));
        }
        // A look first, so that a flood can't make the count wrap.
        if self.passed.load(Relaxed) < BURST && self.passed.fetch_add(1, Relaxed) < BURST {
            return Some(0);
        }
        self.missed.add(1, Relaxed);
        None
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::new()
    }
}

/// `pr_warn!`, at most 10 times in 5 seconds.
///
/// The limit is this line's own, or with `limit: &x,` in front that of a
/// [`RateLimit`](crate::ratelimit::RateLimit).
#[macro_export]
macro_rules! pr_warn_ratelimited {
    (limit: $limit:expr, $($arg:tt)+) => {
        if let Some(missed) = $crate::ratelimit::RateLimit::allow($limit) {
            ::kernel::pr_warn!($($arg)+);
            if missed > 0 {
                ::kernel::pr_warn!("{} more messages of this kind were dropped\n", missed);
            }
        }
    };
    ($($arg:tt)+) => {{
        static LIMIT: $crate::ratelimit::RateLimit = $crate::ratelimit::RateLimit::new();
        $crate::pr_warn_ratelimited!(limit: &LIMIT, $($arg)+)
    }};
}

/// `dev_warn!`, at most 10 times in 5 seconds; see
/// [`pr_warn_ratelimited!`](crate::pr_warn_ratelimited).
#[macro_export]
macro_rules! dev_warn_ratelimited {
    (limit: $limit:expr, $dev:expr, $($arg:tt)+) => {
        if let Some(missed) = $crate::ratelimit::RateLimit::allow($limit) {
            ::kernel::dev_warn!($dev, $($arg)+);
            if missed > 0 {
                ::kernel::dev_warn!($dev, "{} more messages of this kind were dropped\n", missed);
            }
        }
    };
    ($dev:expr, $($arg:tt)+) => {{
        static LIMIT: $crate::ratelimit::RateLimit = $crate::ratelimit::RateLimit::new();
        $crate::dev_warn_ratelimited!(limit: &LIMIT, $dev, $($arg)+)
    }};
}
