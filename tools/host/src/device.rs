// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a synthetic device is for the bus.

use std::sync::Arc;

use serde_json::Value;
use vmbus_wire::message::{OfferFlags, USER_DATA_BYTES};
use vmbus_wire::Guid;

use crate::vmbus::channel::Channel;
use crate::vmbus::handle::DeviceHandle;

/// What the guest is told of a device in its offers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name in the control protocol and in logs, unique: `scsi0`, `net1`, `shutdown`.
    pub name: String,
    /// What kind of device; `vmbus_wire::guid::class`.
    pub class: Guid,
    /// Which device.
    pub instance: Guid,
    /// Flags of the offers.
    pub flags: OfferFlags,
    /// User data of the offers; for a pipe its mode is in the first four bytes.
    pub user_data: [u8; USER_DATA_BYTES],
    /// Latency of a monitored channel in 100 ns; none: the guest signals with a hypercall.
    pub monitor_latency: Option<u16>,
}

/// A device as the bus serves it.
///
/// Each channel that the guest opens is served on a thread of its own. Closing is the bus's work:
/// it has [`Channel::wait`] say `stop`, waits until [`Self::serve`] has returned, and only then
/// lets go of the channel's pages. A device that still has requests with the system (io_uring)
/// therefore finishes or cancels them before it returns.
pub trait Device: Send + Sync + 'static {
    /// What the guest is told; the same at each call.
    fn identity(&self) -> Identity;

    /// The bus has taken the device; `bus` is its way back (sub-channels, rescind). Called once,
    /// before the first offer.
    fn attached(&self, bus: DeviceHandle);

    /// Whether the guest may open a channel (0: the primary one); where it may not, it is told that
    /// the open failed. The bus's state is locked: only events may be emitted.
    fn may_open(&self, _subchannel: u16) -> bool {
        true
    }

    /// Serves one open channel until it is told to stop (`Ok`) or the guest broke the protocol.
    ///
    /// # Errors
    ///
    /// What the guest did wrong. The bus logs it, counts it and leaves the channel dead: nothing
    /// is read from it any more until the guest closes it. Other devices go on.
    fn serve(self: Arc<Self>, channel: Channel) -> anyhow::Result<()>;

    /// The guest left (unload, reset, another INITIATE_CONTACT): forget its state. No channel of
    /// the device is being served.
    fn reset(&self) {}

    /// Counters and state for the control protocol's `stats`.
    fn stats(&self) -> Value;

    /// Carries out a device's own control command (`resize`, `link`, ...); `arguments` is the
    /// whole request object.
    ///
    /// # Errors
    ///
    /// A sentence for the person who asked.
    fn control(&self, command: &str, _arguments: &Value) -> anyhow::Result<Value> {
        anyhow::bail!("{} knows no command `{command}`", self.identity().name)
    }
}
