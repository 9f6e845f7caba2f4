// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A VMM as a process: starts it and makes sure that it ends.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A running machine; dropping it kills it.
pub(crate) struct Process {
    child: Child,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`; what it says goes to the file `stderr`.
    ///
    /// The calling thread has to outlive the process: it is killed at the end of its parent, and
    /// that means the thread.
    ///
    /// # Errors
    ///
    /// When it can't be started.
    pub(crate) fn start(mut command: Command, stderr: PathBuf) -> Result<Self> {
        // A group of its own: Ctrl-C at the terminal is for this program, which then ends QEMU.
        command.process_group(0);
        Self::start_in_foreground(command, stderr)
    }

    /// As [`Self::start`], but it may read from the terminal.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub(crate) fn start_in_foreground(mut command: Command, stderr: PathBuf) -> Result<Self> {
        let errors =
            File::create(&stderr).with_context(|| format!("cannot make {}", stderr.display()))?;
        let child = command
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, stderr })
    }

    /// Its standard output, if it was piped and not yet taken.
    pub(crate) fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it ended.
    ///
    /// # Errors
    ///
    /// When the system can't say.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("wait for the VMM")
    }

    /// Waits for its end, at most for `limit`; None when it still runs.
    ///
    /// # Errors
    ///
    /// When the system can't say or the user asked to stop.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            crate::stop::check()?;
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it now.
    pub(crate) fn kill(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it said.
    pub(crate) fn complaints(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Standard streams that nobody reads.
pub(crate) fn silent(command: &mut Command) {
    command.stdin(Stdio::null()).stdout(Stdio::null());
}
