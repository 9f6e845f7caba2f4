// SPDX-License-Identifier: GPL-2.0

//! Counters of a NIC. They outlive sessions.

use vmbus::stats::Counter;

/// Counters, each with its name for `ethtool -S`.
macro_rules! counters {
    ($(#[$about:meta])* $type:ident { $($(#[$doc:meta])* $name:ident,)* }) => {
        $(#[$about])*
        pub(crate) struct $type {
            $($(#[$doc])* pub(crate) $name: Counter,)*
        }

        impl $type {
            /// All at zero.
            pub(crate) const fn new() -> Self {
                Self { $($name: Counter::new(),)* }
            }

            /// Passes each to `show`, with its name.
            pub(crate) fn each(&self, mut show: impl FnMut(&'static str, u64)) {
                $(show(stringify!($name), self.$name.get());)*
            }
        }
    };
}

counters! {
    /// Counters of a NIC: what is rare, or isn't a queue's.
    Stats {
        /// Frames and ranges of the host that make no sense.
        rx_bad,
        /// Receive completions that had to wait for room in the ring.
        rx_completions_waited,
        /// Frames that had to be put into one piece of memory before they were sent.
        tx_linearized,
        /// Frames that couldn't be sent, and why: no memory.
        tx_no_memory,
        /// In more pieces than a packet may list.
        tx_too_many_pieces,
        /// The channel was gone.
        tx_gone,
        /// Frames that the host failed to send.
        tx_failed,
        /// Times that a queue was stopped for too long.
        tx_timeouts,
        /// Things the host said that break the protocol.
        protocol_errors,
        /// Changes of the link.
        link_changes,
    }
}

counters! {
    /// Counters of a queue.
    QueueStats {
        /// Frames received.
        rx_packets,
        /// Their bytes.
        rx_bytes,
        /// Frames to groups or to all.
        rx_multicast,
        /// Frames that the host had put together from several segments.
        rx_coalesced,
        /// Frames that the stack had where the host had put them.
        rx_in_place,
        /// Frames lost for want of memory.
        rx_no_memory,
        /// Frames whose checksum the host had verified.
        rx_checksum_good,
        /// Frames that a program (XDP) dropped.
        rx_xdp_drop,
        /// That it sent back.
        rx_xdp_tx,
        /// That it sent elsewhere.
        rx_xdp_redirect,
        /// Frames sent.
        tx_packets,
        /// Their bytes.
        tx_bytes,
        /// Frames copied to a section of the send buffer.
        tx_sections,
        /// Frames that the host takes from where they are.
        tx_pages,
        /// Times that the queue was stopped.
        tx_stopped,
        /// Times that it was woken.
        tx_woken,
    }
}
