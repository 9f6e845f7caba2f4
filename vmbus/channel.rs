// SPDX-License-Identifier: GPL-2.0

//! Channels as drivers use them.
//!
//! A channel is a value whose type says what can be done with it. [`Offered`]: it can be opened.
//! [`Open`]: packets travel; dropping it closes the channel and gives the [`Offered`] back to the
//! device. What both sides of an open channel share, and what handlers get to see, is the
//! [`Channel`].

use kernel::{
    impl_has_work,
    prelude::*,
    sync::{rcu::Guard, Arc, ArcBorrow},
    workqueue::{Work, WorkItem},
};
use kernel_ext::{
    atomic::{Atomic, Full, Relaxed},
    impl_has_tasklet,
    lock::{IrqLock, TryCell},
    pages::PageList,
    tasklet::{self, SoftItem, Tasklet},
};
use vmbus_wire::{
    message::Offer,
    packet::{OutPacket, Packet},
    ring::{InRing, OutRing, RingError},
};

use crate::{
    channel_core::{ChannelCore, ChannelStats},
    gpadl::Gpadl,
    ring::{Memory, RingSizes},
};

mod open;
mod poll;
mod view;

pub use open::{Offered, Open, OpenConfig, OpenError};
pub(crate) use view::{InView, RingView};

/// Packets handled before the worker lets others run.
const PACKETS_PER_TURN: usize = 256;

/// Packets handled in one soft interrupt; what is left then is the worker's.
const PACKETS_PER_INTERRUPT: usize = 64;

/// Where the host's packets are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In process context, where [`Handler::packet`] may sleep.
    Worker,
    /// In a soft interrupt, up to 64 packets at a time, and in process context when there are more;
    /// [`Handler::packet`] mustn't sleep. For devices whose every packet is waited for.
    SoftInterrupt,
    /// When the driver asks for them, see [`Channel::poll`]: [`Handler::signalled`] tells it when.
    Polled,
}

/// What a driver does when something happens on its channel.
///
/// Called by the channel, never by the driver itself.
pub trait Handler: Send + Sync {
    /// The host sent a packet. One at a time and in order; process context, where it may sleep, unless
    /// the channel was opened with [`Delivery::SoftInterrupt`].
    ///
    /// `packet` lies in private memory and was checked; the payload's meaning wasn't.
    fn packet(&self, channel: &Channel, packet: Packet<'_>);

    /// The host signalled, and won't again before [`Channel::poll_end`]. Hard interrupt context; only for
    /// [`Delivery::Polled`].
    fn signalled(&self) {}

    /// A packet found the ring full before, and there may be room now. Process context.
    fn writable(&self, channel: &Channel) {
        let _ = channel;
    }

    /// The host broke the protocol in a way that ends the channel; the device is about to be
    /// removed. Process context.
    fn failed(&self, channel: &Channel) {
        let _ = channel;
    }

    /// The host has withdrawn the channel: nothing travels any more. Process context. The device of a
    /// primary channel is about to be removed; a sub-channel's [`Open`] should be dropped, elsewhere.
    fn rescinded(&self, channel: &Channel) {
        let _ = channel;
    }

    /// Another CPU takes the channel's interrupts: [`Channel::target_cpu`]. Process context; CPUs don't
    /// come or go meanwhile.
    fn moved(&self) {}

    /// Requests that wait for a completion, for debugfs.
    fn pending(&self) -> usize {
        0
    }
}

/// Why a packet wasn't sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No room; [`Handler::writable`] will be called.
    Full,
    /// The packet never fits in this ring.
    TooBig,
    /// The channel is closed, rescinded or broken.
    Gone,
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Error {
        match error {
            SendError::Full => EAGAIN,
            SendError::TooBig => EMSGSIZE,
            SendError::Gone => ENODEV,
        }
    }
}

/// A packet with something that has to happen when it is in the ring, before the other side can see
/// it: entering what an answer will ask for.
pub trait Load {
    /// Calls `with` with the packet.
    fn packet<R>(&self, with: impl FnOnce(&OutPacket<'_>) -> R) -> R;

    /// The packet is in the ring. Called once, under the ring's lock with interrupts off.
    fn loaded(self);
}

impl Load for &OutPacket<'_> {
    #[inline]
    fn packet<R>(&self, with: impl FnOnce(&OutPacket<'_>) -> R) -> R {
        with(self)
    }

    #[inline]
    fn loaded(self) {}
}

/// Whether packets may be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OutState {
    /// They may.
    Ready,
    /// They may try; the host was asked to signal when there is room.
    Blocked,
    /// The host broke the ring's rules: the worker is about to end the channel.
    Broken,
    /// Never again.
    Closed,
}

struct Outgoing {
    ring: OutRing<Memory>,
    state: OutState,
}

struct Incoming {
    ring: InRing<Memory>,
    /// Where packets are copied to, once.
    buffer: KVVec<u8>,
    /// The host broke the ring's rules, and the worker hasn't dealt with it yet.
    error: Option<RingError>,
    /// It did, and nothing is read any more.
    ended: bool,
}

/// An open channel, seen from everybody who uses it.
#[pin_data]
pub struct Channel {
    core: Arc<ChannelCore>,
    rings: RingSizes,
    gpadl: u32,
    #[pin]
    out: IrqLock<Outgoing>,
    /// One reader at a time: the worker, the soft interrupt, or the interrupt handler for a moment.
    input: TryCell<Incoming>,
    delivery: Delivery,
    /// 1 while packets of an unfinished batch are in the ring that the host wasn't told of.
    signal_due: Atomic<u32>,
    /// 1 while the outgoing ring needs the worker: [`OutState::Blocked`] or [`OutState::Broken`].
    out_waits: Atomic<u32>,
    handler: Arc<dyn Handler>,
    #[pin]
    work: Work<Channel, { Channel::WORKER }>,
    #[pin]
    soft: Tasklet<Channel>,
}

impl Channel {
    /// The work item of process context.
    const WORKER: u64 = 0;

    /// What the host said of the channel.
    pub fn offer(&self) -> &Offer {
        &self.core.offer
    }

    /// The channel's counters.
    pub fn stats(&self) -> &ChannelStats {
        &self.core.stats
    }

    /// The CPU that takes the channel's interrupts.
    pub fn target_cpu(&self) -> u32 {
        self.core.target_cpu()
    }

    /// Whether the host has withdrawn the channel.
    pub fn is_rescinded(&self) -> bool {
        self.core.is_rescinded()
    }

    /// The id of the rings' page list.
    pub(crate) fn gpadl_id(&self) -> u32 {
        self.gpadl
    }

    /// Tells the driver of the channel's CPU. To be called under `visit`.
    pub(crate) fn moved(&self) {
        self.handler.moved();
    }

    /// Requests of the driver that wait for a completion.
    pub(crate) fn pending(&self) -> usize {
        self.handler.pending()
    }

    /// Writes a packet and signals the host if the ring's rules ask for it. Any context.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    pub fn send(&self, packet: &OutPacket<'_>) -> core::result::Result<(), SendError> {
        self.send_load(packet, true).map_err(|(error, _)| error)
    }

    /// Writes the packet of a [`Load`] and signals the host if the ring's rules ask for it; unless it
    /// is the `last` of a batch, that is left to [`Channel::flush`], or to the next packet that is
    /// the last of its batch. Any context.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent, the load comes back, and the host was told of what was sent
    /// before.
    #[inline]
    pub fn send_load<L: Load>(
        &self,
        load: L,
        last: bool,
    ) -> core::result::Result<(), (SendError, L)> {
        match self.put(load) {
            Ok(signal) if last => {
                if self.take_due_signal() || signal {
                    self.core.signal_host();
                }
                Ok(())
            }
            Ok(signal) => {
                if signal {
                    self.signal_due.store(1, Relaxed);
                }
                Ok(())
            }
            Err(error) => {
                // It won't make room for what it doesn't know of.
                self.flush();
                Err(error)
            }
        }
    }

    /// Signals the host if it wasn't told of all packets. Any context.
    #[inline]
    pub fn flush(&self) {
        if self.take_due_signal() {
            self.core.signal_host();
        }
    }

    /// Whether the host is to be signalled for an earlier packet of a batch; once.
    #[inline]
    fn take_due_signal(&self) -> bool {
        self.signal_due.load(Relaxed) != 0 && self.signal_due.xchg(0, Full) != 0
    }

    /// Writes a packet; true when the host is to be signalled.
    #[inline]
    fn put<L: Load>(&self, load: L) -> core::result::Result<bool, (SendError, L)> {
        let stats = &self.core.stats;
        let mut out = self.out.lock();
        let open = matches!(out.state, OutState::Ready | OutState::Blocked);
        if !open || self.core.is_rescinded() {
            return Err((SendError::Gone, load));
        }
        let bytes = match load.packet(|packet| self.stage(&mut out, packet)) {
            Ok(bytes) => bytes,
            Err(error) => {
                if out.state == OutState::Broken {
                    if let Some(open) = self.core.open.get() {
                        open.again();
                    }
                }
                return Err((error, load));
            }
        };
        load.loaded();
        let signal = out.ring.publish();
        stats.packets_out.add_under_lock(1);
        stats.bytes_out.add_under_lock(bytes.into());
        Ok(signal)
    }

    /// Puts a packet into the ring without publishing it, under the lock; the bytes it takes there.
    fn stage(
        &self,
        out: &mut Outgoing,
        packet: &OutPacket<'_>,
    ) -> core::result::Result<u32, SendError> {
        let stats = &self.core.stats;
        // Twice: room may appear between the failure and the request to be told of room.
        for _ in 0..2 {
            match out.ring.stage(packet) {
                Ok(bytes) => return Ok(bytes),
                Err(RingError::Full { needed, .. }) => {
                    stats.out_full.inc();
                    if out.state == OutState::Ready {
                        stats.out_full_first.inc();
                    }
                    match out.ring.request_space(needed) {
                        Ok(true) => continue,
                        Ok(false) => {
                            out.state = OutState::Blocked;
                            self.out_waits.store(1, Relaxed);
                            return Err(SendError::Full);
                        }
                        Err(error) => return Err(self.broken_out(out, error)),
                    }
                }
                Err(RingError::TooBig { .. }) => return Err(SendError::TooBig),
                Err(error) => return Err(self.broken_out(out, error)),
            }
        }
        Err(SendError::Full)
    }

    /// The host published an impossible read index. Any context, so the worker does the rest.
    fn broken_out(&self, out: &mut Outgoing, error: RingError) -> SendError {
        out.state = OutState::Broken;
        self.out_waits.store(1, Relaxed);
        self.bad_packet(format_args!("{error}"));
        SendError::Gone
    }

    /// The host signalled. Hard interrupt context, under RCU.
    #[inline]
    pub(crate) fn interrupt(self: ArcBorrow<'_, Self>, guard: &Guard) {
        // No more signals until the ring has been drained. Somebody who reads right now looks again
        // after allowing signals.
        if let Some(mut input) = self.input.try_take() {
            input.ring.mask_interrupts();
        }
        match self.delivery {
            Delivery::Worker => Arc::from(self).again(),
            // Not here: what handlers call takes locks that are none of a hard interrupt's, and until
            // this one has ended the host can send more without another.
            Delivery::SoftInterrupt => tasklet::schedule(self, guard),
            Delivery::Polled => self.handler.signalled(),
        }
    }

    /// Hands packets out in a soft interrupt; false when there is something left for the worker.
    fn drain_softly(&self) -> bool {
        let Some(mut input) = self.input.try_take() else {
            return false;
        };
        if input.ended || input.error.is_some() {
            return input.ended;
        }
        let mut turn = 0;
        loop {
            match self.drain_once(&mut input, &mut turn, PACKETS_PER_INTERRUPT) {
                Ok(true) if turn < PACKETS_PER_INTERRUPT => {}
                Ok(more) => return !more && self.out_waits.load(Relaxed) == 0,
                Err(error) => {
                    input.error = Some(error);
                    return false;
                }
            }
        }
    }

    /// Reads packets and hands them out, until the ring is empty or the turn is over.
    fn drain(self: &Arc<Self>) {
        if self.notice_out() {
            return self.end(format_args!("its outgoing ring is corrupt"));
        }
        let Some(mut input) = self.input.try_take() else {
            // The other context has it for a moment; come back.
            return self.again();
        };
        let mut turn = 0;
        loop {
            if input.ended {
                return;
            }
            let more = match input.error.take() {
                Some(error) => Err(error),
                None => self.drain_once(&mut input, &mut turn, PACKETS_PER_TURN),
            };
            match more {
                Ok(true) if turn >= PACKETS_PER_TURN => break,
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    input.ended = true;
                    drop(input);
                    return self.end(format_args!("{error}"));
                }
            }
        }
        drop(input);
        self.again();
    }

    /// Reads what there is, as long as `turn` is below `most`; true when there is more.
    fn drain_once(
        &self,
        input: &mut Incoming,
        turn: &mut usize,
        most: usize,
    ) -> core::result::Result<bool, RingError> {
        self.take_packets(input, turn, most, |packet| {
            self.handler.packet(self, packet);
            1
        })?;
        if *turn >= most {
            return Ok(true);
        }
        input.ring.unmask_interrupts()
    }

    /// Forbids signals, and hands packets to `with` as long as `turn` is below `most`; what that returns is
    /// how much of the turn a packet has taken, 1 at least.
    #[inline]
    fn take_packets(
        &self,
        input: &mut Incoming,
        turn: &mut usize,
        most: usize,
        mut with: impl FnMut(Packet<'_>) -> usize,
    ) -> core::result::Result<(), RingError> {
        let stats = &self.core.stats;
        let Incoming { ring, buffer, .. } = input;
        ring.mask_interrupts();
        while *turn < most {
            let Some(raw) = ring.read(buffer)? else {
                break;
            };
            // Nobody else has `input`.
            stats.packets_in.add_under_lock(1);
            stats.bytes_in.add_under_lock(raw.payload.len() as u64);
            *turn += match raw.parse() {
                Ok(packet) => with(packet).max(1),
                // One bad packet doesn't desynchronise the ring.
                Err(error) => {
                    self.bad_packet(format_args!("{error}"));
                    1
                }
            };
        }
        if ring.commit()? {
            stats.in_full_signals.inc();
            self.core.signal_host();
        }
        Ok(())
    }

    /// Counts a packet that makes no sense, and says so now and then. For handlers: a packet whose
    /// payload breaks the device's protocol.
    pub fn bad_packet(&self, what: kernel::fmt::Arguments<'_>) {
        self.core.stats.errors.inc();
        self.core.connection.stats.protocol_errors.inc();
        kernel_ext::log_warn_limited!(
            "channel {} ({}): {}\n",
            self.core.offer.relid,
            self.core.class_name(),
            what
        );
    }

    /// A ring can't be trusted any more.
    fn end(&self, why: kernel::fmt::Arguments<'_>) {
        self.bad_packet(format_args!("{why}; the device is removed"));
        self.out.lock().state = OutState::Closed;
        self.handler.failed(self);
        self.core.connection.offers.broken(&self.core);
    }

    /// Looks after the outgoing ring: tells the driver that it may send again; true when the ring is
    /// broken.
    fn notice_out(&self) -> bool {
        let state = {
            let mut out = self.out.lock();
            if out.state == OutState::Blocked {
                out.ring.cancel_request();
                out.state = OutState::Ready;
                self.out_waits.store(0, Relaxed);
                OutState::Blocked
            } else {
                out.state
            }
        };
        if state == OutState::Blocked {
            self.handler.writable(self);
        }
        state == OutState::Broken
    }

    /// The host has withdrawn the channel. Process context.
    pub(crate) fn tell_rescinded(&self) {
        // Whoever sends at this moment has finished when the handler learns of it.
        self.out.lock().state = OutState::Closed;
        self.handler.rescinded(self);
    }

    /// Waits until packets that came in before have been handled. Process context, not from a
    /// [`Handler`].
    pub fn settle(self: &Arc<Self>) {
        // Interrupts read under RCU ...
        kernel_ext::rcu::synchronize();
        // ... and what they ask for does the rest.
        if self.delivery == Delivery::SoftInterrupt {
            tasklet::flush(self);
        }
        kernel_ext::workqueue::flush::<_, { Channel::WORKER }>(self);
    }

    /// Shares more memory with the host over this channel. Process context; waits for a bounded time.
    ///
    /// # Errors
    ///
    /// `ENODEV` when the channel was rescinded, `ETIMEDOUT` when the host didn't answer (the pages
    /// are leaked then), `EIO` when it refused, `EINVAL` for more pages than a list can name.
    pub fn share(&self, pages: Arc<PageList>) -> Result<Gpadl> {
        Gpadl::create(&self.core, pages)
    }

    /// Queues the worker. Any context.
    fn again(self: &Arc<Self>) {
        // `Err`: it is queued already.
        let _ = self
            .core
            .connection
            .packets
            .enqueue_on::<_, { Channel::WORKER }>(self.core.target_cpu(), self.clone());
    }
}

impl_has_work! {
    impl HasWork<Self, { Channel::WORKER }> for Channel { self.work }
}

impl WorkItem<{ Channel::WORKER }> for Channel {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.drain();
    }
}

impl_has_tasklet! {
    impl HasTasklet for Channel { self.soft }
}

impl SoftItem for Channel {
    fn run(this: ArcBorrow<'_, Self>) {
        if !this.drain_softly() {
            Arc::from(this).again();
        }
    }
}
