// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Monitor pages: the guest sets a bit in memory instead of making a hypercall, and a thread looks
//! at the bits every now and then.
//!
//! Linux signals so for every channel whose offer has a monitor (`vmbus_setevent`,
//! `drivers/hv/channel.c`), in the page that it names second, and shows latency and connection id
//! of both pages in sysfs. On Hyper-V the hypervisor looks at the page; KVM has nothing like it.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use vmbus_wire::message::MonitorPages;
use vmbus_wire::monitor::{MonitorId, GROUPS, TRIGGER_STATE_OFFSET};

use super::control::ChannelControl;
use crate::memory::{GuestMemory, MemoryError};

/// A latency counts so many nanoseconds.
const LATENCY_UNIT: u64 = 100;
/// The page isn't looked at more often than this, whatever the latency.
const SHORTEST: Duration = Duration::from_micros(20);

/// A channel that is open.
struct Watched {
    id: MonitorId,
    latency: u16,
    control: Arc<ChannelControl>,
}

#[derive(Default)]
struct Inner {
    pages: Option<MonitorPages>,
    watched: Vec<Watched>,
    /// The thread is there; it ends with the last channel.
    running: bool,
}

/// See the module.
pub(super) struct Monitor {
    memory: GuestMemory,
    inner: Mutex<Inner>,
}

impl Monitor {
    pub(super) fn new(memory: GuestMemory) -> Arc<Self> {
        Arc::new(Self {
            memory,
            inner: Mutex::new(Inner::default()),
        })
    }

    /// The pages of a connection, which have been checked.
    pub(super) fn set_pages(&self, pages: Option<MonitorPages>) {
        let mut inner = self.inner.lock();
        inner.pages = pages;
        inner.watched.clear();
    }

    /// Tells the guest what its trigger does.
    pub(super) fn publish(&self, id: MonitorId, latency: u16, connection_id: u32) {
        let pages = self.inner.lock().pages;
        if let Some(pages) = pages {
            for page in [pages.to_host, pages.to_guest] {
                if let Err(error) = self.publish_in(page, id, latency, connection_id) {
                    tracing::warn!("monitor page: {error}");
                }
            }
        }
    }

    fn publish_in(
        &self,
        page: u64,
        id: MonitorId,
        latency: u16,
        connection_id: u32,
    ) -> Result<(), MemoryError> {
        let at = |offset: usize| page.saturating_add(offset as u64);
        self.memory
            .write(at(id.latency_offset()), &latency.to_le_bytes())?;
        // The flag number after it stays 0.
        self.memory.write(
            at(id.connection_id_offset()),
            &u64::from(connection_id).to_le_bytes(),
        )?;
        self.memory
            .atomic_u32(at(TRIGGER_STATE_OFFSET))?
            .fetch_or(1 << id.group(), Ordering::AcqRel);
        Ok(())
    }

    /// Looks at a channel's trigger from now on.
    pub(super) fn watch(
        self: &Arc<Self>,
        id: MonitorId,
        latency: u16,
        control: Arc<ChannelControl>,
    ) {
        let mut inner = self.inner.lock();
        inner.watched.push(Watched {
            id,
            latency,
            control,
        });
        if !inner.running {
            let monitor = self.clone();
            let started = thread::Builder::new()
                .name("vmbus-monitor".to_owned())
                .spawn(move || monitor.run());
            match started {
                Ok(_) => inner.running = true,
                Err(error) => tracing::error!("no thread for monitor pages: {error}"),
            }
        }
    }

    /// No longer looks at a channel's trigger.
    pub(super) fn unwatch(&self, id: MonitorId) {
        self.inner.lock().watched.retain(|watched| watched.id != id);
    }

    fn run(&self) {
        loop {
            let period = {
                let mut inner = self.inner.lock();
                let latencies = inner.watched.iter().map(|watched| watched.latency);
                let Some(latency) = latencies.min() else {
                    inner.running = false;
                    return;
                };
                self.look(&inner);
                Duration::from_nanos(u64::from(latency) * LATENCY_UNIT).max(SHORTEST)
            };
            thread::sleep(period);
        }
    }

    /// Takes the triggers that are set and signals their channels.
    fn look(&self, inner: &Inner) {
        let Some(pages) = inner.pages else {
            return;
        };
        for group in 0..usize::from(GROUPS) {
            let ours = || inner.watched.iter().filter(move |w| w.id.group() == group);
            let mask = ours().fold(0, |mask, watched| mask | watched.id.mask());
            let Some(first) = ours().next() else {
                continue;
            };
            let offset = first.id.pending_offset() as u64;
            let Ok(pending) = self.memory.atomic_u32(pages.to_host.saturating_add(offset)) else {
                continue;
            };
            if pending.load(Ordering::Relaxed) & mask == 0 {
                continue;
            }
            let set = pending.fetch_and(!mask, Ordering::AcqRel) & mask;
            for watched in ours().filter(|watched| set & watched.id.mask() != 0) {
                watched.control.counters.monitor_signals.inc();
                // As the guest's hypercall would.
                let _ = watched.control.event().write(1);
            }
        }
    }
}
