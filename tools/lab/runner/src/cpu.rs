// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The processor time that a VMM has used: its guest's processors, and everything else. And what it would
//! have used, had others let it.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Milliseconds since the VMM's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// Threads that are the guest's processors.
    pub(crate) guest: u64,
    /// The VMM's other threads that are still there.
    pub(crate) host: u64,
}

/// As cases read it: `GUEST HOST`.
impl fmt::Display for CpuTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.guest, self.host)
    }
}

impl CpuTime {
    /// Adds a thread, by its name and its line in `/proc/PID/task/TID/schedstat` (nanoseconds
    /// on a processor first).
    fn add(&mut self, name: &str, schedstat: &str) -> Option<()> {
        let nanoseconds: u64 = schedstat.split_whitespace().next()?.parse().ok()?;
        let milliseconds = nanoseconds / 1_000_000;
        // hvhost's names, and QEMU's with `debug-threads=on`.
        if name.starts_with("vcpu") || name.starts_with("CPU ") {
            self.guest += milliseconds;
        } else {
            self.host += milliseconds;
        }
        Some(())
    }
}

/// What a process has used.
///
/// # Errors
///
/// When there is no such process or the system doesn't say.
pub(crate) fn of(pid: u32) -> Result<CpuTime> {
    let tasks = Path::new("/proc").join(pid.to_string()).join("task");
    let mut time = CpuTime::default();
    for task in fs::read_dir(&tasks).context("the VMM is gone")?.flatten() {
        let read = |file: &str| fs::read_to_string(task.path().join(file));
        // A thread may end while it is looked at.
        if let (Ok(name), Ok(line)) = (read("comm"), read("schedstat")) {
            time.add(name.trim(), &line)
                .context("the system doesn't say what threads have used")?;
        }
    }
    Ok(time)
}

/// Nanoseconds on a processor and of waiting for one, of a line of `schedstat`.
fn used_and_waited(schedstat: &str) -> Option<(u64, u64)> {
    let mut numbers = schedstat.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// How many milliseconds the busiest thread of a process has waited for a processor since its start,
/// because others had them all. An emulated machine is such a thread, and its clock goes on meanwhile.
///
/// # Errors
///
/// When there is no such process or the system doesn't say.
pub(crate) fn waited(pid: u32) -> Result<u64> {
    let tasks = Path::new("/proc").join(pid.to_string()).join("task");
    let tasks = fs::read_dir(&tasks).context("the process is gone")?;
    let lines = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    let busiest = lines.filter_map(|line| used_and_waited(&line)).max();
    let (_, waited) = busiest.context("the system doesn't say for what threads have waited")?;
    Ok(waited / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_told_apart_by_name() {
        let mut time = CpuTime::default();
        assert_eq!(time.add("vcpu1", "3000000 5 7"), Some(()));
        assert_eq!(time.add("CPU 0/KVM", "4999999 5 7"), Some(()));
        assert_eq!(time.add("net0", "1000000 0 1"), Some(()));
        assert_eq!(time.add("net0", ""), None);
        assert_eq!(time.to_string(), "7 1");
    }

    #[test]
    fn waiting_is_the_second_number() {
        assert_eq!(
            used_and_waited("3000000 5000000 7\n"),
            Some((3_000_000, 5_000_000))
        );
        assert_eq!(used_and_waited("3000000"), None);
        assert!(waited(std::process::id()).is_ok());
        assert!(waited(u32::MAX).is_err());
    }

    #[test]
    fn this_process_has_used_something() {
        let time = of(std::process::id()).unwrap();
        assert_eq!(time.guest, 0);
        assert!(of(u32::MAX).is_err());
    }
}
