// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the bus counts.

use serde_json::{Map, Value};
use vmbus_wire::message::MessageType;

use crate::counters::Counter;

crate::counters! {
    /// What a channel did since it was opened.
    pub(super) struct ChannelCounters {
        /// Packets taken out of the ring from the guest.
        packets_in,
        /// Their bytes, descriptors and trailers included.
        bytes_in,
        /// Packets put into the ring to the guest.
        packets_out,
        /// Their bytes, descriptors and trailers included.
        bytes_out,
        /// Times the guest was interrupted.
        interrupts,
        /// Times the guest's trigger in the monitor page was found set.
        monitor_signals,
        /// Times the thread woke up after it slept.
        wakes,
        /// Times a packet found no room in the ring to the guest.
        full,
    }
}

crate::counters! {
    /// What the bus did altogether.
    pub(super) struct BusCounters {
        /// Messages that were none.
        malformed,
        /// Messages that came when too many were waiting.
        overrun,
        /// Requests that the guest should not have made.
        refused,
        /// Messages that the hypervisor couldn't deliver.
        undelivered,
        /// Channels that died because the guest or the device failed.
        died,
        /// Channels whose device didn't let go in time.
        abandoned,
        /// Times the guest's connection was reset.
        resets,
    }
}

/// One more than the largest number a message has.
const KINDS: usize = 32;

/// A counter for each kind of message.
#[derive(Debug, Default)]
pub(super) struct MessageCounters([Counter; KINDS]);

impl MessageCounters {
    pub(super) fn count(&self, kind: MessageType) {
        // Numbers that no message has are counted as 0.
        let index = match kind.name() {
            Some(_) => kind.to_wire() as usize,
            None => 0,
        };
        if let Some(counter) = self.0.get(index) {
            counter.inc();
        }
    }

    /// Those that were seen at all, by name.
    pub(super) fn snapshot(&self) -> Map<String, Value> {
        let mut all = Map::new();
        for (kind, counter) in (0u32..).zip(&self.0) {
            let count = counter.get();
            if count > 0 {
                let name = MessageType::from_wire(kind).name().unwrap_or("unknown");
                all.insert(name.to_ascii_lowercase(), count.into());
            }
        }
        all
    }
}
