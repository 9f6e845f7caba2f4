// SPDX-License-Identifier: GPL-2.0 OR MIT
//! L1: the emulated machine whose KVM runs the guests where this machine's can't.
//!
//! Two facts rule its shape, both found by many failed runs: it has one CPU (with two, guests of
//! several CPUs fail in odd ways), and its QEMU is 11.1 or newer (older ones lose timer
//! interrupts). A second lab beside it uses the second CPU.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::cpio::Writer;
use crate::cpu;
use crate::event::{Event, Sink};
use crate::guest;
use crate::job::Job;
use crate::plan::{Scenario, Suite};
use crate::process::Process;
use crate::qemu;
use crate::shell::Terminal;
use crate::stop;

/// Seconds for L1 to come up, noise included.
pub(crate) const BOOT_TIMEOUT: u64 = 90;
/// Seconds for L1 to switch itself off once its job is done.
const OFF_TIMEOUT: u64 = 30;
/// MiB of L1's memory beyond the largest guests that are up together: its kernel, RAM disk, QEMU and logs.
const OVERHEAD: u32 = 1536;
/// Where the parts of a job are inside L1.
const INSIDE: &str = "/lab";

/// What L1 is made of.
pub(crate) struct L1 {
    /// Root of the tree with QEMU.
    pub(crate) root: PathBuf,
    /// Its kernel; the stock one, also when the guests use another.
    pub(crate) kernel: PathBuf,
    /// Its initial RAM disk: init with KVM, and QEMU with its libraries.
    pub(crate) images: Vec<PathBuf>,
    /// Where its own console log goes.
    pub(crate) logs: PathBuf,
}

/// Splits the scenarios over `count` labs so that each has about the same number of seconds to
/// expect; a scenario is never split.
fn share(job: &Job, count: usize) -> Vec<Job> {
    let weight = |scenario: &Scenario| -> u64 {
        20 + scenario
            .cases
            .iter()
            .filter(|case| job.skip_reason(scenario, case).is_none())
            .map(|case| case.timeout / 4)
            .sum::<u64>()
    };
    let mut loads: Vec<(u64, Vec<usize>)> = vec![(0, Vec::new()); count];
    let mut order: Vec<usize> = (0..job.suite.scenarios.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(weight(&job.suite.scenarios[i])));
    for index in order {
        if let Some(load) = loads.iter_mut().min_by_key(|load| load.0) {
            load.0 += weight(&job.suite.scenarios[index]);
            load.1.push(index);
        }
    }
    loads
        .into_iter()
        .filter(|(_, indices)| !indices.is_empty())
        .map(|(_, mut indices)| {
            indices.sort_unstable();
            let scenarios = indices
                .iter()
                .map(|&i| job.suite.scenarios[i].clone())
                .collect();
            Job {
                suite: Suite {
                    scenarios,
                    ..job.suite.clone()
                },
                ..job.clone()
            }
        })
        .collect()
}

/// Carries out the job in one or more L1 machines.
///
/// # Errors
///
/// When L1 doesn't start, dies or takes too long; its console's end is in the error.
pub(crate) fn run(l1: &L1, job: &Job, count: usize, sink: &dyn Sink) -> Result<()> {
    // Guests that are compared are so in one lab.
    let shares = share(job, if job.suite.together { 1 } else { count });
    if let [only] = shares.as_slice() {
        return run_one(l1, only, "l1", sink);
    }
    thread::scope(|scope| {
        let labs: Vec<_> = shares
            .iter()
            .enumerate()
            .map(|(i, part)| scope.spawn(move || run_one(l1, part, &format!("l1-{}", i + 1), sink)))
            .collect();
        // Each lab reports its own guests; the first error speaks for all.
        let mut all = Ok(());
        for lab in labs {
            let end = lab
                .join()
                .unwrap_or_else(|_| bail!("a lab's thread panicked"));
            all = all.and(end);
        }
        all
    })
}

/// Writes the part of L1's initial RAM disk that differs from run to run: the job and what the
/// guests boot from.
fn payload(job: &Job, path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut cpio = Writer::new(std::io::BufWriter::new(file));
    let program = std::env::current_exe().context("where is this program?")?;
    cpio.directory(INSIDE, 0o755)?;
    cpio.file_from(&format!("{INSIDE}/vmlab"), &program, 0o755)?;
    cpio.file_from(&format!("{INSIDE}/vmlinuz"), &job.kernel, 0o644)?;
    let mut images = BTreeMap::new();
    for scenario in &job.suite.scenarios {
        for name in scenario.all_images() {
            let inside = format!("{INSIDE}/{name}.cpio");
            let outside = job
                .images
                .get(name)
                .with_context(|| format!("there is no image `{name}`"))?;
            if images
                .insert(name.to_owned(), PathBuf::from(&inside))
                .is_none()
            {
                cpio.file_from(&inside, outside, 0o644)?;
            }
        }
    }
    let mut hvhost = None;
    if let Some(directory) = &job.hvhost {
        for name in ["hvhost", "hvctl"] {
            cpio.file_from(&format!("{INSIDE}/{name}"), &directory.join(name), 0o755)?;
        }
        hvhost = Some(PathBuf::from(INSIDE));
    }
    let inner = Job {
        root: PathBuf::from("/"),
        hvhost,
        kernel: PathBuf::from(format!("{INSIDE}/vmlinuz")),
        images,
        ..job.clone()
    };
    let text = serde_json::to_vec(&inner).context("job to JSON")?;
    cpio.file(&format!("{INSIDE}/job.json"), &text, 0o644)?;
    cpio.finish()?.flush().context("write the payload")
}

/// The QEMU command of L1, without the port to this program.
fn command(l1: &L1, job: &Job, name: &str) -> Result<(Command, PathBuf)> {
    let work = l1.logs.join("work").join(name);
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let extra = work.join("payload.cpio");
    payload(job, &extra)?;
    let initrd = work.join("initrd.img");
    let mut parts: Vec<&Path> = l1.images.iter().map(PathBuf::as_path).collect();
    parts.push(&extra);
    guest::join(&parts, &initrd)?;
    // Read once already; two copies of a hundred megabytes need not stay.
    let _ = fs::remove_file(&extra);
    let together = |group: &[Scenario]| group.iter().map(Scenario::host_memory).sum::<u32>();
    let largest = job.suite.groups().map(together).max();
    let memory = largest.unwrap_or(512) + OVERHEAD;
    let console = l1.logs.join(format!("{name}-console.log"));
    let mut command = qemu::command(&l1.root)?;
    // Without five-level paging each of the nested page walks is shorter.
    command
        .args([
            "-accel",
            "tcg,tb-size=512",
            "-cpu",
            "max,+svm,-la57",
            "-smp",
            "1",
        ])
        .args([
            "-M",
            "q35,sata=off,smbus=off,vmport=off",
            "-m",
            &format!("{memory}M"),
        ])
        .arg("-kernel")
        .arg(&l1.kernel)
        .arg("-initrd")
        .arg(&initrd)
        .args(["-append", "console=ttyS0 quiet panic=1", "-no-reboot"])
        .arg("-chardev")
        .arg(format!("file,id=console,path={}", console.display()))
        .args(["-serial", "chardev:console"])
        .args(["-device", "virtio-serial-pci"])
        .args(["-device", "virtserialport,chardev=out,nr=1"]);
    Ok((command, work))
}

/// Tells what went wrong with L1, with the end of its console.
fn trouble(l1: &L1, name: &str, qemu: &Process, what: &str) -> anyhow::Error {
    let console = guest::tail(&l1.logs.join(format!("{name}-console.log")), 15).join("\n    ");
    let words = qemu.complaints();
    anyhow::anyhow!(
        "{what}\n  QEMU: {}\n  console of L1:\n    {console}",
        words.trim()
    )
}

fn run_one(l1: &L1, job: &Job, name: &str, sink: &dyn Sink) -> Result<()> {
    let (mut command, work) = command(l1, job, name)?;
    // The input stays open though nothing is ever said: at its end QEMU would close the port.
    command
        .args(["-chardev", "stdio,id=out,signal=off"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let started = Instant::now();
    let mut qemu = Process::start(command, l1.logs.join(format!("{name}-qemu.log")))?;
    let end = follow(l1, job, name, &mut qemu, started, sink);
    if end.is_ok() {
        // Its job is done; whether it switches itself off in time changes no result.
        let _ = qemu.wait(job.seconds(OFF_TIMEOUT))?;
    }
    qemu.kill();
    let _ = fs::remove_dir_all(&work);
    end
}

/// A remark `mark WHAT` gets the milliseconds since L1's start, and how many of these it has waited for a
/// processor: what a guest measures between two marks is that much off, and only the machine outside can tell.
fn stamped(event: Event, started: Instant, pid: u32) -> Event {
    match event {
        Event::Note { scenario, text } if text.starts_with("mark ") => {
            let at = started.elapsed().as_millis();
            let waited = cpu::waited(pid).map_or_else(|_| "?".to_owned(), |ms| ms.to_string());
            let text = format!("{text} {at} {waited}");
            Event::Note { scenario, text }
        }
        event => event,
    }
}

/// Passes the events of L1 on until its job is done.
fn follow(
    l1: &L1,
    job: &Job,
    name: &str,
    qemu: &mut Process,
    started: Instant,
    sink: &dyn Sink,
) -> Result<()> {
    let out = qemu.take_stdout().context("L1 has no output")?;
    let (sender, lines) = mpsc::channel();
    // Ends with the pipe, which ends with QEMU.
    thread::spawn(move || {
        for line in BufReader::new(out).lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let boot_end = started + job.seconds(BOOT_TIMEOUT);
    let end = started + job.worst_case();
    let mut up = false;
    loop {
        stop::check()?;
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                if !up {
                    up = true;
                    let seconds = started.elapsed().as_secs_f64();
                    sink.send(Event::L1 { seconds })?;
                }
                match serde_json::from_str(&line) {
                    Ok(Event::Done) => return Ok(()),
                    Ok(event) => sink.send(stamped(event, started, qemu.pid()))?,
                    Err(_) => bail!("L1 sent what is no event: {line}"),
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(trouble(l1, name, qemu, "L1 ended before its job was done"));
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = Instant::now();
                if !up && now >= boot_end {
                    return Err(trouble(l1, name, qemu, "L1 did not come up in time"));
                }
                if now >= end {
                    return Err(trouble(l1, name, qemu, "L1 took too long for its job"));
                }
            }
        }
    }
}

/// Boots L1 and in it one guest whose console is this terminal.
///
/// # Errors
///
/// When L1 can't be started or ended badly.
pub(crate) fn shell(l1: &L1, job: &Job) -> Result<()> {
    let (mut command, work) = command(l1, job, "l1")?;
    command
        .args(["-chardev", "stdio,id=out,signal=off"])
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit());
    let terminal = Terminal::raw();
    let mut qemu = Process::start_in_foreground(command, l1.logs.join("l1-qemu.log"))?;
    let status = loop {
        if let Some(status) = qemu.wait(Duration::from_secs(1))? {
            break status;
        }
    };
    drop(terminal);
    let _ = fs::remove_dir_all(&work);
    if !status.success() {
        return Err(trouble(l1, "l1", &qemu, "L1 ended badly"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marks_are_stamped() {
        let stamp = |text: &str| {
            let (scenario, text) = ("s".to_owned(), text.to_owned());
            match stamped(
                Event::Note { scenario, text },
                Instant::now(),
                std::process::id(),
            ) {
                Event::Note { text, .. } => text,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(stamp("marked"), "marked");
        let words = stamp("mark 4k-read");
        let words: Vec<&str> = words.split(' ').collect();
        assert_eq!(words[..2], ["mark", "4k-read"]);
        assert!(
            words[2..].iter().all(|word| word.parse::<u64>().is_ok()),
            "{words:?}"
        );
        assert_eq!(words.len(), 4);
    }

    #[test]
    fn labs_share_the_scenarios_without_loss() {
        let text = r#"{"name": "s", "about": "", "scenarios": [
            {"name": "a", "about": "", "cases": [{"name": "x", "timeout": 400}]},
            {"name": "b", "about": "", "cases": [{"name": "x"}]},
            {"name": "c", "about": "", "cases": [{"name": "x"}]}]}"#;
        let job = Job::of(text);
        let names = |count| -> Vec<Vec<String>> {
            let part = |job: Job| job.suite.scenarios.into_iter().map(|s| s.name).collect();
            share(&job, count).into_iter().map(part).collect()
        };
        assert_eq!(names(1), [["a", "b", "c"]]);
        assert_eq!(names(2), [vec!["a"], vec!["b", "c"]]);
        assert_eq!(names(9).len(), 3);
    }
}
