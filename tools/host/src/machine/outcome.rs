// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How a machine ends: the first to say so decides, everyone else stops.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

/// Why the guest no longer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It switched itself off.
    PowerOff,
    /// It asked for a reset, in any of the ways there are.
    Reboot,
    /// Its kernel panicked and said so.
    Panic(PanicInfo),
    /// Somebody here ended it.
    Killed,
    /// It can't go on, for a reason that isn't the guest's wish.
    Failed(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff => write!(f, "power-off"),
            Self::Reboot => write!(f, "reboot"),
            Self::Panic(info) => write!(f, "panic ({info})"),
            Self::Killed => write!(f, "killed"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// What the guest wrote to its crash registers, HV_X64_MSR_CRASH_P0 to P4.
///
/// Linux: error code, its guest OS id, and the registers RIP, RAX, RSP at the panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PanicInfo {
    /// The five parameters.
    pub parameters: [u64; 5],
}

impl fmt::Display for PanicInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [error, os, ip, ax, sp] = self.parameters;
        write!(
            f,
            "error {error:#x}, guest OS {os:#x}, ip {ip:#x}, ax {ax:#x}, sp {sp:#x}"
        )
    }
}

/// Where the end is announced and waited for.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    decided: AtomicBool,
    exit: Mutex<Option<Exit>>,
    changed: Condvar,
}

impl Outcome {
    /// Says how it ended, unless that was said before.
    pub(super) fn decide(&self, exit: Exit) {
        let mut current = self.exit.lock();
        if current.is_none() {
            tracing::debug!("the machine ends: {exit}");
            *current = Some(exit);
            self.decided.store(true, Ordering::SeqCst);
            self.changed.notify_all();
        }
    }

    /// Whether the end was said.
    pub(super) fn decided(&self) -> bool {
        self.decided.load(Ordering::SeqCst)
    }

    /// Waits for the end.
    pub(super) fn wait(&self) -> Exit {
        let mut exit = self.exit.lock();
        loop {
            if let Some(exit) = exit.as_ref() {
                return exit.clone();
            }
            self.changed.wait(&mut exit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_counts() {
        let outcome = Outcome::default();
        assert!(!outcome.decided());
        outcome.decide(Exit::Reboot);
        outcome.decide(Exit::PowerOff);
        assert!(outcome.decided());
        assert_eq!(outcome.wait(), Exit::Reboot);
    }
}
