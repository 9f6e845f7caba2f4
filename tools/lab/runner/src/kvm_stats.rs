// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What KVM counts of a machine: exits by reason, interrupts, page faults. They are the same for every
//! VMM, and the one cost of a device that depends neither on who else uses this machine nor on
//! how fast it is.

use std::fs;
use std::path::Path;

use anyhow::{bail, Context, Result};

/// Where KVM has a directory for each machine, named after the VMM's process and a number.
const DIRECTORY: &str = "/sys/kernel/debug/kvm";

/// These statistics of the machine that a process runs, separated by spaces; each is the sum over the
/// machine's processors since its start.
///
/// # Errors
///
/// When the process has no machine, KVM has no such number, or debugfs can't be read.
pub(crate) fn of(pid: u32, names: &[&str]) -> Result<String> {
    below(Path::new(DIRECTORY), pid, names)
}

fn below(directory: &Path, pid: u32, names: &[&str]) -> Result<String> {
    let prefix = format!("{pid}-");
    let mut machine = None;
    for entry in fs::read_dir(directory).context("KVM's statistics need root and debugfs")? {
        let entry = entry.context("KVM's statistics")?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            machine = Some(entry.path());
        }
    }
    let machine = machine.with_context(|| format!("process {pid} has no machine"))?;
    let mut answer = Vec::new();
    for name in names {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            bail!("`{name}` is no statistic");
        }
        let text = fs::read_to_string(machine.join(name))
            .with_context(|| format!("KVM doesn't count `{name}`"))?;
        answer.push(text.trim().to_owned());
    }
    Ok(answer.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_process() {
        let directory = std::env::temp_dir().join(format!("vmlab-kvm-{}", std::process::id()));
        for (machine, exits) in [("70-11", "1\n"), ("7-11", "25\n")] {
            fs::create_dir_all(directory.join(machine)).unwrap();
            fs::write(directory.join(machine).join("exits"), exits).unwrap();
            fs::write(directory.join(machine).join("halt_exits"), "0\n").unwrap();
        }
        let of = |pid, names: &[&str]| below(&directory, pid, names);
        assert_eq!(of(7, &["exits", "halt_exits"]).unwrap(), "25 0");
        assert_eq!(of(70, &["exits"]).unwrap(), "1");
        assert!(of(8, &["exits"]).is_err());
        assert!(of(7, &["entries"]).is_err());
        assert!(of(7, &["../70-11/exits"]).is_err());
        fs::remove_dir_all(&directory).unwrap();
    }
}
