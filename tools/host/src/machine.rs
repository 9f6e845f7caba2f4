// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The virtual machine: KVM, memory, boot, ACPI, serial lines, processors.
//!
//! A kernel is booted directly: no firmware, no PCI. To the guest this is Hyper-V: CPUID and most
//! registers are KVM's work, message slots, event flags and the hypercalls of the VMBus are
//! ([`crate::hypervisor::Hypervisor`]) ours.

mod acpi;
mod boot;
mod cmos;
mod cpuid;
mod hypercall;
mod kick;
mod kvm;
mod layout;
mod outcome;
mod partition;
mod ports;
mod serial;
mod synic;
mod vcpu;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::{ensure, Context, Result};
use serde_json::{json, Value};

use crate::hypervisor::{Hypervisor, MessageSink};
use crate::memory::GuestMemory;
use outcome::Outcome;
pub use outcome::{Exit, PanicInfo};
use partition::Partition;
use ports::{Ports, SERIAL};
pub use serial::{SerialConfig, SerialPort};
use vcpu::{Exits, Vcpu};

/// Most processors a machine has.
pub const MAX_PROCESSORS: u32 = 8;

/// How the guest's synthetic timers tell that they have expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StimerMode {
    /// By an interrupt, as newer hosts can.
    #[default]
    Direct,
    /// By a message in the slot that VMBus messages use, too.
    Message,
}

/// What machine to make.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// A bzImage.
    pub kernel: PathBuf,
    /// Its initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Its command line.
    pub command_line: String,
    /// Processors, 1 to [`MAX_PROCESSORS`].
    pub processors: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// The first serial line, 0x3f8.
    pub console: SerialConfig,
    /// The second serial line, 0x2f8.
    pub serial2: SerialConfig,
    /// Kind of synthetic timers.
    pub stimer: StimerMode,
    /// Whether a panic that the guest reports ends the machine; otherwise it goes on, to restart
    /// or to dump itself.
    pub exit_on_panic: bool,
}

impl MachineConfig {
    /// A machine of one processor and 1 GiB, without a console.
    pub fn new(kernel: impl Into<PathBuf>) -> Self {
        Self {
            kernel: kernel.into(),
            initrd: None,
            command_line: String::new(),
            processors: 1,
            memory: 1 << 30,
            console: SerialConfig::Null,
            serial2: SerialConfig::Null,
            stimer: StimerMode::Direct,
            exit_on_panic: true,
        }
    }
}

/// A machine, before it runs and while it does.
pub struct Machine {
    // Processors first: they go before what they refer to.
    vcpus: Vec<Vcpu>,
    partition: Arc<Partition>,
    memory: GuestMemory,
    ports: Arc<Ports>,
    outcome: Arc<Outcome>,
    stats: Arc<MachineStats>,
}

/// Ends a machine from any thread.
#[derive(Clone)]
pub struct Stopper {
    outcome: Arc<Outcome>,
}

impl Stopper {
    /// Ends it: [`Machine::run`] answers [`Exit::Killed`], or what it ended with before.
    pub fn stop(&self) {
        self.outcome.decide(Exit::Killed);
    }
}

/// What a machine has done so far.
pub struct MachineStats {
    exits: Vec<Arc<Exits>>,
    partition: Arc<Partition>,
    ports: Arc<Ports>,
}

impl MachineStats {
    /// All counters, by processor and serial line.
    pub fn snapshot(&self) -> Value {
        let processors: Vec<Value> = (0..)
            .zip(&self.exits)
            .map(|(index, exits)| {
                json!({
                    "exits": exits.snapshot(),
                    "synic": self.partition.counters(index),
                })
            })
            .collect();
        let serial: Vec<Value> = self.ports.serial.iter().map(|line| line.stats()).collect();
        json!({ "processors": processors, "serial": serial })
    }
}

impl Machine {
    /// Makes a machine that is ready to run: everything that can be refused is refused here.
    ///
    /// # Errors
    ///
    /// A line for the person who started this.
    pub fn new(config: MachineConfig) -> Result<Self> {
        let processors = config.processors;
        ensure!(
            (1..=MAX_PROCESSORS).contains(&processors),
            "a guest has 1 to {MAX_PROCESSORS} processors, not {processors}"
        );
        let outcome = Arc::new(Outcome::default());
        let ports = Arc::new(Ports::new(
            [
                SerialPort::new(&config.console).context("console")?,
                SerialPort::new(&config.serial2).context("second serial line")?,
            ],
            Arc::clone(&outcome),
        ));
        let map = layout::allocate(config.memory)?;
        let rsdp = acpi::write(&map, processors, config.memory)?;
        let entry = boot::load(
            &map,
            &boot::Boot {
                kernel: &config.kernel,
                initrd: config.initrd.as_deref(),
                command_line: &config.command_line,
                memory: config.memory,
                rsdp,
            },
        )?;
        let kvm = kvm::open()?;
        let vm = kvm::create(&kvm, &map, processors)?;
        for (line, (_, gsi)) in ports.serial.iter().zip(SERIAL) {
            vm.register_irqfd(line.interrupt(), gsi)
                .context("KVM takes no serial interrupt")?;
        }
        let template = cpuid::Template::new(&kvm, processors, config.stimer)?;
        let memory = GuestMemory::new(map);
        let partition = Arc::new(Partition::new(vm, memory.clone(), processors));
        let mut vcpus = Vec::new();
        for index in 0..processors {
            let fd = partition
                .vm()
                .create_vcpu(index.into())
                .with_context(|| format!("KVM makes no processor {index}"))?;
            fd.set_cpuid2(&template.processor(index)?)
                .context("KVM takes no CPUID")?;
            kvm::enable_synic(&fd)?;
            boot::firmware_msrs(&fd)?;
            vcpu::offer_crash_registers(&fd)?;
            if index == 0 {
                boot::enter(&fd, entry)?;
            }
            vcpus.push(Vcpu {
                index,
                fd,
                partition: Arc::clone(&partition),
                ports: Arc::clone(&ports),
                outcome: Arc::clone(&outcome),
                exits: Arc::default(),
                exit_on_panic: config.exit_on_panic,
            });
        }
        let stats = Arc::new(MachineStats {
            exits: vcpus.iter().map(|vcpu| Arc::clone(&vcpu.exits)).collect(),
            partition: Arc::clone(&partition),
            ports: Arc::clone(&ports),
        });
        Ok(Self {
            vcpus,
            partition,
            memory,
            ports,
            outcome,
            stats,
        })
    }

    /// The guest's memory.
    pub fn memory(&self) -> GuestMemory {
        self.memory.clone()
    }

    /// What the VMBus needs of the machine.
    pub fn hypervisor(&self) -> Arc<dyn Hypervisor> {
        Arc::clone(&self.partition) as _
    }

    /// Its counters.
    pub fn stats(&self) -> Arc<MachineStats> {
        Arc::clone(&self.stats)
    }

    /// The first serial line, for input from elsewhere than its other end (SysRq).
    pub fn console(&self) -> Arc<SerialPort> {
        let [console, _] = &self.ports.serial;
        Arc::clone(console)
    }

    /// What ends it from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            outcome: Arc::clone(&self.outcome),
        }
    }

    /// Runs the guest until its end; all its processors have stopped then, and the bus has been
    /// told to let go of the guest.
    ///
    /// # Errors
    ///
    /// When there can be no threads for it.
    pub fn run(self, sink: Arc<dyn MessageSink>) -> Result<Exit> {
        for line in &self.ports.serial {
            let stopper = self.stopper();
            line.start(move || stopper.stop())?;
        }
        let outcome = Arc::clone(&self.outcome);
        let partition = Arc::clone(&self.partition);
        let exit = thread::scope(|scope| -> Result<Exit> {
            let started = (|| {
                thread::Builder::new()
                    .name("retry".into())
                    .spawn_scoped(scope, || partition.retries())?;
                for vcpu in self.vcpus {
                    let sink = Arc::clone(&sink);
                    thread::Builder::new()
                        .name(format!("vcpu{}", vcpu.index))
                        .spawn_scoped(scope, move || vcpu.run(&*sink))?;
                }
                std::io::Result::Ok(())
            })();
            if started.is_err() {
                outcome.decide(Exit::Killed);
            }
            let exit = outcome.wait();
            partition.kick_all();
            partition.stop_retries();
            started.context("cannot start a thread for a processor")?;
            Ok(exit)
        })?;
        sink.reset();
        for line in &self.ports.serial {
            line.stop();
        }
        Ok(exit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_machines_are_refused_before_anything_starts() {
        let config = MachineConfig::new("/nonexistent/vmlinuz");
        let says = |config: MachineConfig, what: &str| {
            let error = format!("{:#}", Machine::new(config).err().unwrap());
            assert!(error.contains(what), "{error}");
        };
        says(config.clone(), "/nonexistent/vmlinuz");
        for processors in [0, 9] {
            let config = config.clone();
            says(
                MachineConfig {
                    processors,
                    ..config
                },
                "processors",
            );
        }
        says(
            MachineConfig {
                memory: 1 << 20,
                ..config
            },
            "memory",
        );
    }
}
