// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One guest with a person at its console.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::guest::{self, Surroundings};
use crate::job::Job;
use crate::plan::{Scenario, Vmm};
use crate::process::Process;

/// How often the end of the guest is looked for.
const TICK: Duration = Duration::from_secs(1);

/// The one guest of the shell's suite.
fn scenario(job: &Job) -> Result<&Scenario> {
    match job.suite.scenarios.first() {
        Some(scenario) => Ok(scenario),
        None => bail!("the shell's suite has no scenario"),
    }
}

/// The guest's VMM with its console on standard input and output.
fn command(job: &Job, around: &Surroundings) -> Result<Command> {
    let scenario = scenario(job)?;
    let mut command = guest::base_command(job, scenario, around.work())?;
    match scenario.vmm {
        // signal=off: Ctrl-C belongs to the guest's shell.
        Vmm::Qemu => command
            .args(["-chardev", "stdio,id=console,signal=off"])
            .args(["-serial", "chardev:console"])
            .arg("-no-reboot"),
        Vmm::Hvhost => command.args(["--console", "stdio"]),
    };
    Ok(command)
}

fn wait(mut vmm: Process) -> Result<()> {
    loop {
        if let Some(status) = vmm.wait(TICK)? {
            if !status.success() {
                bail!("the VMM ended with {status}: {}", vmm.complaints().trim());
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
    let around = Surroundings::make(job, scenario(job)?, work)?;
    let mut command = command(job, &around)?;
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit());
    let _terminal = Terminal::raw();
    wait(Process::start_in_foreground(command, work.join("vmm.log"))?)
}

/// Runs the guest on the port of L1 that leads to the terminal outside.
///
/// # Errors
///
/// As [`run_on_terminal`], or when there is no port.
pub(crate) fn run_on_port(job: &Job, work: &Path, port: &Path) -> Result<()> {
    let around = Surroundings::make(job, scenario(job)?, work)?;
    let mut command = command(job, &around)?;
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
    wait(Process::start(command, work.join("vmm.log"))?)
}
