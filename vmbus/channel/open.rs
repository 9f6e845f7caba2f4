// SPDX-License-Identifier: GPL-2.0

//! Opening and closing: [`Offered`] becomes [`Open`] and, when that is dropped, [`Offered`] again.

use core::ops::Deref;

use kernel::{new_work, prelude::*, sync::Arc};
use kernel_ext::{
    atomic::Atomic,
    lock::TryCell,
    new_irq_lock,
    tasklet::{self, Tasklet},
    workqueue::cancel_sync,
};
use vmbus_wire::{
    message::{guest, Offer, OpenChannel, USER_DATA_BYTES},
    ring::{InRing, OutRing},
    waiting::{Answer, Key},
    Status,
};

use super::{Channel, Delivery, Handler, Incoming, OutState, Outgoing};
use crate::{
    channel_core::{ChannelCore, HostEnd},
    control::Outcome,
    gpadl::{Gpadl, Teardown},
    ring::{self, RingSizes},
};

/// Milliseconds to wait for the host to open a channel.
const OPEN_WAIT_MS: u32 = 20_000;

/// How a driver wants its channel.
pub struct OpenConfig {
    /// Sizes of the rings.
    pub rings: RingSizes,
    /// Bytes of the largest packet that the host may send, descriptor included. A larger one breaks
    /// the protocol.
    pub max_packet_bytes: usize,
    /// Where packets are handed out.
    pub delivery: Delivery,
    /// Bytes for the other side; for pipes the first four are the pipe mode.
    pub user_data: [u8; USER_DATA_BYTES],
}

impl OpenConfig {
    /// Rings of `ring_bytes` each way, packets of at most `max_packet_bytes`, no user data.
    pub const fn new(ring_bytes: usize, max_packet_bytes: usize) -> Self {
        Self {
            rings: RingSizes::both(ring_bytes),
            max_packet_bytes,
            delivery: Delivery::Worker,
            user_data: [0; USER_DATA_BYTES],
        }
    }

    /// The same, with packets handed out when the driver asks for them, see [`Delivery::Polled`].
    pub const fn polled(mut self) -> Self {
        self.delivery = Delivery::Polled;
        self
    }

    /// The same, with packets handed out in soft interrupts, see [`Delivery::SoftInterrupt`].
    pub const fn in_soft_interrupts(mut self) -> Self {
        self.delivery = Delivery::SoftInterrupt;
        self
    }
}

/// Why a channel couldn't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The host has withdrawn it.
    Rescinded,
    /// The host didn't answer.
    TimedOut,
    /// The host refused.
    Refused(Status),
    /// Something on this side: no memory, sizes that make no sense, no way to post a message.
    Local(Error),
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        OpenError::Local(error)
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Error {
        match error {
            OpenError::Rescinded => ENODEV,
            OpenError::TimedOut => ETIMEDOUT,
            OpenError::Refused(_) => EIO,
            OpenError::Local(error) => error,
        }
    }
}

/// The right to open a channel. There is one a channel.
pub struct Offered {
    core: Arc<ChannelCore>,
}

impl Offered {
    /// Takes the right to a channel.
    ///
    /// # Errors
    ///
    /// `EBUSY` while somebody has it, `ENODEV` when the host has withdrawn it.
    pub(crate) fn claim(core: &Arc<ChannelCore>) -> Result<Self> {
        if core.is_rescinded() {
            return Err(ENODEV);
        }
        if !core.claim() {
            return Err(EBUSY);
        }
        Ok(Self { core: core.clone() })
    }

    /// What the host said of the channel.
    pub fn offer(&self) -> &Offer {
        &self.core.offer
    }

    /// Opens the channel. Process context; waits for the host for a bounded time.
    ///
    /// `handler` may be called before this returns.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the channel can be claimed and opened again.
    pub fn open(
        self,
        config: &OpenConfig,
        handler: Arc<dyn Handler>,
    ) -> core::result::Result<Open, OpenError> {
        let core = self.core.clone();
        let (pages, out, input, in_page) = ring::allocate(config.rings)?;
        let mut buffer = KVVec::new();
        buffer
            .resize(config.max_packet_bytes, 0, GFP_KERNEL)
            .map_err(Error::from)?;
        let out = OutRing::new(out).map_err(|_| EINVAL)?;
        let input = InRing::new(input).map_err(|_| EINVAL)?;
        let gpadl = Gpadl::create(&core, pages)?;
        let (own_core, gpadl_id, rings) = (core.clone(), gpadl.id(), config.rings);
        let channel = Arc::pin_init(
            pin_init!(Channel {
                core: own_core,
                rings,
                gpadl: gpadl_id,
                out <- new_irq_lock!(
                    Outgoing {
                        ring: out,
                        state: OutState::Ready,
                    },
                    "vmbus_out"
                ),
                input: TryCell::new(Incoming {
                    ring: input,
                    buffer,
                    error: None,
                    ended: false,
                }),
                delivery: config.delivery,
                signal_due: Atomic::new(0),
                out_waits: Atomic::new(0),
                handler,
                work <- new_work!("vmbus_channel"),
                soft <- Tasklet::new(),
            }),
            GFP_KERNEL,
        )?;
        // From here on dropping closes the channel.
        let open = Open {
            channel: channel.clone(),
            gpadl: Some(gpadl),
            _offered: self,
        };
        drop(core.open.replace(Some(channel)));
        open.ask_host(config, in_page)?;
        Ok(open)
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.core.unclaim();
        self.core.connection.offers.unclaimed(&self.core);
    }
}

/// An open channel; dropping it closes it, which waits for the channel's [`Handler`] to return and for
/// the host to let go of the memory. Process context, and never from a [`Handler`].
pub struct Open {
    channel: Arc<Channel>,
    /// The rings' page list; taken when closing.
    gpadl: Option<Gpadl>,
    /// Given back after the close.
    _offered: Offered,
}

impl Open {
    /// What everybody who sends on the channel shares. Sending on it after the close fails.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Asks the host to open its end and waits for the answer.
    fn ask_host(&self, config: &OpenConfig, in_page: u32) -> core::result::Result<(), OpenError> {
        let core = self.channel.core.clone();
        let connection = &core.connection;
        let relid = core.offer.relid;
        let open_id = connection.new_open_id();
        let request = connection.control.expect(Key::Open { relid, open_id })?;
        if core.is_rescinded() {
            return Err(OpenError::Rescinded);
        }
        // Nobody moves the channel between the look at its CPU and the host's answer.
        let mut host_end = core.host_end.lock();
        let cpu = core.online_target();
        let message = OpenChannel {
            relid,
            open_id,
            ring_gpadl: self.gpadl.as_ref().map_or(0, Gpadl::id),
            target_vp: connection.hypervisor.vp_index(cpu).ok_or(EINVAL)?,
            downstream_page_offset: in_page,
            user_data: config.user_data,
        };
        connection.post(&message.message())?;
        *host_end = HostEnd::Open;
        match request.wait(OPEN_WAIT_MS) {
            Outcome::Answered(Answer::Status(Status::SUCCESS)) => Ok(()),
            Outcome::Answered(Answer::Status(status)) => {
                *host_end = HostEnd::Closed;
                Err(OpenError::Refused(status))
            }
            Outcome::Answered(_) => Err(OpenError::Local(EIO)),
            Outcome::TimedOut => Err(OpenError::TimedOut),
            Outcome::Rescinded => Err(OpenError::Rescinded),
        }
    }
}

impl Deref for Open {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let core = &self.channel.core;
        // First nobody hears of the channel any more ...
        drop(core.open.replace(None));
        drop(core.visit.lock());
        self.channel.out.lock().state = OutState::Closed;
        tasklet::cancel_sync(&self.channel);
        cancel_sync::<_, { Channel::WORKER }>(&self.channel);
        // ... then the host is told, unless it was the one to say so ...
        let told = {
            let mut host_end = core.host_end.lock();
            let before = core::mem::replace(&mut *host_end, HostEnd::Closed);
            before == HostEnd::Closed || core.is_rescinded() || {
                let message = guest::close_channel(core.offer.relid);
                core.connection.post(&message).is_ok()
            }
        };
        // ... and the memory is its to use until it lets go.
        if let Some(gpadl) = self.gpadl.take() {
            if !told {
                return gpadl.abandon();
            }
            match gpadl.teardown() {
                Teardown::Reclaimed(_) | Teardown::Leaked => {}
            }
        }
    }
}
