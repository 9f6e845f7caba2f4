// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Boots one guest after another and leads each through its cases.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::control::{self, Line, Request};
use crate::emulator;
use crate::event::{Event, Outcome, Sink};
use crate::guest::{Guest, Happening, LOGS};
use crate::plan::{Case, Job, Scenario};
use crate::stop;

/// Seconds from a guest's start to the first word of its init, noise included.
pub(crate) const BOOT_TIMEOUT: u64 = 90;
/// Seconds for a guest to ask for its next case after a result.
const BETWEEN_TIMEOUT: u64 = 60;
/// Seconds for a guest to switch itself off.
const OFF_TIMEOUT: u64 = 45;
/// How often a wait looks whether QEMU ended or the user asked to stop.
const TICK: Duration = Duration::from_millis(200);
/// How often a guest may die before its init speaks. None of the code under test runs until
/// then; an emulated L1 under load loses about one guest in thirty there.
const LOST_BOOTS: u32 = 2;
/// Lines of console shown for a case that went wrong.
const TAIL: usize = 60;

/// Runs every scenario of the job.
///
/// # Errors
///
/// When events can't be sent or the user asked to stop. A guest that fails is an event.
pub(crate) fn run(job: &Job, work: &Path, sink: &dyn Sink) -> Result<()> {
    for scenario in &job.suite.scenarios {
        run_scenario(job, scenario, work, sink)?;
    }
    Ok(())
}

fn run_scenario(job: &Job, scenario: &Scenario, work: &Path, sink: &dyn Sink) -> Result<()> {
    let mut todo = VecDeque::new();
    for case in &scenario.cases {
        match job.skip_reason(scenario, case) {
            Some(reason) => {
                report(
                    sink,
                    scenario,
                    case,
                    Outcome::Skip(reason.to_owned()),
                    Duration::ZERO,
                )?;
            }
            None => todo.push_back(case),
        }
    }
    let mut lost = 0;
    let mut repeated = Vec::new();
    // A guest that ends early takes only its case with it: the others get a new guest.
    for boot in 0.. {
        if todo.is_empty() {
            break;
        }
        let before = todo.len();
        let files = work.join(&scenario.name);
        let _ = fs::remove_dir_all(&files);
        let end = run_boot(job, scenario, &files, &mut todo, &mut repeated, sink);
        keep_logs(scenario, boot, &files, sink)?;
        let _ = fs::remove_dir_all(&files);
        if let Ok(End::Spoilt) = end {
            continue;
        }
        if let Err(error) = end {
            stop::check()?;
            let reason = format!("lab: {error:#}");
            for case in todo.drain(..) {
                report(
                    sink,
                    scenario,
                    case,
                    Outcome::Fail(reason.clone()),
                    Duration::ZERO,
                )?;
            }
        } else if todo.len() == before && lost < LOST_BOOTS {
            lost += 1;
            let text = format!("lab: guest lost while it booted ({lost}), another one is started");
            sink.send(Event::Note {
                scenario: scenario.name.clone(),
                text,
            })?;
        } else if todo.len() == before {
            for case in todo.drain(..) {
                let reason = "lab: the guest ended before its first case".to_owned();
                report(sink, scenario, case, Outcome::Fail(reason), Duration::ZERO)?;
            }
        }
    }
    Ok(())
}

fn report(
    sink: &dyn Sink,
    scenario: &Scenario,
    case: &Case,
    outcome: Outcome,
    took: Duration,
) -> Result<()> {
    sink.send(Event::Result {
        scenario: scenario.name.clone(),
        case: case.name.clone(),
        outcome,
        seconds: took.as_secs_f64(),
    })
}

/// Hands the files of a guest on, before the next guest overwrites them.
fn keep_logs(scenario: &Scenario, boot: u32, files: &Path, sink: &dyn Sink) -> Result<()> {
    let directory = match boot {
        0 => scenario.name.clone(),
        again => format!("{}-{}", scenario.name, again + 1),
    };
    for name in LOGS {
        let bytes = fs::read(files.join(name)).unwrap_or_default();
        if !bytes.is_empty() {
            sink.send(Event::Log {
                name: format!("{directory}/{name}"),
                text: String::from_utf8_lossy(&bytes).into_owned(),
            })?;
        }
    }
    Ok(())
}

/// What the guest is doing.
enum Phase {
    /// On its way to init.
    Booting,
    /// Its init is up and has no case.
    Idle,
    /// In the case at the head of the list.
    Case(Running),
    /// On its way down.
    Ending,
}

/// A case under way.
struct Running {
    since: Instant,
    /// Where to go on after the boot the guest announced.
    stage: Option<String>,
}

/// One boot of a guest, led through cases.
struct Boot<'a, 'b> {
    job: &'a Job,
    scenario: &'a Scenario,
    todo: &'b mut VecDeque<&'a Case>,
    repeated: &'b mut Vec<String>,
    end: End,
    sink: &'b dyn Sink,
    work: &'b Path,
    guest: Guest,
    phase: Phase,
    deadline: Instant,
}

/// Whether the guest is still wanted.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    End,
}

/// How a boot came to its end.
#[derive(PartialEq, Eq)]
enum End {
    /// The cases it began are off the list.
    Done,
    /// The emulated machine spoilt the case at the head of the list, which is repeated.
    Spoilt,
}

/// Boots a guest and takes cases off `todo` as they end. `repeated` names those that were spoilt by the
/// emulated machine before: nothing is repeated twice.
fn run_boot<'a>(
    job: &'a Job,
    scenario: &'a Scenario,
    work: &Path,
    todo: &mut VecDeque<&'a Case>,
    repeated: &mut Vec<String>,
    sink: &dyn Sink,
) -> Result<End> {
    sink.send(Event::Boot {
        scenario: scenario.name.clone(),
        shape: format!("{} CPU, {} MiB", scenario.cpus, scenario.memory),
    })?;
    let guest = Guest::start(job, scenario, work)?;
    let deadline = Instant::now() + job.seconds(BOOT_TIMEOUT);
    let mut boot = Boot {
        job,
        scenario,
        todo,
        repeated,
        end: End::Done,
        sink,
        work,
        guest,
        phase: Phase::Booting,
        deadline,
    };
    while boot.step()? == Go::On {}
    boot.guest.qemu.kill();
    Ok(boot.end)
}

impl Boot<'_, '_> {
    /// Waits for one happening, or notices that none will come.
    fn step(&mut self) -> Result<Go> {
        stop::check()?;
        match self.guest.happenings.recv_timeout(TICK) {
            Ok(Happening::Line(line)) => self.line(&line),
            Ok(Happening::Qmp(event)) => self.qmp_event(&event),
            Err(RecvTimeoutError::Disconnected) => {
                let _ = self.guest.qemu.wait(self.job.seconds(10))?;
                self.ended()
            }
            Err(RecvTimeoutError::Timeout) => {
                if self.guest.qemu.ended()?.is_some() {
                    return self.ended();
                }
                if Instant::now() >= self.deadline {
                    return self.late();
                }
                Ok(Go::On)
            }
        }
    }

    fn after(&mut self, seconds: u64) {
        self.deadline = Instant::now() + self.job.seconds(seconds);
    }

    fn note(&self, text: &str) -> Result<()> {
        self.sink.send(Event::Note {
            scenario: self.scenario.name.clone(),
            text: text.to_owned(),
        })
    }

    /// Ends the case under way.
    fn finish(&mut self, outcome: Outcome) -> Result<()> {
        let took = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Case(running) => running.since.elapsed(),
            other => {
                self.phase = other;
                return Ok(());
            }
        };
        if matches!(outcome, Outcome::Fail(_)) && self.spoilt()? {
            return Ok(());
        }
        if let Some(case) = self.todo.pop_front() {
            report(self.sink, self.scenario, case, outcome, took)?;
        }
        self.after(BETWEEN_TIMEOUT);
        Ok(())
    }

    /// Whether the case that failed is to be repeated, because the emulated machine did what no
    /// processor does. Once a case.
    fn spoilt(&mut self) -> Result<bool> {
        let Some(case) = self.todo.front() else {
            return Ok(false);
        };
        if self.repeated.contains(&case.name)
            || !emulator::delivered_a_masked_interrupt(&self.guest.console_tail(usize::MAX))
        {
            return Ok(false);
        }
        self.repeated.push(case.name.clone());
        self.note(&format!(
            "{}: the emulated machine interrupted a CPU that had interrupts off; the case is repeated",
            case.name
        ))?;
        self.end = End::Spoilt;
        Ok(true)
    }

    /// Ends the case under way, and the guest, because something went wrong.
    fn fail(&mut self, why: &str) -> Result<Go> {
        for line in self.guest.console_tail(TAIL) {
            self.note(&format!("console: {line}"))?;
        }
        let words = self.guest.qemu.complaints();
        for line in words.lines().filter(|line| !line.contains(": warning: ")) {
            self.note(&format!("qemu: {line}"))?;
        }
        match self.phase {
            Phase::Case(_) => self.finish(Outcome::Fail(why.to_owned()))?,
            _ => self.note(why)?,
        }
        Ok(Go::End)
    }

    fn ended(&mut self) -> Result<Go> {
        match self.phase {
            Phase::Ending => Ok(Go::End),
            _ => self.fail("the guest ended by itself"),
        }
    }

    fn late(&mut self) -> Result<Go> {
        // Best effort: a guest that is past answering leaves the reason as it is.
        let _ = self.guest.explain(self.job.seconds(2));
        match &self.phase {
            Phase::Booting => self.fail("the guest's init did not start in time"),
            Phase::Idle => self.fail("the guest did not ask for its next case in time"),
            Phase::Ending => self.fail("the guest did not switch itself off in time"),
            Phase::Case(running) => {
                let seconds = running.since.elapsed().as_secs();
                self.fail(&format!("timed out after {seconds} s"))
            }
        }
    }

    fn qmp_event(&mut self, event: &str) -> Result<Go> {
        self.guest.note_control('!', event);
        let expected = match &self.phase {
            Phase::Case(running) => running.stage.is_some(),
            Phase::Ending => true,
            Phase::Booting | Phase::Idle => false,
        };
        match event {
            "RESET" if !expected => self.fail("the guest reset itself (a panic or an oops)"),
            "GUEST_PANICKED" if !expected => self.fail("the guest panicked"),
            _ => Ok(Go::On),
        }
    }

    fn line(&mut self, line: &str) -> Result<Go> {
        self.guest.note_control('>', line);
        match control::parse(line) {
            Line::Hello(release) => self.hello(release),
            Line::Next => self.next(),
            Line::Note(text) => self.note(text).map(|()| Go::On),
            Line::Result(outcome) => self.result(outcome),
            Line::Host(command) => self.host(command),
            Line::Noise(_) => Ok(Go::On),
        }
    }

    /// A case says how it ended. After a failure nobody knows what state the guest is in, so
    /// the cases that follow get another one.
    fn result(&mut self, outcome: Outcome) -> Result<Go> {
        let go = match outcome {
            Outcome::Fail(_) => Go::End,
            Outcome::Pass | Outcome::Skip(_) => Go::On,
        };
        self.finish(outcome)?;
        Ok(go)
    }

    fn hello(&mut self, release: &str) -> Result<Go> {
        match &self.phase {
            Phase::Booting => {
                self.sink.send(Event::Up {
                    scenario: self.scenario.name.clone(),
                    release: release.to_owned(),
                    seconds: self.guest.started.elapsed().as_secs_f64(),
                })?;
                self.phase = Phase::Idle;
                self.after(BETWEEN_TIMEOUT);
                Ok(Go::On)
            }
            Phase::Case(running) if running.stage.is_some() => Ok(Go::On),
            Phase::Case(_) | Phase::Idle | Phase::Ending => {
                self.fail("the guest booted again, unasked")
            }
        }
    }

    fn next(&mut self) -> Result<Go> {
        if let Phase::Case(running) = &mut self.phase {
            let Some(stage) = running.stage.take() else {
                return self.fail("the guest ended a case without a result");
            };
            let name = self.todo.front().map_or("", |case| case.name.as_str());
            self.guest.say(&format!("run {name} {stage}"))?;
            return Ok(Go::On);
        }
        let Some(case) = self.todo.front() else {
            self.guest.say("poweroff")?;
            self.phase = Phase::Ending;
            self.after(OFF_TIMEOUT);
            return Ok(Go::On);
        };
        self.guest.say(&format!("run {}", case.name))?;
        self.phase = Phase::Case(Running {
            since: Instant::now(),
            stage: None,
        });
        let limit = case.timeout;
        self.after(limit);
        Ok(Go::On)
    }

    fn host(&mut self, command: &str) -> Result<Go> {
        let answer = control::host(command, &mut self.guest.qmp, self.work, self.job);
        let reply = match answer {
            Ok(Request::Answer(text)) if text.is_empty() => "ok".to_owned(),
            Ok(Request::Answer(text)) => format!("ok {text}"),
            Ok(Request::Expect(stage)) => match &mut self.phase {
                Phase::Case(running) => {
                    running.stage = Some(stage);
                    "ok".to_owned()
                }
                _ => "err no case is under way".to_owned(),
            },
            Err(error) => format!("err {}", format!("{error:#}").replace(['\r', '\n'], " ")),
        };
        self.guest.say(&reply)?;
        Ok(Go::On)
    }
}
