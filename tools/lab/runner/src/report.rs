// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Prints what happens, as TAP or plainly, and keeps the logs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{bail, Context, Result};

use crate::accel::Choice;
use crate::event::{Event, Outcome, Sink};
use crate::job::Job;

/// Prints the events of a run in the order of their cases' ends.
pub(crate) struct Printer {
    plain: bool,
    suite: String,
    logs: PathBuf,
    started: Instant,
    /// Cases that owe a result, with their scenario.
    owed: Vec<(String, String)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    number: usize,
    passed: usize,
    failed: usize,
    skipped: usize,
    /// Remarks by scenario, printed together with the case they belong to: several guests may
    /// speak at the same time.
    notes: BTreeMap<String, Vec<String>>,
    done: Vec<(String, String)>,
}

impl Printer {
    /// A printer for this job.
    pub(crate) fn new(job: &Job, plain: bool, logs: &Path) -> Self {
        let owed = job
            .suite
            .scenarios
            .iter()
            .flat_map(|s| s.cases.iter().map(|c| (s.name.clone(), c.name.clone())))
            .collect();
        Self {
            plain,
            suite: job.suite.name.clone(),
            logs: logs.to_path_buf(),
            started: Instant::now(),
            owed,
            state: Mutex::new(State::default()),
        }
    }

    fn print(&self, line: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .context("write to stdout")
    }

    /// A step of the lab itself.
    fn progress(&self, text: &str) -> Result<()> {
        let at = self.started.elapsed().as_secs_f64();
        if self.plain {
            self.print(&format!("[{at:6.1} s] {text}"))
        } else {
            self.print(&format!("# {at:.1} s: {text}"))
        }
    }

    /// The lines before everything else.
    ///
    /// # Errors
    ///
    /// When stdout is gone.
    pub(crate) fn start(&self, choice: &Choice) -> Result<()> {
        if !self.plain {
            self.print("TAP version 13")?;
            self.print(&format!("1..{}", self.owed.len()))?;
            self.print(&format!("# suite {}", self.suite))?;
        }
        self.progress(&format!(
            "acceleration: {}: {}",
            choice.accel, choice.reason
        ))
    }

    /// Fails what never got a result, prints the sum; true when nothing failed.
    ///
    /// # Errors
    ///
    /// When stdout is gone.
    pub(crate) fn finish(&self) -> Result<bool> {
        let done = {
            let state = self.state.lock().unwrap_or_else(|e| e.into_inner());
            state.done.clone()
        };
        for (scenario, case) in self.owed.iter().filter(|owed| !done.contains(owed)) {
            self.send(Event::Result {
                scenario: scenario.clone(),
                case: case.clone(),
                outcome: Outcome::Fail("lab: no result ever came".to_owned()),
                seconds: 0.0,
            })?;
        }
        let state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if !self.plain {
            self.print(&format!(
                "# suite {}: {} passed, {} failed, {} skipped in {:.0} s, logs in {}",
                self.suite,
                state.passed,
                state.failed,
                state.skipped,
                self.started.elapsed().as_secs_f64(),
                self.logs.display()
            ))?;
        }
        Ok(state.failed == 0)
    }

    fn result(&self, scenario: &str, case: &str, outcome: &Outcome, seconds: f64) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        state.number += 1;
        state.done.push((scenario.to_owned(), case.to_owned()));
        match outcome {
            Outcome::Pass => state.passed += 1,
            Outcome::Fail(_) => state.failed += 1,
            Outcome::Skip(_) => state.skipped += 1,
        }
        let notes = state.notes.remove(scenario).unwrap_or_default();
        if self.plain {
            return match outcome {
                Outcome::Pass => Ok(()),
                Outcome::Fail(why) => self.print(&format!("FAILED: {case}: {why}")),
                Outcome::Skip(why) => self.print(&format!("skipped: {case}: {why}")),
            };
        }
        let name = format!("{} - {}: {scenario}: {case}", state.number, self.suite);
        match outcome {
            Outcome::Pass => self.print(&format!("ok {name}"))?,
            Outcome::Fail(_) => self.print(&format!("not ok {name}"))?,
            Outcome::Skip(why) => self.print(&format!("ok {name} # SKIP {why}"))?,
        }
        if seconds > 0.0 {
            self.print(&format!("#   took {seconds:.1} s"))?;
        }
        if let Outcome::Fail(why) = outcome {
            self.print(&format!("#   FAILED: {why}"))?;
        }
        for note in notes {
            self.print(&format!("#   {note}"))?;
        }
        Ok(())
    }

    /// Writes a log; its name comes from another machine and must stay below our directory.
    fn log(&self, name: &str, text: &str) -> Result<()> {
        let relative = Path::new(name);
        if !relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            bail!("log name `{name}` leads out of the log directory");
        }
        let path = self.logs.join(relative);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Sink for Printer {
    fn send(&self, event: Event) -> Result<()> {
        match event {
            Event::L1 { seconds } => self.progress(&format!(
                "L1, the emulated machine, is up after {seconds:.1} s"
            )),
            Event::Boot { scenario, shape } => {
                self.progress(&format!("{scenario}: guest started ({shape})"))
            }
            Event::Up {
                scenario,
                release,
                seconds,
            } => self.progress(&format!(
                "{scenario}: guest is up with kernel {release} after {seconds:.1} s"
            )),
            Event::Note { scenario, text } => {
                if self.plain {
                    return self.print(&text);
                }
                // What takes an hour shows how far it is: each row has two marks.
                let row = text.strip_prefix("mark ").and_then(|m| m.split(' ').next());
                let ended = row.map(|row| (format!("mark {row} "), format!("{scenario}: {row}")));
                let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
                let notes = state.notes.entry(scenario).or_default();
                let ended = ended.filter(|(mark, _)| notes.iter().any(|n| n.starts_with(mark)));
                notes.push(text);
                drop(state);
                ended.map_or(Ok(()), |(_, row)| self.progress(&row))
            }
            Event::Result {
                scenario,
                case,
                outcome,
                seconds,
            } => self.result(&scenario, &case, &outcome, seconds),
            Event::Log { name, text } => self.log(&name, &text),
            Event::Done => Ok(()),
        }
    }
}
