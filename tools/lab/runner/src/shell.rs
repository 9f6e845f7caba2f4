// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One guest with a person at its console.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::guest;
use crate::plan::Job;
use crate::qemu::Qemu;

/// How often the end of the guest is looked for.
const TICK: Duration = Duration::from_secs(1);

/// The guest's QEMU with its console on standard input and output.
fn command(job: &Job, work: &Path) -> Result<Command> {
    let Some(scenario) = job.suite.scenarios.first() else {
        bail!("the shell's suite has no scenario");
    };
    let mut command = guest::base_command(job, scenario, work)?;
    // signal=off: Ctrl-C belongs to the guest's shell.
    command
        .args(["-chardev", "stdio,id=console,signal=off"])
        .args(["-serial", "chardev:console"])
        .arg("-no-reboot");
    Ok(command)
}

fn wait(mut qemu: Qemu) -> Result<()> {
    loop {
        if let Some(status) = qemu.wait(TICK)? {
            if !status.success() {
                bail!("QEMU ended with {status}: {}", qemu.complaints().trim());
            }
            return Ok(());
        }
    }
}

/// Keeps the terminal as it was and gives it back when dropped.
pub(crate) struct Terminal {
    before: Option<String>,
}

impl Terminal {
    /// Switches the terminal to raw mode, if there is one.
    pub(crate) fn raw() -> Self {
        let stty = |args: &[&str]| {
            Command::new("stty")
                .args(args)
                .stdin(Stdio::inherit())
                .stderr(Stdio::null())
                .output()
                .ok()
                .filter(|out| out.status.success())
                .map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
        };
        let before = stty(&["-g"]);
        if before.is_some() {
            stty(&["raw", "-echo"]);
        }
        Self { before }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // If stty worked a moment ago it works now; nothing can be done otherwise.
            let _ = Command::new("stty").arg(before).status();
        }
    }
}

/// Runs the guest on this terminal.
///
/// # Errors
///
/// When the guest can't be started or ended badly.
pub(crate) fn run_on_terminal(job: &Job, work: &Path) -> Result<()> {
    let mut command = command(job, work)?;
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit());
    let _terminal = Terminal::raw();
    let qemu = Qemu::start_in_foreground(command, work.join("qemu.log"))?;
    wait(qemu)
}

/// Runs the guest on the port of L1 that leads to the terminal outside.
///
/// # Errors
///
/// As [`run_on_terminal`], or when there is no port.
pub(crate) fn run_on_port(job: &Job, work: &Path, port: &Path) -> Result<()> {
    let mut command = command(job, work)?;
    let open = || {
        File::options()
            .read(true)
            .write(true)
            .open(port)
            .with_context(|| format!("cannot open {}", port.display()))
    };
    let file = open()?;
    let twin = file.try_clone().context("port")?;
    command.stdin(file).stdout(twin);
    wait(Qemu::start(command, work.join("qemu.log"))?)
}
