// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A logical unit: a disk or a DVD drive of a controller.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::ensure;
use parking_lot::Mutex;
use serde_json::{json, Value};
use storvsc_wire::scsi::cdb::Extent;
use storvsc_wire::scsi::Sense;
use uuid::Uuid;

use super::backend::Backend;
use super::inject::Injections;
use super::stats::{Depth, UnitCounters};
use crate::args::spec::DiskSpec;

/// Namespace of the names that units are given.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0c_3d0e_53a4_4a0c_9c6b_0a6f_5f9b_1d27);
/// Bytes that a host's page and a file system's block have in most cases: what can be forgotten
/// for real, and best is written at once.
pub(super) const ALLOCATION_BYTES: u32 = 4096;

/// The tray of a DVD drive.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tray {
    /// The medium was taken out.
    pub(super) open: bool,
    /// The guest keeps it closed.
    pub(super) locked: bool,
    /// It was closed and nobody has been told yet.
    pub(super) new_medium: bool,
}

/// A unit.
#[derive(Debug)]
pub(super) struct Lun {
    pub(super) number: u8,
    pub(super) backend: Backend,
    pub(super) read_only: bool,
    pub(super) cdrom: bool,
    /// Bytes of a block.
    pub(super) block: u32,
    pub(super) serial: String,
    /// A name in 64 bits.
    pub(super) naa: u64,
    blocks: AtomicU64,
    attention: AtomicBool,
    attentions: Mutex<VecDeque<Sense>>,
    pub(super) tray: Mutex<Tray>,
    pub(super) injections: Injections,
    pub(super) counters: UnitCounters,
    pub(super) depth: Depth,
}

impl Lun {
    /// Opens a disk; it has a serial number of its own or one that begins with `serials`.
    ///
    /// # Errors
    ///
    /// A sentence that names it.
    pub(super) fn open(serials: &str, number: u8, spec: &DiskSpec) -> anyhow::Result<Self> {
        let backend = Backend::open(spec)?;
        let bytes = backend.bytes()?;
        let block = u64::from(spec.sector);
        ensure!(
            block > 0 && bytes >= block && bytes % block == 0,
            "disk {} of {bytes} bytes isn't a whole number of blocks of {block} bytes",
            backend.name()
        );
        let serial = match &spec.serial {
            Some(serial) => serial.clone(),
            None => format!("{serials}-{number}"),
        };
        // Number assigned by the administrator (NAA 3), the other bits made of the serial number.
        let hash = Uuid::new_v5(&NAMESPACE, serial.as_bytes()).as_u64_pair().0;
        Ok(Self {
            number,
            backend,
            read_only: spec.read_only || spec.cdrom,
            cdrom: spec.cdrom,
            block: spec.sector,
            serial,
            naa: (3 << 60) | (hash >> 4),
            blocks: AtomicU64::new(bytes / block),
            attention: AtomicBool::new(false),
            attentions: Mutex::default(),
            tray: Mutex::default(),
            injections: Injections::default(),
            counters: UnitCounters::default(),
            depth: Depth::default(),
        })
    }

    /// How many blocks it has; at least one.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Acquire)
    }

    /// Blocks can be forgotten.
    pub(super) fn discards(&self) -> bool {
        !self.read_only && self.backend.discards()
    }

    /// These blocks in bytes; none: some are beyond the end.
    pub(super) fn range(&self, extent: Extent) -> Option<std::ops::Range<u64>> {
        let end = extent.lba.checked_add(extent.blocks.into())?;
        if end > self.blocks() {
            return None;
        }
        let block = u64::from(self.block);
        Some(extent.lba.checked_mul(block)?..end.checked_mul(block)?)
    }

    /// Makes it bigger or smaller, or, without a size, looks how big it has become.
    ///
    /// # Errors
    ///
    /// When it can't be.
    pub(super) fn resize(&self, bytes: Option<u64>) -> anyhow::Result<u64> {
        let block = u64::from(self.block);
        let check = |bytes: u64| {
            ensure!(
                bytes >= block && bytes % block == 0,
                "{bytes} bytes aren't a whole number of blocks of {block} bytes"
            );
            Ok(bytes / block)
        };
        let bytes = match bytes {
            Some(bytes) => {
                let blocks = check(bytes)?;
                // Nothing new goes beyond the end while it is cut.
                self.blocks.fetch_min(blocks, Ordering::AcqRel);
                if let Err(error) = self.backend.resize(bytes) {
                    let now = self.backend.bytes()?;
                    self.blocks.store((now / block).max(1), Ordering::Release);
                    return Err(error);
                }
                bytes
            }
            None => self.backend.bytes()?,
        };
        self.blocks.store(check(bytes)?, Ordering::Release);
        self.attend(Sense::CAPACITY_CHANGED);
        Ok(bytes)
    }

    /// Has the next command told this.
    pub(super) fn attend(&self, sense: Sense) {
        let mut waiting = self.attentions.lock();
        if !waiting.contains(&sense) {
            waiting.push_back(sense);
        }
        self.attention.store(true, Ordering::Release);
    }

    /// What is to be told before a command is carried out.
    pub(super) fn take_attention(&self) -> Option<Sense> {
        if !self.attention.load(Ordering::Acquire) {
            return None;
        }
        let mut waiting = self.attentions.lock();
        let sense = waiting.pop_front();
        self.attention.store(!waiting.is_empty(), Ordering::Release);
        sense
    }

    /// It has been told some other way.
    pub(super) fn forget_attention(&self, sense: Sense) {
        if self.attention.load(Ordering::Acquire) {
            let mut waiting = self.attentions.lock();
            waiting.retain(|waiting| *waiting != sense);
            self.attention.store(!waiting.is_empty(), Ordering::Release);
        }
    }

    /// A new guest hasn't been told anything yet, and needn't be told what was before it.
    pub(super) fn reset(&self) {
        self.attentions.lock().clear();
        self.attention.store(false, Ordering::Release);
        *self.tray.lock() = Tray::default();
    }

    /// State and counters.
    pub(super) fn stats(&self) -> Value {
        let mut map = self.counters.snapshot();
        self.depth.add_to(&mut map);
        map.insert("lun".to_owned(), self.number.into());
        map.insert("backing".to_owned(), self.backend.name().into());
        map.insert("serial".to_owned(), self.serial.as_str().into());
        map.insert("blocks".to_owned(), self.blocks().into());
        map.insert("block_bytes".to_owned(), self.block.into());
        map.insert("read_only".to_owned(), self.read_only.into());
        map.insert("cdrom".to_owned(), self.cdrom.into());
        map.insert("discards".to_owned(), self.discards().into());
        json!(map)
    }
}
