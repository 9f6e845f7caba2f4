// SPDX-License-Identifier: GPL-2.0

//! What a NIC looks at later, in process context: what the host has said in an interrupt, and frames that
//! the stack gives back.

use kernel::{
    impl_has_delayed_work, impl_has_work,
    sync::Arc,
    time::{delay::fsleep, Delta},
    workqueue::WorkItem,
};
use kernel_ext::atomic::{Full, Relaxed};

use super::Nic;
use crate::{session::Settings, vmq::Asked};

/// Milliseconds after which frames that the stack had are looked at.
const RETURNS_MS: u32 = 10;

impl Nic {
    /// The work item that looks at what changed.
    pub(crate) const LOOK: u64 = 0;
    /// The one for frames that the stack gives back.
    pub(crate) const RETURNS: u64 = 1;

    /// A sub-channel is gone: another session does without it. Any context.
    pub(crate) fn lost_queue(self: &Arc<Self>, queue: u16) {
        let mut least = self.lost_from.lock();
        *least = Some(least.map_or(queue, |other| other.min(queue)));
        drop(least);
        self.look();
    }

    /// Begins another session if a sub-channel of this one is gone. Process context, not under RTNL.
    fn replace_queues(self: &Arc<Self>) {
        let Some(lost) = self.lost_from.lock().take() else {
            return;
        };
        // When the whole device goes, the primary channel does so, too.
        fsleep(Delta::from_millis(200));
        net::with_rtnl(|| {
            // The host may do that again, but not for ever.
            let settings = Settings {
                channels: lost.max(1).into(),
                ..self.settings()
            };
            let session = self.session.get();
            let goes_on = session.is_some_and(|session| !session.channel.is_rescinded());
            if goes_on && self.device.is_registered() {
                kernel_ext::log_warn!("{}: sub-channel {lost} is gone\n", self.name());
                let _ = Self::reconnect(self, &self.device, &settings);
            }
        });
    }

    /// The host asks for a buffer; false when it has asked before and not been answered. Any context.
    pub(crate) fn asked_for_buffer(self: &Arc<Self>, asked: Asked) -> bool {
        let mut place = self.asked.lock();
        let free = place.is_none();
        if free {
            *place = Some(asked);
        }
        drop(place);
        self.look();
        free
    }

    /// The host has no use for the buffer any more. Any context.
    pub(crate) fn freed_buffer(self: &Arc<Self>) {
        self.freed.store(1, Relaxed);
        self.look();
    }

    /// Gives the host the buffer that it has asked for. Process context.
    fn lend_buffer(&self) {
        // So that the session doesn't end meanwhile.
        let _changing = self.settings.lock();
        let Some(session) = self.session.get() else {
            return;
        };
        if self.freed.xchg(0, Full) != 0 {
            session.reclaim_buffer();
        }
        let asked = self.asked.lock().take();
        if let Some(asked) = asked {
            session.lend_buffer(asked);
        }
    }

    /// Has somebody look at what changed. Any context.
    pub(crate) fn look(self: &Arc<Self>) {
        // `Err`: it is queued already.
        let _ = self
            .module
            .worker
            .enqueue::<_, { Self::LOOK }>(self.clone());
    }

    /// The stack has frames of a buffer that the host uses: they are looked at before long, whether or not others
    /// come. Any context.
    pub(crate) fn expect_returns(self: &Arc<Self>) {
        // `Err`: somebody has said so already.
        let _ = self
            .module
            .worker
            .enqueue_delayed_ms::<_, { Self::RETURNS }>(self.clone(), RETURNS_MS);
    }
}

impl_has_work! {
    impl HasWork<Self, { Nic::LOOK }> for Nic { self.look }
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self, { Nic::RETURNS }> for Nic { self.returns }
}

impl WorkItem<{ Nic::RETURNS }> for Nic {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(session) = this.session.get() {
            // Only a poll may look.
            for queue in session.queues.iter().filter(|queue| queue.has_lent()) {
                queue.kick();
            }
        }
    }
}

impl WorkItem<{ Nic::LOOK }> for Nic {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.replace_queues();
        let _ = this.tell_filter();
        this.lend_buffer();
        if let Some(session) = this.session.get() {
            session.settle();
        }
        net::with_rtnl(|| {
            // Not that of before: there may be another by now.
            // Nor of a device that is going, whose queues the stack takes down.
            let session = this.session.get().filter(|_| this.device.is_registered());
            if let Some(session) = session {
                let channels = session.channels.load(Relaxed) as u16;
                let _ = session.use_queues(&this.device, channels);
            }
        });
    }
}
