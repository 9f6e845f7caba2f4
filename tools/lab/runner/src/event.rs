// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a runner reports while it works, and how that travels out of L1.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// All assertions held.
    Pass,
    /// One did not; the first one's text.
    Fail(String),
    /// Not run, and why.
    Skip(String),
}

/// One step of the work. Times are seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ev", rename_all = "snake_case")]
pub(crate) enum Event {
    /// L1 is up; nested only.
    L1 {
        /// Since its start.
        seconds: f64,
    },
    /// A guest was started.
    Boot {
        /// Which scenario it is for.
        scenario: String,
        /// Its shape, for people.
        shape: String,
    },
    /// The guest's init speaks.
    Up {
        /// Which scenario.
        scenario: String,
        /// Kernel release of the guest.
        release: String,
        /// Since the guest's start.
        seconds: f64,
    },
    /// A remark of the case under way or of the lab.
    Note {
        /// Which scenario.
        scenario: String,
        /// One line.
        text: String,
    },
    /// A case ended.
    Result {
        /// Which scenario.
        scenario: String,
        /// Which case.
        case: String,
        /// How.
        outcome: Outcome,
        /// How long it took.
        seconds: f64,
    },
    /// A log to keep.
    Log {
        /// Path below the log directory.
        name: String,
        /// Its content.
        text: String,
    },
    /// The job is done; nothing follows.
    Done,
}

/// Takes events: a printer, or the port out of L1.
pub(crate) trait Sink: Sync {
    /// Takes one.
    ///
    /// # Errors
    ///
    /// When it can't be passed on: the run is pointless then.
    fn send(&self, event: Event) -> Result<()>;
}

/// The way out of L1: one JSON object a line on a virtio port.
pub(crate) struct Port {
    file: Mutex<File>,
}

impl Port {
    /// Opens the port.
    ///
    /// # Errors
    ///
    /// When there is no such device.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .write(true)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self {
            file: Mutex::new(file),
        })
    }
}

impl Sink for Port {
    fn send(&self, event: Event) -> Result<()> {
        let mut line = serde_json::to_string(&event).context("event to JSON")?;
        line.push('\n');
        let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
        file.write_all(line.as_bytes()).context("write to the port")
    }
}
