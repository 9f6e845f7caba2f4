// SPDX-License-Identifier: GPL-2.0

//! Buffers that the host asks the guest for, so that a queue's frames are put where the stack can use them
//! (VMQ, messages 120 to 124).
//!
//! Such a frame isn't copied but for its headers: the stack gets references to its pages, and the host's packet
//! is completed when the stack has given them all back. Until then the host may not use their place. A host that
//! does anyway changes a frame under the stack's eyes, which a host that isn't trusted could: parameter `vmq`.

use kernel::{
    prelude::*,
    sync::{rcu, Arc},
    time::{delay::fsleep, Delta},
};
use kernel_ext::{
    atomic::Relaxed,
    pages::{PageList, SharedBuffer},
};
use net::Polled;
use netvsc_wire::{
    nvsp::OutMessage,
    rndis,
    vmq::{AllocationId, BufferId, VmqPacket},
    GuestMessage,
};
use vmbus::{gpadl::Teardown, Channel};
use vmbus_wire::packet::OutPacket;

use crate::{
    owed::Owed,
    queue::Queue,
    receive::ReceiveBuffer,
    session::{share, Session},
};

/// Most bytes of such a buffer, whatever the host asks for.
const MOST_BYTES: u32 = 16 << 20;

/// Frames that a queue lends to the stack at a time, at most.
const MOST_LENT: usize = 1024;

/// Pages that a host which puts segments together may keep free for each frame: it can't know before how long it will be.
const SEGMENT_PAGES: u32 = 17;

/// Lent frames that a poll looks at, at most.
const LOOKS: usize = 64;

/// The number of the buffer: there is one at a time.
pub(crate) const BUFFER: BufferId = BufferId(1);

/// What the host asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// Id of the packet that is to be completed.
    pub(crate) transaction: u64,
    pub(crate) allocation: AllocationId,
    pub(crate) bytes: u32,
}

/// A frame whose pages the stack has.
#[derive(Clone, Copy)]
struct LentFrame {
    /// Id of the host's packet.
    id: u64,
    /// Its pages in the buffer.
    first: u32,
    pages: u32,
    /// Pages that the host misses with it: nobody knows how the host divides it.
    holds: u32,
}

/// The frames of a queue that the stack has. All are of one buffer, which the host may have freed meanwhile; until
/// they have come back, none of another is lent.
pub(crate) struct Lent {
    frames: KVVec<LentFrame>,
    /// Where they are. Stays when they have come back, for the next ones.
    buffer: Option<Arc<PageList>>,
    /// Pages that the host misses.
    held: usize,
    /// Where the next look begins.
    next: usize,
}

impl Lent {
    /// None yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            frames: KVVec::with_capacity(MOST_LENT, GFP_KERNEL)?,
            buffer: None,
            held: 0,
            next: 0,
        })
    }

    /// Whether the frames are, or last were, of this buffer.
    fn is_of(&self, buffer: &Arc<PageList>) -> bool {
        let same = |own| Arc::ptr_eq(own, buffer);
        self.buffer.as_ref().is_some_and(same)
    }

    /// Whether frames of this buffer may be added.
    fn takes(&self, buffer: &Arc<PageList>) -> bool {
        self.frames.is_empty() || self.is_of(buffer)
    }

    /// Adds a frame; false when there is no room for it.
    fn add(&mut self, buffer: &Arc<PageList>, frame: LentFrame) -> bool {
        if !self.takes(buffer) || self.frames.push_within_capacity(frame).is_err() {
            return false;
        }
        if !self.is_of(buffer) {
            self.buffer = Some(buffer.clone());
        }
        self.held += frame.holds as usize;
        true
    }

    /// Takes out a frame that the stack has given back, looking at `looks` of them at most.
    fn take(&mut self, looks: &mut usize) -> Option<u64> {
        let pages = self.buffer.as_ref()?;
        while *looks > 0 && !self.frames.is_empty() {
            *looks -= 1;
            if self.next >= self.frames.len() {
                self.next = 0;
            }
            let frame = *self.frames.get(self.next)?;
            let all = frame.first..frame.first.saturating_add(frame.pages);
            let lent = |index: u32| {
                pages
                    .page(index as usize)
                    .is_some_and(|page| page.is_lent())
            };
            if all.into_iter().any(lent) {
                self.next += 1;
                continue;
            }
            // The last one takes its place; the order doesn't matter.
            let last = self.frames.pop()?;
            if let Some(place) = self.frames.get_mut(self.next) {
                *place = last;
            }
            self.held = self.held.saturating_sub(frame.holds as usize);
            return Some(frame.id);
        }
        None
    }

    /// Forgets all: nobody waits for completions any more.
    pub(crate) fn forget(&mut self) {
        self.frames.clear();
        self.buffer = None;
        (self.held, self.next) = (0, 0);
    }
}

impl Queue {
    /// Takes a packet with a frame in such a buffer.
    pub(crate) fn frame_in_place(
        &self,
        napi: &Polled<'_>,
        channel: &Channel,
        id: u64,
        packet: &VmqPacket,
    ) {
        let guard = rcu::read_lock();
        let own = self.lent_buffer.read(&guard);
        let Some(buffer) = own.filter(|_| packet.buffer == BUFFER) else {
            return self.broke(
                channel,
                format_args!("a frame in a buffer that nobody knows"),
            );
        };
        let size = buffer.buffer.size();
        let Some(head) = packet.within(size) else {
            self.bad(channel, format_args!("a frame outside of its buffer"));
            return self.owe(channel, Owed::Vmq(id));
        };
        let lent = self.message(napi, channel, &buffer, head.start, size - head.start);
        let kept = lent.and_then(|pages| {
            let mut all = self.lent.try_take()?;
            let count = u32::try_from(pages.len()).ok()?;
            let least = if self.nic.coalesces.load(Relaxed) != 0 {
                SEGMENT_PAGES
            } else {
                1
            };
            let frame = LentFrame {
                id,
                first: u32::try_from(pages.start).ok()?,
                pages: count,
                holds: count.max(least),
            };
            let added = all.add(buffer.buffer.pages(), frame);
            self.lent_frames.store(all.frames.len() as u32, Relaxed);
            added.then_some(())
        });
        if kept.is_none() {
            self.owe(channel, Owed::Vmq(id));
        }
    }

    /// Whether one more frame may be lent: the host is to have places for others.
    pub(crate) fn may_lend(&self, buffer: &ReceiveBuffer) -> bool {
        let pages = buffer.buffer.size() / 4096;
        let share = pages / 2 / usize::from(self.nic.device.queues().max(1));
        self.lent.try_take().is_some_and(|lent| {
            lent.held < share && lent.frames.len() < MOST_LENT && lent.takes(buffer.buffer.pages())
        })
    }

    /// Completes the packets of frames that the stack has given back. While it has some, it is asked again.
    pub(crate) fn take_back(&self, channel: &Channel) {
        if !self.has_lent() {
            return;
        }
        let mut looks = LOOKS;
        loop {
            let Some(mut lent) = self.lent.try_take() else {
                return;
            };
            let id = lent.take(&mut looks);
            let left = lent.frames.len();
            drop(lent);
            let Some(id) = id else {
                self.lent_frames.store(left as u32, Relaxed);
                break;
            };
            self.owe(channel, Owed::Vmq(id));
        }
        if self.has_lent() {
            self.nic.expect_returns();
        }
    }

    /// Whether the stack had frames of such a buffer when a poll last looked. Any context.
    pub(crate) fn has_lent(&self) -> bool {
        self.lent_frames.load(Relaxed) != 0
    }
}

impl Session {
    /// Gives the host a buffer that it has asked for, or says that there is none. Process context.
    pub(crate) fn lend_buffer(&self, asked: Asked) {
        let answer = match self.make_buffer(asked.bytes) {
            Ok(gpadl) => self.allocated(asked, rndis::Status::SUCCESS, gpadl),
            Err(error) => {
                kernel_ext::log_warn_limited!(
                    "{}: no buffer of {} bytes for queues: {error:?}\n",
                    self.nic.name(),
                    asked.bytes
                );
                self.allocated(asked, rndis::Status::RESOURCES, 0)
            }
        };
        let payload = [answer.as_bytes()];
        // A channel that is gone needs no answer; a full ring is emptied by the host.
        for _ in 0..100 {
            let packet = OutPacket::completion(asked.transaction, &payload);
            match self.channel.send(&packet) {
                Err(vmbus::SendError::Full) => fsleep(Delta::from_millis(10)),
                _ => return,
            }
        }
    }

    /// Takes back what the host has no use for. What the stack still has of it stays until it is given back.
    /// Process context.
    pub(crate) fn reclaim_buffer(&self) {
        let Some(shared) = self.take_lent() else {
            return;
        };
        kernel_ext::rcu::clear(self.queues.iter().map(|queue| &queue.lent_buffer));
        match shared.gpadl.teardown() {
            Teardown::Reclaimed(_) | Teardown::Leaked => {}
        }
    }

    fn allocated(&self, asked: Asked, status: rndis::Status, gpadl: u32) -> OutMessage {
        let message = GuestMessage::ReceiveBufferAllocated {
            status,
            allocation: asked.allocation,
            gpadl,
            buffer: BUFFER,
        };
        message.encode(self.version)
    }

    /// Shares a buffer; the id of its page list.
    fn make_buffer(&self, bytes: u32) -> Result<u32> {
        if bytes == 0 || bytes > MOST_BYTES {
            return Err(EINVAL);
        }
        if self.has_lent() {
            return Err(EBUSY);
        }
        let shared = share(&self.channel, bytes.next_multiple_of(4096) as usize)?;
        let buffer: Arc<SharedBuffer> = shared.buffer.clone();
        let gpadl = shared.gpadl.id();
        self.keep_lent(shared);
        let receive = Arc::new(ReceiveBuffer::lending(buffer), GFP_KERNEL)?;
        for queue in &self.queues {
            drop(queue.lent_buffer.replace(Some(receive.clone())));
        }
        Ok(gpadl)
    }
}
