// SPDX-License-Identifier: GPL-2.0

//! Channels whose packets are taken when the driver wants them.

use kernel::sync::Arc;
use kernel_ext::atomic::{Acquire, Relaxed};

use vmbus_wire::packet::Packet;

use super::{Channel, OutState};

impl Channel {
    /// Hands packets to `with`, which says how much there was in each, 1 at least, until that is `most` or more; how
    /// much it was. Soft interrupt context, one caller at a
    /// time; for channels that were opened with [`Delivery::Polled`](super::Delivery::Polled).
    ///
    /// Signals stay forbidden. When there was less than that, [`Channel::poll_end`] allows them
    /// again.
    pub fn poll(self: &Arc<Self>, most: usize, with: impl FnMut(Packet<'_>) -> usize) -> usize {
        let Some(mut input) = self.input.try_take() else {
            return 0;
        };
        if input.ended || input.error.is_some() {
            return 0;
        }
        let mut turn = 0;
        if let Err(error) = self.take_packets(&mut input, &mut turn, most, with) {
            input.error = Some(error);
            drop(input);
            // The worker ends the channel.
            self.again();
        }
        turn
    }

    /// Allows signals again; true when there is something to poll already, and they aren't allowed.
    pub fn poll_end(self: &Arc<Self>) -> bool {
        let Some(mut input) = self.input.try_take() else {
            return false;
        };
        if input.ended || input.error.is_some() {
            return false;
        }
        match input.ring.unmask_interrupts() {
            Ok(more) => more,
            Err(error) => {
                input.error = Some(error);
                drop(input);
                self.again();
                false
            }
        }
    }

    /// Whether a packet found no room and the host was asked to signal when there is some. Any context.
    pub fn waits_for_room(&self) -> bool {
        self.out_waits.load(Acquire) != 0
    }

    /// Whether a packet found no room; asks no longer for a signal when there is some, which
    /// [`Handler::writable`](super::Handler::writable) is told of. Any context.
    pub fn poll_out(self: &Arc<Self>) {
        if self.out_waits.load(Relaxed) != 0 {
            if let OutState::Broken = self.out.lock().state {
                return self.again();
            }
            self.notice_out();
        }
    }
}
