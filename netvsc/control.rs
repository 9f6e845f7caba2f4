// SPDX-License-Identifier: GPL-2.0

//! Questions to the host, one at a time, each with a time-out: NVSP messages, which are answered by
//! completions, and RNDIS requests, whose answers come as packets of their own.

use kernel::{prelude::*, sync::Mutex};
use kernel_ext::{
    atomic::{Acquire, Atomic, Release},
    compat::protocol_error,
    lock::IrqLock,
    new_irq_lock,
    pages::SharedPage,
    wait::Completion,
};
use netvsc_wire::{
    nvsp::{ChannelType, HostMessage, RndisPacket},
    oid::Oid,
    rndis::{GuestControl, HostControl, Query, Set, Status},
    GuestMessage, Version,
};
use vmbus::Channel;
use vmbus_wire::packet::{OutPacket, PageBuffer};

/// Milliseconds for the host to answer.
const WAIT_MS: u32 = 10_000;

/// Bytes of the longest answer that is kept.
const ANSWER_BYTES: usize = 2048;

/// Bytes of the longest NVSP answer.
const NVSP_BYTES: usize = 128;

/// Where a question stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Idle,
    /// Waits for the answer with this id.
    Asked(u64),
    /// It came, with so many bytes.
    Answered(usize),
}

/// A question and the room for its answer.
struct Question<const N: usize> {
    slot: Slot,
    /// Id of an earlier one that wasn't answered in time. Until it is, the host may read what it was asked
    /// with.
    late: Option<u64>,
    bytes: [u8; N],
}

impl<const N: usize> Question<N> {
    const fn new() -> Self {
        Self {
            slot: Slot::Idle,
            late: None,
            bytes: [0; N],
        }
    }

    /// Keeps an answer; false if it wasn't asked for.
    fn answer(&mut self, id: u64, payload: &[u8]) -> bool {
        if self.late == Some(id) {
            // Too late for whoever asked, but others may ask again.
            self.late = None;
            return true;
        }
        if self.slot != Slot::Asked(id) {
            return false;
        }
        for (to, from) in self.bytes.iter_mut().zip(payload) {
            *to = *from;
        }
        self.slot = Slot::Answered(payload.len().min(N));
        true
    }
}

/// What is needed to ask; held by who asks.
struct Asker {
    /// Counts the questions.
    count: u32,
    /// The RNDIS request under way. The host may read it until it has completed the packet.
    page: SharedPage,
}

/// The questions under way.
#[pin_data]
pub(crate) struct Control {
    #[pin]
    nvsp: IrqLock<Question<NVSP_BYTES>>,
    #[pin]
    rndis: IrqLock<Question<ANSWER_BYTES>>,
    #[pin]
    nvsp_done: Completion,
    #[pin]
    rndis_done: Completion,
    /// 1 once no answer will ever come.
    gone: Atomic<u32>,
    #[pin]
    asker: Mutex<Asker>,
}

impl Control {
    /// Nothing was asked yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let page = SharedPage::new(None)?;
            Ok(try_pin_init!(Self {
                nvsp <- new_irq_lock!(Question::new(), "netvsc_nvsp"),
                rndis <- new_irq_lock!(Question::new(), "netvsc_rndis"),
                nvsp_done <- Completion::new(),
                rndis_done <- Completion::new(),
                gone: Atomic::new(0),
                asker <- kernel::new_mutex!(Asker { count: 0, page }, "netvsc_asker"),
            }? Error))
        })
    }

    /// Asks with an NVSP message. Process context; the channel is polled meanwhile.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`, `ENODEV` when the channel is gone, `EPROTO` for an answer that makes no sense.
    pub(crate) fn ask(
        &self,
        channel: &Channel,
        version: Version,
        message: &GuestMessage,
    ) -> Result<HostMessage> {
        let mut asker = self.asker.lock();
        let id = self.next(&mut asker)?;
        let bytes = message.encode(version);
        let payload = [bytes.as_bytes()];
        let packet = OutPacket::in_band(id, &payload).requesting_completion();
        self.nvsp_answer(channel, id, &packet, version)
    }

    /// Sends a packet and waits for its completion.
    fn nvsp_answer(
        &self,
        channel: &Channel,
        id: u64,
        packet: &OutPacket<'_>,
        version: Version,
    ) -> Result<HostMessage> {
        self.nvsp_done.reinit();
        self.nvsp.lock().slot = Slot::Asked(id);
        self.check_gone()?;
        let sent = channel.send(packet).map_err(Error::from);
        let waited = sent.and_then(|()| {
            let end = self.nvsp_done.wait_timeout_ms(WAIT_MS);
            end.map_err(|_| ETIMEDOUT)
        });
        let mut question = self.nvsp.lock();
        let slot = core::mem::replace(&mut question.slot, Slot::Idle);
        let Slot::Answered(length) = slot else {
            if sent.is_ok() {
                question.late = Some(id);
            }
            waited?;
            return Err(ENODEV);
        };
        let bytes = question.bytes.get(..length).unwrap_or_default();
        HostMessage::parse(version, bytes).map_err(|_| protocol_error())
    }

    /// Asks with an RNDIS request, which `request` makes of its id, and has `with` read the answer.
    /// Process context; the channel is polled meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`Control::ask`], and those of `with`.
    pub(crate) fn ask_rndis<'a, R>(
        &self,
        channel: &Channel,
        version: Version,
        request: impl FnOnce(u32) -> GuestControl<'a>,
        with: impl FnOnce(&HostControl<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut asker = self.asker.lock();
        let id = self.next(&mut asker)?;
        let request = request(asker.count);
        self.rndis_done.reinit();
        self.rndis.lock().slot = Slot::Asked(asker.count.into());
        let sent = self.send_page(&mut asker, channel, id, version, &request);
        let waited = sent.and_then(|()| {
            let end = self.rndis_done.wait_timeout_ms(WAIT_MS);
            end.map_err(|_| ETIMEDOUT)
        });
        // Read outside of the lock: what is done with it may take its time.
        let mut answer = KVec::with_capacity(ANSWER_BYTES, GFP_KERNEL)?;
        {
            let mut question = self.rndis.lock();
            match core::mem::replace(&mut question.slot, Slot::Idle) {
                Slot::Answered(length) => {
                    for byte in question.bytes.iter().take(length) {
                        let _ = answer.push_within_capacity(*byte);
                    }
                }
                _ => {
                    waited?;
                    return Err(ENODEV);
                }
            }
        }
        let answer = HostControl::parse(&answer).map_err(|_| protocol_error())?;
        with(&answer)
    }

    /// Asks for an object; `info` is what the host wants to see in the question.
    ///
    /// # Errors
    ///
    /// As for [`Control::ask`]; `EOPNOTSUPP` when the host says that it failed.
    pub(crate) fn query<R>(
        &self,
        channel: &Channel,
        version: Version,
        oid: Oid,
        info: &[u8],
        with: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let request = |request_id| {
            GuestControl::Query(Query {
                request_id,
                oid,
                info,
            })
        };
        self.ask_rndis(channel, version, request, |answer| match answer {
            HostControl::QueryComplete(complete) if complete.status.is_success() => {
                with(complete.info)
            }
            HostControl::QueryComplete(_) => Err(EOPNOTSUPP),
            _ => Err(protocol_error()),
        })
    }

    /// Changes an object.
    ///
    /// # Errors
    ///
    /// As for [`Control::query`].
    pub(crate) fn set(&self, channel: &Channel, version: Version, oid: Oid, info: &[u8]) -> Result {
        let request = |request_id| {
            GuestControl::Set(Set {
                request_id,
                oid,
                info,
            })
        };
        self.ask_rndis(channel, version, request, |answer| match answer {
            HostControl::SetComplete(complete) if complete.status.is_success() => Ok(()),
            HostControl::SetComplete(complete) if complete.status == Status::NOT_SUPPORTED => {
                Err(EOPNOTSUPP)
            }
            HostControl::SetComplete(_) => Err(EIO),
            _ => Err(protocol_error()),
        })
    }

    /// Sends a request that nobody answers.
    pub(crate) fn tell_rndis(
        &self,
        channel: &Channel,
        version: Version,
        request: &GuestControl<'_>,
    ) -> Result {
        let mut asker = self.asker.lock();
        let id = self.next(&mut asker)?;
        self.send_page(&mut asker, channel, id, version, request)
    }

    /// Has the host take a request, which is put into the page.
    fn send_page(
        &self,
        asker: &mut Asker,
        channel: &Channel,
        id: u64,
        version: Version,
        request: &GuestControl<'_>,
    ) -> Result {
        let mut bytes = KVec::from_elem(0, ANSWER_BYTES, GFP_KERNEL)?;
        let length = request.encode(&mut bytes).map_err(|_| EINVAL)?;
        let request = bytes.get(..length).ok_or(EINVAL)?;
        asker.page.window().write(0, request).map_err(|_| EINVAL)?;
        let buffer = PageBuffer::new(asker.page.pfn(), 0, u32::try_from(length)?).ok_or(EINVAL)?;
        let message = GuestMessage::RndisPacket(RndisPacket {
            channel_type: ChannelType::Control,
            section: None,
        });
        let message = message.encode(version);
        let (buffers, payload) = ([buffer], [message.as_bytes()]);
        let packet = OutPacket::page_buffers(id, &buffers, &payload);
        match self.nvsp_answer(channel, id, &packet, version) {
            Ok(HostMessage::RndisComplete(status)) if status.is_success() => Ok(()),
            Ok(HostMessage::RndisComplete(_)) => Err(EIO),
            Ok(_) => Err(protocol_error()),
            Err(error) => Err(error),
        }
    }

    /// The id of the next question, once the host has nothing of an earlier one. Those of frames have
    /// something in the lower half.
    fn next(&self, asker: &mut Asker) -> Result<u64> {
        while self.nvsp.lock().late.is_some() {
            self.check_gone()?;
            let end = self.nvsp_done.wait_timeout_ms(WAIT_MS);
            end.map_err(|_| ETIMEDOUT)?;
        }
        asker.count = asker.count.wrapping_add(1).max(1);
        Ok(u64::from(asker.count) << 32)
    }

    fn check_gone(&self) -> Result {
        if self.gone.load(Acquire) != 0 {
            return Err(ENODEV);
        }
        Ok(())
    }

    /// A completion of the host answers a question; false if it wasn't asked. Any context.
    pub(crate) fn completed(&self, id: u64, payload: &[u8]) -> bool {
        let known = self.nvsp.lock().answer(id, payload);
        if known {
            self.nvsp_done.complete();
        }
        known
    }

    /// An RNDIS message of the host answers a question; false if it wasn't asked. Any context.
    pub(crate) fn rndis_completed(&self, request_id: u32, message: &[u8]) -> bool {
        let known = self.rndis.lock().answer(request_id.into(), message);
        if known {
            self.rndis_done.complete();
        }
        known
    }

    /// No answer will come any more, on this connection. Any context.
    pub(crate) fn abandon(&self) {
        self.gone.store(1, Release);
        self.nvsp_done.complete_all();
        self.rndis_done.complete_all();
    }
}
