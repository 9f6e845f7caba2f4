// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Counters: cheap to count, read at any time by the control socket's `stats`.

/// Defines a struct of relaxed 64-bit counters with a snapshot by name.
///
/// ```
/// hvhost::counters! {
///     /// What a port did.
///     pub struct Port {
///         /// Frames sent.
///         frames,
///     }
/// }
/// let port = Port::default();
/// port.frames.add(2);
/// assert_eq!(port.snapshot()["frames"], 2);
/// ```
#[macro_export]
macro_rules! counters {
    ($(#[$about:meta])* $vis:vis struct $name:ident { $($(#[$doc:meta])* $field:ident),* $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        $vis struct $name { $($(#[$doc])* pub $field: $crate::counters::Counter),* }
        impl $name {
            /// Every counter by its name.
            $vis fn snapshot(&self) -> serde_json::Map<String, serde_json::Value> {
                let mut map = serde_json::Map::new();
                $(map.insert(stringify!($field).to_owned(), self.$field.get().into());)*
                map
            }
        }
    };
}

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts several.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
