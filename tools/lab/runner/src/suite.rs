// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Boots one guest after another and leads each through its cases.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};

use crate::control::{self, Line, Request, Server, Surface};
use crate::emulator;
use crate::event::{Event, Outcome, Sink};
use crate::guest::{self, Guest, Happening, Surroundings};
use crate::hvhost::{self, Ending};
use crate::job::Job;
use crate::plan::{Case, Scenario, Vmm};
use crate::stop;
use crate::turns::{Turn, Turns};

/// Seconds from a guest's start to the first word of its init, noise included.
pub(crate) const BOOT_TIMEOUT: u64 = 90;
/// Seconds for a guest to ask for its next case after a result.
const BETWEEN_TIMEOUT: u64 = 60;
/// Seconds for a guest to switch itself off.
const OFF_TIMEOUT: u64 = 45;
/// Seconds for a VMM whose connections are gone to end, if it does.
const RESTART_PAUSE: u64 = 1;
/// Seconds for a VMM that starts over to listen again.
const CONNECT_TIMEOUT: u64 = 30;
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
    for group in job.suite.groups() {
        let turns = Turns::new(group.len());
        if let [only] = group {
            run_scenario(job, only, work, sink, Turn::new(&turns, 0))?;
            continue;
        }
        let turns = &turns;
        thread::scope(|scope| {
            let guests: Vec<_> = group
                .iter()
                .enumerate()
                .map(|(i, scenario)| {
                    scope
                        .spawn(move || run_scenario(job, scenario, work, sink, Turn::new(turns, i)))
                })
                .collect();
            let mut all = Ok(());
            for guest in guests {
                let end = guest
                    .join()
                    .unwrap_or_else(|_| bail!("a guest's thread panicked"));
                all = all.and(end);
            }
            all
        })?;
    }
    Ok(())
}

fn run_scenario(
    job: &Job,
    scenario: &Scenario,
    work: &Path,
    sink: &dyn Sink,
    turn: Turn<'_>,
) -> Result<()> {
    let mut todo = VecDeque::new();
    for case in &scenario.cases {
        match job.skip_reason(scenario, case) {
            Some(reason) => {
                report(
                    sink,
                    scenario,
                    &case.name,
                    Outcome::Skip(reason.into_owned()),
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
        let end = run_boot(job, scenario, &files, &mut todo, &mut repeated, sink, &turn);
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
                    &case.name,
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
                report(
                    sink,
                    scenario,
                    &case.name,
                    Outcome::Fail(reason),
                    Duration::ZERO,
                )?;
            }
        }
    }
    Ok(())
}

fn report(
    sink: &dyn Sink,
    scenario: &Scenario,
    case: &str,
    outcome: Outcome,
    took: Duration,
) -> Result<()> {
    sink.send(Event::Result {
        scenario: scenario.name.clone(),
        case: case.to_owned(),
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
    for (name, path) in guest::logs(files) {
        let bytes = fs::read(path).unwrap_or_default();
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
    /// What the guest announced.
    ahead: Ahead,
}

/// What a case said will happen to its machine.
#[derive(PartialEq, Eq)]
enum Ahead {
    /// Nothing.
    Nothing,
    /// It boots again and goes on at this stage.
    Boot { stage: String, after: Ending },
    /// It ends, and that is what the case is about.
    End(Ending),
}

impl Ahead {
    fn is_boot(&self) -> bool {
        matches!(self, Self::Boot { .. })
    }
}

/// A case that passed, whose result waits for the end of the guest: a host that fails while it
/// puts the guest away must not go unseen.
struct Last {
    name: String,
    took: Duration,
}

/// One boot of a guest, led through cases.
struct Boot<'a, 'b> {
    job: &'a Job,
    scenario: &'a Scenario,
    todo: &'b mut VecDeque<&'a Case>,
    repeated: &'b mut Vec<String>,
    end: End,
    sink: &'b dyn Sink,
    turn: &'b Turn<'b>,
    booting: Option<MutexGuard<'b, ()>>,
    around: Surroundings,
    guest: Guest,
    servers: Vec<Server>,
    boot_seconds: f64,
    last: Option<Last>,
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
#[derive(Clone, Copy, PartialEq, Eq)]
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
    turn: &Turn<'_>,
) -> Result<End> {
    let booting = Some(turn.boot());
    stop::check()?;
    sink.send(Event::Boot {
        scenario: scenario.name.clone(),
        shape: format!("{} CPU, {} MiB", scenario.cpus, scenario.memory),
    })?;
    let around = Surroundings::make(job, scenario, work)?;
    let guest = Guest::start(job, scenario, &around)?;
    let deadline = Instant::now() + job.seconds(BOOT_TIMEOUT);
    let mut boot = Boot {
        job,
        scenario,
        todo,
        repeated,
        end: End::Done,
        sink,
        turn,
        booting,
        around,
        guest,
        servers: Vec::new(),
        boot_seconds: 0.0,
        last: None,
        phase: Phase::Booting,
        deadline,
    };
    let end = loop {
        match boot.step() {
            Ok(Go::On) => {}
            Ok(Go::End) => break Ok(boot.end),
            Err(error) => break Err(error),
        }
    };
    // None of them outlives the guest, and the next one's find their ports free.
    boot.servers.clear();
    boot.guest.vmm.kill();
    boot.report_last(Outcome::Fail(
        "lab: the guest's end was not seen".to_owned(),
    ))?;
    end
}

impl Boot<'_, '_> {
    /// Waits for one happening, or notices that none will come.
    fn step(&mut self) -> Result<Go> {
        stop::check()?;
        match self.guest.happenings.recv_timeout(TICK) {
            Ok(Happening::Line(line)) => self.line(&line),
            Ok(Happening::Event(event)) => self.vmm_event(&event),
            Err(RecvTimeoutError::Disconnected) => {
                let expects_boot = match &self.phase {
                    Phase::Case(running) => running.ahead.is_boot(),
                    _ => false,
                };
                let ended = self.guest.vmm.wait(self.job.seconds(RESTART_PAUSE))?;
                if ended.is_none() && expects_boot && self.scenario.vmm == Vmm::Hvhost {
                    // hvhost --on-reboot restart begins anew without ending.
                    let limit = self.job.seconds(CONNECT_TIMEOUT);
                    self.guest.reconnect(self.scenario.vmm, limit)?;
                    return Ok(Go::On);
                }
                let _ = self.guest.vmm.wait(self.job.seconds(10))?;
                self.ended()
            }
            Err(RecvTimeoutError::Timeout) => {
                if self.guest.vmm.ended()?.is_some() {
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
        if matches!(outcome, Outcome::Fail(_)) {
            if self.spoilt()? {
                return Ok(());
            }
            self.guest.note_stats();
        }
        if let Some(case) = self.todo.pop_front() {
            let wait = self.scenario.vmm == Vmm::Hvhost && outcome == Outcome::Pass;
            if wait && self.todo.is_empty() {
                let name = case.name.clone();
                self.last = Some(Last { name, took });
            } else {
                report(self.sink, self.scenario, &case.name, outcome, took)?;
            }
        }
        self.after(BETWEEN_TIMEOUT);
        Ok(())
    }

    /// Reports the case whose result waited for the end of the guest, if one does.
    fn report_last(&mut self, outcome: Outcome) -> Result<()> {
        match self.last.take() {
            Some(last) => report(self.sink, self.scenario, &last.name, outcome, last.took),
            None => Ok(()),
        }
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

    /// Shows what the guest printed last.
    fn note_console(&mut self) -> Result<()> {
        for line in self.guest.console_tail(TAIL) {
            self.note(&format!("console: {line}"))?;
        }
        Ok(())
    }

    /// Ends the case under way, and the guest, because something went wrong.
    fn fail(&mut self, why: &str) -> Result<Go> {
        self.note_console()?;
        let words = self.guest.vmm.complaints();
        for line in words.lines().filter(|line| !line.contains(": warning: ")) {
            self.note(&format!("vmm: {line}"))?;
        }
        match self.phase {
            Phase::Case(_) => self.finish(Outcome::Fail(why.to_owned()))?,
            _ if self.last.is_some() => {
                let why = format!("its asserts held, but afterwards {why}");
                self.report_last(Outcome::Fail(why))?;
            }
            _ => self.note(why)?,
        }
        Ok(Go::End)
    }

    /// The VMM ended. QEMU doesn't say why; hvhost's exit status does.
    fn ended(&mut self) -> Result<Go> {
        let status = self.guest.vmm.ended()?;
        let Some(status) = status.filter(|_| self.scenario.vmm == Vmm::Hvhost) else {
            return match self.phase {
                Phase::Ending => Ok(Go::End),
                _ => self.fail("the guest ended by itself"),
            };
        };
        let ending = Ending::of(status);
        let text = hvhost::describe(status);
        self.guest.note_control('!', &text);
        match &self.phase {
            Phase::Ending if ending == Some(Ending::PowerOff) => {
                self.report_last(Outcome::Pass)?;
                Ok(Go::End)
            }
            Phase::Case(running) => match &running.ahead {
                Ahead::Boot { after, .. } if ending == Some(*after) => self.boot_again(),
                Ahead::End(expected) if ending == Some(*expected) => {
                    self.finish(Outcome::Pass)?;
                    // This end has been seen.
                    self.report_last(Outcome::Pass)?;
                    Ok(Go::End)
                }
                Ahead::Boot { after: wanted, .. } | Ahead::End(wanted) => {
                    let why = format!("the guest's end was {text}, not {wanted}");
                    self.fail(&why)
                }
                Ahead::Nothing => self.fail(&format!("the guest ended by itself: {text}")),
            },
            Phase::Booting | Phase::Idle | Phase::Ending => {
                self.fail(&format!("the guest's end was {text}"))
            }
        }
    }

    /// The guest announced that it boots again, and its VMM ended for it: starts the next one with
    /// the same disks.
    fn boot_again(&mut self) -> Result<Go> {
        self.guest = Guest::start(self.job, self.scenario, &self.around)?;
        Ok(Go::On)
    }

    fn late(&mut self) -> Result<Go> {
        // Best effort: a guest that is past answering leaves the reason as it is.
        let _ = self.guest.explain(self.job.seconds(2));
        self.guest.note_stats();
        for line in self.guest.end_and_locate(self.job.seconds(2)) {
            self.note(&line)?;
        }
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

    fn vmm_event(&mut self, event: &str) -> Result<Go> {
        self.guest.note_control('!', event);
        let expected = match &self.phase {
            Phase::Case(running) => running.ahead != Ahead::Nothing,
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
            Outcome::Fail(_) => {
                self.note_console()?;
                Go::End
            }
            Outcome::Pass | Outcome::Skip(_) => Go::On,
        };
        self.finish(outcome)?;
        Ok(go)
    }

    fn hello(&mut self, release: &str) -> Result<Go> {
        match &self.phase {
            Phase::Booting => {
                self.booting = None;
                self.boot_seconds = self.guest.started.elapsed().as_secs_f64();
                self.sink.send(Event::Up {
                    scenario: self.scenario.name.clone(),
                    release: release.to_owned(),
                    seconds: self.boot_seconds,
                })?;
                self.phase = Phase::Idle;
                self.after(BETWEEN_TIMEOUT);
                Ok(Go::On)
            }
            Phase::Case(running) if running.ahead.is_boot() => Ok(Go::On),
            Phase::Case(_) | Phase::Idle | Phase::Ending => {
                self.fail("the guest booted again, unasked")
            }
        }
    }

    fn next(&mut self) -> Result<Go> {
        if let Phase::Case(running) = &mut self.phase {
            let ahead = std::mem::replace(&mut running.ahead, Ahead::Nothing);
            let Ahead::Boot { stage, .. } = ahead else {
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
            ahead: Ahead::Nothing,
        });
        let limit = case.timeout;
        self.after(limit);
        Ok(Go::On)
    }

    fn host(&mut self, command: &str) -> Result<Go> {
        let answer = control::host(
            command,
            &mut Surface {
                vmm: self.guest.vmm.pid(),
                host: &mut self.guest.host,
                work: self.around.work(),
                job: self.job,
                servers: &mut self.servers,
                boot_seconds: self.boot_seconds,
                turn: self.turn,
            },
        );
        let reply = match answer {
            Ok(Request::Answer(text)) if text.is_empty() => "ok".to_owned(),
            Ok(Request::Answer(text)) => format!("ok {text}"),
            Ok(Request::Expect(stage, after)) => self.announce(Ahead::Boot { stage, after }),
            Ok(Request::End(ending)) => self.announce(Ahead::End(ending)),
            Err(error) => format!("err {}", format!("{error:#}").replace(['\r', '\n'], " ")),
        };
        self.guest.say(&reply)?;
        Ok(Go::On)
    }

    /// Remembers what the case under way says will happen; the answer to it.
    fn announce(&mut self, ahead: Ahead) -> String {
        match &mut self.phase {
            Phase::Case(running) => {
                running.ahead = ahead;
                "ok".to_owned()
            }
            _ => "err no case is under way".to_owned(),
        }
    }
}
