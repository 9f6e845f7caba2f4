// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the lab's runner printed: TAP, with `# bench KEY VALUE UNIT` after the case that measured.
//!
//! `# mark ROW AT WAITED` before and after a row was measured, in milliseconds, says how long the emulated
//! machine has waited for a processor because others had them all. Its clock went on meanwhile, so it
//! believes that it did less a second and took longer than it did.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// The scenario it comes from, without its part and round.
    pub(crate) column: String,
    /// In which round, from 1.
    pub(crate) round: u32,
    /// What was measured: `ROW/GROUP`, or only `ROW`.
    pub(crate) key: String,
    /// The figure.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: String,
}

/// What is to be known about a run besides its figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Facts {
    /// How guests were run.
    pub(crate) acceleration: String,
    /// Kernel release of the guests.
    pub(crate) kernel: String,
    /// Rounds that something was measured in.
    pub(crate) rounds: u32,
    /// Cases that failed; none of their figures is used.
    pub(crate) failed: u32,
    /// How long it all took.
    pub(crate) seconds: u64,
}

/// A log that was read.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// About the run.
    pub(crate) facts: Facts,
    /// All figures, as they come.
    pub(crate) samples: Vec<Sample>,
}

impl Log {
    /// Reads a log. Figures of cases that failed are left out: a guest that broke off may have
    /// been in trouble before.
    pub(crate) fn parse(text: &str) -> Self {
        let mut log = Self::default();
        // The scenario whose remarks follow, and its marks.
        let mut guest = None;
        let mut marks = Marks::default();
        for line in text.lines() {
            if let Some((passed, scenario)) = result(line) {
                guest = passed.then(|| split_round(scenario));
                marks = Marks::default();
                log.facts.failed += u32::from(!passed);
            } else if let Some(remark) = line.strip_prefix('#') {
                let remark = remark.trim();
                log.facts.note(remark);
                let Some((column, round)) = guest else {
                    continue;
                };
                if let Some(words) = remark.strip_prefix("bench ") {
                    let sample = sample(column, round, words);
                    log.samples.extend(sample.map(|s| marks.correct(s)));
                } else if let Some(words) = remark.strip_prefix("mark ") {
                    let taken = marks.take(words).map(|(row, taken)| Sample {
                        column: column.to_owned(),
                        round,
                        key: format!("{row}/{TAKEN}"),
                        value: taken * 100.0,
                        unit: "%".to_owned(),
                    });
                    log.samples.extend(taken);
                }
            }
        }
        let rounds = log.samples.iter().map(|sample| sample.round);
        log.facts.rounds = rounds.max().unwrap_or(0);
        log
    }
}

/// The group of rows that say how much was taken from the machine.
const TAKEN: &str = "taken";

/// Marks of one guest.
#[derive(Default)]
struct Marks {
    /// The first of a row: at what time, and how much was waited.
    first: HashMap<String, (f64, f64)>,
    /// Of the time between both marks of a row, the share that others had the processors.
    taken: HashMap<String, f64>,
}

impl Marks {
    /// `ROW AT WAITED`. The second of a row ends it: the row, and what share was taken.
    fn take(&mut self, words: &str) -> Option<(String, f64)> {
        let mut words = words.split(' ');
        let row = words.next()?.to_owned();
        let (at, waited) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let Some((from, before)) = self.first.remove(&row) else {
            self.first.insert(row, (at, waited));
            return None;
        };
        let taken: f64 = (waited - before) / (at - from);
        // Nothing is known from a machine that stood still, and no more than that from nonsense.
        if !(0.0..1.0).contains(&taken) {
            return None;
        }
        self.taken.insert(row.clone(), taken);
        Some((row, taken))
    }

    /// What a figure would have been, had nobody taken anything.
    fn correct(&self, mut sample: Sample) -> Sample {
        let row = sample.key.split_once('/').map_or("", |(row, _)| row);
        let left = 1.0 - self.taken.get(row).unwrap_or(&0.0);
        match sample.unit.as_str() {
            "IOPS" | "KiB/s" | "Mbit/s" | "packets/s" | "round-trips/s" => sample.value /= left,
            "us" | "s/GB" => sample.value *= left,
            _ => {}
        }
        sample
    }
}

impl Facts {
    /// Takes from a remark of the runner what it says about the run.
    fn note(&mut self, remark: &str) {
        if let Some((_, how)) = remark.split_once(" s: acceleration: ") {
            self.acceleration = how.to_owned();
        } else if let Some((_, rest)) = remark.split_once(": guest is up with kernel ") {
            self.kernel = rest.split(' ').next().unwrap_or_default().to_owned();
        } else if let Some((_, rest)) = remark.split_once(" skipped in ") {
            let seconds = rest.split(' ').next().and_then(|word| word.parse().ok());
            self.seconds = seconds.unwrap_or(self.seconds);
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "acceleration: {}", self.acceleration)?;
        writeln!(f, "kernel: {}", self.kernel)?;
        writeln!(f, "rounds: {}", self.rounds)?;
        writeln!(f, "failed: {}", self.failed)?;
        writeln!(f, "seconds: {}", self.seconds)
    }
}

/// `ok N - SUITE: SCENARIO: CASE`: whether it passed, and SCENARIO.
fn result(line: &str) -> Option<(bool, &str)> {
    let (passed, rest) = match line.strip_prefix("not ") {
        Some(rest) => (false, rest),
        None => (true, line),
    };
    let (_, name) = rest.strip_prefix("ok ")?.split_once(" - ")?;
    Some((passed, name.split(": ").nth(1)?))
}

/// `NAME-ROUND` or `NAME+PART-ROUND`, a part of the column NAME that is measured in a guest of its own;
/// a scenario that isn't run in rounds has none.
fn split_round(scenario: &str) -> (&str, u32) {
    let split = scenario.rsplit_once('-');
    let numbered = split.and_then(|(name, round)| Some((name, round.parse().ok()?)));
    let (name, round) = numbered.unwrap_or((scenario, 1));
    (
        name.split_once('+').map_or(name, |(column, _)| column),
        round,
    )
}

/// `KEY VALUE UNIT`.
fn sample(column: &str, round: u32, words: &str) -> Option<Sample> {
    let mut words = words.split(' ');
    let (key, value, unit) = (words.next()?, words.next()?, words.next()?);
    Some(Sample {
        column: column.to_owned(),
        round,
        key: key.to_owned(),
        value: value.parse().ok().filter(|value: &f64| value.is_finite())?,
        unit: unit.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
TAP version 13
1..3
# 0.0 s: acceleration: nested: no usable /dev/kvm
# 14.0 s: virtio-blk-2: guest is up with kernel 7.3.4-x after 8.0 s
ok 1 - bench: virtio-blk-2: bench_storage
#   took 80.0 s
#   bench 4k-qd1/iops 541 IOPS
#   bench 4k-qd1/signals 0.25 per-IO
#   bench 4k-qd1/p99 much us
#   bench
not ok 2 - bench: storvsc-2: bench_storage
#   FAILED: no
#   bench 4k-qd1/iops 3 IOPS
ok 3 - bench: alone: bench_disk
#   bench disk 7 KiB/s
# suite bench: 2 passed, 1 failed, 0 skipped in 321 s, logs in build/logs
";

    #[test]
    fn figures_belong_to_the_case_above_them() {
        let log = Log::parse(LOG);
        let told: Vec<_> = log
            .samples
            .iter()
            .map(|s| (s.column.as_str(), s.round, s.key.as_str(), s.value))
            .collect();
        assert_eq!(
            told,
            [
                ("virtio-blk", 2, "4k-qd1/iops", 541.0),
                ("virtio-blk", 2, "4k-qd1/signals", 0.25),
                ("alone", 1, "disk", 7.0),
            ]
        );
        assert_eq!(log.samples[2].unit, "KiB/s");
    }

    #[test]
    fn what_others_took_is_given_back() {
        let text = "\
ok 1 - s: a-1: c
# mark 4k 1000 100
# mark 4k 3000 600
# bench 4k/iops 300 IOPS
# bench 4k/p99 400 us
# bench 4k/signals 0.5 per-IO
# bench 8k/iops 300 IOPS
# mark 8k 5000 100
# mark 8k 5000 900
ok 2 - s: b-1: c
# mark 4k 7000 900
# bench 4k/iops 300 IOPS
# mark 4k 8000 ?
";
        let log = Log::parse(text);
        let told: Vec<_> = log
            .samples
            .iter()
            .map(|s| (s.column.as_str(), s.key.as_str(), s.value))
            .collect();
        assert_eq!(
            told,
            [
                ("a", "4k/taken", 25.0),
                ("a", "4k/iops", 400.0),
                ("a", "4k/p99", 300.0),
                ("a", "4k/signals", 0.5),
                // Marks that say nothing, of another guest, or of another row change nothing.
                ("a", "8k/iops", 300.0),
                ("b", "4k/iops", 300.0),
            ]
        );
    }

    #[test]
    fn the_run_is_described() {
        let expected = "\
acceleration: nested: no usable /dev/kvm
kernel: 7.3.4-x
rounds: 2
failed: 1
seconds: 321
";
        assert_eq!(Log::parse(LOG).facts.to_string(), expected);
    }

    #[test]
    fn what_is_no_log_has_no_figures() {
        for text in [
            "",
            "bench a 1 b",
            "# bench a 1 b\nok 1 - odd\n# bench a 1 b",
        ] {
            assert!(Log::parse(text).samples.is_empty(), "{text}");
        }
    }
}
