// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the VMBus needs from the hypervisor, and nothing of KVM: tests have their own.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use vmm_sys_util::eventfd::EventFd;

/// The guest's side of the synthetic interrupt controllers and of the hypercalls.
///
/// None of it waits: messages for a busy slot are queued in order and delivered when the guest
/// has taken the one before.
pub trait Hypervisor: Send + Sync + 'static {
    /// How many virtual processors there are; their indices are 0 to one less.
    fn processors(&self) -> u32;

    /// Queues a message (type 1, a VMBus channel message of at most 240 bytes) for the slot of
    /// `sint` on processor `vp`.
    ///
    /// # Errors
    ///
    /// When there is no such processor, or too many messages wait because the guest takes none.
    fn post_message(&self, vp: u32, sint: u8, payload: &[u8]) -> io::Result<()>;

    /// Sets event flag `flag` of `sint` on processor `vp` and interrupts it if the flag was clear.
    /// A guest whose page isn't set up misses it, as on Hyper-V.
    fn signal(&self, vp: u32, sint: u8, flag: u16);

    /// Has the guest's SIGNAL_EVENT on `connection` count up `event`.
    ///
    /// # Errors
    ///
    /// When the connection is taken or the system refuses.
    fn connect_event(&self, connection: u32, event: Arc<EventFd>) -> io::Result<()>;

    /// Undoes [`Self::connect_event`]; unknown connections are ignored.
    fn disconnect_event(&self, connection: u32);

    /// The guest's reference time (HV_X64_MSR_TIME_REF_COUNT) in 100 ns, and what time it was then.
    /// None where it can't be told.
    fn reference_time(&self) -> Option<(u64, SystemTime)> {
        None
    }
}

/// What the VMBus is for the hypervisor's side.
pub trait MessageSink: Send + Sync + 'static {
    /// The guest posted a message: connection id, message type, payload. Called on the thread of
    /// the processor that posted it.
    ///
    /// The answer is the hypercall's: false means that there is no such connection.
    fn posted(&self, connection: u32, message_type: u32, payload: &[u8]) -> bool;

    /// The guest was reset or its machine is about to end: every channel is closed at once.
    fn reset(&self);
}
