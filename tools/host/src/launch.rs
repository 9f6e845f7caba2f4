// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From a command line to a guest and to its end: what `main` does.

use std::sync::Arc;

use anyhow::Context;
use serde_json::{json, Value};

use crate::args::{Args, OnReboot, Stimer};
use crate::control::commands::{self, Commands};
use crate::control::server::{Counters, Server, Socket};
use crate::machine::{Exit, Machine, MachineConfig, MachineStats, SerialPort, StimerMode, Stopper};
use crate::services;
use crate::vmbus::bus::{Bus, BusConfig};

mod checks;
mod devices;
mod log;
mod signals;

use devices::Devices;

/// How a guest came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It switched itself off.
    PowerOff,
    /// It wants to boot again.
    Reboot,
    /// It wants to boot again, and shall.
    Restart,
    /// Its kernel panicked.
    Panic,
    /// A signal, `quit`, or somebody at the console.
    Killed,
    /// hvhost or KVM failed.
    Failed,
}

/// Exit status when the guest could not be started.
pub const NOT_STARTED: u8 = 1;
/// Exit status for wrong usage.
pub const USAGE: u8 = 2;
const KILLED: u8 = 30;

impl Ending {
    /// hvhost's exit status for it.
    pub fn status(self) -> u8 {
        match self {
            Self::PowerOff => 0,
            Self::Reboot | Self::Restart => 10,
            Self::Panic => 20,
            Self::Killed => KILLED,
            Self::Failed => 70,
        }
    }
}

/// Has hvhost end with its status for failures when a thread panics that the guest can't do
/// without. A device's thread isn't one: the bus catches its panic, and that device is dead.
pub fn end_with_vital_threads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        if is_vital(std::thread::current().name()) {
            std::process::exit(Ending::Failed.status().into());
        }
    }));
}

fn is_vital(thread: Option<&str>) -> bool {
    thread.is_some_and(|name| {
        ["main", "vmbus", "retry"].contains(&name)
            || name
                .strip_prefix("vcpu")
                .is_some_and(|index| index.parse::<u32>().is_ok())
    })
}

/// Starts a guest and stays until its end.
///
/// # Errors
///
/// Why it could not be started, for one line; nothing is left behind then.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    // Before any thread is there.
    signals::hold()?;
    log::start(&args.log, args.log_file.as_deref())?;
    checks::check(args)?;
    let control = args.control.as_deref().map(Socket::bind).transpose()?;
    let devices = Devices::new(args)?;
    let machine = Machine::new(config(args))?;
    let bus = Bus::new(
        machine.hypervisor(),
        machine.memory(),
        BusConfig {
            max_version: args.vmbus_version,
            monitor: args.monitor,
        },
    );
    let devices = devices.plug(bus.clone())?;
    if !args.no_services {
        for service in services::all(&machine.hypervisor()) {
            bus.add(service)?;
        }
    }
    let handle = Arc::new(Handle {
        stopper: machine.stopper(),
        console: machine.console(),
        stats: machine.stats(),
    });
    let server = match control {
        Some(socket) => {
            let counters = Arc::new(Counters::default());
            let commands = Commands::new(bus.clone(), handle, devices, counters.clone());
            let events = bus.events().clone();
            let server = Server::start(socket, Arc::new(commands), events, counters);
            Some(server.context("control socket")?)
        }
        None => None,
    };
    let stopper = machine.stopper();
    signals::watch(KILLED.into(), move || stopper.stop())?;

    bus.events().emit("started", Value::Null);
    let exit = machine.run(bus.clone());
    let ending = match &exit {
        Ok(Exit::PowerOff) => Ending::PowerOff,
        Ok(Exit::Reboot) if args.on_reboot == OnReboot::Restart => Ending::Restart,
        Ok(Exit::Reboot) => Ending::Reboot,
        Ok(Exit::Panic(_)) => Ending::Panic,
        Ok(Exit::Killed) => Ending::Killed,
        Ok(Exit::Failed(_)) | Err(_) => Ending::Failed,
    };
    let words = match &exit {
        Ok(exit) => exit.to_string(),
        Err(error) => format!("failed: {error:#}"),
    };
    match ending {
        Ending::Failed => tracing::error!("the guest's end: {words}"),
        Ending::Panic => tracing::warn!("the guest's end: {words}"),
        _ => tracing::info!("the guest's end: {words}"),
    }
    bus.events().emit(
        "ended",
        json!({ "how": words, "status": ending.status(), "restart": ending == Ending::Restart }),
    );
    if let Some(server) = server {
        server.stop();
    }
    Ok(ending)
}

fn config(args: &Args) -> MachineConfig {
    MachineConfig {
        kernel: args.kernel.clone(),
        initrd: args.initrd.clone(),
        command_line: args.cmdline.clone(),
        processors: args.cpus.into(),
        memory: args.mem.0,
        console: args.console.clone(),
        serial2: args.serial2.clone(),
        stimer: match args.stimer {
            Stimer::Direct => StimerMode::Direct,
            Stimer::Message => StimerMode::Message,
        },
        exit_on_panic: true,
    }
}

/// Executes this very program once more, with the same words.
///
/// # Errors
///
/// When that fails; otherwise it doesn't return.
pub fn restart() -> anyhow::Error {
    use std::os::unix::process::CommandExt;
    signals::release();
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    // The file that runs, whatever has become of its name.
    let error = std::process::Command::new("/proc/self/exe")
        .arg0(name)
        .args(words)
        .exec();
    anyhow::Error::new(error).context("can't start again")
}

/// The machine as the control socket sees it.
struct Handle {
    stopper: Stopper,
    console: Arc<SerialPort>,
    stats: Arc<MachineStats>,
}

impl commands::Machine for Handle {
    fn quit(&self) {
        self.stopper.stop();
    }

    fn send_break(&self, key: Option<u8>) -> anyhow::Result<()> {
        match key {
            Some(key) => self.console.sysrq(key),
            None => self.console.send_break(),
        }
        Ok(())
    }

    fn stats(&self) -> Value {
        self.stats.snapshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_status() {
        for (ending, status) in [
            (Ending::PowerOff, 0),
            (Ending::Reboot, 10),
            (Ending::Panic, 20),
            (Ending::Killed, 30),
            (Ending::Failed, 70),
        ] {
            assert_eq!(ending.status(), status);
        }
    }

    #[test]
    fn a_guest_can_do_without_a_device() {
        for name in ["main", "vcpu0", "vcpu7", "vmbus", "retry"] {
            assert!(is_vital(Some(name)), "{name}");
        }
        for name in ["net0.1", "control-client", "serial", "vcpus"] {
            assert!(!is_vital(Some(name)), "{name}");
        }
        assert!(!is_vital(None));
    }
}
