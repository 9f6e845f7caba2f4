// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How fast a packet goes through a ring: written and read back, beside two plain copies of the
//! same bytes (one into the ring's memory, one out of it) and beside the rules of the C driver.
//!
//! Criterion measures each by itself. The table at the end is measured again with the three
//! taking turns, a fraction of a millisecond each, so that whatever else the machine does hits all
//! of them alike; it shows medians, and the ratios are medians of the ratios of each turn.

#![allow(missing_docs)] // Of what a macro of criterion makes.

use criterion::{criterion_group, BenchmarkId, Criterion, Throughput};
use std::hint::black_box;
use std::ptr;
use std::time::{Duration, Instant};
use vmbus_wire::packet::OutPacket;
use vmbus_wire::ring::{InRing, OutRing, RingMemory};

#[path = "ring_bench/c_rules.rs"]
mod c_rules;
#[path = "ring_bench/mapped.rs"]
mod mapped;

use c_rules::CRing;
use mapped::MappedRing;

/// Payload sizes, in bytes.
const SIZES: [usize; 3] = [64, 1024, 16384];
/// Data area: what a network channel has in each direction with the C driver's default of 128
/// pages, its control page taken off.
const RING_BYTES: u32 = 127 * 4096;
/// Bytes around a payload: descriptor and trailer.
const OVERHEAD: usize = 24;
/// Turns of the final table.
const ROUNDS: usize = 400;
/// Length of one turn of one contestant.
const TURN: Duration = Duration::from_micros(400);

/// This crate's ring.
struct OurRing {
    out: OutRing<MappedRing>,
    incoming: InRing<MappedRing>,
    payload: Vec<u8>,
    buffer: Vec<u8>,
}

impl OurRing {
    fn new(size: usize) -> Self {
        let memory = MappedRing::new(RING_BYTES);
        Self {
            out: OutRing::new(memory).expect("a ring"),
            incoming: InRing::attach(memory).expect("a ring"),
            payload: vec![0x5a; size],
            buffer: vec![0; size + OVERHEAD],
        }
    }

    #[inline(never)]
    fn write(&mut self) -> bool {
        let parts = [&self.payload[..]];
        let packet = OutPacket::in_band(7, &parts);
        self.out.write(&packet).expect("room")
    }

    #[inline(never)]
    fn drain(&mut self) -> bool {
        while let Some(raw) = self.incoming.read(&mut self.buffer).expect("a packet") {
            black_box(raw.parse().expect("a packet").payload);
        }
        self.incoming.commit().expect("an index")
    }

    fn packet(&mut self) {
        black_box(self.write());
        black_box(self.drain());
    }
}

/// Two copies, at the addresses that a ring would use in turn.
struct Memcpy {
    memory: MappedRing,
    at: usize,
    payload: Vec<u8>,
    buffer: Vec<u8>,
}

impl Memcpy {
    fn new(size: usize) -> Self {
        Self {
            memory: MappedRing::new(RING_BYTES),
            at: 0,
            payload: vec![0x5a; size],
            buffer: vec![0; size],
        }
    }

    fn packet(&mut self) {
        let size = black_box(self.payload.len());
        // SAFETY: `at` is below the size of the data area, `size` too, and it is mapped twice.
        unsafe {
            let place = self.memory.data().add(self.at);
            ptr::copy_nonoverlapping(self.payload.as_ptr(), place, size);
            // Neither copy may be left out or merged with the other.
            let place = black_box(place);
            ptr::copy_nonoverlapping(place, self.buffer.as_mut_ptr(), size);
            black_box(self.buffer.as_mut_ptr());
        }
        self.at += size + OVERHEAD;
        if self.at >= self.memory.len() as usize {
            self.at -= self.memory.len() as usize;
        }
    }
}

/// The C driver's rules.
struct CRules {
    ring: CRing,
    payload: Vec<u8>,
}

impl CRules {
    fn new(size: usize) -> Self {
        Self {
            ring: CRing::new(MappedRing::new(RING_BYTES), size + OVERHEAD),
            payload: vec![0x5a; size],
        }
    }

    fn packet(&mut self) {
        black_box(self.ring.write(&self.payload, 7).expect("room"));
        black_box(self.ring.drain(|payload| {
            black_box(payload);
        }));
    }
}

fn rings(criterion: &mut Criterion) {
    for size in SIZES {
        let mut group = criterion.benchmark_group("write_read");
        group.throughput(Throughput::Bytes(size as u64));
        let mut memcpy = Memcpy::new(size);
        group.bench_function(BenchmarkId::new("memcpy", size), |b| {
            b.iter(|| memcpy.packet())
        });
        let mut c_rules = CRules::new(size);
        group.bench_function(BenchmarkId::new("c_rules", size), |b| {
            b.iter(|| c_rules.packet())
        });
        let mut ours = OurRing::new(size);
        group.bench_function(BenchmarkId::new("vmbus_wire", size), |b| {
            b.iter(|| ours.packet())
        });
        group.finish();
    }
}

/// Nanoseconds a packet, over `count` of them.
fn time(count: u32, mut packet: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..count {
        packet();
    }
    start.elapsed().as_nanos() as f64 / f64::from(count)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn table() {
    println!();
    println!("write + read of one packet, median of {ROUNDS} turns, ns");
    println!("memcpy = the payload copied twice, once into and once out of the ring's memory");
    println!("C rules = drivers/hv/ring_buffer.c rule for rule, without its lock");
    println!();
    println!("| payload | memcpy | C rules | vmbus_wire | of memcpy's speed | of C's speed |");
    println!("|--------:|-------:|--------:|-----------:|------------------:|-------------:|");
    for size in SIZES {
        let mut memcpy = Memcpy::new(size);
        let mut c_rules = CRules::new(size);
        let mut ours = OurRing::new(size);
        let once = time(1000, || memcpy.packet()).max(1.0);
        let count = (TURN.as_nanos() as f64 / once).clamp(50.0, 100_000.0) as u32;
        // [memcpy, C rules, ours] of each turn; who comes first changes.
        let turns: Vec<[f64; 3]> = (0..ROUNDS)
            .map(|round| {
                let mut turn = [0.0; 3];
                for step in 0..3 {
                    let who = (round + step) % 3;
                    turn[who] = match who {
                        0 => time(count, || memcpy.packet()),
                        1 => time(count, || c_rules.packet()),
                        _ => time(count, || ours.packet()),
                    };
                }
                turn
            })
            .collect();
        let middle = |who: usize| median(turns.iter().map(|turn| turn[who]).collect());
        let ratio = |who: usize| median(turns.iter().map(|turn| turn[who] / turn[2]).collect());
        println!(
            "| {size} B | {:.1} | {:.1} | {:.1} | {:.0} % | {:.0} % |",
            middle(0),
            middle(1),
            middle(2),
            ratio(0) * 100.0,
            ratio(1) * 100.0,
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots();
    targets = rings
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    // `cargo test --benches` runs each thing once, to see that it runs.
    if std::env::args().any(|argument| argument == "--bench") {
        table();
    }
}
