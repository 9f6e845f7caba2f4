// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Medians of rounds, and ratios of columns.

use std::collections::BTreeMap;

use anyhow::{bail, Context, Result};
use serde::Serialize;

use crate::log::{Facts, Log, Sample};

/// A name and what people read for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Named {
    /// As in the log.
    pub(crate) name: String,
    /// For people.
    pub(crate) label: String,
}

impl Named {
    /// From `NAME=LABEL`, or NAME for both.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, label) = text.split_once('=').unwrap_or((text, text));
        if name.is_empty() || label.is_empty() {
            return Err(format!("`{text}` is not NAME=LABEL"));
        }
        let (name, label) = (name.to_owned(), label.to_owned());
        Ok(Self { name, label })
    }
}

/// All that was measured, in the order of the log.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// About the run.
    pub(crate) facts: Facts,
    /// What is compared.
    pub(crate) columns: Vec<Named>,
    /// Pairs of columns: the first by the second.
    pub(crate) ratios: Vec<(usize, usize)>,
    /// One table each.
    pub(crate) groups: Vec<Group>,
}

/// Rows of one kind.
#[derive(Debug, Serialize)]
pub(crate) struct Group {
    /// What follows the `/` in keys, and its title.
    #[serde(flatten)]
    pub(crate) title: Named,
    /// Its rows.
    pub(crate) rows: Vec<Row>,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: String,
    /// What its figures count.
    pub(crate) unit: String,
    /// One a column; none where it was not measured.
    pub(crate) cells: Vec<Option<Cell>>,
    /// One a pair of columns; none where one of the two is missing or zero.
    pub(crate) ratios: Vec<Option<Ratio>>,
}

/// The figures of one column, of all rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Cell {
    /// Of the rounds.
    pub(crate) median: f64,
    /// By round.
    pub(crate) rounds: BTreeMap<u32, f64>,
}

/// One column by another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// Of the medians.
    pub(crate) of_medians: f64,
    /// The least of any round.
    pub(crate) least: f64,
    /// The most of any round.
    pub(crate) most: f64,
}

/// The one in the middle, or what is half-way between the two there.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 {
        upper
    } else {
        (values[middle - 1] + upper) / 2.0
    })
}

impl Cell {
    fn new(rounds: BTreeMap<u32, f64>) -> Option<Self> {
        let median = median(rounds.values().copied())?;
        Some(Self { median, rounds })
    }

    /// Least and most of its rounds.
    pub(crate) fn range(&self) -> (f64, f64) {
        range(self.rounds.values().copied())
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

impl Ratio {
    /// Guests of one round ran next to each other: their ratio has less noise in it than that of
    /// two rounds.
    fn new(over: &Cell, under: &Cell) -> Option<Self> {
        let divide = |a: f64, b: f64| (b > 0.0).then(|| a / b);
        let rounds = over.rounds.iter().filter_map(|(round, value)| {
            let other = under.rounds.get(round)?;
            divide(*value, *other)
        });
        let (least, most) = range(rounds);
        let of_medians = divide(over.median, under.median)?;
        least.is_finite().then_some(Self {
            of_medians,
            least,
            most,
        })
    }
}

impl Report {
    /// Sorts a log into tables. Columns of which there is nothing are left out, and with them the
    /// ratios `A/B` that they are part of.
    ///
    /// # Errors
    ///
    /// When a ratio names what is no column, or nothing was measured.
    pub(crate) fn new(
        log: Log,
        columns: &[Named],
        ratios: &[String],
        titles: &[Named],
    ) -> Result<Self> {
        let place = |all: &[Named], name: &str| all.iter().position(|column| column.name == name);
        let has_samples = |column: &&Named| log.samples.iter().any(|s| s.column == column.name);
        let present: Vec<Named> = columns.iter().filter(has_samples).cloned().collect();
        if present.is_empty() {
            bail!("nothing was measured");
        }
        let mut pairs = Vec::new();
        for ratio in ratios {
            let (over, under) = ratio
                .split_once('/')
                .with_context(|| format!("`{ratio}` is not A/B"))?;
            for name in [over, under] {
                place(columns, name).with_context(|| format!("there is no column `{name}`"))?;
            }
            pairs.extend(place(&present, over).zip(place(&present, under)));
        }
        let mut report = Self {
            facts: log.facts,
            columns: present,
            ratios: pairs,
            groups: Vec::new(),
        };
        for sample in &log.samples {
            report.take(sample, titles);
        }
        report.reckon();
        Ok(report)
    }

    /// Puts a figure where it belongs; a later one of the same round replaces it, because the
    /// runner repeats cases that its machine has spoilt.
    fn take(&mut self, sample: &Sample, titles: &[Named]) {
        let named = |column: &Named| column.name == sample.column;
        let Some(column) = self.columns.iter().position(named) else {
            return;
        };
        let (name, group) = sample.key.split_once('/').unwrap_or((&sample.key, ""));
        let group = find_or_add(
            &mut self.groups,
            |known| known.title.name == group,
            || Group {
                title: titles
                    .iter()
                    .find(|title| title.name == group)
                    .cloned()
                    .unwrap_or_else(|| Named {
                        name: group.to_owned(),
                        label: group.to_owned(),
                    }),
                rows: Vec::new(),
            },
        );
        let columns = self.columns.len();
        let row = find_or_add(
            &mut group.rows,
            |known| known.name == name,
            || Row {
                name: name.to_owned(),
                unit: sample.unit.clone(),
                cells: vec![None; columns],
                ratios: Vec::new(),
            },
        );
        let cell = row.cells[column].get_or_insert_with(|| Cell {
            median: 0.0,
            rounds: BTreeMap::new(),
        });
        cell.rounds.insert(sample.round, sample.value);
    }

    /// Medians and ratios, when all figures are in their places.
    fn reckon(&mut self) {
        for row in self.groups.iter_mut().flat_map(|group| &mut group.rows) {
            for cell in &mut row.cells {
                *cell = cell.take().and_then(|cell| Cell::new(cell.rounds));
            }
            let cells = &row.cells;
            let ratio = |&(over, under): &(usize, usize)| {
                Ratio::new(cells[over].as_ref()?, cells[under].as_ref()?)
            };
            row.ratios = self.ratios.iter().map(ratio).collect();
        }
    }
}

/// The first that is wanted, or a new one at the end.
fn find_or_add<T>(
    all: &mut Vec<T>,
    wanted: impl Fn(&T) -> bool,
    new: impl FnOnce() -> T,
) -> &mut T {
    let at = all.iter().position(wanted).unwrap_or_else(|| {
        all.push(new());
        all.len() - 1
    });
    &mut all[at]
}

impl Group {
    /// The unit, if all rows have the same.
    pub(crate) fn unit(&self) -> Option<&str> {
        let first = self.rows.first()?.unit.as_str();
        self.rows
            .iter()
            .all(|row| row.unit == first)
            .then_some(first)
    }

    /// The geometric mean of a pair's ratios over all rows: no row weighs more than another.
    pub(crate) fn mean_ratio(&self, pair: usize) -> Option<f64> {
        let ratios: Vec<f64> = self
            .rows
            .iter()
            .filter_map(|row| Some(row.ratios.get(pair)?.as_ref()?.of_medians.ln()))
            .filter(|logarithm| logarithm.is_finite())
            .collect();
        (!ratios.is_empty()).then(|| (ratios.iter().sum::<f64>() / ratios.len() as f64).exp())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two columns, three rounds of which the second lacks one guest.
    pub(crate) const LOG: &str = "\
# 0.0 s: acceleration: direct: /dev/kvm
# 3.0 s: old-1: guest is up with kernel 7.3.4 after 3.0 s
ok 1 - s: old-1: c
# bench 4k-read/iops 100 IOPS
# bench 4k-read/p99 5 us
# bench 4k-write/iops 10 IOPS
ok 2 - s: new-1: c
# bench 4k-read/iops 300 IOPS
# bench 4k-read/p99 0 us
# bench 4k-write/iops 5 IOPS
ok 3 - s: old-2: c
# bench 4k-read/iops 900 IOPS
not ok 4 - s: new-2: c
# bench 4k-read/iops 1 IOPS
ok 5 - s: old-3: c
# bench 4k-read/iops 120 IOPS
ok 6 - s: new-3: c
# bench 4k-read/iops 120 IOPS
# suite s: 5 passed, 1 failed, 0 skipped in 60 s, logs in build
";

    fn names(texts: &[&str]) -> Vec<Named> {
        texts.iter().map(|t| Named::parse(t).unwrap()).collect()
    }

    pub(crate) fn report(columns: &[&str], ratios: &[&str]) -> Result<Report> {
        let ratios: Vec<String> = ratios.iter().map(|r| (*r).to_owned()).collect();
        let titles = names(&["iops=I/Os a second", "p99=99th percentile"]);
        Report::new(Log::parse(LOG), &names(columns), &ratios, &titles)
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([7.0]), Some(7.0));
        assert_eq!(median([3.0, 1.0]), Some(2.0));
        assert_eq!(median([10.0, 9.0, 1000.0]), Some(10.0));
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn ratios_pair_the_guests_of_a_round() {
        let report = report(&["old", "new"], &["new/old"]).unwrap();
        let row = &report.groups[0].rows[0];
        assert_eq!(row.cells[0].as_ref().unwrap().median, 120.0);
        // Round 2 of the one that failed is not there.
        let new = row.cells[1].as_ref().unwrap();
        assert_eq!(new.rounds.keys().collect::<Vec<_>>(), [&1, &3]);
        assert_eq!(new.median, 210.0);
        assert_eq!(new.range(), (120.0, 300.0));
        let expected = Ratio {
            of_medians: 1.75,
            least: 1.0,
            most: 3.0,
        };
        assert_eq!(row.ratios, [Some(expected)]);
        assert_eq!(report.groups[0].rows[1].ratios[0].unwrap().of_medians, 0.5);
        // 1.75 and 0.5.
        let mean = report.groups[0].mean_ratio(0).unwrap();
        assert!((mean - 0.875_f64.sqrt()).abs() < 1e-9, "{mean}");
    }

    #[test]
    fn groups_have_titles_and_units() {
        let report = report(&["old", "new"], &["new/old", "old/new"]).unwrap();
        let titles: Vec<_> = report
            .groups
            .iter()
            .map(|g| g.title.label.as_str())
            .collect();
        assert_eq!(titles, ["I/Os a second", "99th percentile"]);
        assert_eq!(report.groups[1].unit(), Some("us"));
        // By zero there is no ratio, of zero there is.
        let ratios = &report.groups[1].rows[0].ratios;
        assert_eq!(ratios[0].unwrap().of_medians, 0.0);
        assert_eq!(ratios[1], None);
        assert_eq!(report.groups[1].mean_ratio(0), None);
    }

    #[test]
    fn a_column_without_figures_goes_with_its_ratios() {
        let report = report(&["old", "other"], &["other/old", "old/old"]).unwrap();
        assert_eq!(report.columns.len(), 1);
        assert_eq!(report.ratios, [(0, 0)]);
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        assert!(report(&["other"], &[]).is_err());
        assert!(report(&["old"], &["old/typo"]).is_err());
        assert!(report(&["old"], &["old"]).is_err());
        assert!(Named::parse("=x").is_err());
    }
}
