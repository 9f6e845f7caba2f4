// SPDX-License-Identifier: GPL-2.0 OR MIT
//! An open channel as its device sees it.
//!
//! A device's loop is: take packets until there are none, act on them, [`Channel::wait`]. While
//! packets are taken the guest is told not to signal, and it is interrupted once for all that was
//! sent, so that a busy channel needs no system call but the interrupts.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmbus_wire::message::USER_DATA_BYTES;
use vmbus_wire::packet::{OutPacket, Packet};
use vmbus_wire::ring::{InRing, OutRing, RingError, RingMemory, FEATURE_PENDING_SEND_SIZE};
use vmbus_wire::ProtocolVersion;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::control::ChannelControl;
use super::gpadl::Gpadl;
use super::ring::RingPages;
use super::state::DeviceEntry;
use crate::memory::GuestMemory;

/// Packets taken in a row before [`Channel::receive`] has the device wait, that is look at what
/// else there is.
const BUDGET: u32 = 256;
/// Waits that find packets before watched files are looked at all the same.
const PATIENCE: u32 = 8;
/// How often a ring to a guest that knows no flow control is looked at for room.
const POLL: Duration = Duration::from_millis(1);
/// Files reported by one wait.
const READY: usize = 32;

/// What an entry of the epoll set is.
const TOKEN_EVENT: u64 = 0;
const TOKEN_KICK: u64 = 1;
/// Set in the tokens of watched files; the device's token is the lower half.
const TOKEN_WATCH: u64 = 1 << 32;

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
    /// The bus has given the channel up, because its device didn't return in time.
    #[error("the channel was given up")]
    Abandoned,
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

impl Wake {
    fn is_something(&self) -> bool {
        self.stop || self.ring || self.nudged || !self.ready.is_empty()
    }
}

/// Room for one received packet; reused.
#[derive(Debug, Default)]
pub struct PacketBuffer {
    /// Grows to the largest packet seen, at most the ring's size.
    pub bytes: Vec<u8>,
}

/// What a channel is made of when it is opened.
pub(super) struct Opened {
    pub(super) control: Arc<ChannelControl>,
    pub(super) device: Arc<DeviceEntry>,
    pub(super) memory: GuestMemory,
    pub(super) version: ProtocolVersion,
    pub(super) subchannel: u16,
    pub(super) user_data: [u8; USER_DATA_BYTES],
    pub(super) incoming: RingPages,
    pub(super) outgoing: RingPages,
    pub(super) gpadl: Arc<Gpadl>,
}

/// An open channel, owned by the thread that serves it.
pub struct Channel {
    control: Arc<ChannelControl>,
    device: Arc<DeviceEntry>,
    memory: GuestMemory,
    version: ProtocolVersion,
    subchannel: u16,
    user_data: [u8; USER_DATA_BYTES],
    incoming: InRing<RingPages>,
    outgoing: OutRing<RingPages>,
    epoll: Epoll,
    events: [EpollEvent; READY],
    watched: usize,
    /// The guest is to be interrupted at the next flush.
    due: bool,
    /// The guest has been told not to signal.
    masked: bool,
    /// Bytes the last packet that found no room needs; 0: none.
    wanted: u32,
    /// Bytes taken since the guest was last told.
    taken: u32,
    /// Packets that may still be taken before the next wait.
    budget: u32,
    /// Waits that didn't look at the watched files.
    skipped: u32,
    /// What made the channel unusable.
    broken: Option<RingError>,
    /// The bus answers the guest's teardown when this is gone.
    _gpadl: Arc<Gpadl>,
}

impl Channel {
    pub(super) fn new(opened: Opened) -> Result<Self, ChannelOpenError> {
        let control = opened.control;
        let epoll = Epoll::new()?;
        // By the edge, so that nobody has to read the events to make them quiet again.
        let edge = EventSet::IN | EventSet::EDGE_TRIGGERED;
        for (file, token) in [
            (control.event().as_raw_fd(), TOKEN_EVENT),
            (control.kick_event().as_raw_fd(), TOKEN_KICK),
        ] {
            epoll.ctl(ControlOperation::Add, file, EpollEvent::new(edge, token))?;
        }
        Ok(Self {
            incoming: InRing::attach(opened.incoming)?,
            outgoing: OutRing::attach(opened.outgoing)?,
            control,
            device: opened.device,
            memory: opened.memory,
            version: opened.version,
            subchannel: opened.subchannel,
            user_data: opened.user_data,
            epoll,
            events: [EpollEvent::default(); READY],
            watched: 0,
            due: false,
            masked: false,
            wanted: 0,
            taken: 0,
            budget: BUDGET,
            skipped: 0,
            broken: None,
            _gpadl: opened.gpadl,
        })
    }

    /// 0: the device's primary channel, else which sub-channel.
    pub fn subchannel(&self) -> u16 {
        self.subchannel
    }

    /// The VMBus version agreed on.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// The guest's memory, for GPA-direct ranges.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// What the guest's driver sent along with its request to open the channel.
    pub fn user_data(&self) -> &[u8; USER_DATA_BYTES] {
        &self.user_data
    }

    /// The processor that the channel interrupts.
    pub fn target_vp(&self) -> u32 {
        self.control.target_vp()
    }

    /// Bytes of the data areas: of the ring from the guest, and of the one to it.
    pub fn ring_bytes(&self) -> (u32, u32) {
        (self.incoming.memory().len(), self.outgoing.memory().len())
    }

    /// A GPADL that the guest made on this device (any of its channels).
    pub fn gpadl(&self, id: u32) -> Option<Arc<Gpadl>> {
        self.device.gpadls.read().get(&id).cloned()
    }

    /// True once the device is to return; what [`Self::wait`] reports, without the wait.
    pub fn stopped(&self) -> bool {
        self.control.stopped()
    }

    /// Fails where the channel can't be used any more.
    fn check(&self) -> Result<(), ChannelError> {
        if let Some(error) = self.broken {
            return Err(error.into());
        }
        if self.control.is_abandoned() {
            return Err(ChannelError::Abandoned);
        }
        Ok(())
    }

    /// Remembers that the channel is unusable.
    fn broke(&mut self, error: RingError) -> ChannelError {
        self.broken = Some(error);
        error.into()
    }

    /// The next packet, copied to `buffer`; none: the ring is empty, or it is time to call
    /// [`Self::wait`] (many packets in a row, a pause, or the end). Never waits.
    ///
    /// # Errors
    ///
    /// When ring or packet make no sense.
    pub fn receive<'b>(
        &mut self,
        buffer: &'b mut PacketBuffer,
    ) -> Result<Option<Packet<'b>>, ChannelError> {
        self.check()?;
        if self.budget == 0 || self.control.stopped() || self.control.is_paused() {
            return Ok(None);
        }
        let length = match self.incoming.peek_bytes() {
            Ok(Some(length)) => length,
            Ok(None) => return Ok(None),
            Err(error) => return Err(self.broke(error)),
        };
        if buffer.bytes.len() < length as usize {
            // At most what the ring holds.
            buffer.bytes.resize(length as usize, 0);
        }
        let before = self.incoming.read_index();
        let packet = match self.incoming.read(&mut buffer.bytes) {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(None),
            // It was shorter a moment ago: the guest writes over its packets.
            Err(error) => {
                self.broken = Some(error);
                return Err(error.into());
            }
        };
        let size = self.incoming.memory().len();
        let bytes = turned(before, self.incoming.read_index(), size);
        self.budget -= 1;
        self.taken = self.taken.saturating_add(bytes);
        self.control.counters.packets_in.inc();
        self.control.counters.bytes_in.add(bytes.into());
        if self.taken >= size / 4 {
            // The guest goes on writing while the rest is worked on.
            self.taken = 0;
            match self.incoming.commit() {
                Ok(signal) => self.due |= signal,
                Err(error) => {
                    self.broken = Some(error);
                    return Err(error.into());
                }
            }
        }
        Ok(Some(packet.parse()?))
    }

    /// Puts a packet into the ring to the guest. The interrupt, if the rules ask for one, is sent
    /// by the next [`Self::flush`] or [`Self::wait`].
    ///
    /// # Errors
    ///
    /// [`ChannelError::Full`], which is not the guest's fault at once; or a broken ring.
    pub fn send(&mut self, packet: &OutPacket<'_>) -> Result<(), ChannelError> {
        self.check()?;
        let before = self.outgoing.write_index();
        match self.outgoing.write(packet) {
            Ok(signal) => {
                self.due |= signal;
                self.wanted = 0;
                let size = self.outgoing.memory().len();
                let bytes = turned(before, self.outgoing.write_index(), size);
                self.control.counters.packets_out.inc();
                self.control.counters.bytes_out.add(bytes.into());
                Ok(())
            }
            Err(RingError::Full { needed, .. }) => {
                self.wanted = needed;
                self.control.counters.full.inc();
                Err(ChannelError::Full)
            }
            // The device's own doing; the ring is all right.
            Err(error @ RingError::TooBig { .. }) => Err(error.into()),
            Err(error) => Err(self.broke(error)),
        }
    }

    /// Publishes any write index in the ring to the guest and interrupts it, so that the guest finds
    /// its ring corrupt. The channel is unusable from then on.
    pub fn corrupt(&mut self, index: u32) {
        let memory = self.outgoing.memory();
        memory.store_write_index(index);
        self.broken = Some(RingError::CorruptIndex {
            index,
            ring_bytes: memory.len(),
        });
        self.control.interrupt();
    }

    /// Interrupts the guest if something was sent that it has to be told of, and tells a guest
    /// that waits for room in its ring that packets were taken out.
    pub fn flush(&mut self) {
        if self.check().is_err() {
            return;
        }
        self.taken = 0;
        match self.incoming.commit() {
            Ok(signal) => self.due |= signal,
            // The next call fails.
            Err(error) => self.broken = Some(error),
        }
        if self.due {
            self.due = false;
            self.control.interrupt();
        }
    }

    /// Also wakes [`Self::wait`] when `file` is readable; its token is then in `ready`. Level
    /// triggered. Watching a file again changes its token.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn watch(&mut self, file: BorrowedFd<'_>, token: u32) -> std::io::Result<()> {
        let file = file.as_raw_fd();
        let event = EpollEvent::new(EventSet::IN, TOKEN_WATCH | u64::from(token));
        match self.epoll.ctl(ControlOperation::Add, file, event) {
            Ok(()) => {
                self.watched += 1;
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                self.epoll.ctl(ControlOperation::Modify, file, event)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends [`Self::watch`].
    ///
    /// # Errors
    ///
    /// When it wasn't watched.
    pub fn unwatch(&mut self, file: BorrowedFd<'_>) -> std::io::Result<()> {
        self.epoll.ctl(
            ControlOperation::Delete,
            file.as_raw_fd(),
            EpollEvent::default(),
        )?;
        self.watched = self.watched.saturating_sub(1);
        Ok(())
    }

    /// Flushes, lets the guest signal again, looks once more whether the ring has packets, and
    /// sleeps until there is something to do or the time is over (all false then).
    ///
    /// # Errors
    ///
    /// When the ring is broken or the system refuses.
    pub fn wait(&mut self, limit: Option<Duration>) -> Result<Wake, ChannelError> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.flush();
        self.budget = BUDGET;
        loop {
            self.check()?;
            let mut wake = Wake {
                stop: self.control.stopped(),
                nudged: self.control.take_nudge(),
                ..Wake::default()
            };
            let paused = self.control.is_paused() && !wake.stop;
            if !paused {
                wake.ring = self.has_work()?;
            }
            if wake.is_something() {
                self.skipped += 1;
                if !paused && self.watched > 0 && self.skipped >= PATIENCE {
                    self.sleep(Some(Duration::ZERO), &mut wake)?;
                }
                return Ok(wake);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) && self.watched == 0 {
                return Ok(wake);
            }
            if paused {
                self.sleep_paused(left)?;
                if left == Some(Duration::ZERO) {
                    return Ok(wake);
                }
                continue;
            }
            if self.ready_to_sleep()? {
                let nap = self.nap(left);
                self.sleep(nap, &mut wake)?;
                self.control.counters.wakes.inc();
                self.woken();
                if !wake.ready.is_empty() {
                    wake.ring = self.has_work()?;
                    wake.stop = self.control.stopped();
                    wake.nudged = self.control.take_nudge();
                    return Ok(wake);
                }
                if left == Some(Duration::ZERO) {
                    return Ok(wake);
                }
            }
        }
    }

    /// Whether there are packets, or room where there was none.
    fn has_work(&mut self) -> Result<bool, ChannelError> {
        let packets = match self.incoming.available() {
            Ok(bytes) => bytes != 0,
            Err(error) => return Err(self.broke(error)),
        };
        if packets && !self.masked {
            self.masked = true;
            self.incoming.mask_interrupts();
        }
        if self.wanted == 0 {
            return Ok(packets);
        }
        match self.outgoing.free() {
            Ok(free) if free > self.wanted => {
                self.wanted = 0;
                Ok(true)
            }
            Ok(_) => Ok(packets),
            Err(error) => Err(self.broke(error)),
        }
    }

    /// Asks the guest for signals; false where there is work after all.
    fn ready_to_sleep(&mut self) -> Result<bool, ChannelError> {
        self.masked = false;
        match self.incoming.unmask_interrupts() {
            Ok(false) => {}
            Ok(true) => return Ok(false),
            Err(error) => return Err(self.broke(error)),
        }
        if self.wanted == 0 {
            return Ok(true);
        }
        match self.outgoing.request_space(self.wanted) {
            Ok(room) => Ok(!room),
            Err(error) => Err(self.broke(error)),
        }
    }

    /// How long to sleep: a guest without flow control never says that there is room.
    fn nap(&self, left: Option<Duration>) -> Option<Duration> {
        let features = self.outgoing.memory().load_feature_bits();
        if self.wanted != 0 && features & FEATURE_PENDING_SEND_SIZE == 0 {
            Some(left.map_or(POLL, |left| left.min(POLL)))
        } else {
            left
        }
    }

    fn woken(&mut self) {
        if self.wanted != 0 {
            self.outgoing.cancel_request();
        }
        self.masked = true;
        self.incoming.mask_interrupts();
    }

    /// Waits for the guest's signal, a kick or a watched file.
    fn sleep(&mut self, limit: Option<Duration>, wake: &mut Wake) -> Result<(), ChannelError> {
        self.skipped = 0;
        let count = match self.epoll.wait(milliseconds(limit), &mut self.events) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error.into()),
        };
        for event in self.events.iter().take(count) {
            let token = event.data();
            if token & TOKEN_WATCH != 0 {
                // The lower half.
                wake.ready.push(token as u32);
            }
        }
        Ok(())
    }

    /// Waits for a kick only.
    fn sleep_paused(&mut self, limit: Option<Duration>) -> Result<(), ChannelError> {
        let kick = self.control.kick_event();
        let mut poll = [libc::pollfd {
            fd: kick.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        // SAFETY: one entry that lives as long as the call.
        let done = unsafe { libc::poll(poll.as_mut_ptr(), 1, milliseconds(limit)) };
        if done < 0 {
            let error = std::io::Error::last_os_error();
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(error.into());
            }
        }
        // Quiet until the next; the flags say what it was.
        let _ = kick.read();
        Ok(())
    }
}

impl Drop for Channel {
    /// What was sent before the device returned reaches the guest.
    fn drop(&mut self) {
        self.flush();
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("device", &self.device.identity.name)
            .field("subchannel", &self.subchannel)
            .finish_non_exhaustive()
    }
}

/// Why a channel can't be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelOpenError {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// How far a cursor moved.
fn turned(before: u32, after: u32, size: u32) -> u32 {
    match after.checked_sub(before) {
        Some(bytes) => bytes,
        None => size.wrapping_sub(before).wrapping_add(after),
    }
}

/// Rounded up, so that a short wait isn't a busy one; -1 for ever.
fn milliseconds(limit: Option<Duration>) -> i32 {
    match limit {
        None => -1,
        Some(limit) => i32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
    }
}
