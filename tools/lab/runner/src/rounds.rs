// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Suites that are run several times in one go: guests that are compared take turns, so that what
//! happens to the machine meanwhile happens to all of them.

use anyhow::{bail, Result};

use crate::plan::{Scenario, Suite};

/// More than anybody waits for.
const MOST: u32 = 99;

impl Suite {
    /// The suite with each scenario as often as it has rounds: `a`, `b` become `a-1`, `b-1`, `a-2`,
    /// `b-2` and so on. `wish` is another number of rounds. A suite without rounds stays as it is.
    ///
    /// # Errors
    ///
    /// When the number makes no sense or the suite has no rounds for `wish` to change.
    pub(crate) fn in_rounds(mut self, wish: Option<u32>) -> Result<Self> {
        let Some(own) = self.rounds.take() else {
            if wish.is_some() {
                bail!("suite `{}` is not run in rounds", self.name);
            }
            return Ok(self);
        };
        let rounds = wish.unwrap_or(own);
        if !(1..=MOST).contains(&rounds) {
            bail!(
                "suite `{}`: {rounds} rounds; 1 to {MOST} make sense",
                self.name
            );
        }
        let numbered = |round: u32| {
            self.scenarios.iter().map(move |scenario| Scenario {
                name: format!("{}-{round}", scenario.name),
                round,
                ..scenario.clone()
            })
        };
        self.scenarios = (1..=rounds).flat_map(numbered).collect();
        Ok(self)
    }

    /// Scenarios whose guests are up at the same time, one group after the other: those of a round, but
    /// parts (`A+PART`) only with the same parts of others.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[Scenario]> {
        self.scenarios
            .chunk_by(|a, b| self.together && a.round == b.round && a.part() == b.part())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(rounds: &str) -> Suite {
        let text = r#"{"name": "s", "about": "", "scenarios": [
            {"name": "a", "about": "", "cases": []}, {"name": "b", "about": "", "cases": []}]}"#;
        let text = text.replacen('{', &format!("{{{rounds}"), 1);
        serde_json::from_str(&text).unwrap()
    }

    fn names(suite: Suite) -> Vec<String> {
        suite.scenarios.into_iter().map(|s| s.name).collect()
    }

    #[test]
    fn scenarios_take_turns() {
        let two = || suite(r#""rounds": 2,"#);
        let all = two().in_rounds(None).unwrap();
        // The copy of the runner that gets this must not multiply it again.
        assert_eq!(all.rounds, None);
        assert_eq!(names(all), ["a-1", "b-1", "a-2", "b-2"]);
        assert_eq!(names(two().in_rounds(Some(1)).unwrap()), ["a-1", "b-1"]);
        assert_eq!(two().in_rounds(Some(3)).unwrap().scenarios.len(), 6);
    }

    #[test]
    fn guests_of_a_round_may_be_up_together() {
        let groups = |suite: &Suite| -> Vec<usize> { suite.groups().map(<[_]>::len).collect() };
        let apart = suite(r#""rounds": 2,"#).in_rounds(None).unwrap();
        assert_eq!(groups(&apart), [1, 1, 1, 1]);
        let together = || suite(r#""rounds": 2, "together": true,"#);
        assert_eq!(groups(&together().in_rounds(None).unwrap()), [2, 2]);
        let mut parts = together();
        parts.scenarios[1].name = "a+more".to_owned();
        assert_eq!(groups(&parts.in_rounds(None).unwrap()), [1, 1, 1, 1]);
    }

    #[test]
    fn a_suite_without_rounds_is_run_once_under_its_own_names() {
        let once = || suite("");
        assert_eq!(names(once().in_rounds(None).unwrap()), ["a", "b"]);
        assert!(once().in_rounds(Some(2)).is_err());
    }

    #[test]
    fn odd_rounds_are_refused() {
        for wish in [0, MOST + 1] {
            let two = suite(r#""rounds": 2,"#);
            assert!(two.in_rounds(Some(wish)).is_err(), "{wish}");
        }
        assert!(suite(r#""rounds": 0,"#).in_rounds(None).is_err());
    }
}
