// SPDX-License-Identifier: GPL-2.0

//! Devices that come, go or change while the guest runs.
//!
//! Hosts say it in three ways: a packet that tells that something came or went, but not what; sense
//! data of a command; and a command that fails because its unit is gone. All of them come in at any
//! time and as often as the host likes, so they are only noted, and a worker does what was noted.

use kernel::{
    prelude::*,
    sync::Arc,
    time::{delay::fsleep, Delta},
    workqueue::WorkItem,
};
use kernel_ext::{
    atomic::{Acquire, Atomic, Release},
    lock::IrqLock,
    new_irq_lock,
    workqueue::cancel_sync,
};
use scsi::Address;
use storvsc_wire::FollowUp;

use crate::controller::{Controller, Kind, State};

/// Units that can be noted at a time; when there are more, everything is looked at.
const NOTES: usize = 64;

/// Milliseconds between two times that everything is looked at, at least.
const SCAN_PAUSE_MS: i64 = 250;

/// Seconds that a device may take to say whether it is there.
const POKE_SECONDS: u16 = 5;

/// What is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Something came or went.
    Anything,
    /// This unit changed.
    Changed(Address),
    /// This unit is gone.
    Gone(Address),
}

impl Change {
    /// From what an answer asks for.
    pub(crate) fn of(follow_up: FollowUp, address: Address) -> Self {
        match follow_up {
            FollowUp::Rescan => Change::Changed(address),
            FollowUp::Remove => Change::Gone(address),
        }
    }
}

/// What was noted.
struct Notes {
    anything: bool,
    units: [Option<Change>; NOTES],
}

/// What is to be looked at.
#[pin_data]
pub(crate) struct Changes {
    #[pin]
    notes: IrqLock<Notes>,
    /// 1 once nothing is looked at any more.
    closed: Atomic<u32>,
}

impl Changes {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            notes <- new_irq_lock!(
                Notes {
                    anything: false,
                    units: [None; NOTES],
                },
                "storvsc_changes"
            ),
            closed: Atomic::new(0),
        })
    }

    /// Notes a change. Any context.
    pub(crate) fn note(&self, change: Change) {
        let mut notes = self.notes.lock();
        if change == Change::Anything {
            notes.anything = true;
            return;
        }
        if notes.units.contains(&Some(change)) {
            return;
        }
        match notes.units.iter_mut().find(|note| note.is_none()) {
            Some(place) => *place = Some(change),
            None => notes.anything = true,
        }
    }

    /// Takes a note of a unit; else whether everything is to be looked at.
    fn take(&self) -> Option<Change> {
        let mut notes = self.notes.lock();
        if let Some(change) = notes.units.iter_mut().find_map(Option::take) {
            return Some(change);
        }
        core::mem::take(&mut notes.anything).then_some(Change::Anything)
    }

    /// Whether nothing is looked at any more.
    fn is_closed(&self) -> bool {
        self.closed.load(Acquire) != 0
    }
}

impl Controller {
    /// Has the worker look at what was noted. Any context.
    pub(crate) fn look(self: &Arc<Self>) {
        if !self.changes.is_closed() {
            // `Err`: it is queued already.
            let worker = &self.module.worker;
            let _ = worker.enqueue::<_, { Controller::SCAN }>(self.clone());
        }
    }

    /// Nothing is looked at any more when this returns. Process context.
    pub(crate) fn stop_looking(self: &Arc<Self>) {
        // Whoever looked at the flag before may still queue the work, which then does nothing.
        self.changes.closed.store(1, Release);
        cancel_sync::<_, { Controller::SCAN }>(self);
    }

    /// Does what a note asks for.
    fn look_at(&self, change: Change) {
        let Some(host) = self.host.lock().clone() else {
            return;
        };
        match change {
            Change::Changed(address) => {
                if let Some(device) = host.device(address) {
                    device.rescan();
                }
            }
            Change::Gone(address) => {
                let device = host.device(address);
                // The note may be older than a new unit in its place.
                if let Some(device) = device.filter(|device| !device.poke(POKE_SECONDS)) {
                    self.stats.removals.inc();
                    device.remove();
                }
            }
            Change::Anything => {
                self.stats.rescans.inc();
                // The host says so when it is asked for one that is gone; its answer is noted.
                host.for_each_device(|device| {
                    if !self.changes.is_closed() {
                        let _ = device.poke(POKE_SECONDS);
                    }
                });
                if self.kind == Kind::Scsi && !self.changes.is_closed() {
                    host.scan();
                }
                fsleep(Delta::from_millis(SCAN_PAUSE_MS));
            }
        }
    }
}

impl WorkItem<{ Controller::SCAN }> for Controller {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        while this.state() == State::Running && !this.changes.is_closed() {
            // Before the host is registered the notes wait.
            if this.host.lock().is_none() {
                return;
            }
            match this.changes.take() {
                Some(change) => this.look_at(change),
                None => return,
            }
        }
    }
}
