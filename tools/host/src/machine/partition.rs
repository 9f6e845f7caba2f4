// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The guest as the VMBus sees it: processors that take messages and event flags, and connections
//! that the guest signals.

use std::collections::btree_map::{BTreeMap, Entry};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kvm_bindings::{KVM_CLOCK_REALTIME, KVM_HYPERV_CONN_ID_MASK};
use kvm_ioctls::VmFd;
use parking_lot::{Condvar, Mutex};
use serde_json::{Map, Value};
use vmm_sys_util::eventfd::EventFd;

use super::hypercall::{self, Call, Status};
use super::kick::Kicker;
use super::kvm;
use super::synic::{Flag, Registers, Synic};
use crate::hypervisor::{Hypervisor, MessageSink};
use crate::memory::GuestMemory;

/// How long a taken slot is left alone when the guest doesn't say that it has emptied it: a timer's
/// message that KVM put there in between hides from the guest that another one waits.
const RETRY: Duration = Duration::from_millis(20);

crate::counters! {
    /// What went through one processor's synthetic interrupt controller and hypercalls.
    pub(super) struct VpCounters {
        /// Messages written to the guest's slots.
        messages_delivered,
        /// Messages dropped because the guest had no page for them, or took none.
        messages_dropped,
        /// Times a slot was still taken.
        slots_busy,
        /// End-of-message writes.
        end_of_message,
        /// Event flags set.
        flags_set,
        /// Event flags that were set already: no interrupt.
        flags_merged,
        /// Event flags without a page.
        flags_missed,
        /// Pages of the controller's that were no memory.
        bad_pages,
        /// Interrupts for messages and flags.
        interrupts,
        /// Messages the guest posted.
        messages_posted,
        /// Events the guest signalled that KVM didn't count up itself.
        events_slow,
        /// Hypercalls answered with an error.
        hypercalls_refused,
    }
}

/// One virtual processor.
#[derive(Debug, Default)]
pub(super) struct Vp {
    /// Its messages and flags.
    synic: Synic,
    /// Its thread.
    pub(super) kicker: Kicker,
    /// What happened.
    pub(super) counters: VpCounters,
    /// Something the guest did wrong was logged; the counters tell of the rest.
    warned: AtomicBool,
}

impl Vp {
    /// True once: a guest that goes on doing it doesn't fill the log.
    pub(super) fn first_warning(&self) -> bool {
        !self.warned.swap(true, Ordering::Relaxed)
    }
}

/// KVM's virtual machine with its memory and all that the bus reaches of it.
pub(super) struct Partition {
    // Before the memory: KVM lets go of it before it is unmapped.
    vm: VmFd,
    memory: GuestMemory,
    vps: Vec<Vp>,
    events: Mutex<BTreeMap<u32, Arc<EventFd>>>,
    retry: Mutex<Retry>,
    retry_changed: Condvar,
}

/// What the thread of retries is to do.
#[derive(Debug, Default)]
struct Retry {
    needed: bool,
    stop: bool,
}

impl Partition {
    pub(super) fn new(vm: VmFd, memory: GuestMemory, processors: u32) -> Self {
        Self {
            vm,
            memory,
            vps: (0..processors).map(|_| Vp::default()).collect(),
            events: Mutex::default(),
            retry: Mutex::default(),
            retry_changed: Condvar::new(),
        }
    }

    /// The virtual machine.
    pub(super) fn vm(&self) -> &VmFd {
        &self.vm
    }

    /// A processor.
    pub(super) fn vp(&self, index: u32) -> Option<&Vp> {
        self.vps.get(usize::try_from(index).ok()?)
    }

    /// Has every processor look at its work.
    pub(super) fn kick_all(&self) {
        for vp in &self.vps {
            vp.kicker.kick();
        }
    }

    /// Interrupts a processor from a synthetic source. What the guest has masked KVM refuses, as
    /// the hypervisor does.
    fn interrupt(&self, index: u32, vp: &Vp, sint: u8) {
        vp.counters.interrupts.inc();
        if let Err(error) = self.vm.set_irq_line(kvm::sint_gsi(index, sint), true) {
            tracing::debug!("SINT {sint} of processor {index}: {error}");
        }
    }

    /// On the thread of processor `index`, before it goes back to the guest: messages for it.
    pub(super) fn deliver(&self, index: u32) {
        let Some(vp) = self.vp(index) else { return };
        let done = vp.synic.deliver(&self.memory);
        if done.dropped > 0 && vp.first_warning() {
            tracing::warn!(
                "processor {index} has no page for messages: {} dropped",
                done.dropped
            );
        }
        vp.counters.messages_delivered.add(done.delivered);
        vp.counters.messages_dropped.add(done.dropped);
        vp.counters.slots_busy.add(done.busy);
        for sint in (0u8..16).filter(|sint| done.interrupts & 1 << sint != 0) {
            self.interrupt(index, vp, sint);
        }
        if (done.busy > 0 || done.delivered > 0) && vp.synic.stalled() {
            self.retry.lock().needed = true;
            self.retry_changed.notify_one();
        }
    }

    /// On the thread of processor `index`: the guest has taken a message.
    pub(super) fn end_of_message(&self, index: u32) {
        if let Some(vp) = self.vp(index) {
            vp.counters.end_of_message.inc();
            vp.synic.retry();
        }
    }

    /// On the thread of processor `index`: the guest wrote a register of the controller.
    pub(super) fn synic_written(&self, index: u32, registers: Registers) {
        let Some(vp) = self.vp(index) else { return };
        tracing::debug!("processor {index}: {registers:x?}");
        if let Err(error) = vp.synic.write(&self.memory, registers) {
            vp.counters.bad_pages.inc();
            if vp.first_warning() {
                tracing::warn!("processor {index}: a SynIC page that is no memory: {error}");
            }
        }
    }

    /// On the thread of processor `index`: a hypercall. The answer is the guest's.
    pub(super) fn hypercall(
        &self,
        index: u32,
        input: u64,
        parameter: u64,
        sink: &dyn MessageSink,
    ) -> u64 {
        let status = match hypercall::parse(&self.memory, input, parameter) {
            Ok(call) => self.call(index, call, sink),
            Err(status) => status,
        };
        if status != Status::Success {
            tracing::debug!(
                "hypercall {input:#x} with {parameter:#x} on processor {index}: {status:?}"
            );
            if let Some(vp) = self.vp(index) {
                vp.counters.hypercalls_refused.inc();
            }
        }
        status as u64
    }

    fn call(&self, index: u32, call: Call, sink: &dyn MessageSink) -> Status {
        let counters = self.vp(index).map(|vp| &vp.counters);
        let known = match call {
            Call::Post {
                connection,
                message_type,
                payload,
            } => {
                counters.inspect(|c| c.messages_posted.inc());
                sink.posted(connection, message_type, &payload)
            }
            // KVM comes here with connections it doesn't know, and with flags other than 0, which
            // it doesn't count up. One event stands for all flags of a connection.
            Call::Signal { connection, .. } => {
                counters.inspect(|c| c.events_slow.inc());
                let event = self.events.lock().get(&connection).cloned();
                event.is_some_and(|event| event.write(1).is_ok())
            }
        };
        if known {
            Status::Success
        } else {
            Status::InvalidConnectionId
        }
    }

    /// Tries taken slots again from time to time, until [`Self::stop_retries`].
    pub(super) fn retries(&self) {
        let mut retry = self.retry.lock();
        while !retry.stop {
            if !retry.needed {
                self.retry_changed.wait(&mut retry);
                continue;
            }
            retry.needed = false;
            self.retry_changed.wait_for(&mut retry, RETRY);
            parking_lot::MutexGuard::unlocked(&mut retry, || {
                for vp in self.vps.iter().filter(|vp| vp.synic.stalled()) {
                    vp.synic.retry();
                    vp.kicker.kick();
                }
            });
        }
    }

    /// Ends [`Self::retries`].
    pub(super) fn stop_retries(&self) {
        self.retry.lock().stop = true;
        self.retry_changed.notify_one();
    }

    /// Counters of one processor by name.
    pub(super) fn counters(&self, index: u32) -> Map<String, Value> {
        self.vp(index)
            .map(|vp| vp.counters.snapshot())
            .unwrap_or_default()
    }
}

impl Hypervisor for Partition {
    fn processors(&self) -> u32 {
        self.vps.len() as u32
    }

    fn post_message(&self, vp: u32, sint: u8, payload: &[u8]) -> io::Result<()> {
        let target = self
            .vp(vp)
            .ok_or_else(|| io::Error::other(format!("there is no processor {vp}")))?;
        if !target.synic.queue(sint, payload) {
            target.counters.messages_dropped.inc();
            return Err(io::Error::other(format!(
                "{} bytes for SINT {sint} of processor {vp} can't be queued",
                payload.len()
            )));
        }
        target.kicker.kick();
        Ok(())
    }

    fn signal(&self, vp: u32, sint: u8, flag: u16) {
        let Some(target) = self.vp(vp) else { return };
        match target.synic.signal(&self.memory, sint, flag) {
            Flag::Set => {
                target.counters.flags_set.inc();
                self.interrupt(vp, target, sint);
            }
            Flag::Merged => target.counters.flags_merged.inc(),
            Flag::Missed => target.counters.flags_missed.inc(),
        }
    }

    fn connect_event(&self, connection: u32, event: Arc<EventFd>) -> io::Result<()> {
        if connection > KVM_HYPERV_CONN_ID_MASK {
            return Err(io::Error::other(format!(
                "connection {connection:#x} is larger than KVM can take"
            )));
        }
        let mut events = self.events.lock();
        let Entry::Vacant(entry) = events.entry(connection) else {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        };
        kvm::connect(&self.vm, connection, &*event)?;
        entry.insert(event);
        Ok(())
    }

    fn disconnect_event(&self, connection: u32) {
        let mut events = self.events.lock();
        if events.remove(&connection).is_some() {
            if let Err(error) = kvm::disconnect(&self.vm, connection) {
                tracing::warn!("connection {connection:#x} can't be taken down: {error}");
            }
        }
    }

    fn reference_time(&self) -> Option<(u64, SystemTime)> {
        // The reference counter and the reference TSC page count the kvmclock in 100 ns
        // (get_time_ref_counter, arch/x86/kvm/hyperv.c).
        let clock = self.vm.get_clock().ok()?;
        let now = if clock.flags & KVM_CLOCK_REALTIME != 0 {
            UNIX_EPOCH.checked_add(Duration::from_nanos(clock.realtime))?
        } else {
            SystemTime::now()
        };
        Some((clock.clock / 100, now))
    }
}
