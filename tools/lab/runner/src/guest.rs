// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One L2 guest: its QEMU, its control line, its console log.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::plan::{Job, Scenario, Stack};
use crate::qemu::{self, Qemu};
use crate::qmp::{self, Qmp};

/// Hyper-V's face as KVM can show it. `kvm=off` matters: a guest that sees KVM's own leaves
/// takes KVM and ignores Hyper-V. Without hv-time every clock read is an exit.
const HYPERV_CPU: &str = "host,kvm=off,hv-relaxed,hv-vpindex,hv-synic,hv-time,hv-stimer,\
                          hv-runtime,hv-vapic";
/// The same processor on bare KVM.
const BARE_CPU: &str = "host";
/// Keeps a built-in hv_vmbus from binding the ACPI device and from registering the bus.
const TAKE_BUS: &str = "initcall_blacklist=hv_acpi_init";
/// Files of a guest that are kept as logs.
pub(crate) const LOGS: [&str; 4] = ["console.log", "control.log", "trace.log", "qemu.log"];

/// What can happen to a guest.
#[derive(Debug)]
pub(crate) enum Happening {
    /// It said a line.
    Line(String),
    /// QEMU reported an event.
    Qmp(String),
}

/// A running guest; dropping it kills it.
pub(crate) struct Guest {
    /// Its QEMU.
    pub(crate) qemu: Qemu,
    /// Its host.
    pub(crate) qmp: Qmp,
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
    let always = "console=ttyS0 quiet panic=1 oops=panic sysrq_always_enabled";
    let mut words = vec![always.to_owned()];
    if job.interactive {
        // A person looks at this console and may want to survive a mistake.
        words = vec!["console=ttyS0 quiet".to_owned()];
    }
    if scenario.take_bus && job.stack == Stack::Rust {
        words.push(TAKE_BUS.to_owned());
    }
    words.push(match job.stack {
        Stack::Rust => "vmlab.stack=rust".to_owned(),
        Stack::C => "vmlab.stack=c".to_owned(),
    });
    if !scenario.append.is_empty() {
        words.push(scenario.append.clone());
    }
    words.join(" ")
}

/// Puts the parts of the initial RAM disk together; the kernel unpacks them one after another.
fn initrd(job: &Job, scenario: &Scenario, work: &Path) -> Result<PathBuf> {
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

/// The QEMU command of a guest, without its serial lines.
///
/// # Errors
///
/// When there is no QEMU or no image.
pub(crate) fn base_command(job: &Job, scenario: &Scenario, work: &Path) -> Result<Command> {
    fs::create_dir_all(work).with_context(|| format!("cannot make {}", work.display()))?;
    let mut command = qemu::command(&job.qemu_root)?;
    let cpu = if scenario.hyperv {
        HYPERV_CPU
    } else {
        BARE_CPU
    };
    let memory = match scenario.max_memory {
        Some(most) => format!("{}M,slots=4,maxmem={most}M", scenario.memory),
        None => format!("{}M", scenario.memory),
    };
    // disable_s4: hv-balloon won't balloon where ACPI offers hibernation.
    command
        .args(["-accel", "kvm", "-cpu", cpu])
        .args(["-M", "q35,sata=off,smbus=off,vmport=off"])
        .args(["-global", "ICH9-LPC.disable_s4=1"])
        .args(["-smp", &scenario.cpus.to_string()])
        .args(["-m", &memory])
        .arg("-kernel")
        .arg(&job.kernel)
        .arg("-initrd")
        .arg(initrd(job, scenario, work)?)
        .args(["-append", &command_line(job, scenario)]);
    command.args(&scenario.qemu);
    for device in &scenario.devices {
        command.args(["-device", device]);
    }
    Ok(command)
}

impl Guest {
    /// Starts a guest with its files in `work` and connects to it.
    ///
    /// # Errors
    ///
    /// When QEMU doesn't start; its own words are in the error.
    pub(crate) fn start(job: &Job, scenario: &Scenario, work: &Path) -> Result<Self> {
        let mut command = base_command(job, scenario, work)?;
        let socket = |name: &str| format!("path={},server=on,wait=off", work.join(name).display());
        command
            .arg("-chardev")
            .arg(format!(
                "socket,id=console,{},logfile={}",
                socket("console"),
                work.join("console.log").display()
            ))
            .args(["-serial", "chardev:console"])
            .arg("-chardev")
            .arg(format!("socket,id=control,{}", socket("control")))
            .args(["-serial", "chardev:control"])
            .arg("-chardev")
            .arg(format!("socket,id=qmp,{}", socket("qmp")))
            .args(["-mon", "chardev=qmp,mode=control"])
            .args(["-d", "trace:hv_balloon_*,trace:vmbus_*"])
            .arg("-D")
            .arg(work.join("trace.log"));
        qemu::silent(&mut command);
        let started = Instant::now();
        let mut qemu = Qemu::start(command, work.join("qemu.log"))?;
        let connected = Self::connect(work, job.seconds(30));
        let (control, qmp, happenings) = match connected {
            Ok(all) => all,
            Err(error) => {
                qemu.kill();
                let words = qemu.complaints();
                return Err(error.context(format!("QEMU said: {}", words.trim())));
            }
        };
        let log = work.join("control.log");
        Ok(Self {
            qemu,
            qmp,
            happenings,
            started,
            work: work.to_path_buf(),
            control,
            control_log: File::create(&log)
                .with_context(|| format!("cannot make {}", log.display()))?,
        })
    }

    fn connect(work: &Path, limit: Duration) -> Result<(UnixStream, Qmp, Receiver<Happening>)> {
        let control = qmp::connect(&work.join("control"), limit)?;
        let (sender, happenings) = mpsc::channel();
        let reader = control.try_clone().context("control socket")?;
        let lines: Sender<Happening> = sender.clone();
        // Both threads end with their socket, which ends with QEMU.
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
        let qmp = Qmp::open(&work.join("qmp"), limit, move |name| {
            // Nobody listens any more once the guest is being put away.
            let _ = sender.send(Happening::Qmp(name));
        })?;
        Ok((control, qmp, happenings))
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
    /// When its QEMU is gone or does not answer.
    pub(crate) fn explain(&mut self, pause: Duration) -> Result<()> {
        let mut console = UnixStream::connect(self.work.join("console"))?;
        for key in [b"w", b"l"] {
            let argument = serde_json::json!({ "id": "console" });
            self.qmp.execute("chardev-send-break", argument)?;
            console.write_all(key)?;
            thread::sleep(pause);
        }
        Ok(())
    }

    /// The last lines of its console.
    pub(crate) fn console_tail(&self, lines: usize) -> Vec<String> {
        tail(&self.work.join("console.log"), lines)
    }
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
