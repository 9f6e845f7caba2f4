// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a unit's bytes are kept in.

mod file;
mod ram;

pub(super) use file::{FileDisk, Writes, PUNCH};
pub(super) use ram::RamDisk;

use crate::args::spec::{Backing, DiskSpec};

/// What a unit's bytes are kept in.
#[derive(Debug)]
pub(super) enum Backend {
    /// A file or block device.
    File(FileDisk),
    /// Memory.
    Ram(RamDisk),
}

impl Backend {
    /// Opens or makes it.
    ///
    /// # Errors
    ///
    /// A sentence that names it.
    pub(super) fn open(spec: &DiskSpec) -> anyhow::Result<Self> {
        Ok(match &spec.backing {
            Backing::File(path) => Self::File(FileDisk::open(path, spec.read_only)?),
            Backing::Ram(bytes) => Self::Ram(RamDisk::new(*bytes)?),
        })
    }

    /// How big it is now.
    ///
    /// # Errors
    ///
    /// When the system can't say.
    pub(super) fn bytes(&self) -> anyhow::Result<u64> {
        match self {
            Self::File(file) => file.bytes(),
            Self::Ram(ram) => Ok(ram.bytes()),
        }
    }

    /// Makes it bigger or smaller.
    ///
    /// # Errors
    ///
    /// When it can't be.
    pub(super) fn resize(&self, bytes: u64) -> anyhow::Result<()> {
        match self {
            Self::File(file) => file.resize(bytes),
            Self::Ram(ram) => ram.resize(bytes),
        }
    }

    /// Parts of it can be forgotten.
    pub(super) fn discards(&self) -> bool {
        match self {
            Self::File(file) => file.discards(),
            Self::Ram(_) => true,
        }
    }

    /// What is written is lost with the host's power until it is flushed.
    pub(super) fn write_cache(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// For `stats`.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(file) => file.path().display().to_string(),
            Self::Ram(_) => "ram".to_owned(),
        }
    }
}
