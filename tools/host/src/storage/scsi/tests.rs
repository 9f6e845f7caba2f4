// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The engine by itself: no ring, no channel, no thread.

use proptest::prelude::*;
use storvsc_wire::scsi::cdb::Extent;
use storvsc_wire::scsi::{unmap, Command, Sense, Width};
use storvsc_wire::{DataDirection, SrbStatus};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::args::spec::DiskSpec;
use crate::memory::{GuestMemory, Pages};
use crate::storage::backend::Backend;
use crate::storage::work::Job;

const MOST: u32 = 1 << 20;

struct Bench {
    memory: GuestMemory,
    ram: Lun,
    file: Lun,
    /// Keeps the file.
    _image: tempfile::NamedTempFile,
}

impl Bench {
    fn new() -> Self {
        let ranges = [(GuestAddress(0), 4 << 20)];
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(1 << 20).unwrap();
        let open = |spec: &str| {
            let spec: DiskSpec = spec.parse().unwrap();
            Lun::open("hvhost-0", 0, &spec).unwrap()
        };
        Self {
            memory: GuestMemory::new(GuestMemoryMmap::from_ranges(&ranges).unwrap()),
            ram: open("ram:1M"),
            file: open(&image.path().display().to_string()),
            _image: image,
        }
    }

    /// Pages 8 on, each second one, from byte 512 of the first.
    fn buffer(&self, bytes: u32, direction: DataDirection) -> DataBuffer {
        let count = u64::from(bytes + 512).div_ceil(4096);
        let pfns: Vec<u64> = (0..count).map(|n| 8 + 2 * n).collect();
        let pages = Pages::new(&self.memory, 512, bytes, pfns.into_iter()).unwrap();
        DataBuffer::of(pages, direction)
    }

    /// Carries a command out to its end.
    fn run(&self, lun: &Lun, command: &Command, buffer: &DataBuffer) -> Outcome {
        match execute(lun, command, buffer, MOST) {
            Verdict::Done(outcome) => outcome,
            Verdict::Work { work, transferred } => {
                let writing = !matches!(work, Work::Read { .. });
                let result = match &lun.backend {
                    Backend::Ram(ram) => ram.run(&work, buffer),
                    Backend::File(file) => file.run(&mut Job::new(work, buffer).unwrap()),
                };
                Outcome::of_work(result, writing, transferred)
            }
        }
    }

    fn read(&self, lun: &Lun, lba: u64, blocks: u32) -> Vec<u8> {
        let bytes = blocks * 512;
        let buffer = self.buffer(bytes, DataDirection::In);
        let outcome = self.run(lun, &command(false, lba, blocks), &buffer);
        assert_eq!(outcome, Outcome::good(bytes.into()));
        let mut data = vec![0; bytes as usize];
        buffer.read(0, &mut data).unwrap();
        data
    }

    fn write(&self, lun: &Lun, lba: u64, data: &[u8]) -> Outcome {
        let buffer = self.buffer(data.len() as u32, DataDirection::Out);
        buffer.write(0, data).unwrap();
        let blocks = (data.len() / 512) as u32;
        self.run(lun, &command(true, lba, blocks), &buffer)
    }
}

fn command(write: bool, lba: u64, blocks: u32) -> Command {
    let extent = Extent { lba, blocks };
    let width = Width::Sixteen;
    if write {
        Command::Write {
            width,
            extent,
            fua: lba % 2 == 0,
        }
    } else {
        Command::Read {
            width,
            extent,
            fua: false,
        }
    }
}

#[test]
fn memory_and_file_do_the_same() {
    let bench = Bench::new();
    for lun in [&bench.ram, &bench.file] {
        let data: Vec<u8> = (0..20 * 512u32).map(|n| (n / 7) as u8).collect();
        assert_eq!(bench.write(lun, 5, &data), Outcome::good(20 * 512));
        assert_eq!(bench.read(lun, 5, 20), data);
        let flush = Command::SynchronizeCache {
            width: Width::Sixteen,
            extent: Extent { lba: 0, blocks: 0 },
            immediate: true,
        };
        let none = DataBuffer::none();
        assert_eq!(bench.run(lun, &flush, &none), Outcome::good(0));
        assert_eq!(bench.write(lun, 2040, &data).sense.parse(), {
            Some(Sense::LBA_OUT_OF_RANGE)
        });
    }
}

#[test]
fn a_block_is_written_many_times_in_few_calls() {
    let bench = Bench::new();
    let block: Vec<u8> = (0..512u32).map(|n| n as u8 ^ 0x5a).collect();
    for lun in [&bench.ram, &bench.file] {
        let same = Command::WriteSame {
            width: Width::Ten,
            extent: Extent {
                lba: 3,
                blocks: 1000,
            },
            unmap: false,
            anchor: false,
            no_data: false,
        };
        let buffer = bench.buffer(512, DataDirection::Out);
        buffer.write(0, &block).unwrap();
        assert_eq!(bench.run(lun, &same, &buffer), Outcome::good(512));
        let there = bench.read(lun, 2, 1002);
        assert_eq!(there[..512], [0; 512]);
        assert!(there[512..1001 * 512]
            .chunks_exact(512)
            .all(|chunk| chunk == block));
        assert_eq!(there[1001 * 512..], [0; 512]);
    }
    // 64 KiB a piece.
    let work = Work::Fill {
        offset: 0,
        bytes: 1 << 20,
        pattern: block,
    };
    let mut job = Job::new(work, &DataBuffer::none()).unwrap();
    let Some(crate::storage::work::Step::Write { pieces, .. }) = job.step() else {
        panic!("a write");
    };
    assert_eq!(pieces.len(), 16);
    // The system takes what it likes.
    for taken in [1, 65_535, 65_536, 100_000] {
        job.advance(taken).unwrap();
    }
    job.advance((1 << 20) - 231_072).unwrap();
    assert!(job.step().is_none());
}

#[test]
fn calls_that_fail_end_the_work_sooner_or_later() {
    let job = || Job::new(Work::Flush, &DataBuffer::none()).unwrap();
    assert_eq!(job().advance(-libc::ENOSPC), Err(libc::ENOSPC));
    assert_eq!(job().advance(i32::MIN), Err(libc::EIO));
    let mut again = job();
    let mut tries = 0;
    while again.advance(-libc::EAGAIN).is_ok() {
        tries += 1;
        assert!(tries < 1000 && again.step().is_some());
    }
    assert_eq!(
        Outcome::of_work(Err(libc::ENOSPC), true, 0).sense.parse(),
        Some(Sense::SPACE_ALLOCATION_FAILED)
    );
    assert_eq!(
        Outcome::of_work(Err(libc::EIO), false, 0).sense.parse(),
        Some(Sense::UNRECOVERED_READ_ERROR)
    );
}

/// What happens to a disk.
#[derive(Clone, Debug)]
enum Action {
    Write(u64, u32, u8),
    Unmap(Vec<(u64, u32)>),
    Same(u64, u32, u8, bool),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let lba = 0u64..70;
    let action = prop_oneof![
        (lba.clone(), 0u32..20, any::<u8>()).prop_map(|(lba, n, byte)| Action::Write(lba, n, byte)),
        prop::collection::vec((lba.clone(), 0u32..20), 0..4).prop_map(Action::Unmap),
        (lba, 0u32..20, 0u8..3, any::<bool>())
            .prop_map(|(lba, n, byte, unmap)| Action::Same(lba, n, byte, unmap)),
    ];
    prop::collection::vec(action, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Disks in memory and in a file are what a plain array of bytes is.
    #[test]
    fn disks_are_arrays(actions in actions()) {
        let bench = Bench::new();
        // The last blocks: ranges may reach beyond the end.
        const FIRST: u64 = 2048 - 80;
        for lun in [&bench.ram, &bench.file] {
            let mut model = vec![0u8; 80 * 512];
            let inside = |lba: u64, blocks: u32| lba + u64::from(blocks) <= 80;
            let bytes = |lba: u64, blocks: u32| lba as usize * 512..(lba as usize + blocks as usize) * 512;
            for action in &actions {
                match action {
                    Action::Write(lba, blocks, byte) => {
                        if *blocks == 0 {
                            continue;
                        }
                        let data = vec![*byte; *blocks as usize * 512];
                        let outcome = bench.write(lun, FIRST + lba, &data);
                        prop_assert_eq!(outcome.srb_status.is_success(), inside(*lba, *blocks));
                        if inside(*lba, *blocks) {
                            model[bytes(*lba, *blocks)].fill(*byte);
                        }
                    }
                    Action::Unmap(extents) => {
                        let list: Vec<_> = extents
                            .iter()
                            .map(|(lba, blocks)| Extent { lba: FIRST + lba, blocks: *blocks })
                            .collect();
                        let mut out = [0; 80];
                        let length = unmap::encode(&list, &mut out).unwrap();
                        let buffer = bench.buffer(length as u32, DataDirection::Out);
                        buffer.write(0, &out[..length]).unwrap();
                        let command = Command::Unmap { anchor: false, length: length as u16 };
                        let outcome = bench.run(lun, &command, &buffer);
                        let all = extents.iter().all(|(lba, blocks)| inside(*lba, *blocks));
                        prop_assert_eq!(outcome.srb_status.is_success(), all);
                        if all {
                            for (lba, blocks) in extents {
                                model[bytes(*lba, *blocks)].fill(0);
                            }
                        }
                    }
                    Action::Same(lba, blocks, byte, unmap) => {
                        let buffer = bench.buffer(512, DataDirection::Out);
                        buffer.write(0, &[*byte; 512]).unwrap();
                        let command = Command::WriteSame {
                            width: Width::Sixteen,
                            extent: Extent { lba: FIRST + lba, blocks: *blocks },
                            unmap: *unmap,
                            anchor: false,
                            no_data: false,
                        };
                        let outcome = bench.run(lun, &command, &buffer);
                        let possible = inside(*lba, *blocks) && *blocks > 0;
                        prop_assert_eq!(outcome.srb_status.is_success(), possible);
                        if possible {
                            model[bytes(*lba, *blocks)].fill(*byte);
                        }
                    }
                }
            }
            prop_assert!(bench.read(lun, FIRST, 80) == model);
        }
    }

    /// Whatever the command, there is a verdict, and work stays inside the disk.
    #[test]
    fn every_command_has_a_verdict(
        cdb in prop::collection::vec(any::<u8>(), 1..=16),
        bytes in 1u32..16384,
        direction in 0u8..3,
    ) {
        let bench = Bench::new();
        let direction = DataDirection::from_wire(direction).unwrap();
        let buffer = bench.buffer(bytes, direction);
        if let Ok(command) = Command::parse(&cdb) {
            match execute(&bench.ram, &command, &buffer, MOST) {
                Verdict::Done(outcome) => {
                    prop_assert!(outcome.transferred <= bytes);
                    prop_assert_ne!(outcome.srb_status, SrbStatus::PENDING);
                }
                Verdict::Work { work, transferred } => {
                    prop_assert!(transferred <= bytes.into());
                    let (offset, length) = match &work {
                        Work::Read { offset, bytes } | Work::Fill { offset, bytes, .. } => {
                            (*offset, *bytes)
                        }
                        Work::Write { offset, bytes, .. } => (*offset, *bytes),
                        Work::Flush => (0, 0),
                        Work::Discard(ranges) => {
                            for range in ranges {
                                prop_assert!(range.start <= range.end && range.end <= 1 << 20);
                            }
                            (0, 0)
                        }
                    };
                    prop_assert!(offset + length <= 1 << 20);
                }
            }
        }
    }
}
