// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A processor's synthetic interrupt controller, as far as it isn't KVM's: message slots and event
//! flags.
//!
//! Slots are only written on the processor's own thread while it isn't in the guest, because KVM
//! puts its timers' messages into the same slots there. Flags are set from any thread. Layouts:
//! `struct hv_message`, `union hv_synic_event_flags` (include/hyperv/hvgdk_mini.h).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::kvm::SINTS;
use crate::memory::{GuestMemory, MemoryError};

/// Bytes of a message's payload.
pub(super) const MESSAGE_BYTES: usize = 240;
/// Messages that wait for one processor; a guest that is offered every channel there is needs
/// about 2,000.
const MAX_WAITING: usize = 4096;
/// Event flags of one source.
const FLAGS: u16 = 2048;
/// Bytes of one source's slot in both pages.
const SLOT_BYTES: u64 = 256;
const PAGE_BYTES: usize = 4096;
/// Type of a VMBus channel message; HVMSG_NONE is 0.
const VMBUS_MESSAGE: u32 = 1;
/// Bit 0 of the flags behind the size: another message waits for the slot.
const MESSAGE_PENDING: u32 = 1 << 8;
/// Bit 0 of SCONTROL, SIMP and SIEFP: on.
const ENABLE: u64 = 1;
const ADDRESS: u64 = !0xfff;

/// Which of the registers the guest wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    /// SCONTROL: whether the controller is on.
    pub(super) control: u64,
    /// SIEFP: page of event flags.
    pub(super) event_page: u64,
    /// SIMP: page of message slots.
    pub(super) message_page: u64,
}

/// One message.
#[derive(Debug)]
struct Message {
    bytes: u8,
    payload: [u8; MESSAGE_BYTES],
}

/// What became of the messages that waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivery {
    /// Sources to interrupt the processor with, a bit each.
    pub(super) interrupts: u16,
    /// Messages written.
    pub(super) delivered: u64,
    /// Messages dropped because the guest has no page for them.
    pub(super) dropped: u64,
    /// Slots that were taken.
    pub(super) busy: u64,
}

/// What became of an event flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    /// Set; the processor has to be interrupted.
    Set,
    /// It was set already.
    Merged,
    /// The guest has no page for it, or there is no such flag.
    Missed,
}

/// The controller of one processor.
#[derive(Debug, Default)]
pub(super) struct Synic {
    control: AtomicU64,
    event_page: AtomicU64,
    message_page: AtomicU64,
    /// Something waits that wasn't tried yet.
    untried: AtomicBool,
    /// A slot was taken when it was tried: the guest's end-of-message is due.
    stalled: AtomicBool,
    waiting: Mutex<[VecDeque<Message>; SINTS as usize]>,
}

impl Synic {
    /// Takes what the guest wrote; on the processor's thread, in the exit of the write.
    ///
    /// Pages that are new are zeroed, as the hypervisor does and KVM_CAP_HYPERV_SYNIC2 leaves
    /// to us.
    ///
    /// # Errors
    ///
    /// When a page isn't memory; it counts as off then.
    pub(super) fn write(
        &self,
        memory: &GuestMemory,
        registers: Registers,
    ) -> Result<(), MemoryError> {
        self.control.store(registers.control, Ordering::SeqCst);
        let events = renew(memory, &self.event_page, registers.event_page);
        let messages = renew(memory, &self.message_page, registers.message_page);
        if self.page(&self.message_page).is_none() {
            // Whoever they were for is gone.
            for queue in self.waiting.lock().iter_mut() {
                queue.clear();
            }
            self.stalled.store(false, Ordering::SeqCst);
        }
        events.and(messages)
    }

    /// The page of a register, if it and the controller are on.
    fn page(&self, register: &AtomicU64) -> Option<u64> {
        let value = register.load(Ordering::SeqCst);
        let on = value & self.control.load(Ordering::SeqCst) & ENABLE != 0;
        on.then_some(value & ADDRESS)
    }

    /// Queues a message for the slot of `sint`. False: too many wait, or it makes no sense.
    pub(super) fn queue(&self, sint: u8, payload: &[u8]) -> bool {
        let mut message = Message {
            bytes: payload.len() as u8,
            payload: [0; MESSAGE_BYTES],
        };
        let Some(room) = message.payload.get_mut(..payload.len()) else {
            return false;
        };
        room.copy_from_slice(payload);
        let mut waiting = self.waiting.lock();
        let Some(queue) = waiting.get_mut(usize::from(sint)) else {
            return false;
        };
        if queue.len() >= MAX_WAITING {
            return false;
        }
        queue.push_back(message);
        self.untried.store(true, Ordering::SeqCst);
        true
    }

    /// Messages wait for a slot that was taken.
    pub(super) fn stalled(&self) -> bool {
        self.stalled.load(Ordering::SeqCst)
    }

    /// Has the next [`Self::deliver`] try again.
    pub(super) fn retry(&self) {
        if self.stalled() {
            self.untried.store(true, Ordering::SeqCst);
        }
    }

    /// Writes messages into free slots; only on the processor's thread.
    pub(super) fn deliver(&self, memory: &GuestMemory) -> Delivery {
        let mut done = Delivery::default();
        if !self.untried.load(Ordering::Relaxed) || !self.untried.swap(false, Ordering::SeqCst) {
            return done;
        }
        let page = self.page(&self.message_page);
        let mut stalled = false;
        let mut waiting = self.waiting.lock();
        for (sint, queue) in (0u64..).zip(waiting.iter_mut()) {
            let Some(first) = queue.front() else { continue };
            let Some(page) = page else {
                done.dropped += queue.len() as u64;
                queue.clear();
                continue;
            };
            match post(memory, page + sint * SLOT_BYTES, first, queue.len() > 1) {
                Ok(true) => {
                    queue.pop_front();
                    done.delivered += 1;
                    done.interrupts |= 1 << sint;
                    // The slot now is taken for the others.
                    stalled |= !queue.is_empty();
                }
                Ok(false) => {
                    done.busy += 1;
                    stalled = true;
                }
                // It was memory when the guest wrote the register; memory stays.
                Err(_) => {
                    done.dropped += queue.len() as u64;
                    queue.clear();
                }
            }
        }
        self.stalled.store(stalled, Ordering::SeqCst);
        done
    }

    /// Sets an event flag; from any thread.
    pub(super) fn signal(&self, memory: &GuestMemory, sint: u8, flag: u16) -> Flag {
        if u32::from(sint) >= SINTS || flag >= FLAGS {
            return Flag::Missed;
        }
        let Some(page) = self.page(&self.event_page) else {
            return Flag::Missed;
        };
        let word = page + u64::from(sint) * SLOT_BYTES + u64::from(flag / 32) * 4;
        let bit = 1u32 << (flag % 32);
        match memory.atomic_u32(word) {
            Ok(word) if word.fetch_or(bit, Ordering::SeqCst) & bit == 0 => Flag::Set,
            Ok(_) => Flag::Merged,
            Err(_) => Flag::Missed,
        }
    }
}

/// Takes a page's register; a page that wasn't there before is zeroed.
fn renew(memory: &GuestMemory, register: &AtomicU64, value: u64) -> Result<(), MemoryError> {
    let was = register.load(Ordering::SeqCst);
    if value & ENABLE != 0 && (was & ENABLE == 0 || was & ADDRESS != value & ADDRESS) {
        if let Err(error) = memory.write(value & ADDRESS, &[0; PAGE_BYTES]) {
            register.store(0, Ordering::SeqCst);
            return Err(error);
        }
    }
    register.store(value, Ordering::SeqCst);
    Ok(())
}

/// Writes a message if the slot is free; otherwise leaves word there that one waits.
fn post(
    memory: &GuestMemory,
    slot: u64,
    message: &Message,
    more: bool,
) -> Result<bool, MemoryError> {
    let message_type = memory.atomic_u32(slot)?;
    let size_and_flags = memory.atomic_u32(slot + 4)?;
    if message_type.load(Ordering::SeqCst) != 0 {
        size_and_flags.fetch_or(MESSAGE_PENDING, Ordering::SeqCst);
        // Another processor might have emptied it before it could see that.
        if message_type.load(Ordering::SeqCst) != 0 {
            return Ok(false);
        }
    }
    // The sender's port: VMBus has none to tell.
    memory.write(slot + 8, &[0; 8])?;
    memory.write(slot + 16, &message.payload)?;
    let flags = if more { MESSAGE_PENDING } else { 0 };
    size_and_flags.store(u32::from(message.bytes) | flags, Ordering::SeqCst);
    message_type.store(VMBUS_MESSAGE, Ordering::SeqCst);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    const SIMP: u64 = 0x3000;
    const SIEFP: u64 = 0x5000;
    const SLOT: u64 = SIMP + 2 * SLOT_BYTES;

    fn memory() -> GuestMemory {
        GuestMemory::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap())
    }

    fn on(memory: &GuestMemory) -> Synic {
        let synic = Synic::default();
        let registers = Registers {
            control: 1,
            event_page: SIEFP | 1,
            message_page: SIMP | 1,
        };
        synic.write(memory, registers).unwrap();
        synic
    }

    fn payload(memory: &GuestMemory, bytes: usize) -> Vec<u8> {
        let mut payload = vec![0; bytes];
        memory.read(SLOT + 16, &mut payload).unwrap();
        payload
    }

    #[test]
    fn a_message_fills_the_slot_and_the_next_one_waits() {
        let memory = memory();
        let synic = on(&memory);
        assert!(synic.queue(2, b"first"));
        assert!(synic.queue(2, b"second"));
        let done = synic.deliver(&memory);
        assert_eq!((done.delivered, done.interrupts), (1, 1 << 2));
        assert_eq!(memory.load::<u32>(SLOT).unwrap(), 1);
        // Five bytes, and one more waits.
        assert_eq!(memory.load::<u32>(SLOT + 4).unwrap(), 5 | 1 << 8);
        assert_eq!(payload(&memory, 5), b"first");
        assert!(synic.stalled());

        // Nothing new: not even looked at.
        assert_eq!(synic.deliver(&memory), Delivery::default());
        // Still taken.
        synic.retry();
        assert_eq!(synic.deliver(&memory).busy, 1);

        memory.write(SLOT, &[0; 4]).unwrap();
        synic.retry();
        assert_eq!(synic.deliver(&memory).delivered, 1);
        assert_eq!(memory.load::<u32>(SLOT + 4).unwrap(), 6);
        assert_eq!(payload(&memory, 6), b"second");
        assert!(!synic.stalled());
    }

    #[test]
    fn a_slot_that_the_timer_has_taken_is_left_alone() {
        let memory = memory();
        let synic = on(&memory);
        memory.write(SLOT, &0x8000_0010u32.to_le_bytes()).unwrap();
        assert!(synic.queue(2, b"x"));
        assert_eq!(synic.deliver(&memory).busy, 1);
        assert_eq!(memory.load::<u32>(SLOT).unwrap(), 0x8000_0010);
        assert_eq!(memory.load::<u32>(SLOT + 4).unwrap(), 1 << 8);
        assert!(synic.stalled());
    }

    #[test]
    fn flags_interrupt_only_once() {
        let memory = memory();
        let synic = on(&memory);
        assert_eq!(synic.signal(&memory, 2, 37), Flag::Set);
        assert_eq!(synic.signal(&memory, 2, 37), Flag::Merged);
        let word = SIEFP + 2 * SLOT_BYTES + 4;
        assert_eq!(memory.load::<u32>(word).unwrap(), 1 << 5);
        memory.write(word, &[0; 4]).unwrap();
        assert_eq!(synic.signal(&memory, 2, 37), Flag::Set);
        assert_eq!(synic.signal(&memory, 2, 2047), Flag::Set);
        assert_eq!(synic.signal(&memory, 2, 2048), Flag::Missed);
        assert_eq!(synic.signal(&memory, 16, 1), Flag::Missed);
    }

    #[test]
    fn new_pages_are_zeroed_and_old_ones_are_not() {
        let memory = memory();
        memory.write(SIMP, &[7; 4096]).unwrap();
        let synic = on(&memory);
        assert_eq!(memory.load::<u32>(SLOT).unwrap(), 0);
        memory.write(SLOT, &[9; 4]).unwrap();
        let registers = Registers {
            control: 1,
            event_page: 0,
            message_page: SIMP | 1,
        };
        synic.write(&memory, registers).unwrap();
        assert_eq!(memory.load::<u32>(SLOT).unwrap(), 0x0909_0909);
        assert_eq!(synic.signal(&memory, 2, 1), Flag::Missed);
    }

    #[test]
    fn what_is_off_or_not_memory_gets_nothing() {
        let memory = memory();
        let synic = Synic::default();
        assert!(synic.queue(2, b"lost"));
        assert_eq!(synic.deliver(&memory).dropped, 1);
        assert_eq!(synic.signal(&memory, 2, 1), Flag::Missed);

        let registers = Registers {
            control: 1,
            event_page: 1 << 40 | 1,
            message_page: u64::MAX,
        };
        assert!(synic.write(&memory, registers).is_err());
        assert!(synic.queue(2, b"lost"));
        assert_eq!(synic.deliver(&memory).dropped, 1);
        assert_eq!(synic.signal(&memory, 2, 1), Flag::Missed);

        assert!(!synic.queue(16, b"no such source"));
        assert!(!synic.queue(2, &[0; 241]));
        assert!(synic.queue(2, &[0; 240]));
    }

    #[test]
    fn a_guest_that_takes_nothing_fills_a_bounded_queue() {
        let memory = memory();
        let synic = on(&memory);
        let taken = (0..2 * MAX_WAITING)
            .filter(|_| synic.queue(2, b"m"))
            .count();
        assert_eq!(taken, MAX_WAITING);
        // Its page goes: so do they.
        let off = Registers {
            control: 1,
            event_page: 0,
            message_page: 0,
        };
        synic.write(&memory, off).unwrap();
        assert_eq!(synic.deliver(&memory), Delivery::default());
    }
}
