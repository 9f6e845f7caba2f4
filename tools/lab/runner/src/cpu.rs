// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The processor time that a VMM has used: its guest's processors, and everything else.

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
    fn this_process_has_used_something() {
        let time = of(std::process::id()).unwrap();
        assert_eq!(time.guest, 0);
        assert!(of(u32::MAX).is_err());
    }
}
