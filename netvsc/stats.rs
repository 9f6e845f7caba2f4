// SPDX-License-Identifier: GPL-2.0

//! Counters of a NIC. They outlive sessions.

use vmbus::stats::Counter;

/// Counters, each with its name for `ethtool -S`.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of a NIC.
        pub(crate) struct Stats {
            $($(#[$doc])* pub(crate) $name: Counter,)*
        }

        impl Stats {
            /// Their names.
            pub(crate) const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// All at zero.
            pub(crate) const fn new() -> Self {
                Self { $($name: Counter::new(),)* }
            }

            /// Their values, in the order of the names.
            pub(crate) fn values(&self) -> impl Iterator<Item = u64> + '_ {
                [$(&self.$name,)*].into_iter().map(Counter::get)
            }
        }
    };
}

counters! {
    /// Frames received.
    rx_packets,
    /// Their bytes.
    rx_bytes,
    /// Frames to groups or to all.
    rx_multicast,
    /// Frames lost for want of memory.
    rx_no_memory,
    /// Frames and ranges of the host that make no sense.
    rx_bad,
    /// Frames whose checksum the host had verified.
    rx_checksum_good,
    /// Receive completions that had to wait for room in the ring.
    rx_completions_waited,
    /// Frames sent.
    tx_packets,
    /// Their bytes.
    tx_bytes,
    /// Frames copied to a section of the send buffer.
    tx_sections,
    /// Frames that the host takes from where they are.
    tx_pages,
    /// Frames that had to be put into one piece of memory before.
    tx_linearized,
    /// Frames that couldn't be sent, and why: no memory.
    tx_no_memory,
    /// In more pieces than a packet may list.
    tx_too_many_pieces,
    /// The channel was gone.
    tx_gone,
    /// Frames that the host failed to send.
    tx_failed,
    /// Times that a queue was stopped.
    tx_stopped,
    /// Times that it was woken.
    tx_woken,
    /// Times that a queue was stopped for too long.
    tx_timeouts,
    /// Things the host said that break the protocol.
    protocol_errors,
    /// Changes of the link.
    link_changes,
}
