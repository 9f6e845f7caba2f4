// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Suites, scenarios and cases as written in tests/scenarios/*.json.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{bail, Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::release::Release;

/// Whose drivers the guests use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stack {
    /// Ours.
    Rust,
    /// The kernel's own: proves the lab and the cases themselves.
    C,
}

/// What runs a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Vmm {
    /// Stock QEMU with its VMBus bridge.
    #[default]
    Qemu,
    /// The host of this tree, tools/host.
    Hvhost,
}

/// How a synthetic timer tells its CPU that it expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Timers {
    /// By a message in the slot that channel messages come through, too: who has the bus drives
    /// the clock, and gives it back to the local APIC's timer when it leaves.
    #[default]
    Message,
    /// By an interrupt of its own, as on hosts since 2019; the bus has no part in it.
    Direct,
}

/// A list of guests and of what is tried in them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// Name as given to `make check SUITE=`.
    pub(crate) name: String,
    /// What it shows.
    pub(crate) about: String,
    /// Whose drivers its guests use, whatever the user says: for a suite that judges the host.
    #[serde(default)]
    pub(crate) stack: Option<Stack>,
    /// How often all of it is run, in this order and then again: for a suite that measures.
    #[serde(default)]
    pub(crate) rounds: Option<u32>,
    /// Whether the guests of a round are up at the same time, to be measured in turn.
    #[serde(default)]
    pub(crate) together: bool,
    /// One guest each.
    pub(crate) scenarios: Vec<Scenario>,
}

/// One guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Unique in its suite; a directory name of the logs. `A+B` is a part of what is measured as A.
    pub(crate) name: String,
    /// What it shows.
    pub(crate) about: String,
    /// In which round of its suite it is, from 1; 0 where there are none.
    #[serde(default)]
    pub(crate) round: u32,
    /// What runs it.
    #[serde(default)]
    pub(crate) vmm: Vmm,
    /// Whose drivers it uses, whatever suite and user say.
    #[serde(default)]
    pub(crate) stack: Option<Stack>,
    /// Virtual CPUs.
    #[serde(default = "one")]
    pub(crate) cpus: u32,
    /// MiB of memory at boot.
    #[serde(default = "default_memory")]
    pub(crate) memory: u32,
    /// MiB it may grow to by hot-add; none: it can't grow.
    #[serde(default)]
    pub(crate) max_memory: Option<u32>,
    /// hvhost: the disks, as after `--disk`; a file is named as in `files`. `N*SPEC` is N of them.
    #[serde(default)]
    pub(crate) disks: Vec<String>,
    /// hvhost: the NICs, as after `--nic`.
    #[serde(default)]
    pub(crate) nics: Vec<String>,
    /// hvhost: further options, word by word.
    #[serde(default)]
    pub(crate) hvhost: Vec<String>,
    /// Files to make in the directory where the VMM runs: what disks are backed by.
    #[serde(default)]
    pub(crate) files: Vec<DiskFile>,
    /// Taps to make on the host's side, in a network namespace without any way out.
    #[serde(default)]
    pub(crate) taps: Vec<Tap>,
    /// Whether the hypervisor shows itself as Hyper-V (QEMU; hvhost always does).
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
    /// The image part that has init.
    #[serde(default = "default_base")]
    pub(crate) base: String,
    /// Image parts needed beyond that.
    #[serde(default)]
    pub(crate) images: Vec<String>,
    /// Why this makes no sense with the C stack, if so.
    #[serde(default)]
    pub(crate) rust_only: Option<String>,
    /// The first Linux release, like `7.3`, whose C drivers no longer take what this host speaks.
    #[serde(default)]
    pub(crate) c_before: Option<Release>,
    /// Takes long: only in `make check-full`.
    #[serde(default)]
    pub(crate) long: bool,
    /// How the CPUs' synthetic timers expire (QEMU; hvhost has an option for it).
    #[serde(default)]
    pub(crate) timers: Timers,
    /// The same in the debug kernel, where that differs.
    #[serde(default)]
    pub(crate) debug_timers: Option<Timers>,
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
    /// Takes long: only in `make check-full`.
    #[serde(default)]
    pub(crate) long: bool,
}

/// A file that backs a disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiskFile {
    /// Name in the directory where the VMM runs.
    pub(crate) name: String,
    /// What it begins as: the file of this image part; empty if left out.
    #[serde(default)]
    pub(crate) image: Option<String>,
    /// Its size; what the image doesn't fill is a hole. Left out: that of the image.
    #[serde(default)]
    pub(crate) mib: Option<u64>,
}

/// A tap, the host's end of a NIC.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tap {
    /// Name of the interface.
    pub(crate) name: String,
    /// Addresses with prefix length.
    pub(crate) addresses: Vec<String>,
    /// Largest packet.
    #[serde(default = "default_mtu")]
    pub(crate) mtu: u32,
    /// Whether it has several queues.
    #[serde(default)]
    pub(crate) multi_queue: bool,
    /// VLANs on it, each an interface NAME.ID with addresses of its own.
    #[serde(default)]
    pub(crate) vlans: BTreeMap<u16, Vec<String>>,
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
fn default_mtu() -> u32 {
    1500
}
fn default_base() -> String {
    "base".to_owned()
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
            let words = scenario.name.split('+').all(is_word);
            if !words || !seen.insert(scenario.name.clone()) {
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
            scenario.check()?;
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

impl Scenario {
    /// PART of a scenario `A+PART-ROUND`.
    pub(crate) fn part(&self) -> Option<&str> {
        let (_, part) = self.name.split_once('+')?;
        Some(part.rsplit_once('-').map_or(part, |(part, _)| part))
    }

    /// Looks for what contradicts itself, before any guest is started.
    fn check(&self) -> Result<()> {
        let name = &self.name;
        let for_hvhost = [&self.disks, &self.nics, &self.hvhost];
        if self.vmm == Vmm::Qemu && for_hvhost.iter().any(|words| !words.is_empty()) {
            bail!("scenario `{name}` has what only hvhost understands, on QEMU");
        }
        if self.vmm == Vmm::Hvhost && (!self.qemu.is_empty() || self.max_memory.is_some()) {
            bail!("scenario `{name}` has what only QEMU understands, on hvhost");
        }
        let files = self.files.iter().map(|file| file.name.as_str());
        let names = files.chain(self.taps.iter().map(|tap| tap.name.as_str()));
        if let Some(odd) = names.into_iter().find(|name| !is_file_name(name)) {
            bail!("scenario `{name}`: `{odd}` is no good name of a file or tap");
        }
        if let Some(file) = self
            .files
            .iter()
            .find(|f| f.image.is_none() && f.mib.is_none())
        {
            bail!("scenario `{name}`: file `{}` has no size", file.name);
        }
        Ok(())
    }

    /// The disks, and how many there are of each.
    pub(crate) fn counted_disks(&self) -> impl Iterator<Item = (u64, &str)> {
        self.disks.iter().map(|disk| {
            let counted = disk.split_once('*');
            let counted = counted.and_then(|(count, rest)| Some((count.parse().ok()?, rest)));
            counted.unwrap_or((1, disk.as_str()))
        })
    }

    /// MiB of memory that its guest takes on the machine that runs it, disks included: inside L1
    /// files are in memory as well.
    pub(crate) fn host_memory(&self) -> u32 {
        let files = self.files.iter().filter_map(|file| file.mib);
        let ram = self
            .counted_disks()
            .filter_map(|(count, disk)| ram_mib(disk)?.checked_mul(count));
        let disks = u32::try_from(files.chain(ram).sum::<u64>()).unwrap_or(u32::MAX);
        self.max_memory.unwrap_or(self.memory).saturating_add(disks)
    }

    /// The image parts that make its initial RAM disk.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.base.as_str()).chain(self.images.iter().map(String::as_str))
    }

    /// All image parts it needs, what its disks begin as included.
    pub(crate) fn all_images(&self) -> impl Iterator<Item = &str> {
        self.parts()
            .chain(self.files.iter().filter_map(|file| file.image.as_deref()))
    }
}

/// MiB of a disk `ram:SIZE[,...]`.
fn ram_mib(disk: &str) -> Option<u64> {
    let size = disk.strip_prefix("ram:")?.split(',').next()?;
    let (digits, shift) = match size.strip_suffix(['M', 'm']) {
        Some(digits) => (digits, 0),
        None => (size.strip_suffix(['G', 'g'])?, 10),
    };
    Some(digits.parse::<u64>().ok()? << shift)
}

/// A name in one directory, and of an interface.
fn is_file_name(text: &str) -> bool {
    !text.starts_with('.') && is_word(&text.replace('.', "_")) && text.len() <= 64
}

/// Letters, digits, `_` and `-`: safe as a file name and in the control protocol.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
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
            (r#""cpus": 4"#, r#""c_before": "new""#),
            (r#""cpus": 4"#, r#""nics": ["peer"]"#),
            (r#""cpus": 4"#, r#""files": [{"name": "../x", "mib": 1}]"#),
            (r#""cpus": 4"#, r#""files": [{"name": "x"}]"#),
            (r#""cpus": 4"#, r#""vmm": "hvhost", "qemu": ["-S"]"#),
        ] {
            assert!(suite(&TWO.replace(from, to)).is_err(), "{to}");
        }
    }
}
