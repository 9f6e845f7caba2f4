// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One virtual processor's thread: runs the guest, and does what the guest left for.

use std::sync::Arc;

use anyhow::{ensure, Context, Result};
use kvm_bindings::{
    kvm_msr_entry, Msrs, KVM_EXIT_HYPERV_HCALL, KVM_EXIT_HYPERV_SYNIC, KVM_MP_STATE_HALTED,
    KVM_MP_STATE_RUNNABLE, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET,
    KVM_SYSTEM_EVENT_SHUTDOWN,
};
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::hypercall::Status;
use super::kvm::MSR_EOM;
use super::outcome::{Exit, Outcome, PanicInfo};
use super::partition::Partition;
use super::ports::Ports;
use super::synic::Registers;
use crate::hypervisor::MessageSink;

/// HV_X64_MSR_CRASH_P0; five of them.
const MSR_CRASH_P0: u32 = 0x4000_0100;
/// HV_X64_MSR_CRASH_CTL.
const MSR_CRASH_CTL: u32 = 0x4000_0105;
const CRASH_NOTIFY: u64 = 1 << 63;

crate::counters! {
    /// Why the guest was left.
    pub(super) struct Exits {
        /// Port reads.
        io_in,
        /// Port writes.
        io_out,
        /// Reads of what isn't memory.
        mmio_read,
        /// Writes to what isn't memory.
        mmio_write,
        /// Hypercalls.
        hypercall,
        /// Writes to registers of the synthetic interrupt controller.
        synic,
        /// Writes to MSRs.
        msr,
        /// Signals: somebody here has work for the processor.
        signal,
        /// Halts that KVM didn't keep.
        halt,
        /// Anything else.
        other,
    }
}

/// All that a processor's thread needs.
pub(super) struct Vcpu {
    pub(super) index: u32,
    pub(super) fd: VcpuFd,
    pub(super) partition: Arc<Partition>,
    pub(super) ports: Arc<Ports>,
    pub(super) outcome: Arc<Outcome>,
    pub(super) exits: Arc<Exits>,
    /// Whether a panic that the guest reports ends the machine.
    pub(super) exit_on_panic: bool,
}

/// What an exit asks for once its borrow of the processor is over.
enum Next {
    Guest,
    Hyperv,
    Crash,
    EndOfMessage(u64),
    End(Exit),
}

impl Vcpu {
    /// Runs the processor until the machine ends.
    pub(super) fn run(mut self, sink: &dyn MessageSink) {
        if let Err(error) = self.guest(sink) {
            let what = format!("processor {}: {error:#}", self.index);
            self.outcome.decide(Exit::Failed(what));
        }
    }

    fn guest(&mut self, sink: &dyn MessageSink) -> Result<()> {
        let partition = Arc::clone(&self.partition);
        let vp = partition.vp(self.index).context("no such processor")?;
        let _registration = vp.kicker.register(&self.fd).context("signal mask")?;
        // Whoever kicks from here on finds the thread or is seen by the first look.
        while !self.outcome.decided() {
            partition.deliver(self.index);
            match self.once() {
                Ok(Next::Guest) => {}
                Ok(Next::Hyperv) => self.hyperv(sink),
                Ok(Next::Crash) => self.crashed()?,
                Ok(Next::EndOfMessage(data)) => self.end_of_message(data)?,
                Ok(Next::End(exit)) => self.outcome.decide(exit),
                Err(error) => match error.errno() {
                    libc::EINTR => {
                        self.exits.signal.inc();
                        vp.kicker.taken();
                    }
                    libc::EAGAIN => {}
                    _ => return Err(error).context("KVM doesn't run it"),
                },
            }
        }
        self.tell_where();
        Ok(())
    }

    /// Where it was when the machine ended: for a guest that hung.
    fn tell_where(&self) {
        if let (Ok(regs), Ok(sregs)) = (self.fd.get_regs(), self.fd.get_sregs()) {
            tracing::info!(
                "processor {} stopped at {:#x}:{:#x}, sp {:#x}, flags {:#x}, cr0 {:#x}, cr3 {:#x}, {}",
                self.index,
                sregs.cs.selector,
                regs.rip,
                regs.rsp,
                regs.rflags,
                sregs.cr0,
                sregs.cr3,
                match self.fd.get_mp_state() {
                    Ok(state) if state.mp_state == KVM_MP_STATE_RUNNABLE => "running",
                    Ok(state) if state.mp_state == KVM_MP_STATE_HALTED => "halted",
                    _ => "waiting to be started",
                }
            );
        }
    }

    /// Runs the guest until its next exit.
    fn once(&mut self) -> Result<Next, kvm_ioctls::Error> {
        let exits = &self.exits;
        let next = match self.fd.run()? {
            VcpuExit::IoIn(port, data) => {
                exits.io_in.inc();
                self.ports.read(port, data);
                Next::Guest
            }
            VcpuExit::IoOut(port, data) => {
                exits.io_out.inc();
                self.ports.write(port, data);
                Next::Guest
            }
            VcpuExit::MmioRead(address, data) => {
                exits.mmio_read.inc();
                tracing::trace!("read of {} bytes at {address:#x}", data.len());
                data.fill(0xff);
                Next::Guest
            }
            VcpuExit::MmioWrite(address, data) => {
                exits.mmio_write.inc();
                tracing::trace!("write of {data:x?} at {address:#x}");
                Next::Guest
            }
            VcpuExit::Hyperv => Next::Hyperv,
            VcpuExit::X86Wrmsr(write) if write.index == MSR_EOM => {
                exits.msr.inc();
                *write.error = 0;
                Next::EndOfMessage(write.data)
            }
            VcpuExit::X86Wrmsr(write) => {
                exits.msr.inc();
                *write.error = 1;
                Next::Guest
            }
            VcpuExit::Hlt => {
                exits.halt.inc();
                Next::Guest
            }
            VcpuExit::Intr => {
                exits.signal.inc();
                Next::Guest
            }
            // A triple fault: the last resort of a kernel that wants to be reset.
            VcpuExit::Shutdown => {
                exits.other.inc();
                Next::End(Exit::Reboot)
            }
            VcpuExit::SystemEvent(event, _) => {
                exits.other.inc();
                match event {
                    KVM_SYSTEM_EVENT_SHUTDOWN => Next::End(Exit::PowerOff),
                    KVM_SYSTEM_EVENT_RESET => Next::End(Exit::Reboot),
                    KVM_SYSTEM_EVENT_CRASH => Next::Crash,
                    other => Next::End(Exit::Failed(format!("unknown event {other} of KVM"))),
                }
            }
            other => {
                exits.other.inc();
                let what = format!("processor {}: {other:?}", self.index);
                Next::End(Exit::Failed(what))
            }
        };
        Ok(next)
    }

    /// A hypercall, or a register of the synthetic interrupt controller.
    fn hyperv(&mut self, sink: &dyn MessageSink) {
        let run = self.fd.get_kvm_run();
        // SAFETY: the exit was KVM_EXIT_HYPERV: this is the union's part; all are plain numbers.
        let exit = unsafe { &mut run.__bindgen_anon_1.hyperv };
        match exit.type_ {
            KVM_EXIT_HYPERV_HCALL => {
                self.exits.hypercall.inc();
                // SAFETY: the type says which; both are plain numbers.
                let call = unsafe { &mut exit.u.hcall };
                let [parameter, _] = call.params;
                call.result = self
                    .partition
                    .hypercall(self.index, call.input, parameter, sink);
            }
            KVM_EXIT_HYPERV_SYNIC => {
                self.exits.synic.inc();
                // SAFETY: as above.
                let synic = unsafe { exit.u.synic };
                let registers = Registers {
                    control: synic.control,
                    event_page: synic.evt_page,
                    message_page: synic.msg_page,
                };
                self.partition.synic_written(self.index, registers);
            }
            other => {
                // A debugger's registers, which CPUID doesn't offer.
                self.exits.other.inc();
                tracing::debug!("Hyper-V exit of unknown type {other}");
                exit.u.hcall.result = Status::InvalidHypercallCode as u64;
            }
        }
    }

    /// The guest has taken a message: the next of ours, and the next of KVM's timers.
    fn end_of_message(&mut self, data: u64) -> Result<()> {
        self.partition.end_of_message(self.index);
        // KVM didn't see it. After ours: a timer that finds the slot taken says so in it.
        self.partition.deliver(self.index);
        let entry = kvm_msr_entry {
            index: MSR_EOM,
            data,
            ..Default::default()
        };
        let msrs = Msrs::from_entries(&[entry]).context("MSR list")?;
        self.fd.set_msrs(&msrs).context("end of message")?;
        Ok(())
    }

    /// The guest reported a panic.
    fn crashed(&mut self) -> Result<()> {
        let mut msrs = Msrs::new(5).context("MSR list")?;
        for (msr, index) in msrs.as_mut_slice().iter_mut().zip(MSR_CRASH_P0..) {
            msr.index = index;
        }
        let mut info = PanicInfo::default();
        let read = self.fd.get_msrs(&mut msrs).context("crash registers")?;
        let known = msrs.as_slice().iter().take(read);
        for (parameter, msr) in info.parameters.iter_mut().zip(known) {
            *parameter = msr.data;
        }
        let vp = self.partition.vp(self.index);
        if self.exit_on_panic || vp.is_some_and(|vp| vp.first_warning()) {
            tracing::warn!("the guest panicked: {info}");
        }
        if self.exit_on_panic {
            self.outcome.decide(Exit::Panic(info));
        }
        Ok(())
    }
}

/// Shows the guest that a crash is taken notice of: HV_X64_MSR_CRASH_CTL reads as CRASH_NOTIFY.
///
/// # Errors
///
/// When KVM refuses.
pub(super) fn offer_crash_registers(vcpu: &VcpuFd) -> Result<()> {
    let entry = kvm_msr_entry {
        index: MSR_CRASH_CTL,
        data: CRASH_NOTIFY,
        ..Default::default()
    };
    let msrs = Msrs::from_entries(&[entry]).context("MSR list")?;
    let written = vcpu.set_msrs(&msrs).context("MSRs")?;
    ensure!(written == 1, "KVM has no crash registers");
    Ok(())
}
