// SPDX-License-Identifier: GPL-2.0

//! Requests that wait for a completion packet.
//!
//! What the host gets to see of a request is an id. What comes back is looked up here and taken out:
//! an id that was never given, that was answered before or that belongs to another channel is a
//! [`PendingError`], never a pointer. Each channel has a table of its own, so an answer on the wrong
//! channel finds nothing.

use kernel::prelude::*;
use kernel_ext::{lock::IrqLock, new_irq_lock};
use vmbus_wire::{
    packet::OutPacket,
    pending::{PendingError, PendingTable, Slot},
};

use crate::channel::{Channel, SendError};

/// The requests of one channel: up to a fixed number of values of type `T`. Any context.
#[pin_data]
pub struct Requests<T> {
    #[pin]
    table: IrqLock<PendingTable<KVVec<Slot<T>>>>,
}

/// Why a request wasn't sent; the value comes back.
pub enum RequestError<T> {
    /// As many requests wait as the table has room for.
    TableFull(T),
    /// The packet couldn't be sent.
    Send(SendError, T),
}

impl<T: Send> Requests<T> {
    /// A table for up to `capacity` requests at a time.
    ///
    /// A ring holds at most its bytes divided by the smallest packet; a table of that size is never
    /// full before the ring is.
    pub fn new(capacity: usize) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let mut slots = KVVec::with_capacity(capacity, GFP_KERNEL)?;
            for _ in 0..capacity {
                slots.push(Slot::new(), GFP_KERNEL)?;
            }
            Ok(try_pin_init!(Self {
                table <- new_irq_lock!(PendingTable::new(slots), "vmbus_requests"),
            }? Error))
        })
    }

    /// Enters a request and sends the packet that `packet` makes of its id. The completion can come
    /// before this returns.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was sent and nothing waits.
    pub fn send<'p>(
        &self,
        channel: &Channel,
        request: T,
        packet: impl FnOnce(u64) -> OutPacket<'p>,
    ) -> core::result::Result<u64, RequestError<T>> {
        let id = self
            .table
            .lock()
            .insert(request)
            .map_err(RequestError::TableFull)?;
        let packet = packet(id).requesting_completion();
        match channel.send(&packet) {
            Ok(()) => Ok(id),
            Err(error) => match self.table.lock().take(id) {
                Ok(request) => Err(RequestError::Send(error, request)),
                // A host guessed the id and answered what it never got: the request is dealt with.
                Err(_) => Ok(id),
            },
        }
    }

    /// Takes the request that a completion answers.
    ///
    /// # Errors
    ///
    /// [`PendingError`]: the host broke the protocol, see [`Channel::bad_packet`].
    pub fn take(&self, id: u64) -> core::result::Result<T, PendingError> {
        self.table.lock().take(id)
    }

    /// Takes all requests out, passing each to `with`: for a channel that is closed, whose host won't
    /// answer any more. `with` is called under the table's lock, with interrupts off.
    pub fn drain(&self, with: impl FnMut(T)) {
        self.table.lock().drain(with)
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
