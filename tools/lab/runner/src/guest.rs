// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One L2 guest: its VMM, its control line, its console log.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use serde_json::json;

use crate::files;
use crate::hvhost;
use crate::job::Job;
use crate::lines;
use crate::net::Taps;
use crate::plan::{Scenario, Stack, Vmm};
use crate::process::{self, Process};
use crate::qemu;
use crate::qmp::Qmp;

/// Keeps a built-in hv_vmbus from binding the ACPI device and from registering the bus.
const TAKE_BUS: &str = "initcall_blacklist=hv_acpi_init";
/// What the guest printed on its console.
const CONSOLE_LOG: &str = "console.log";

/// What the VMM says of itself.
const TRACE_LOG: &str = "trace.log";

/// Most lines in which hvhost tells where a guest's processors were.
const LOCATIONS: usize = 16;

/// What can happen to a guest.
#[derive(Debug)]
pub(crate) enum Happening {
    /// It said a line.
    Line(String),
    /// Its VMM reported an event.
    Event(String),
}

/// A running guest; dropping it kills it.
pub(crate) struct Guest {
    /// Its VMM.
    pub(crate) vmm: Process,
    /// How that is talked to.
    pub(crate) host: Host,
    /// What happens to it.
    pub(crate) happenings: Receiver<Happening>,
    /// When it was started.
    pub(crate) started: Instant,
    work: PathBuf,
    control: UnixStream,
    control_log: File,
}

/// The kernel command line of a guest.
pub(crate) fn command_line(job: &Job, scenario: &Scenario) -> String {
    // A timer with high resolution for each turn of the scheduler, as Linux 7.3 has it, is several exits:
    // four nested CPUs on one can do nothing else then, for minutes.
    let always = "console=ttyS0 quiet panic=1 oops=panic sysrq_always_enabled highres=off";
    let mut words = vec![always.to_owned()];
    if job.interactive {
        // A person looks at this console and may want to survive a mistake.
        words = vec!["console=ttyS0 quiet".to_owned()];
    }
    let stack = job.stack_of(scenario);
    if scenario.take_bus && stack == Stack::Rust {
        words.push(TAKE_BUS.to_owned());
    }
    words.push(match stack {
        Stack::Rust => "vmlab.stack=rust".to_owned(),
        Stack::C => "vmlab.stack=c".to_owned(),
    });
    if !scenario.append.is_empty() {
        words.push(scenario.append.clone());
    }
    words.join(" ")
}

/// Puts the parts of the initial RAM disk together; the kernel unpacks them one after another.
///
/// # Errors
///
/// When a part is missing or can't be read.
pub(crate) fn initrd(job: &Job, scenario: &Scenario, work: &Path) -> Result<PathBuf> {
    let parts = job.image_parts(scenario)?;
    if let [only] = parts.as_slice() {
        return Ok(only.to_path_buf());
    }
    let path = work.join("initrd.img");
    join(&parts, &path)?;
    Ok(path)
}

/// Writes files one after another into one, each on a four-byte boundary as cpio wants it.
///
/// # Errors
///
/// When one can't be read or the result can't be written.
pub(crate) fn join(parts: &[&Path], path: &Path) -> Result<()> {
    let mut out = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    for part in parts {
        let mut file =
            File::open(part).with_context(|| format!("cannot read {}", part.display()))?;
        let length = std::io::copy(&mut file, &mut out)
            .with_context(|| format!("cannot copy {}", part.display()))?;
        let padding = [0u8; 4];
        out.write_all(&padding[..(length.wrapping_neg() & 3) as usize])?;
    }
    Ok(())
}

/// The command of a guest's VMM, without its serial lines.
///
/// # Errors
///
/// When there is no such VMM or no image.
pub(crate) fn base_command(job: &Job, scenario: &Scenario, work: &Path) -> Result<Command> {
    match scenario.vmm {
        Vmm::Qemu => qemu::guest_command(job, scenario, work),
        Vmm::Hvhost => hvhost::guest_command(job, scenario, work),
    }
}

/// What a guest finds on its host's side: made once, it stays while the guest boots again.
pub(crate) struct Surroundings {
    work: PathBuf,
    _taps: Taps,
}

impl Surroundings {
    /// Makes the directory `work`, in it the files of the disks, and the taps.
    ///
    /// # Errors
    ///
    /// When one of them can't be made.
    pub(crate) fn make(job: &Job, scenario: &Scenario, work: &Path) -> Result<Self> {
        fs::create_dir_all(work).with_context(|| format!("cannot make {}", work.display()))?;
        files::make(job, scenario, work)?;
        Ok(Self {
            work: work.to_path_buf(),
            _taps: Taps::make(&job.root, &scenario.taps)?,
        })
    }

    /// Directory of the VMM.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }
}

/// How its VMM is talked to.
pub(crate) enum Host {
    /// QEMU.
    Qemu(Qmp),
    /// tools/host.
    Hvhost(hvhost::Control),
}

impl Host {
    fn open(
        vmm: Vmm,
        work: &Path,
        limit: Duration,
        on_event: impl Fn(String) + Send + 'static,
    ) -> Result<Self> {
        let path = work.join("monitor");
        Ok(match vmm {
            Vmm::Qemu => Self::Qemu(Qmp::open(&path, limit, on_event)?),
            Vmm::Hvhost => Self::Hvhost(hvhost::Control::open(&path, limit, on_event)?),
        })
    }

    /// QEMU.
    ///
    /// # Errors
    ///
    /// When it isn't.
    pub(crate) fn qemu(&mut self) -> Result<&mut Qmp> {
        match self {
            Self::Qemu(qmp) => Ok(qmp),
            Self::Hvhost(_) => bail!("this guest runs on hvhost, which can't do that"),
        }
    }

    /// hvhost.
    ///
    /// # Errors
    ///
    /// When it isn't.
    pub(crate) fn hvhost(&mut self) -> Result<&mut hvhost::Control> {
        match self {
            Self::Hvhost(control) => Ok(control),
            Self::Qemu(_) => bail!("this guest runs on QEMU, which can't do that"),
        }
    }
}

/// Adds the serial lines and the control channel to a QEMU command.
fn qemu_lines(command: &mut Command, work: &Path) {
    let socket = |name: &str| format!("path={},server=on,wait=off", work.join(name).display());
    command
        .arg("-chardev")
        .arg(format!(
            "socket,id=console,{},logfile={}",
            socket("console"),
            work.join(CONSOLE_LOG).display()
        ))
        .args(["-serial", "chardev:console"])
        .arg("-chardev")
        .arg(format!("socket,id=control,{}", socket("control")))
        .args(["-serial", "chardev:control"])
        .arg("-chardev")
        .arg(format!("socket,id=monitor,{}", socket("monitor")))
        .args(["-mon", "chardev=monitor,mode=control"])
        .args(["-d", "trace:hv_balloon_*,trace:vmbus_*"])
        .arg("-D")
        .arg(work.join(TRACE_LOG));
}

/// Adds the serial lines and the control channel to an hvhost command.
fn hvhost_lines(command: &mut Command, work: &Path) {
    let in_work = |name: &str| work.join(name).display().to_string();
    command
        .arg("--console")
        .arg(format!(
            "unix:{},log={}",
            in_work("console"),
            in_work(CONSOLE_LOG)
        ))
        .arg("--serial2")
        .arg(format!("unix:{}", in_work("control")))
        .args(["--control", &in_work("monitor")])
        .args(["--log", "warn,hvhost::machine::vcpu=info"])
        .args(["--log-file", &in_work(TRACE_LOG)]);
}

impl Guest {
    /// Starts a guest in its surroundings and connects to it. What an earlier start left there as
    /// logs is kept beside the new ones.
    ///
    /// # Errors
    ///
    /// When the VMM doesn't start; its own words are in the error.
    pub(crate) fn start(job: &Job, scenario: &Scenario, around: &Surroundings) -> Result<Self> {
        let work = around.work();
        let _ = fs::remove_file(work.join("control"));
        let _ = fs::remove_file(work.join("monitor"));
        set_aside_logs(work)?;
        let mut command = base_command(job, scenario, work)?;
        match scenario.vmm {
            Vmm::Qemu => qemu_lines(&mut command, work),
            Vmm::Hvhost => hvhost_lines(&mut command, work),
        }
        process::silent(&mut command);
        let started = Instant::now();
        let mut vmm = Process::start(command, work.join("vmm.log"))?;
        let connected = Self::connect(scenario.vmm, work, &mut vmm, job.seconds(30));
        let (control, host, happenings) = match connected {
            Ok(all) => all,
            Err(error) => {
                // One that is about to end may still say why.
                let _ = vmm.wait(Duration::from_secs(2))?;
                vmm.kill();
                let words = vmm.complaints();
                return Err(error.context(format!("the VMM said: {}", words.trim())));
            }
        };
        let log = work.join("control.log");
        Ok(Self {
            vmm,
            host,
            happenings,
            started,
            work: work.to_path_buf(),
            control,
            control_log: File::create(&log)
                .with_context(|| format!("cannot make {}", log.display()))?,
        })
    }

    /// Connects again to a VMM that has closed everything and started over, as the same process.
    ///
    /// # Errors
    ///
    /// When it doesn't listen again in time.
    pub(crate) fn reconnect(&mut self, vmm: Vmm, limit: Duration) -> Result<()> {
        let connected = Self::connect(vmm, &self.work, &mut self.vmm, limit)?;
        (self.control, self.host, self.happenings) = connected;
        Ok(())
    }

    fn connect(
        vmm: Vmm,
        work: &Path,
        process: &mut Process,
        limit: Duration,
    ) -> Result<(UnixStream, Host, Receiver<Happening>)> {
        let control = lines::connect(&work.join("control"), limit, || match process.ended()? {
            Some(status) => bail!("it ended at once ({status})"),
            None => Ok(()),
        })?;
        let (sender, happenings) = mpsc::channel();
        let reader = control.try_clone().context("control line")?;
        let lines: Sender<Happening> = sender.clone();
        // Both threads end with their socket, which ends with the VMM.
        thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                let text = String::from_utf8_lossy(&line).into_owned();
                line.clear();
                if lines.send(Happening::Line(text)).is_err() {
                    break;
                }
            }
        });
        let host = Host::open(vmm, work, limit, move |name| {
            // Nobody listens any more once the guest is being put away.
            let _ = sender.send(Happening::Event(name));
        })?;
        Ok((control, host, happenings))
    }

    /// Says a line to the guest.
    ///
    /// # Errors
    ///
    /// When its QEMU is gone.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        self.note_control('<', line);
        self.control
            .write_all(format!("{line}\n").as_bytes())
            .context("write to the guest's control line")
    }

    /// Keeps a line of the control traffic: `>` is the guest, `<` the runner.
    pub(crate) fn note_control(&mut self, direction: char, line: &str) {
        let at = self.started.elapsed().as_secs_f64();
        // A log line that can't be written is no reason to fail a test.
        let _ = writeln!(self.control_log, "{at:9.3} {direction} {}", line.trim_end());
    }

    /// Has a guest that hangs say on its console what its tasks wait for and what its CPUs do:
    /// break on a serial console is Linux's SysRq key.
    ///
    /// # Errors
    ///
    /// When its VMM is gone or does not answer.
    pub(crate) fn explain(&mut self, pause: Duration) -> Result<()> {
        for key in ["w", "l"] {
            match &mut self.host {
                Host::Qemu(qmp) => {
                    let mut console = UnixStream::connect(self.work.join("console"))?;
                    qmp.execute("chardev-send-break", json!({ "id": "console" }))?;
                    console.write_all(key.as_bytes())?;
                    thread::sleep(pause);
                }
                Host::Hvhost(control) => {
                    control.execute(json!({ "command": "sysrq", "key": key }))?;
                    thread::sleep(pause);
                }
            }
        }
        Ok(())
    }

    /// Ends a guest that hangs and tells where its processors were, if its VMM can say so: what it said
    /// on its console is of no use when it doesn't take interrupts any more.
    pub(crate) fn end_and_locate(&mut self, limit: Duration) -> Vec<String> {
        let Host::Hvhost(control) = &mut self.host else {
            return Vec::new();
        };
        // It may be past answering, too; then there is nothing to tell.
        let _ = control.execute(json!({ "command": "quit" }));
        let _ = self.vmm.wait(limit);
        tail(&self.work.join(TRACE_LOG), LOCATIONS)
            .into_iter()
            .filter(|line| line.contains("stopped at"))
            .collect()
    }

    /// Keeps hvhost's counters in the log, for whoever wants to know why a case failed. A host
    /// that is gone has none.
    pub(crate) fn note_stats(&mut self) {
        let Host::Hvhost(control) = &mut self.host else {
            return;
        };
        if let Ok(stats) = control.execute(json!({ "command": "stats" })) {
            self.note_control('!', &stats.to_string());
        }
    }

    /// The last lines of its console.
    pub(crate) fn console_tail(&self, lines: usize) -> Vec<String> {
        tail(&self.work.join(CONSOLE_LOG), lines)
    }
}

/// The logs in a guest's directory, with their names.
pub(crate) fn logs(work: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(work).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, _)| name.ends_with(".log"))
        .collect();
    found.sort();
    found
}

/// Renames the logs of the boot before, `console.log` to `console-1.log` and so on.
fn set_aside_logs(work: &Path) -> Result<()> {
    let number = logs(work)
        .iter()
        .filter(|(name, _)| name.starts_with("console"))
        .count();
    for (name, path) in logs(work) {
        let stem = name.trim_end_matches(".log");
        // Set aside already.
        if stem.contains('-') {
            continue;
        }
        let aside = work.join(format!("{stem}-{number}.log"));
        fs::rename(&path, &aside).with_context(|| format!("cannot make {}", aside.display()))?;
    }
    Ok(())
}

/// The last lines of a file that may hold bytes that are no text.
pub(crate) fn tail(path: &Path, lines: usize) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.iter()
        .skip(all.len().saturating_sub(lines))
        .map(|line| line.trim_end().to_owned())
        .collect()
}
