// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Reads and writes, many at a time, on all channels.

use std::os::unix::fs::{FileExt, MetadataExt};

use hvhost::device::Device;
use hvhost::storage::ControllerOptions;
use storvsc_wire::scsi::cdb::Extent;
use storvsc_wire::scsi::{unmap, Command, Width};
use storvsc_wire::GuestPacket;

use crate::guest::{image, pattern, read, write, Data, Driver};

/// Four channels, each with many requests under way, on a disk of each kind.
fn verify(options: ControllerOptions, disks: &[&str]) -> Driver {
    const BLOCKS: u32 = 40;
    const REQUESTS: u64 = 60;
    let mut driver = Driver::new(options, 4, disks);
    driver.set_up();
    driver.open_subchannels(3);
    for lun in 0..disks.len() as u8 {
        let data = |channel: usize, n: u64| {
            let seed = (n as u32) * 7 + channel as u32 * 1000 + u32::from(lun);
            pattern(BLOCKS as usize * 512, seed)
        };
        let place = |channel: usize, n: u64| (channel as u64 * REQUESTS + n) * u64::from(BLOCKS);
        let mut pending = Vec::new();
        for n in 0..REQUESTS {
            for channel in 0..4 {
                let fua = n % 8 == 0;
                let cdb = write(place(channel, n), BLOCKS, fua).encode().unwrap();
                let data = data(channel, n);
                let offset = (n as u32 * 512) % 4096;
                pending.push(driver.submit(channel, lun, cdb.as_bytes(), Data::Out(&data), offset));
            }
        }
        for pending in pending.drain(..) {
            driver.wait(&pending).good();
        }
        let flush = Command::SynchronizeCache {
            width: Width::Ten,
            extent: Extent { lba: 0, blocks: 0 },
            immediate: false,
        };
        driver.execute_on(2, lun, flush, Data::None).good();
        for n in 0..REQUESTS {
            for channel in 0..4 {
                // What one channel wrote, another one reads.
                let cdb = read(place(3 - channel, n), BLOCKS).encode().unwrap();
                let bytes = BLOCKS as usize * 512;
                let offset = (n as u32 * 1024) % 4096;
                let request = driver.submit(channel, lun, cdb.as_bytes(), Data::In(bytes), offset);
                pending.push(request);
            }
        }
        let mut expected = (0..REQUESTS).flat_map(|n| (0..4).map(move |channel| (n, channel)));
        for pending in pending {
            let (n, channel) = expected.next().unwrap();
            assert_eq!(driver.wait(&pending).good(), data(3 - channel, n));
        }
        let unit = format!("/luns/{lun}");
        assert_eq!(driver.count(&format!("{unit}/writes")), 4 * REQUESTS);
        assert_eq!(driver.count(&format!("{unit}/reads")), 4 * REQUESTS);
        let bytes = 4 * REQUESTS * u64::from(BLOCKS) * 512;
        assert_eq!(driver.count(&format!("{unit}/read_bytes")), bytes);
        assert_eq!(driver.count(&format!("{unit}/errors")), 0);
        assert_eq!(driver.count(&format!("{unit}/in_flight")), 0);
    }
    driver
}

#[test]
fn four_channels_on_memory_and_a_file() {
    let path = image("four", 8 << 20);
    let file = path.display().to_string();
    let driver = verify(ControllerOptions::default(), &["ram:8M", &file]);
    // A call hands over what a turn has collected: never more calls than requests.
    let requests = driver.count("/channels/0/requests");
    assert!((1..=requests).contains(&driver.count("/channels/0/submissions")));
    drop(driver);
    let first = pattern(512, 1);
    let mut there = [0; 512];
    let file = std::fs::File::open(&path).unwrap();
    file.read_exact_at(&mut there, 0).unwrap();
    assert_eq!(there[..], first[..]);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_file_without_io_uring() {
    let path = image("calls", 8 << 20);
    let options = ControllerOptions {
        io_uring: false,
        ..ControllerOptions::default()
    };
    let driver = verify(options, &[&path.display().to_string()]);
    assert_eq!(driver.count("/channels/0/submissions"), 0);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_largest_transfer_of_scattered_pages() {
    let path = image("large", 16 << 20);
    let file = path.display().to_string();
    let mut driver = Driver::new(ControllerOptions::default(), 1, &["ram:16M", &file]);
    let (_, properties) = driver.set_up();
    let bytes = properties.max_transfer_bytes as usize;
    let blocks = (bytes / 512) as u32;
    for lun in 0..2 {
        // One page more than pieces fit in one call to the system.
        let data = pattern(bytes, lun.into());
        let cdb = write(3, blocks, false).encode().unwrap();
        let pending = driver.submit(0, lun, cdb.as_bytes(), Data::Out(&data), 512);
        driver.wait(&pending).good();
        let cdb = read(3, blocks).encode().unwrap();
        let pending = driver.submit(0, lun, cdb.as_bytes(), Data::In(bytes), 1024);
        assert!(driver.wait(&pending).good() == data, "LUN {lun}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn every_form_of_read_and_write() {
    let mut driver = Driver::ready(&["ram:4M"]);
    for (n, width) in [Width::Six, Width::Ten, Width::Twelve, Width::Sixteen]
        .into_iter()
        .enumerate()
    {
        let extent = Extent {
            lba: 16 * n as u64,
            blocks: 4,
        };
        let data = pattern(2048, n as u32);
        let fua = width != Width::Six;
        let write = Command::Write { width, extent, fua };
        driver.execute(0, write, Data::Out(&data)).good();
        let read = Command::Read { width, extent, fua };
        assert_eq!(driver.execute(0, read, Data::In(2048)).good(), data);
    }
}

#[test]
fn blocks_are_forgotten_and_filled() {
    let path = image("unmap", 8 << 20);
    let file = path.display().to_string();
    let mut driver = Driver::ready(&["ram:8M", &file]);
    for lun in 0..2 {
        let data = pattern(1 << 20, 5);
        driver.write(lun, 0, &data, 512).good();
        let extents = [
            Extent {
                lba: 8,
                blocks: 512,
            },
            Extent { lba: 0, blocks: 0 },
            Extent {
                lba: 1024,
                blocks: 8,
            },
        ];
        let mut list = [0; 64];
        let length = unmap::encode(&extents, &mut list).unwrap();
        let command = Command::Unmap {
            anchor: false,
            length: length as u16,
        };
        driver
            .execute(lun, command, Data::Out(&list[..length]))
            .good();
        let mut expected = data.clone();
        expected[8 * 512..520 * 512].fill(0);
        expected[1024 * 512..1032 * 512].fill(0);
        assert!(driver.read(lun, 0, 2048, 512).good() == expected);

        let same = |unmap, no_data, lba, blocks| Command::WriteSame {
            width: Width::Sixteen,
            extent: Extent { lba, blocks },
            unmap,
            anchor: false,
            no_data,
        };
        let block = pattern(512, 99);
        driver
            .execute(lun, same(false, false, 100, 300), Data::Out(&block))
            .good();
        driver
            .execute(lun, same(true, false, 600, 16), Data::Out(&[0; 512]))
            .good();
        driver
            .execute(lun, same(false, true, 700, 1), Data::None)
            .good();
        for chunk in expected[100 * 512..400 * 512].chunks_exact_mut(512) {
            chunk.copy_from_slice(&block);
        }
        expected[600 * 512..616 * 512].fill(0);
        expected[700 * 512..701 * 512].fill(0);
        assert!(driver.read(lun, 0, 2048, 512).good() == expected);
        assert_eq!(driver.count(&format!("/luns/{lun}/unmaps")), 2);
    }
    // 2 MiB of file, half of it never written, part of the rest forgotten.
    let used = std::fs::metadata(&path).unwrap().blocks() * 512;
    assert!(used < 1 << 20, "{used} bytes in use");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn resets_wait_for_what_is_under_way() {
    let mut driver = Driver::new(ControllerOptions::default(), 4, &["ram:1M"]);
    driver.set_up();
    driver.open_subchannels(3);
    // A delay of an hour: only a reset ends it.
    let delay = serde_json::json!({
        "lun": 0, "kind": "delay", "ms": 3_600_000, "count": 3
    });
    driver.controller.control("inject", &delay).unwrap();
    let cdb = read(0, 1).encode().unwrap();
    let pending: Vec<_> = (1..4)
        .map(|channel| driver.submit(channel, 0, cdb.as_bytes(), Data::In(512), 0))
        .collect();
    let short = hvhost::testing::SHORT;
    assert!(driver.wait_within(&pending[0], short).is_none());
    // What isn't delayed goes on meanwhile.
    driver.read(0, 0, 1, 512).good();
    assert_eq!(driver.count("/luns/0/in_flight"), 3);
    assert!(driver.count("/luns/0/max_in_flight") >= 3);
    assert!(driver.ask(GuestPacket::ResetBus).is_success());
    assert_eq!(driver.count("/luns/0/in_flight"), 0);
    for pending in pending {
        driver.wait(&pending).good();
    }
    assert!(driver.ask_on(2, GuestPacket::ResetAdapter).is_success());
    let lun = GuestPacket::ResetLun(Default::default());
    assert!(driver.ask_on(3, lun).is_success());
    driver.read(0, 0, 1, 512).good();
}
