// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The job: a suite and all that a runner needs to carry it out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};

use crate::plan::{Case, Scenario, Stack, Suite, Vmm};
use crate::release::Release;

/// Everything a runner needs, with the paths of the place where it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// What to run, already filtered.
    pub(crate) suite: Suite,
    /// Whose drivers, where suite and scenario leave it open.
    pub(crate) stack: Stack,
    /// Whether what takes long is run, too.
    pub(crate) full: bool,
    /// Whether `kernel` is the debug kernel.
    pub(crate) debug: bool,
    /// Root of the tree with QEMU and the other programs; `/` inside L1.
    pub(crate) root: PathBuf,
    /// Directory with the binaries hvhost and hvctl, when a scenario needs them.
    pub(crate) hvhost: Option<PathBuf>,
    /// Kernel of the guests.
    pub(crate) kernel: PathBuf,
    /// Its release.
    pub(crate) release: Release,
    /// Initial RAM disk parts by name.
    pub(crate) images: BTreeMap<String, PathBuf>,
    /// How guests are run, for people.
    pub(crate) acceleration: String,
    /// Multiplies every time-out.
    pub(crate) timeout_scale: f64,
    /// One guest with a person at its console.
    pub(crate) interactive: bool,
}

impl Job {
    /// A time-out of this many seconds, scaled for this run.
    pub(crate) fn seconds(&self, seconds: u64) -> Duration {
        let scale = if self.timeout_scale.is_finite() {
            self.timeout_scale.clamp(0.1, 100.0)
        } else {
            1.0
        };
        Duration::from_secs(seconds).mul_f64(scale)
    }

    /// Whose drivers a scenario's guest uses.
    pub(crate) fn stack_of(&self, scenario: &Scenario) -> Stack {
        scenario.stack.or(self.suite.stack).unwrap_or(self.stack)
    }

    /// Why a case is not run at all in this run.
    pub(crate) fn skip_reason<'a>(
        &self,
        scenario: &'a Scenario,
        case: &'a Case,
    ) -> Option<Cow<'a, str>> {
        let debug = scenario.debug_skip.as_deref().filter(|_| self.debug);
        let long = (scenario.long || case.long) && !self.full;
        let long = long.then_some("it takes long: make check-full");
        let everywhere = || debug.or(long).map(Cow::Borrowed);
        match self.stack_of(scenario) {
            Stack::Rust => everywhere(),
            Stack::C => case
                .rust_only
                .as_deref()
                .or(scenario.rust_only.as_deref())
                .map(Cow::Borrowed)
                .or_else(|| self.refused_by_c(scenario).map(Cow::Owned))
                .or_else(everywhere),
        }
    }

    /// Whether the C drivers of this kernel no longer take such a host, and since when.
    fn refused_by_c(&self, scenario: &Scenario) -> Option<String> {
        let end = scenario.c_before.filter(|end| self.release >= *end)?;
        Some(format!(
            "the C drivers since Linux {end} refuse this host: {}",
            scenario.about
        ))
    }

    /// The image parts of a scenario's RAM disk, in the order the kernel unpacks them.
    ///
    /// # Errors
    ///
    /// When one wasn't given on the command line.
    pub(crate) fn image_parts(&self, scenario: &Scenario) -> Result<Vec<&Path>> {
        scenario
            .parts()
            .map(|name| self.image(scenario, name))
            .collect()
    }

    /// One image part.
    ///
    /// # Errors
    ///
    /// When it wasn't given on the command line.
    pub(crate) fn image(&self, scenario: &Scenario, name: &str) -> Result<&Path> {
        self.images
            .get(name)
            .map(PathBuf::as_path)
            .with_context(|| format!("scenario `{}` needs image `{name}`", scenario.name))
    }

    /// Gives scenarios the memory and the timers that they need in this kernel.
    pub(crate) fn fit_kernel(&mut self) {
        for scenario in self.suite.scenarios.iter_mut().filter(|_| self.debug) {
            scenario.memory = scenario.debug_memory.unwrap_or(scenario.memory);
            scenario.timers = scenario.debug_timers.unwrap_or(scenario.timers);
        }
    }

    /// Checks that all that the scenarios need is there.
    ///
    /// # Errors
    ///
    /// As [`Self::image`], or when there is no hvhost for them.
    pub(crate) fn check_images(&self) -> Result<()> {
        for scenario in &self.suite.scenarios {
            for name in scenario.all_images() {
                self.image(scenario, name)?;
            }
            if scenario.vmm == Vmm::Hvhost && self.hvhost.is_none() {
                bail!("scenario `{}` needs --hvhost", scenario.name);
            }
        }
        Ok(())
    }

    /// Whether guests have taps, which are made in a network namespace of their own.
    pub(crate) fn needs_network(&self) -> bool {
        let mut scenarios = self.suite.scenarios.iter();
        scenarios.any(|scenario| !scenario.taps.is_empty())
    }

    /// An upper bound of the time the whole job can take: each case may cost a boot of its own.
    pub(crate) fn worst_case(&self) -> Duration {
        let cases = self.suite.scenarios.iter().flat_map(|s| &s.cases);
        cases
            .map(|case| self.seconds(case.timeout + crate::suite::BOOT_TIMEOUT))
            .sum::<Duration>()
            + self.seconds(crate::nest::BOOT_TIMEOUT)
    }
}

#[cfg(test)]
impl Job {
    /// A job with the suite of this text, our drivers and none of the files.
    pub(crate) fn of(suite: &str) -> Self {
        Self {
            suite: serde_json::from_str(suite).unwrap(),
            stack: Stack::Rust,
            full: false,
            debug: false,
            root: PathBuf::new(),
            hvhost: None,
            kernel: PathBuf::new(),
            release: "7.3".parse().unwrap(),
            images: BTreeMap::new(),
            acceleration: String::new(),
            timeout_scale: 1.0,
            interactive: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD_HOST: &str = r#"{"name": "s", "about": "", "scenarios": [
        {"name": "a", "about": "old", "c_before": "7.3", "cases": [{"name": "x"}]}]}"#;

    #[test]
    fn what_only_older_c_drivers_take_is_skipped_with_newer_ones() {
        let reason = |stack, release: &str| {
            let job = Job {
                stack,
                release: release.parse().unwrap(),
                ..Job::of(OLD_HOST)
            };
            let scenario = &job.suite.scenarios[0];
            job.skip_reason(scenario, &scenario.cases[0])
                .map(Cow::into_owned)
        };
        assert_eq!(reason(Stack::C, "7.2.12"), None);
        assert!(reason(Stack::C, "7.3.4")
            .unwrap()
            .contains("since Linux 7.3"));
        assert_eq!(reason(Stack::Rust, "7.3.4"), None);
    }
}
