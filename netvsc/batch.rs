// SPDX-License-Identifier: GPL-2.0

//! Frames that are copied to a section of the send buffer: one, or several that the stack sends at once
//! and the host takes as one packet.

use kernel::sync::Arc;
use kernel_ext::{
    atomic::{Atomic, Relaxed},
    pages::SharedBuffer,
};
use net::{Dev, Kept, SkBuff};
use netvsc_wire::{
    nvsp::{ChannelType, RndisPacket, SectionUse},
    ppi::{SendInfo, MAX_HEAD_BYTES},
    GuestMessage,
};
use vmbus::{Channel, Reserved, SendError};

use crate::{queue::Queue, transmit::Sending};

/// Places in use, that of the open batch included, beyond which the host has enough to do: frames are put together then
/// although the stack promises no more. Fewer packets for the same frames are less work for both sides.
const BUSY: usize = 4;

/// The part of the send buffer that a queue uses: what has its place number `n` is copied to section
/// `first + n`, if `n` is below `count`.
pub(crate) struct SendSections {
    pub(crate) buffer: Arc<SharedBuffer>,
    pub(crate) section_bytes: u32,
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// Messages that the host takes in a packet.
    pub(crate) most: Atomic<u32>,
    /// What they start at multiples of.
    pub(crate) alignment: Atomic<u32>,
}

/// Frames in a section that the host wasn't told of yet.
pub(crate) struct Batch {
    place: usize,
    /// Number of the section in the send buffer.
    section: u32,
    reserved: Reserved,
    count: u32,
    /// Bytes of the section that are used.
    used: u32,
    /// Bytes of the frames, for the queue's limits.
    bytes: u32,
}

/// What came of a frame.
pub(crate) enum Joined {
    /// It is in the section.
    Yes,
    /// It is to be sent from where it is.
    Alone(SkBuff),
    /// Nothing can be sent now.
    NoRoom(SkBuff),
}

impl Queue {
    /// Copies a frame to a section: that of the open batch, or one of its own. Another batch is sent
    /// before.
    pub(crate) fn join(
        &self,
        dev: &Dev,
        channel: &Channel,
        send: &SendSections,
        batch: &mut Option<Batch>,
        skb: SkBuff,
        info: &SendInfo,
    ) -> Joined {
        let alignment = send.alignment.load(Relaxed).max(1);
        let bytes = skb.len() as u32;
        // Every message ends where another one may start.
        let unpadded = bytes.saturating_add(info.head_bytes() as u32);
        let padding = unpadded.next_multiple_of(alignment) - unpadded;
        let need = unpadded + padding;
        let mut head = [0; MAX_HEAD_BYTES];
        let head = match info.encode(bytes, padding, &mut head) {
            Ok(length) if need <= send.section_bytes => head.get(..length).unwrap_or_default(),
            _ => return Joined::Alone(skb),
        };
        let full = batch.as_ref().is_some_and(|open| {
            open.count >= send.most.load(Relaxed) || need > send.section_bytes - open.used
        });
        if full && !self.send_batch(dev, channel, batch) {
            return Joined::NoRoom(skb);
        }
        let (place, used) = match batch {
            Some(open) => (open.place, open.used),
            None => match self.places.take() {
                Some(place) => (place, 0),
                None => return Joined::NoRoom(skb),
            },
        };
        let copied = send.copy(place, used, head, &skb);
        match batch {
            // An open batch has a section, and there is room in it.
            Some(open) if copied.is_some() => {
                open.count += 1;
                open.used += need;
                open.bytes = open.bytes.saturating_add(bytes);
            }
            Some(_) => return Joined::Alone(skb),
            None => match copied.zip(self.frames.reserve(place, self.number)) {
                Some((section, reserved)) => {
                    *batch = Some(Batch {
                        place,
                        section,
                        reserved,
                        count: 1,
                        used: need,
                        bytes,
                    });
                }
                None => {
                    self.places.give(place);
                    return Joined::Alone(skb);
                }
            },
        }
        // Nobody needs it any more. What is on its way is limited by bytes of the queue.
        skb.copied();
        Joined::Yes
    }

    /// The stack has no more frames for now: the open batch goes, unless the host has enough to do without it. Then
    /// it may grow until the host has completed a packet.
    pub(crate) fn end_batch(&self, dev: &Dev, channel: &Channel, stopped: bool) {
        let Some(mut batch) = self.batch.try_take() else {
            // Whoever has it sends it.
            return;
        };
        if batch.is_some() && !stopped && self.places.used() > BUSY {
            drop(batch);
            // The poll gives places back, and looks for a batch then: of the two, one at least sees what the other did.
            kernel_ext::barrier::virt_mb();
            if self.places.used() > 1 {
                return;
            }
            return self.send_held(dev, channel);
        }
        self.send_batch(dev, channel, &mut batch);
    }

    /// Sends the open batch, if there is one; the host isn't signalled yet.
    pub(crate) fn send_held(&self, dev: &Dev, channel: &Channel) {
        if let Some(mut batch) = self.batch.try_take() {
            self.send_batch(dev, channel, &mut batch);
        }
    }

    /// Puts the open batch into the ring, if there is one; the host isn't signalled yet. False: there is no
    /// room, the batch stays open and the queue is stopped.
    pub(crate) fn send_batch(
        &self,
        dev: &Dev,
        channel: &Channel,
        batch: &mut Option<Batch>,
    ) -> bool {
        let Some(open) = batch.take() else {
            return true;
        };
        let section = SectionUse {
            index: open.section,
            bytes: open.used,
        };
        let message = GuestMessage::RndisPacket(RndisPacket {
            channel_type: ChannelType::Data,
            section: Some(section),
        });
        let sending = Sending {
            queue: self,
            reserved: open.reserved,
            kept: Kept::nothing(),
            count: open.count,
            bytes: open.bytes,
            message: message.encode(self.version),
            pieces: &[],
        };
        match channel.send_load(sending, false) {
            Ok(()) => {
                self.stats.tx_sections.inc();
                true
            }
            Err((SendError::Full, back)) => {
                *batch = Some(Batch {
                    place: open.place,
                    section: open.section,
                    reserved: back.reserved,
                    count: open.count,
                    used: open.used,
                    bytes: open.bytes,
                });
                self.stop(dev);
                false
            }
            Err(_) => {
                self.places.give(open.place);
                self.unsent.fetch_add(open.bytes, Relaxed);
                self.nic.stats.tx_gone.add(open.count.into());
                true
            }
        }
    }
}

impl SendSections {
    /// Copies a message to the section of a place, `used` bytes into it; the section's number, `None` if the
    /// place has none.
    fn copy(&self, place: usize, used: u32, head: &[u8], skb: &SkBuff) -> Option<u32> {
        let place = u32::try_from(place)
            .ok()
            .filter(|place| *place < self.count)?;
        let index = self.first.checked_add(place)?;
        let section = SectionUse {
            index,
            bytes: self.section_bytes,
        };
        let size = self.buffer.size() as u64;
        let section = section.within(self.section_bytes, size)?;
        let at = (section.start as usize).checked_add(used as usize)?;
        let window = self.buffer.window();
        skb.copy_to(&window, at, head).ok()?;
        Some(index)
    }
}
