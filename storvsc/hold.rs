// SPDX-License-Identifier: GPL-2.0

//! Commands that the host needn't be told of at once.
//!
//! Telling the host is an exit of the guest, and dearer than the rest of a command. A host that has many
//! commands of a unit is about to answer one of them, and with the answer it is told of all that were sent
//! since. So a command waits if the host has [`hold_above`](crate::module_parameters) of its unit's or more on its
//! channel, and more than wait already. None waits for long: when the host takes its time with what it has, a worker
//! tells it. A unit that isn't busy waits for nobody.

use kernel::{
    impl_has_delayed_work,
    sync::{Arc, ArcBorrow},
    workqueue::WorkItem,
};
use kernel_ext::{atomic::Relaxed, compat};
use vmbus::Channel;

use crate::{controller::Controller, module_parameters, stats::Unit};

/// Milliseconds that a command waits at most, rounded up to a tick, and the worker's own time.
const MOST_MS: u32 = 2;

impl Controller {
    /// What the parameter says.
    pub(crate) fn hold_above() -> u32 {
        compat::param(module_parameters::hold_above.value())
    }

    /// Whether the host may learn later of a command that is about to be sent to a unit on a channel.
    #[inline]
    pub(crate) fn may_wait(&self, number: u16, channel: &Channel, unit: Option<&Unit>) -> bool {
        let Some(unit) = unit else {
            return false;
        };
        let waiting = channel.untold();
        let has = unit.in_flight_on(number).saturating_sub(waiting);
        self.hold_above != 0 && has >= self.hold_above && has > waiting
    }

    /// A command waits: has the worker tell the host if nothing else does.
    #[inline]
    pub(crate) fn waits(self: ArcBorrow<'_, Self>) {
        self.stats.held.inc();
        if self.telling.load(Relaxed) != 0 || self.telling.xchg(1, Relaxed) != 0 {
            return;
        }
        let worker = &self.module.worker;
        // `Err`: it is queued already.
        let _ = worker.enqueue_delayed_ms::<_, { Controller::TELL }>(Arc::from(self), MOST_MS);
    }
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self, { Controller::TELL }> for Controller { self.tell }
}

impl WorkItem<{ Controller::TELL }> for Controller {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // Before the look: what is sent from now on queues the worker again.
        this.telling.xchg(0, kernel_ext::atomic::Full);
        if this.flush() {
            this.stats.held_long.inc();
        }
    }
}
