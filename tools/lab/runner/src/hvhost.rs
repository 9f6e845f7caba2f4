// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A guest on this tree's own host, tools/host: its command, its control socket, its exit status.

use std::fmt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{anyhow, Context, Result};
use serde_json::{json, Value};

use crate::guest;
use crate::job::Job;
use crate::lines::Lines;
use crate::plan::Scenario;

/// The command of a guest, without its console and its second serial line. It runs in `work`,
/// where the files of its disks are.
///
/// # Errors
///
/// When there is no hvhost or no image.
pub(crate) fn guest_command(job: &Job, scenario: &Scenario, work: &Path) -> Result<Command> {
    let directory = job.hvhost.as_deref().context("there is no hvhost")?;
    let mut command = Command::new(directory.join("hvhost"));
    command
        .current_dir(work)
        .arg("--kernel")
        .arg(&job.kernel)
        .arg("--initrd")
        .arg(guest::initrd(job, scenario, work)?)
        .args(["--cmdline", &guest::command_line(job, scenario)])
        .args(["--cpus", &scenario.cpus.to_string()])
        .args(["--mem", &format!("{}M", scenario.memory)]);
    for (count, disk) in scenario.counted_disks() {
        for _ in 0..count {
            command.args(["--disk", disk]);
        }
    }
    for nic in &scenario.nics {
        command.args(["--nic", nic]);
    }
    command.args(&scenario.hvhost);
    Ok(command)
}

/// The control socket.
pub(crate) struct Control {
    lines: Lines,
}

impl Control {
    /// Connects and passes the names of events to `on_event`.
    ///
    /// # Errors
    ///
    /// When hvhost doesn't answer within `limit`, which also bounds each later command.
    pub(crate) fn open(
        path: &Path,
        limit: Duration,
        on_event: impl Fn(String) + Send + 'static,
    ) -> Result<Self> {
        let mut control = Self {
            lines: Lines::open(path, limit, on_event)?,
        };
        control.execute(json!({ "command": "subscribe" }))?;
        Ok(control)
    }

    /// Carries out a command and returns its result.
    ///
    /// # Errors
    ///
    /// hvhost's own sentence when it refuses, or that it didn't answer in time.
    pub(crate) fn execute(&mut self, request: Value) -> Result<Value> {
        let name = request.get("command").and_then(Value::as_str);
        let name = name.context("a request without a command")?.to_owned();
        let answer = self.lines.ask(&name, request)?;
        match answer.get("error") {
            Some(Value::String(why)) => Err(anyhow!("{why}")),
            Some(why) => Err(anyhow!("{why}")),
            None => Ok(answer.get("ok").cloned().unwrap_or(Value::Null)),
        }
    }
}

/// How a guest can come to its end, as hvhost's exit status tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// It switched itself off.
    PowerOff,
    /// It wants to boot again.
    Reboot,
    /// Its kernel panicked.
    Panic,
    /// Somebody asked hvhost to quit.
    Killed,
}

impl Ending {
    /// As cases write it.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "power-off" => Self::PowerOff,
            "reboot" => Self::Reboot,
            "panic" => Self::Panic,
            "killed" => Self::Killed,
            _ => return None,
        })
    }

    /// What an exit status says; none for a host that failed.
    pub(crate) fn of(status: ExitStatus) -> Option<Self> {
        Some(match status.code()? {
            0 => Self::PowerOff,
            10 => Self::Reboot,
            20 => Self::Panic,
            30 => Self::Killed,
            _ => return None,
        })
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PowerOff => "power-off",
            Self::Reboot => "reboot",
            Self::Panic => "panic",
            Self::Killed => "killed",
        })
    }
}

/// An exit status for people.
pub(crate) fn describe(status: ExitStatus) -> String {
    match Ending::of(status) {
        Some(ending) => format!("{ending} ({status})"),
        None => format!("a failure of the host ({status})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn exit_status_and_words_mean_the_same() {
        for (code, word) in [
            (0, "power-off"),
            (10, "reboot"),
            (20, "panic"),
            (30, "killed"),
        ] {
            let ending = Ending::of(ExitStatus::from_raw(code << 8));
            assert_eq!(ending, Ending::parse(word));
            assert_eq!(ending.map(|e| e.to_string()).as_deref(), Some(word));
        }
        assert_eq!(Ending::of(ExitStatus::from_raw(70 << 8)), None);
        // Ended by a signal.
        assert_eq!(Ending::of(ExitStatus::from_raw(9)), None);
        assert_eq!(Ending::parse("sleep"), None);
    }
}
