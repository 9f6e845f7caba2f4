// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Suites, scenarios and cases as written in tests/scenarios/*.json, and the job made of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Whose drivers the guests use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stack {
    /// Ours.
    Rust,
    /// The kernel's own: proves the lab and the cases themselves.
    C,
}

/// A list of guests and of what is tried in them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// Name as given to `make check SUITE=`.
    pub(crate) name: String,
    /// What it shows.
    pub(crate) about: String,
    /// One guest each.
    pub(crate) scenarios: Vec<Scenario>,
}

/// One guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Unique in its suite; a directory name of the logs.
    pub(crate) name: String,
    /// What it shows.
    pub(crate) about: String,
    /// Virtual CPUs.
    #[serde(default = "one")]
    pub(crate) cpus: u32,
    /// MiB of memory at boot.
    #[serde(default = "default_memory")]
    pub(crate) memory: u32,
    /// MiB it may grow to by hot-add; none: it can't grow.
    #[serde(default)]
    pub(crate) max_memory: Option<u32>,
    /// Whether the hypervisor shows itself as Hyper-V.
    #[serde(default = "yes")]
    pub(crate) hyperv: bool,
    /// Whether the command line keeps the built-in C driver off the bus (Rust stack only).
    #[serde(default = "yes")]
    pub(crate) take_bus: bool,
    /// QEMU devices, as after `-device`.
    #[serde(default = "default_devices")]
    pub(crate) devices: Vec<String>,
    /// Further QEMU options, word by word.
    #[serde(default)]
    pub(crate) qemu: Vec<String>,
    /// Further words of the guest's command line.
    #[serde(default)]
    pub(crate) append: String,
    /// Image parts needed beyond `base`.
    #[serde(default)]
    pub(crate) images: Vec<String>,
    /// Why this makes no sense with the C stack, if so.
    #[serde(default)]
    pub(crate) rust_only: Option<String>,
    /// MiB of memory in the debug kernel, where that needs more.
    #[serde(default)]
    pub(crate) debug_memory: Option<u32>,
    /// Why this makes no sense in the debug kernel, if so.
    #[serde(default)]
    pub(crate) debug_skip: Option<String>,
    /// What is tried, in this order.
    pub(crate) cases: Vec<Case>,
}

/// One test case: a script tests/guest/cases/NAME.sh.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Name of script and case.
    pub(crate) name: String,
    /// Seconds it may take under emulation, noise included.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: u64,
    /// Why this makes no sense with the C stack, if so.
    #[serde(default)]
    pub(crate) rust_only: Option<String>,
}

fn one() -> u32 {
    1
}
fn yes() -> bool {
    true
}
fn default_memory() -> u32 {
    512
}
fn default_timeout() -> u64 {
    60
}
fn default_devices() -> Vec<String> {
    vec!["vmbus-bridge".to_owned(), "hv-balloon".to_owned()]
}

impl Suite {
    /// Reads a suite file.
    ///
    /// # Errors
    ///
    /// When it can't be read, isn't JSON of this form, or names something twice.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let suite: Self =
            serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        suite
            .check()
            .with_context(|| format!("in {}", path.display()))?;
        Ok(suite)
    }

    fn check(&self) -> Result<()> {
        let mut seen = std::collections::BTreeSet::new();
        for scenario in &self.scenarios {
            if !is_word(&scenario.name) || !seen.insert(scenario.name.clone()) {
                bail!(
                    "scenario name `{}` is empty, odd or used twice",
                    scenario.name
                );
            }
            if scenario.cpus == 0 || scenario.memory < 64 {
                bail!(
                    "scenario `{}` has no CPU or too little memory",
                    scenario.name
                );
            }
            let mut cases = std::collections::BTreeSet::new();
            for case in &scenario.cases {
                if !is_word(&case.name) || !cases.insert(&case.name) {
                    bail!(
                        "case `{}` of `{}` is odd or there twice",
                        case.name,
                        scenario.name
                    );
                }
            }
        }
        Ok(())
    }

    /// Keeps only the named cases (all for an empty list). A name is a case, or SCENARIO.CASE.
    ///
    /// # Errors
    ///
    /// When a name is no case of this suite.
    pub(crate) fn select(mut self, names: &[String]) -> Result<Self> {
        let names: Vec<&str> = names
            .iter()
            .map(|n| n.trim())
            .filter(|n| !n.is_empty())
            .collect();
        if names.is_empty() {
            return Ok(self);
        }
        let wanted = |scenario: &str, case: &str, name: &str| {
            name == case || name.split_once('.') == Some((scenario, case))
        };
        for name in &names {
            let known = self
                .scenarios
                .iter()
                .any(|s| s.cases.iter().any(|c| wanted(&s.name, &c.name, name)));
            if !known {
                bail!("suite `{}` has no case `{name}`", self.name);
            }
        }
        for scenario in &mut self.scenarios {
            let own = scenario.name.clone();
            scenario
                .cases
                .retain(|case| names.iter().any(|name| wanted(&own, &case.name, name)));
        }
        self.scenarios.retain(|scenario| !scenario.cases.is_empty());
        Ok(self)
    }
}

/// Letters, digits, `_` and `-`: safe as a file name and in the control protocol.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Everything a runner needs, with the paths of the place where it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// What to run, already filtered.
    pub(crate) suite: Suite,
    /// Whose drivers.
    pub(crate) stack: Stack,
    /// Whether `kernel` is the debug kernel.
    pub(crate) debug: bool,
    /// Root of the tree with QEMU; `/` inside L1.
    pub(crate) qemu_root: PathBuf,
    /// Kernel of the guests.
    pub(crate) kernel: PathBuf,
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

    /// Why a case is not run at all with this stack.
    pub(crate) fn skip_reason<'a>(
        &self,
        scenario: &'a Scenario,
        case: &'a Case,
    ) -> Option<&'a str> {
        let debug = scenario.debug_skip.as_deref().filter(|_| self.debug);
        match self.stack {
            Stack::Rust => debug,
            Stack::C => case
                .rust_only
                .as_deref()
                .or(scenario.rust_only.as_deref())
                .or(debug),
        }
    }

    /// The image parts of a scenario, in the order the kernel unpacks them.
    ///
    /// # Errors
    ///
    /// When one wasn't given on the command line.
    pub(crate) fn image_parts(&self, scenario: &Scenario) -> Result<Vec<&Path>> {
        std::iter::once("base")
            .chain(scenario.images.iter().map(String::as_str))
            .map(|name| {
                self.images
                    .get(name)
                    .map(PathBuf::as_path)
                    .with_context(|| format!("scenario `{}` needs image `{name}`", scenario.name))
            })
            .collect()
    }

    /// Gives scenarios the memory that they need in this kernel.
    pub(crate) fn fit_memory(&mut self) {
        for scenario in self.suite.scenarios.iter_mut().filter(|_| self.debug) {
            scenario.memory = scenario.debug_memory.unwrap_or(scenario.memory);
        }
    }

    /// Checks that every scenario's images are there.
    ///
    /// # Errors
    ///
    /// As [`Self::image_parts`].
    pub(crate) fn check_images(&self) -> Result<()> {
        self.suite
            .scenarios
            .iter()
            .try_for_each(|scenario| self.image_parts(scenario).map(drop))
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
mod tests {
    use super::*;

    fn suite(text: &str) -> Result<Suite> {
        let suite: Suite = serde_json::from_str(text)?;
        suite.check()?;
        Ok(suite)
    }

    const TWO: &str = r#"{"name": "s", "about": "", "scenarios": [
        {"name": "a", "about": "", "cases": [{"name": "x"}, {"name": "y", "timeout": 5}]},
        {"name": "b", "about": "", "cpus": 4, "cases": [{"name": "x", "rust_only": "why"}]}]}"#;

    #[test]
    fn what_is_left_out_has_the_documented_default() {
        let suite = suite(TWO).unwrap();
        assert_eq!(suite.scenarios[0].cpus, 1);
        assert_eq!(suite.scenarios[0].memory, 512);
        assert!(suite.scenarios[0].hyperv && suite.scenarios[0].take_bus);
        assert_eq!(suite.scenarios[0].cases[0].timeout, 60);
        assert_eq!(suite.scenarios[0].cases[1].timeout, 5);
    }

    #[test]
    fn names_select_cases() {
        let pick = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            suite(TWO).unwrap().select(&names)
        };
        assert_eq!(pick(&[]).unwrap().scenarios.len(), 2);
        assert_eq!(pick(&[""]).unwrap().scenarios.len(), 2);
        assert_eq!(pick(&["x"]).unwrap().scenarios.len(), 2);
        assert_eq!(pick(&["b.x"]).unwrap().scenarios[0].name, "b");
        assert_eq!(pick(&["y"]).unwrap().scenarios[0].cases.len(), 1);
        assert!(pick(&["z"]).is_err());
        assert!(pick(&["b.y"]).is_err());
    }

    #[test]
    fn odd_suites_are_refused() {
        for (from, to) in [
            (r#""name": "b""#, r#""name": "a""#),
            (r#""name": "b""#, r#""name": "../b""#),
            (r#""name": "y""#, r#""name": "x""#),
            (r#""cpus": 4"#, r#""cpus": 0"#),
            (r#""cpus": 4"#, r#""cpsu": 4"#),
        ] {
            assert!(suite(&TWO.replace(from, to)).is_err(), "{to}");
        }
    }
}
