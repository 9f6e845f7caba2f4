// SPDX-License-Identifier: GPL-2.0

//! Questions to the host that aren't commands: one at a time, each with a time-out.

use kernel::{prelude::*, sync::Mutex};
use kernel_ext::{
    atomic::{Acquire, Atomic, Release},
    lock::IrqLock,
    new_irq_lock,
    wait::Completion,
};
use storvsc_wire::{packet::MAX_PACKET_BYTES, GuestPacket, HostPacket, Layout};
use vmbus::{Channel, SendError};
use vmbus_wire::packet::OutPacket;

/// An answer, as it came in.
pub(crate) struct Answer {
    bytes: [u8; MAX_PACKET_BYTES],
    len: usize,
}

impl Answer {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    /// Whether the host did what it was asked for.
    pub(crate) fn is_success(&self) -> bool {
        matches!(
            HostPacket::parse(self.as_bytes(), Layout::Long),
            Ok(HostPacket::Completion(completion)) if completion.status.is_success()
        )
    }
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// It couldn't be sent.
    Send(SendError),
    /// The host took too long.
    TimedOut,
    /// The channel is gone.
    Gone,
}

impl From<NoAnswer> for Error {
    fn from(error: NoAnswer) -> Error {
        match error {
            NoAnswer::Send(error) => error.into(),
            NoAnswer::TimedOut => ETIMEDOUT,
            NoAnswer::Gone => ENODEV,
        }
    }
}

/// Where the question under way stands.
enum Slot {
    Idle,
    /// Waits for the answer with this id.
    Asked(u64),
    Answered(Answer),
}

/// The question under way, if there is one.
#[pin_data]
pub(crate) struct Control {
    #[pin]
    question: IrqLock<Slot>,
    #[pin]
    done: Completion,
    /// 1 once no answer will ever come.
    gone: Atomic<u32>,
    /// Who asks holds it; counts the questions.
    #[pin]
    asked: Mutex<u32>,
}

impl Control {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            question <- new_irq_lock!(Slot::Idle, "storvsc_control"),
            done <- Completion::new(),
            gone: Atomic::new(0),
            asked <- kernel::new_mutex!(0, "storvsc_asked"),
        })
    }

    /// Asks and waits for the answer, at most `ms` milliseconds. Process context.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`]; an answer that comes later belongs to nothing.
    pub(crate) fn ask(
        &self,
        channel: &Channel,
        packet: &GuestPacket,
        ms: u32,
    ) -> core::result::Result<Answer, NoAnswer> {
        let mut asked = self.asked.lock();
        // Ids of commands have something in the lower half.
        *asked = asked.wrapping_add(1).max(1);
        let id = u64::from(*asked) << 32;
        self.done.reinit();
        *self.question.lock() = Slot::Asked(id);
        if self.gone.load(Acquire) != 0 {
            return Err(NoAnswer::Gone);
        }
        let bytes = packet.encode(Layout::Long);
        let payload = [bytes.as_bytes()];
        let packet = OutPacket::in_band(id, &payload).requesting_completion();
        let sent = channel.send(&packet).map_err(NoAnswer::Send);
        let waited = sent.and_then(|()| {
            let end = self.done.wait_timeout_ms(ms);
            end.map_err(|_| NoAnswer::TimedOut)
        });
        match core::mem::replace(&mut *self.question.lock(), Slot::Idle) {
            Slot::Answered(answer) => Ok(answer),
            _ => Err(waited.err().unwrap_or(NoAnswer::Gone)),
        }
    }

    /// The host answers a question; false if it wasn't asked. Any context.
    pub(crate) fn answer(&self, id: u64, payload: &[u8]) -> bool {
        let mut slot = self.question.lock();
        if !matches!(*slot, Slot::Asked(asked) if asked == id) {
            return false;
        }
        let mut answer = Answer {
            bytes: [0; MAX_PACKET_BYTES],
            len: payload.len().min(MAX_PACKET_BYTES),
        };
        for (to, from) in answer.bytes.iter_mut().zip(payload) {
            *to = *from;
        }
        *slot = Slot::Answered(answer);
        drop(slot);
        self.done.complete();
        true
    }

    /// No answer will come any more, on this connection. Any context.
    pub(crate) fn abandon(&self) {
        self.gone.store(1, Release);
        self.done.complete();
    }
}
