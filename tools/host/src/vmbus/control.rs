// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the bus and the thread that serves a channel share.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;
use vmbus_wire::version::MESSAGE_SINT;
use vmbus_wire::Relid;
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC, EFD_NONBLOCK};

use super::counters::ChannelCounters;
use crate::hypervisor::Hypervisor;

/// One open channel, seen by both.
pub(super) struct ChannelControl {
    relid: Relid,
    hypervisor: Arc<dyn Hypervisor>,
    /// The processor that is interrupted. Locked while it is, so that none is interrupted any
    /// more once MODIFY_CHANNEL has been answered.
    target_vp: Mutex<u32>,
    stop: AtomicBool,
    abandoned: AtomicBool,
    nudged: AtomicBool,
    paused: AtomicBool,
    /// Wakes the thread so that it looks at the flags.
    kick: EventFd,
    /// The guest's signal.
    event: Arc<EventFd>,
    pub(super) counters: ChannelCounters,
}

impl ChannelControl {
    pub(super) fn new(
        relid: Relid,
        hypervisor: Arc<dyn Hypervisor>,
        target_vp: u32,
        paused: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            relid,
            hypervisor,
            target_vp: Mutex::new(target_vp),
            stop: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            nudged: AtomicBool::new(false),
            paused: AtomicBool::new(paused),
            kick: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            event: Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?),
            counters: ChannelCounters::default(),
        })
    }

    /// Interrupts the guest.
    pub(super) fn interrupt(&self) {
        self.counters.interrupts.inc();
        let vp = self.target_vp.lock();
        // A relid is less than 2048.
        self.hypervisor
            .signal(*vp, MESSAGE_SINT, self.relid.get() as u16);
    }

    pub(super) fn target_vp(&self) -> u32 {
        *self.target_vp.lock()
    }

    /// From the return on, no other processor is interrupted.
    pub(super) fn retarget(&self, vp: u32) {
        *self.target_vp.lock() = vp;
    }

    fn kick(&self) {
        // Fails only when the thread has very many kicks to look at already.
        let _ = self.kick.write(1);
    }

    /// Tells the thread to return.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.kick();
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The thread didn't return in time: it may no longer touch the rings.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.stop();
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    pub(super) fn nudge(&self) {
        self.nudged.store(true, Ordering::Release);
        self.kick();
    }

    /// Whether somebody nudged since the last call.
    pub(super) fn take_nudge(&self) -> bool {
        // Mostly false: spares the write.
        self.nudged.load(Ordering::Relaxed) && self.nudged.swap(false, Ordering::Acquire)
    }

    pub(super) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
        self.kick();
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    pub(super) fn kick_event(&self) -> &EventFd {
        &self.kick
    }

    pub(super) fn event(&self) -> &Arc<EventFd> {
        &self.event
    }

    /// How often the guest has signalled. The thread waits for the event's edge and nobody reads
    /// it, for who did so could take an edge from the thread: its count is all there is, and the
    /// system shows it.
    pub(super) fn signals(&self) -> Option<u64> {
        let file = format!("/proc/self/fdinfo/{}", self.event.as_raw_fd());
        let text = std::fs::read_to_string(file).ok()?;
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix("eventfd-count:"))?;
        u64::from_str_radix(count.trim(), 16).ok()
    }
}
