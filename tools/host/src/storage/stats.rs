// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What units and channels count.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

crate::counters! {
    /// What a unit did.
    pub(super) struct UnitCounters {
        /// Commands, of whatever kind.
        commands,
        /// Reads.
        reads,
        /// Bytes read.
        read_bytes,
        /// Writes, WRITE SAME included.
        writes,
        /// Bytes written.
        written_bytes,
        /// Caches written back.
        flushes,
        /// Commands that forgot blocks.
        unmaps,
        /// Bytes forgotten.
        unmapped_bytes,
        /// Commands that failed.
        errors,
        /// Commands that failed or waited because somebody wanted them to.
        injected,
    }
}

crate::counters! {
    /// What a channel did.
    pub(super) struct ChannelCounters {
        /// Times it was opened.
        opened,
        /// Packets taken from the ring.
        packets,
        /// Requests among them.
        requests,
        /// Completions put into the ring.
        completions,
        /// Times that the ring to the guest had no room.
        ring_full,
        /// Times the thread woke up.
        wakes,
        /// Calls that handed work to the system.
        submissions,
        /// Requests that named memory the guest doesn't have, or too little.
        bad_buffers,
        /// Packets that were answered with a failure.
        refused,
        /// Bytes read.
        read_bytes,
        /// Bytes written.
        written_bytes,
    }
}

/// How many are under way, and how many were at most.
#[derive(Debug, Default)]
pub(super) struct Depth {
    now: AtomicU64,
    most: AtomicU64,
}

impl Depth {
    pub(super) fn enter(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if now > self.most.load(Ordering::Relaxed) {
            self.most.fetch_max(now, Ordering::Relaxed);
        }
    }

    pub(super) fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn add_to(&self, map: &mut Map<String, Value>) {
        map.insert(
            "in_flight".to_owned(),
            self.now.load(Ordering::Relaxed).into(),
        );
        map.insert(
            "max_in_flight".to_owned(),
            self.most.load(Ordering::Relaxed).into(),
        );
    }
}
