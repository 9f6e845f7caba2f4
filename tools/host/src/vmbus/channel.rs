// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SKELETON: an open channel as its device sees it.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use vmbus_wire::packet::{OutPacket, Packet};
use vmbus_wire::ProtocolVersion;

use super::gpadl::Gpadl;
use crate::memory::GuestMemory;

/// Why a packet can't be received or sent.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The guest's cursors or a packet make no sense; the channel is dead.
    #[error("ring: {0}")]
    Ring(#[from] vmbus_wire::ring::RingError),
    /// A packet makes no sense; the channel is dead.
    #[error("packet: {0}")]
    Packet(#[from] vmbus_wire::packet::PacketError),
    /// The ring to the guest has no room; `wait` returns when there is some again.
    #[error("the ring to the guest is full")]
    Full,
    /// The system refused.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// What woke a channel's thread.
#[derive(Debug, Default, Clone)]
pub struct Wake {
    /// The channel is being closed, rescinded or reset: return from `serve` soon.
    pub stop: bool,
    /// There may be packets, or room where `send` said Full.
    pub ring: bool,
    /// Somebody called [`super::handle::DeviceHandle::nudge`].
    pub nudged: bool,
    /// Tokens of watched files that are ready.
    pub ready: Vec<u32>,
}

/// Room for one received packet; reused.
#[derive(Debug, Default)]
pub struct PacketBuffer {
    /// Grows to the largest packet seen, at most the ring's size.
    pub bytes: Vec<u8>,
}

/// An open channel, owned by the thread that serves it.
pub struct Channel {}

impl Channel {
    /// 0: the device's primary channel, else which sub-channel.
    pub fn subchannel(&self) -> u16 {
        todo!()
    }
    /// The VMBus version agreed on.
    pub fn version(&self) -> ProtocolVersion {
        todo!()
    }
    /// The guest's memory, for GPA-direct ranges.
    pub fn memory(&self) -> &GuestMemory {
        todo!()
    }
    /// A GPADL that the guest made on this device (any of its channels).
    pub fn gpadl(&self, _id: u32) -> Option<Arc<Gpadl>> {
        todo!()
    }
    /// The next packet, copied to `buffer`; none: the ring is empty. Never waits.
    ///
    /// # Errors
    ///
    /// When ring or packet make no sense.
    pub fn receive<'b>(
        &mut self,
        _buffer: &'b mut PacketBuffer,
    ) -> Result<Option<Packet<'b>>, ChannelError> {
        todo!()
    }
    /// Puts a packet into the ring to the guest. The interrupt, if the rules ask for one, is sent
    /// by the next [`Self::flush`] or [`Self::wait`].
    ///
    /// # Errors
    ///
    /// [`ChannelError::Full`], which is not the guest's fault at once; or a broken ring.
    pub fn send(&mut self, _packet: &OutPacket<'_>) -> Result<(), ChannelError> {
        todo!()
    }
    /// Interrupts the guest if something was sent that it has to be told of, and tells a guest
    /// that waits for room in its ring that packets were taken out.
    pub fn flush(&mut self) {
        todo!()
    }
    /// Also wakes [`Self::wait`] when `file` is readable; its token is then in `ready`. Level
    /// triggered. Watching a file again changes its token.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn watch(&mut self, _file: BorrowedFd<'_>, _token: u32) -> std::io::Result<()> {
        todo!()
    }
    /// Ends [`Self::watch`].
    ///
    /// # Errors
    ///
    /// When it wasn't watched.
    pub fn unwatch(&mut self, _file: BorrowedFd<'_>) -> std::io::Result<()> {
        todo!()
    }
    /// Flushes, lets the guest signal again, looks once more whether the ring has packets, and
    /// sleeps until there is something to do or the time is over (all false then).
    ///
    /// # Errors
    ///
    /// When the ring is broken or the system refuses.
    pub fn wait(&mut self, _limit: Option<Duration>) -> Result<Wake, ChannelError> {
        todo!()
    }
}
