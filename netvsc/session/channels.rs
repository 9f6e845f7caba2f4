// SPDX-License-Identifier: GPL-2.0

//! The channels of a session beyond the primary one: asked for, opened as they are offered, and in use when
//! all have come that will.

use kernel::{prelude::*, sync::Arc};
use kernel_ext::{atomic::Relaxed, compat::protocol_error};
use netvsc_wire::{nvsp::SubchannelOperation, GuestMessage, HostMessage};
use vmbus::{device::SubchannelWatcher, Offered};

use super::{open, Session};

/// Milliseconds for the host to offer the channels it has granted.
const CHANNELS_WAIT_MS: u32 = 5000;

impl Session {
    /// Asks for as many channels as there are queues. A host that offers fewer, or none, is no error.
    pub(super) fn ask_for_channels(self: &Arc<Self>) -> Result {
        let (can, entries) = self.ask_spread();
        let count = (self.queues.len() as u32).min(can).saturating_sub(1);
        if count == 0 {
            return Ok(());
        }
        let answer = self.ask(&GuestMessage::Subchannels {
            operation: SubchannelOperation::ALLOCATE,
            count,
        })?;
        let granted = match answer {
            HostMessage::SubchannelsComplete {
                status,
                count: granted,
            } if status.is_success() => granted.min(count),
            HostMessage::SubchannelsComplete { .. } => 0,
            _ => return Err(protocol_error()),
        };
        if granted == 0 {
            kernel_ext::log_warn!("{}: the host offers no sub-channels\n", self.nic.name());
            return Ok(());
        }
        self.entries.store(entries as u32, Relaxed);
        self.granted.store(granted + 1, Relaxed);
        let watcher = Arc::new(Watcher(self.clone()), GFP_KERNEL)?;
        self.nic.dev.payload().watch_subchannels(Some(watcher));
        Ok(())
    }

    /// The host offers another channel.
    fn add_channel(self: &Arc<Self>, offered: Offered) {
        let number = usize::from(offered.offer().subchannel);
        let granted = self.granted.load(Relaxed) as usize;
        let queue = match self.queues.get(number) {
            Some(queue) if number < granted && number != 0 && queue.channel.is_empty() => queue,
            _ => {
                return kernel_ext::log_warn!(
                    "{}: a sub-channel {number} that nobody asked for\n",
                    self.nic.name()
                );
            }
        };
        let open = match open(offered, queue) {
            Ok(open) => open,
            // The others are enough.
            Err(error) => {
                return kernel_ext::log_warn!(
                    "{}: sub-channel {number}: {error:?}\n",
                    self.nic.name()
                );
            }
        };
        drop(queue.channel.replace(Some(open.channel().clone())));
        queue.enable();
        queue.kick();
        let count = {
            let mut links = self.links.lock();
            if links.subs.push(open, GFP_KERNEL).is_err() {
                return;
            }
            links.subs.len() as u32 + 1
        };
        if count == granted as u32 {
            // All are there: flows may come on them.
            self.spread_over(count);
            self.settled.complete_all();
            self.nic.look();
        }
    }

    /// Has flows come on the first so many channels. Process context.
    fn spread_over(&self, channels: u32) {
        let entries = self.entries.load(Relaxed) as usize;
        let mut spread = self.nic.spread.lock();
        let mut changed = spread.clone();
        changed.fit(entries, channels, self.nic.device.spread_is_chosen());
        match self.tell_spread(&changed) {
            Ok(()) => {
                *spread = changed;
                self.channels.store(channels, Relaxed);
            }
            Err(error) => {
                kernel_ext::log_warn!("{}: flows aren't spread: {error:?}\n", self.nic.name());
            }
        }
    }

    /// Waits for the channels that the host has granted, and does with those that came in time. How many
    /// there are. Process context; takes a bounded time.
    pub(crate) fn settle(&self) -> u32 {
        if self.settled.wait_timeout_ms(CHANNELS_WAIT_MS).is_err() && !self.channel.is_rescinded() {
            let open = self
                .queues
                .iter()
                .take_while(|queue| !queue.channel.is_empty());
            let open = open.count() as u32;
            kernel_ext::log_warn!(
                "{}: {open} of {} channels came in time\n",
                self.nic.name(),
                self.granted()
            );
            if open > 1 {
                self.spread_over(open);
            }
            // Who asks again needn't wait for them again.
            self.settled.complete_all();
        }
        self.channels.load(Relaxed)
    }

    /// Channels that the host has granted; open or about to be.
    pub(crate) fn granted(&self) -> u32 {
        self.granted.load(Relaxed)
    }
}

/// Told of sub-channels.
struct Watcher(Arc<Session>);

impl SubchannelWatcher for Watcher {
    fn offered(&self, channel: Offered) {
        self.0.add_channel(channel);
    }
}
