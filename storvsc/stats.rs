// SPDX-License-Identifier: GPL-2.0

//! What is counted.

use kernel::{
    prelude::*,
    time::{Instant, Monotonic},
};
use kernel_ext::atomic::{Atomic, Relaxed};
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
#[derive(Default)]
struct Histogram([Counter; BUCKETS]);

impl Histogram {
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

    fn count(&self) -> u64 {
        self.0.iter().map(Counter::get).sum()
    }
}

/// Commands of one direction.
#[derive(Default)]
struct Answered {
    bytes: Counter,
    latency: Histogram,
}

/// What goes up with every command, for those of one channel: CPUs that send and take answers on
/// channels of their own don't share these lines.
#[derive(Default)]
#[repr(align(64))]
struct Shard {
    in_flight: Atomic<u32>,
    /// Commands that ended without an answer.
    gave_up: Counter,
    reads: Answered,
    writes: Answered,
    /// Commands without data.
    others: Answered,
}

/// Channels with counters of their own; those beyond share with them.
const MOST_SHARDS: usize = 16;

/// What is kept for a unit.
pub(crate) struct Unit {
    pub(crate) address: Address,
    /// That of the first channel, which small guests have no other beside of, together with the unit.
    first: Shard,
    others: KVec<Shard>,
    /// Answered commands that went wrong.
    bad: Counter,
    /// Longest time of a command, in nanoseconds.
    max_ns: Atomic<u64>,
}

impl Unit {
    /// For commands on up to so many channels.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(address: Address, channels: usize) -> Result<Self> {
        let count = channels.clamp(1, MOST_SHARDS);
        let mut others = KVec::with_capacity(count - 1, GFP_KERNEL)?;
        for _ in 1..count {
            others.push(Shard::default(), GFP_KERNEL)?;
        }
        Ok(Self {
            address,
            first: Shard::default(),
            others,
            bad: Counter::new(),
            max_ns: Atomic::new(0),
        })
    }

    #[inline]
    fn shard(&self, channel: u16) -> &Shard {
        // No division for the channel that every guest has.
        let place = match usize::from(channel) {
            0 => 0,
            channel => channel % (self.others.len() + 1),
        };
        // Modulo their number: there is one, but for the first.
        place
            .checked_sub(1)
            .and_then(|place| self.others.get(place))
            .unwrap_or(&self.first)
    }

    fn shards(&self) -> impl Iterator<Item = &Shard> {
        Iterator::chain(core::iter::once(&self.first), self.others.iter())
    }

    /// A command is in the ring of a channel.
    #[inline]
    pub(crate) fn sent_on(&self, channel: u16) {
        self.shard(channel).in_flight.add(1, Relaxed);
    }

    /// A command that was sent on a channel was answered.
    #[inline]
    pub(crate) fn answered(
        &self,
        channel: u16,
        direction: Direction,
        bytes: u32,
        ns: u64,
        good: bool,
    ) {
        let shard = self.shard(channel);
        shard.in_flight.fetch_sub(1, Relaxed);
        let answered = match direction {
            Direction::In => &shard.reads,
            Direction::Out => &shard.writes,
            Direction::None => &shard.others,
        };
        answered.bytes.add(bytes.into());
        answered.latency.add(ns);
        if !good {
            self.bad.inc();
        }
        // A lost race loses one of two long times.
        if ns > self.max_ns.load(Relaxed) {
            self.max_ns.store(ns, Relaxed);
        }
    }

    /// A command that was sent on a channel ended without an answer.
    pub(crate) fn gave_up(&self, channel: u16) {
        let shard = self.shard(channel);
        shard.in_flight.fetch_sub(1, Relaxed);
        shard.gave_up.inc();
    }

    fn sum(&self, of: impl Fn(&Shard) -> u64) -> u64 {
        self.shards().map(of).sum()
    }

    /// Commands that were sent.
    pub(crate) fn sent(&self) -> u64 {
        let others = self.sum(|shard| shard.others.latency.count() + shard.gave_up.get());
        self.in_flight() + self.reads() + self.writes() + others
    }

    /// Commands that read and were answered.
    pub(crate) fn reads(&self) -> u64 {
        self.sum(|shard| shard.reads.latency.count())
    }

    /// Commands that wrote and were answered.
    pub(crate) fn writes(&self) -> u64 {
        self.sum(|shard| shard.writes.latency.count())
    }

    /// Bytes that were read.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.sum(|shard| shard.reads.bytes.get())
    }

    /// Bytes that were written.
    pub(crate) fn write_bytes(&self) -> u64 {
        self.sum(|shard| shard.writes.bytes.get())
    }

    /// Commands that ended with an error, answered or not.
    pub(crate) fn errors(&self) -> u64 {
        self.bad.get() + self.sum(|shard| shard.gave_up.get())
    }

    /// Longest time of a command, in microseconds.
    pub(crate) fn max_us(&self) -> u64 {
        self.max_ns.load(Relaxed) / 1000
    }

    /// Commands under way. A moment's figure.
    pub(crate) fn in_flight(&self) -> u64 {
        self.sum(|shard| shard.in_flight.load(Relaxed).into())
    }

    /// Answered commands by what they moved and how long it took: reads, writes, others, each with
    /// its buckets from short to long.
    pub(crate) fn latency(&self) -> [(&'static str, [u64; BUCKETS]); 3] {
        let total = |of: fn(&Shard) -> &Answered| {
            let mut sums = [0; BUCKETS];
            for shard in self.shards() {
                for (sum, count) in sums.iter_mut().zip(&of(shard).latency.0) {
                    *sum += count.get();
                }
            }
            sums
        };
        [
            ("read", total(|shard| &shard.reads)),
            ("write", total(|shard| &shard.writes)),
            ("other", total(|shard| &shard.others)),
        ]
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
