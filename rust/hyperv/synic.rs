// SPDX-License-Identifier: GPL-2.0

//! The synthetic interrupt controller of one CPU: message slot and event flags.
//!
//! The kernel's `hv_stimer_global_cleanup` is deliberately not offered: it frees what the handler
//! of a timer's message works on, and the kernel calls it by itself before a kexec.
//!
//! Source of the layouts: Hypervisor Top Level Functional Specification, chapter "Inter-Partition
//! Communication".

use kernel::{cpu::CpuId, prelude::*};

use super::{
    hypercall::IrqsOff,
    Hypervisor, //
};
use crate::{
    atomic::{Acquire, Atomic, Full, Relaxed},
    cpuhp::{
        current_cpu,
        PreemptOff, //
    },
    pages::{
        SharedPage,
        Window, //
    }, //
};

/// The synthetic interrupt that VMBus uses: messages, events, and timers without direct mode.
pub const VMBUS_SINT: u32 = 2;

/// How many event flags a synthetic interrupt has.
pub const EVENT_FLAGS: u32 = 2048;

/// The size of a message with its header, in bytes: type (u32), payload size (u8), flags (u8), 2
/// reserved bytes, sender (u64), 240 bytes of payload.
pub const MESSAGE_SIZE: usize = 256;

/// `HVMSG_TIMER_EXPIRED`: a message that a timer without direct mode sends.
pub const MESSAGE_TIMER_EXPIRED: u32 = 0x8000_0010;

/// `HVMSG_NONE`: the slot is free.
const MESSAGE_NONE: u32 = 0;

/// Where the slot of [`VMBUS_SINT`] starts in the message page.
const SLOT: usize = VMBUS_SINT as usize * MESSAGE_SIZE;

/// Where the flags of [`VMBUS_SINT`] start in the event page.
const FLAGS: usize = VMBUS_SINT as usize * EVENT_FLAGS as usize / 8;

/// The bit of the message flags which says that more messages wait: byte 5, bit 0. Seen as part
/// of the second 32-bit word.
const MESSAGE_PENDING: u32 = 1 << 8;

// Fields of the registers SIMP, SIEFP, SCONTROL and SINTx.
const PAGE_ENABLED: u64 = 1;
const PAGE_SHIFT: u32 = 12;
/// Bits 1 to 11 are reserved and to be preserved.
const PAGE_RESERVED: u64 = 0xffe;
const CONTROL_ENABLED: u64 = 1;
const SINT_VECTOR: u64 = 0xff;
const SINT_MASKED: u64 = 1 << 16;
const SINT_AUTO_EOI: u64 = 1 << 17;

/// The SynIC of one CPU with its message page and event page.
///
/// # Invariants
///
/// While `enabled` is true the hypervisor may write to both pages; it becomes false only after the
/// registers of the CPU `cpu` were told to forget them. The pages are freed only while it is false.
pub struct Synic {
    hv: Hypervisor,
    cpu: u32,
    message: Option<SharedPage>,
    event: Option<SharedPage>,
    enabled: Atomic<bool>,
    /// Whether this CPU's timer is registered, if it's one that sends messages.
    timer: Atomic<bool>,
}

impl Synic {
    /// Allocates the pages for a CPU; nothing happens on the CPU yet. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory, `EINVAL` if there is no such CPU.
    pub fn new(hv: Hypervisor, cpu: u32) -> Result<Self> {
        CpuId::from_u32(cpu).ok_or(EINVAL)?;
        let node = Some(crate::cpuhp::node_of(cpu));
        Ok(Self {
            hv,
            cpu,
            message: Some(SharedPage::new(node)?),
            event: Some(SharedPage::new(node)?),
            enabled: Atomic::new(false),
            timer: Atomic::new(false),
        })
    }

    /// The CPU it belongs to.
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    /// Whether the hypervisor knows the pages.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Relaxed)
    }

    /// Turns the SynIC on: pages, interrupt, and timers if they need messages.
    ///
    /// The interrupt handler has to be registered before, and has to call
    /// [`Synic::handle_timer_message`]: timers that send messages drive the CPU's clock from here
    /// on, which stands still if nobody takes them.
    ///
    /// To be run on the CPU itself, by a thread that stays there (a CPU hot-plug callback, or
    /// [`on_cpu`]). Doing it twice changes nothing.
    ///
    /// # Errors
    ///
    /// `EXDEV` on any other CPU.
    ///
    /// [`on_cpu`]: crate::cpuhp::on_cpu
    pub fn enable(&self) -> Result {
        {
            let here = PreemptOff::new();
            if here.cpu() != self.cpu {
                return Err(EXDEV);
            }
            let (Some(message), Some(event)) = (&self.message, &self.event) else {
                return Err(EINVAL);
            };
            // From here on the pages mustn't be freed.
            self.enabled.store(true, Relaxed);

            let simp = self.get(hv_bindings::HV_MSR_SIMP) & PAGE_RESERVED;
            let siefp = self.get(hv_bindings::HV_MSR_SIEFP) & PAGE_RESERVED;
            self.set(
                hv_bindings::HV_MSR_SIMP,
                simp | message.pfn() << PAGE_SHIFT | PAGE_ENABLED,
            );
            self.set(
                hv_bindings::HV_MSR_SIEFP,
                siefp | event.pfn() << PAGE_SHIFT | PAGE_ENABLED,
            );

            let mut sint = self.get(Self::SINT);
            sint &= !(SINT_VECTOR | SINT_MASKED | SINT_AUTO_EOI);
            sint |= u64::from(hv_bindings::HYPERVISOR_CALLBACK_VECTOR);
            if self.hv.auto_eoi() {
                sint |= SINT_AUTO_EOI;
            }
            self.set(Self::SINT, sint);

            let control = self.get(hv_bindings::HV_MSR_SCONTROL);
            self.set(hv_bindings::HV_MSR_SCONTROL, control | CONTROL_ENABLED);
        }
        // The timer is in use as soon as it is registered, and its first message may come at once:
        // a message that found `timer` still false would be lost, and this CPU's clock with it.
        let _irqs = IrqsOff::new();
        // SAFETY: Hyper-V is there. This registers this CPU's timer with the clock-event core,
        // which puts it to use only on its own CPU.
        let legacy = unsafe { hv_bindings::stimer_message_init(self.cpu, VMBUS_SINT as i32) };
        let messages = legacy && self.hv.timers() && !self.hv.direct_timers();
        self.timer.store(messages, Relaxed);
        Ok(())
    }

    /// Turns the SynIC off. To be run on the CPU itself by a thread that stays there; may sleep.
    ///
    /// # Errors
    ///
    /// `EXDEV` on any other CPU.
    pub fn disable(&self) -> Result {
        if !self.is_enabled() {
            return Ok(());
        }
        if current_cpu() != self.cpu {
            return Err(EXDEV);
        }
        // SAFETY: Hyper-V is there. Takes the timer from its CPU, if it was put to use.
        unsafe { hv_bindings::stimer_message_cleanup(self.cpu) };
        // Not before: until another timer has taken over, messages drive this CPU's clock.
        self.timer.store(false, Relaxed);
        let here = PreemptOff::new();
        self.forget_pages(&here)
    }

    /// Turns the SynIC off in a crash: on this CPU if it's this one's, without sleeping and without
    /// telling the clock-event core.
    ///
    /// # Errors
    ///
    /// `EXDEV` on any other CPU.
    pub fn disable_in_crash(&self) -> Result {
        let here = PreemptOff::new();
        if here.cpu() == self.cpu && self.hv.timers() {
            self.set(hv_bindings::HV_MSR_STIMER0_CONFIG, 0);
        }
        self.forget_pages(&here)
    }

    /// Mask the interrupt, then make the hypervisor forget both pages.
    fn forget_pages(&self, here: &PreemptOff) -> Result {
        if here.cpu() != self.cpu {
            return Err(EXDEV);
        }
        self.set(Self::SINT, self.get(Self::SINT) | SINT_MASKED);
        for register in [hv_bindings::HV_MSR_SIMP, hv_bindings::HV_MSR_SIEFP] {
            self.set(register, self.get(register) & PAGE_RESERVED);
        }
        let control = self.get(hv_bindings::HV_MSR_SCONTROL);
        self.set(hv_bindings::HV_MSR_SCONTROL, control & !CONTROL_ENABLED);
        // INVARIANT: The registers were just told, on the right CPU.
        self.enabled.store(false, Relaxed);
        Ok(())
    }

    const SINT: u32 = hv_bindings::HV_MSR_SINT0 + VMBUS_SINT;

    fn get(&self, register: u32) -> u64 {
        // SAFETY: `self.hv` proves that the SynIC's registers exist; reading has no side effects.
        unsafe { hv_bindings::hv_get_msr(register) }
    }

    fn set(&self, register: u32, value: u64) {
        // SAFETY: `self.hv` proves that the registers exist. The pages that the values name are
        // owned by `self` for as long as the hypervisor knows them (type invariant).
        unsafe { hv_bindings::hv_set_msr(register, value) };
    }

    #[inline]
    fn message_page(&self) -> Option<Window<'_>> {
        self.message.as_ref().map(SharedPage::window)
    }

    #[inline]
    fn event_page(&self) -> Option<Window<'_>> {
        self.event.as_ref().map(SharedPage::window)
    }

    /// Takes all event flags that are set and calls `f` for each, from the lowest up.
    ///
    /// Each 64 flags are taken and cleared in one atomic step before the first `f`. Any context.
    #[inline]
    pub fn take_events(&self, mut f: impl FnMut(u32)) {
        let Some(page) = self.event_page() else {
            return;
        };
        for index in 0..EVENT_FLAGS / 64 {
            let Ok(word) = page.word64(FLAGS + index as usize * 8) else {
                return;
            };
            // A plain look first: most words are 0, and a locked access to each would be slow.
            if word.load(Relaxed) == 0 {
                continue;
            }
            let mut flags = word.xchg(0, Full);
            while flags != 0 {
                let bit = flags.trailing_zeros();
                flags &= flags - 1;
                f(index * 64 + bit);
            }
        }
    }

    /// Whether an event flag above `first` (inclusive) is set. Any context.
    pub fn events_pending(&self, first: u32) -> bool {
        let Some(page) = self.event_page() else {
            return false;
        };
        (first / 64..EVENT_FLAGS / 64).any(|index| {
            let skip = if index == first / 64 { first % 64 } else { 0 };
            page.word64(FLAGS + index as usize * 8)
                .is_ok_and(|word| word.load(Relaxed) >> skip != 0)
        })
    }

    /// The type of the message in the slot, or `None` if it is free. Any context.
    #[inline]
    pub fn peek_message_type(&self) -> Option<u32> {
        let kind = self.message_page()?.word32(SLOT).ok()?.load(Acquire);
        (kind != MESSAGE_NONE).then_some(kind)
    }

    /// Copies the message out of the slot, once, if there is one. Any context.
    ///
    /// The type in the copy's first four bytes is the one that was looked at; everything else is
    /// what the host wrote. The slot stays taken until [`Synic::ack_message`].
    pub fn read_message(&self, buf: &mut [u8; MESSAGE_SIZE]) -> bool {
        let Some(kind) = self.peek_message_type() else {
            return false;
        };
        let Some(page) = self.message_page() else {
            return false;
        };
        if page.read(SLOT, buf).is_err() {
            return false;
        }
        buf[..4].copy_from_slice(&kind.to_ne_bytes());
        true
    }

    /// Frees the slot if it still holds a message of this type, and asks the hypervisor for the
    /// next one if it said that there is one. Any context, on any CPU for the slot; the request
    /// concerns the CPU that runs this.
    pub fn ack_message(&self, kind: u32) {
        let Some(page) = self.message_page() else {
            return;
        };
        let (Ok(word), Ok(flags)) = (page.word32(SLOT), page.word32(SLOT + 4)) else {
            return;
        };
        // In a crash another CPU's slot is looked at, which that CPU may have freed, and the host
        // filled, in the meantime: such a message isn't ours to throw away.
        if word.cmpxchg(kind, MESSAGE_NONE, Full).is_err() {
            return;
        }
        // The exchange orders the free slot before this look: a message that the hypervisor queues
        // after it found the slot taken is seen here, one that it queues later finds it free.
        if flags.load(Relaxed) & MESSAGE_PENDING != 0 {
            self.set(hv_bindings::HV_MSR_EOM, 0);
        }
    }

    /// If the slot holds a timer's message: runs the timer's handler, frees the slot and returns
    /// true. Hard interrupt context on this SynIC's CPU.
    pub fn handle_timer_message(&self) -> bool {
        if self.peek_message_type() != Some(MESSAGE_TIMER_EXPIRED) {
            return false;
        }
        // A host may write this type although there is no timer that sends messages, or not yet;
        // then there is no handler to be run.
        if self.timer.load(Relaxed) && current_cpu() == self.cpu {
            // SAFETY: `enable` registered the timer of this CPU, which gave it a handler.
            unsafe { hv_bindings::stimer_message_isr() };
        }
        self.ack_message(MESSAGE_TIMER_EXPIRED);
        true
    }
}

impl Drop for Synic {
    fn drop(&mut self) {
        if self.is_enabled() {
            // The hypervisor may still write to them (type invariant).
            pr_err!(
                "SynIC of CPU {} still enabled: its pages are abandoned\n",
                self.cpu
            );
            for page in [self.message.take(), self.event.take()]
                .into_iter()
                .flatten()
            {
                page.leak();
            }
        }
    }
}
