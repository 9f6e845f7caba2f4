// SPDX-License-Identifier: GPL-2.0

//! What is counted.

use kernel::{
    sync::atomic::{Atomic, Relaxed},
    time::{Instant, Monotonic},
};
use scsi::{Address, Direction};
use vmbus::stats::Counter;

/// Counters of a controller.
#[derive(Default)]
pub(crate) struct Stats {
    /// Times that the devices were looked through.
    pub(crate) rescans: Counter,
    /// Devices that were removed because the host said that they are gone.
    pub(crate) removals: Counter,
    /// Times that the controller was reset.
    pub(crate) resets: Counter,
    /// Of these, times that the channels had to be opened again.
    pub(crate) reconnects: Counter,
    /// Commands that took longer than their time.
    pub(crate) timeouts: Counter,
    /// Packets of the host's own accord.
    pub(crate) unsolicited: Counter,
    /// Breaches of the protocol by the host.
    pub(crate) protocol_errors: Counter,
    /// Commands that found all rings full.
    pub(crate) busy: Counter,
}

/// Upper ends of all buckets but the last: 16 µs, twice that, and so on to 1 s.
pub(crate) const BUCKETS: usize = 18;
const FIRST_BUCKET_SHIFT: u32 = 14;

/// Latencies in buckets of powers of two.
pub(crate) struct Histogram([Counter; BUCKETS]);

impl Histogram {
    fn new() -> Self {
        Self([const { Counter::new() }; BUCKETS])
    }

    /// Counts a latency.
    #[inline]
    fn add(&self, ns: u64) {
        // 2^14 ns is about 16 µs. `ilog2` of what is above.
        let bucket = (ns >> FIRST_BUCKET_SHIFT)
            .checked_ilog2()
            .map_or(0, |log| log as usize + 1);
        if let Some(counter) = self.0.get(bucket.min(BUCKETS - 1)) {
            counter.inc();
        }
    }

    /// The buckets, from short to long.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().map(Counter::get)
    }
}

/// What is kept for a unit.
pub(crate) struct Unit {
    pub(crate) address: Address,
    /// Commands that came from the mid-layer.
    pub(crate) commands: Counter,
    /// Those that went back to it because there was no room.
    not_sent: Counter,
    /// Commands that ended.
    pub(crate) ended: Counter,
    /// Of these, those that read.
    pub(crate) reads: Counter,
    /// Of these, those that wrote.
    pub(crate) writes: Counter,
    /// Bytes that were read.
    pub(crate) read_bytes: Counter,
    /// Bytes that were written.
    pub(crate) write_bytes: Counter,
    /// Commands that ended with an error.
    pub(crate) errors: Counter,
    /// Longest time of a command, in nanoseconds.
    max_ns: Atomic<u64>,
    pub(crate) latency: Histogram,
}

impl Unit {
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address,
            commands: Counter::new(),
            not_sent: Counter::new(),
            ended: Counter::new(),
            reads: Counter::new(),
            writes: Counter::new(),
            read_bytes: Counter::new(),
            write_bytes: Counter::new(),
            errors: Counter::new(),
            max_ns: Atomic::new(0),
            latency: Histogram::new(),
        }
    }

    /// A command was answered.
    #[inline]
    pub(crate) fn answered(&self, direction: Direction, bytes: u32, ns: u64, good: bool) {
        self.ended.inc();
        match direction {
            Direction::In => {
                self.reads.inc();
                self.read_bytes.add(bytes.into());
            }
            Direction::Out => {
                self.writes.inc();
                self.write_bytes.add(bytes.into());
            }
            Direction::None => {}
        }
        if !good {
            self.errors.inc();
        }
        self.latency.add(ns);
        // A lost race loses one of two long times.
        if ns > self.max_ns.load(Relaxed) {
            self.max_ns.store(ns, Relaxed);
        }
    }

    /// A command wasn't sent after all, and ended or went back to the mid-layer.
    pub(crate) fn not_sent(&self) {
        self.not_sent.inc();
    }

    /// Commands that were sent.
    pub(crate) fn sent(&self) -> u64 {
        let not_sent = self.not_sent.get();
        self.commands.get().saturating_sub(not_sent)
    }

    /// A command ended without an answer.
    pub(crate) fn gave_up(&self) {
        self.ended.inc();
        self.errors.inc();
    }

    /// Longest time of a command, in microseconds.
    pub(crate) fn max_us(&self) -> u64 {
        self.max_ns.load(Relaxed) / 1000
    }

    /// Commands under way. A moment's figure.
    pub(crate) fn in_flight(&self) -> u64 {
        let ended = self.ended.get();
        self.sent().saturating_sub(ended)
    }
}

/// A clock that starts with its controller.
pub(crate) struct Clock(Instant<Monotonic>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since it was made.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        let since = Instant::<Monotonic>::now() - self.0;
        u64::try_from(since.as_nanos()).unwrap_or(0)
    }
}
