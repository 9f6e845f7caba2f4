// SPDX-License-Identifier: GPL-2.0

//! Polling (NAPI).

use core::{
    cell::Cell,
    marker::PhantomPinned,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Arc, //
    },
    types::Opaque,
};
use kernel_ext::{
    atomic::{Acquire, Atomic, Full, Release},
    pages::{
        OutOfBounds,
        SharedBuffer,
        Window, //
    },
};

use super::{
    device::{
        Dev,
        Device, //
    },
    driver::NicDriver,
    skb::SkBuff, //
};

/// What a queue does when it is polled.
pub trait Poll: Send + Sync + 'static {
    /// Takes what came in, at most `budget` frames; how many there were. Soft interrupt context, one
    /// caller at a time. When that is less than `budget`, it has called [`Polled::complete`].
    fn poll(&self, napi: &Polled<'_>, budget: usize) -> usize;
}

/// A queue that the stack polls.
///
/// # Invariants
///
/// `napi` was added to `device`, which lives as long, and is taken from it when this is dropped. It is
/// enabled exactly while `enabled` is 1. The stack shows it as that of the device's queues `number` exactly while `linked`
/// is 1.
#[pin_data(PinnedDrop)]
pub struct Napi<T: Poll> {
    #[pin]
    napi: Opaque<hv_bindings::napi_struct>,
    device: Arc<Device>,
    enabled: Atomic<u32>,
    number: u16,
    linked: Atomic<u32>,
    /// What the queue has for the frames that it receives; null only while it is made.
    rx: Atomic<*mut hv_bindings::hv_rx_queue>,
    queue: T,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The stack locks its part.
unsafe impl<T: Poll> Send for Napi<T> {}
// SAFETY: As above.
unsafe impl<T: Poll> Sync for Napi<T> {}

impl<T: Poll> Napi<T> {
    /// For the receive queue `number` of a device and the transmit queue of that number, not polled
    /// yet. What the administrator sets for it (`threaded`, `gro-flush-timeout`) is kept for the next one of this number. Process
    /// context.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the device has no such queue, `ENOMEM`.
    pub fn new(device: &Arc<Device>, number: u16, queue: T) -> Result<Arc<Self>> {
        if number >= device.queues() {
            return Err(EINVAL);
        }
        let device = device.clone();
        let raw = device.raw();
        let this = Arc::pin_init(
            try_pin_init!(Self {
                // Before the NAPI is added, so that nothing is to be undone if it fails.
                queue,
                enabled: Atomic::new(0),
                number,
                linked: Atomic::new(0),
                rx: Atomic::new(core::ptr::null_mut()),
                device,
                // INVARIANT: Added here, as the last step.
                napi <- Opaque::ffi_init(|napi: *mut hv_bindings::napi_struct| {
                    // SAFETY: Zero is what an unused one is; the device is allocated with more queues than
                    // `number`, and stays.
                    unsafe {
                        napi.write_bytes(0, 1);
                        hv_bindings::netif_napi_add(raw, napi, Some(poll::<T>), *number);
                    }
                }),
                _pin: PhantomPinned,
            }? Error),
            GFP_KERNEL,
        )?;
        // SAFETY: Both are valid, and stay until this is dropped.
        let rx = unsafe { hv_bindings::rx_queue_new(raw, this.napi.get(), number.into()) };
        if rx.is_null() {
            return Err(ENOMEM);
        }
        this.rx.store(rx, Release);
        Ok(this)
    }

    /// Allows polling. Process context.
    pub fn enable(&self) {
        if self.enabled.xchg(1, Full) == 0 {
            // SAFETY: By the type invariant it is there and not enabled.
            unsafe { hv_bindings::napi_enable(self.napi.get()) };
        }
    }

    /// Forbids polling, and waits until nobody polls. Process context.
    pub fn disable(&self) {
        if self.enabled.xchg(0, Full) == 1 {
            // SAFETY: By the type invariant it is enabled.
            unsafe { hv_bindings::napi_disable(self.napi.get()) };
        }
    }

    /// Shows who asks the stack that this polls its queues, or that nothing does. Process context, under
    /// RTNL or while the device isn't registered.
    pub fn link(&self, yes: bool) {
        if self.linked.xchg(yes.into(), Full) == u32::from(yes) {
            return;
        }
        let napi = match yes {
            true => self.napi.get(),
            false => core::ptr::null_mut(),
        };
        // SAFETY: By the type invariant it is the device's, which has a queue of that number.
        // INVARIANT: `linked` says so.
        unsafe { hv_bindings::napi_link(self.device.raw(), self.number, napi) };
    }

    /// Has the stack poll the queue soon. Process context.
    pub fn kick(&self) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::napi_kick(self.napi.get()) };
    }

    /// Has the stack poll the queue soon. Interrupts are off; without effect while polling isn't
    /// allowed.
    #[inline]
    pub fn schedule(&self) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::napi_schedule(self.napi.get()) };
    }
}

impl<T: Poll> Deref for Napi<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.queue
    }
}

#[pinned_drop]
impl<T: Poll> PinnedDrop for Napi<T> {
    fn drop(self: Pin<&mut Self>) {
        // As a rule it isn't linked any more: who ends a session sees to that.
        self.link(false);
        self.disable();
        let rx = self.rx.load(Acquire);
        // SAFETY: By the type invariant it was added, and is disabled now; what it has for frames is
        // used in polls only, and goes before the NAPI does.
        unsafe {
            if !rx.is_null() {
                hv_bindings::rx_queue_free(rx);
            }
            hv_bindings::netif_napi_del(self.napi.get());
        }
    }
}

extern "C" fn poll<T: Poll>(napi: *mut hv_bindings::napi_struct, budget: i32) -> i32 {
    // SAFETY: The stack polls what was added in `Napi::new`, the field of a `Napi<T>`, until it was
    // disabled.
    let this = unsafe { &*kernel::container_of!(Opaque::cast_from(napi), Napi<T>, napi) };
    let polled = Polled {
        napi,
        device: &this.device,
        rx: this.rx.load(Acquire),
        redirected: Cell::new(false),
    };
    let budget = usize::try_from(budget).unwrap_or(0);
    let done = this.queue.poll(&polled, budget);
    polled.flush();
    done.min(budget) as i32
}

/// What goes with a received frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    /// Receive queue.
    pub queue: u16,
    /// Hash over the flow, with the ports.
    pub hash: Option<u32>,
    /// The tag that was taken off the frame.
    pub vlan_tci: Option<u16>,
    /// The device has verified the transport checksum.
    pub checksum_good: bool,
    /// The frame is several segments that the device has put together.
    pub coalesced: bool,
}

/// A part of a frame in a window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    /// Bytes from the start of the window.
    pub offset: usize,
    /// Its bytes.
    pub bytes: usize,
}

/// Bytes of a frame that are copied where the rest stays where it is.
const HEAD_BYTES: usize = hv_bindings::HV_SKB_HEAD as usize;

impl Part {
    /// Whether it can be [received in place](Polled::receive_in_place): it isn't shorter than what is copied of a
    /// frame, and the stack can have the pages of the rest.
    #[inline]
    pub fn fits_in_place(&self) -> bool {
        let first = self.offset % PAGE_SIZE;
        self.bytes >= HEAD_BYTES
            && (first + HEAD_BYTES) / PAGE_SIZE + hv_bindings::SKB_FRAGS as usize
                >= first.saturating_add(self.bytes).div_ceil(PAGE_SIZE)
    }
}

/// A queue while it is polled.
///
/// # Invariants
///
/// `napi` is being polled, in this context; `rx` is the queue's, and valid.
pub struct Polled<'a> {
    napi: *mut hv_bindings::napi_struct,
    device: &'a Device,
    rx: *mut hv_bindings::hv_rx_queue,
    /// A program has redirected frames that are to go on at the end.
    redirected: Cell<bool>,
}

/// What became of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The stack has it.
    ByStack,
    /// A program has dropped it.
    Dropped,
    /// A program has sent it to where it came from.
    Sent,
    /// A program has sent it elsewhere.
    Redirected,
    /// There was no memory for it, or it is no frame.
    Lost,
}

impl Polled<'_> {
    /// The device.
    #[inline]
    pub fn dev(&self) -> &Dev {
        self.device
    }

    /// Ends polling: `done` frames were taken, less than the budget. True: interrupts may be allowed
    /// again; false: it will be polled again.
    #[inline]
    pub fn complete(&self, done: usize) -> bool {
        self.flush();
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::napi_complete_done(self.napi, done as i32) }
    }

    /// Polls again although polling [ended](Polled::complete): something came in meanwhile.
    #[inline]
    pub fn again(&self) {
        // SAFETY: By the type invariant.
        unsafe {
            if hv_bindings::napi_schedule_prep(self.napi) {
                hv_bindings::__napi_schedule(self.napi);
            }
        }
    }

    /// Frames that programs have redirected go on now.
    fn flush(&self) {
        if self.redirected.replace(false) {
            // SAFETY: By the type invariant this is a poll.
            unsafe { hv_bindings::xdp_flush() };
        }
    }

    /// Copies a frame from its parts in a window and hands it to the stack, or to the device's program
    /// before. One that the program sends back goes to `driver`.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] when it isn't all inside.
    #[inline]
    pub fn receive<D: NicDriver>(
        &self,
        driver: &D,
        window: &Window<'_>,
        parts: &[Part],
        info: &Received,
    ) -> core::result::Result<Taken, OutOfBounds> {
        if let ([part], true) = (parts, self.device.has_program()) {
            return self.receive_seen(driver, window, *part, info);
        }
        let bytes = parts.iter().map(|part| part.bytes).sum::<usize>();
        // More than a segment may have.
        let bytes = u32::try_from(bytes).map_err(|_| OutOfBounds {
            offset: 0,
            len: bytes,
        })?;
        // SAFETY: By the type invariant this is a poll.
        let skb = unsafe { hv_bindings::skb_receive(self.rx, self.napi, bytes) };
        let Some(skb) = NonNull::new(skb) else {
            return Ok(Taken::Lost);
        };
        // SAFETY: Just made, and nobody else's.
        let skb = unsafe { SkBuff::from_stack(skb) };
        let mut at = 0;
        for part in parts {
            window.raw(part.offset, part.bytes, |from| {
                // SAFETY: `from` is valid for so many bytes, and the buffer has room for all parts.
                unsafe { hv_bindings::skb_fill(skb.raw(), at, from.cast(), part.bytes as u32) };
            })?;
            at += part.bytes as u32;
        }
        self.deliver(skb, info);
        Ok(Taken::ByStack)
    }

    /// Hands a frame to the stack that stays where it is, but for its first bytes, which are copied: the stack
    /// gets references to its pages ([`SharedPage::is_lent`](kernel_ext::pages::SharedPage::is_lent)).
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] when it isn't all inside, or doesn't [fit](Part::fits_in_place).
    pub fn receive_in_place(
        &self,
        buffer: &SharedBuffer,
        part: Part,
        info: &Received,
    ) -> core::result::Result<Taken, OutOfBounds> {
        let outside = OutOfBounds {
            offset: part.offset,
            len: part.bytes,
        };
        let end = part.offset.checked_add(part.bytes).ok_or(outside)?;
        if end > buffer.size() || !part.fits_in_place() {
            return Err(outside);
        }
        // SAFETY: By the type invariant this is a poll.
        let skb = unsafe { hv_bindings::skb_head(self.napi, hv_bindings::HV_SKB_HEAD) };
        let Some(skb) = NonNull::new(skb) else {
            return Ok(Taken::Lost);
        };
        // SAFETY: Just made, and nobody else's.
        let skb = unsafe { SkBuff::from_stack(skb) };
        buffer.window().raw(part.offset, HEAD_BYTES, |from| {
            // SAFETY: `from` is valid for so many bytes, and the buffer has room for them.
            unsafe { hv_bindings::skb_fill(skb.raw(), 0, from.cast(), HEAD_BYTES as u32) };
        })?;
        let mut at = part.offset + HEAD_BYTES;
        while at < end {
            let page = buffer.pages().page(at / PAGE_SIZE).ok_or(outside)?;
            let offset = at % PAGE_SIZE;
            let bytes = (PAGE_SIZE - offset).min(end - at);
            // SAFETY: The page is valid, and of order 0; what is inside of it was just made sure.
            let added = unsafe {
                hv_bindings::skb_lend(skb.raw(), page.as_raw(), offset as u32, bytes as u32)
            };
            if !added {
                return Ok(Taken::Lost);
            }
            at += bytes;
        }
        self.deliver(skb, info);
        Ok(Taken::ByStack)
    }

    /// [`Polled::receive`] with a program that sees the frame.
    fn receive_seen<D: NicDriver>(
        &self,
        driver: &D,
        window: &Window<'_>,
        part: Part,
        info: &Received,
    ) -> core::result::Result<Taken, OutOfBounds> {
        let bytes = u32::try_from(part.bytes).unwrap_or(u32::MAX);
        // SAFETY: By the type invariant.
        let Some(page) = NonNull::new(unsafe { hv_bindings::xdp_page(self.rx, bytes) }) else {
            return Ok(Taken::Lost);
        };
        let filled = window.raw(part.offset, part.bytes, |from| {
            // SAFETY: `from` is valid for so many bytes, and the page has room for them.
            unsafe { hv_bindings::xdp_fill(page.as_ptr(), from.cast(), bytes) };
        });
        if let Err(error) = filled {
            // SAFETY: The page is this queue's, and given back.
            unsafe { hv_bindings::xdp_page_free(self.rx, page.as_ptr()) };
            return Err(error);
        }
        let mut skb = core::ptr::null_mut();
        // SAFETY: By the type invariant; the page was filled, and is given away.
        let verdict = unsafe {
            hv_bindings::xdp_run(self.rx, self.device.raw(), page.as_ptr(), bytes, &mut skb)
        };
        // SAFETY: If there is one, it was just made.
        let skb = NonNull::new(skb).map(|skb| unsafe { SkBuff::from_stack(skb) });
        Ok(match (verdict, skb) {
            (hv_bindings::hv_xdp_verdict_HV_XDP_PASS, Some(skb)) => {
                // What the program made of it isn't what the device has verified.
                let info = Received {
                    checksum_good: false,
                    ..*info
                };
                self.deliver(skb, &info);
                Taken::ByStack
            }
            (hv_bindings::hv_xdp_verdict_HV_XDP_TX, Some(skb)) => {
                let mut one = Some((skb, false));
                let queue = info.queue;
                self.device.send_frames(driver, queue, &mut || one.take());
                Taken::Sent
            }
            (hv_bindings::hv_xdp_verdict_HV_XDP_REDIRECTED, _) => {
                self.redirected.set(true);
                Taken::Redirected
            }
            (hv_bindings::hv_xdp_verdict_HV_XDP_DROPPED, _) => Taken::Dropped,
            _ => Taken::Lost,
        })
    }

    fn deliver(&self, skb: SkBuff, info: &Received) {
        let info = hv_bindings::hv_skb_received {
            hash: info.hash.unwrap_or(0),
            queue: info.queue,
            vlan_tci: info.vlan_tci.unwrap_or(0),
            has_hash: info.hash.is_some(),
            has_vlan: info.vlan_tci.is_some(),
            checksum_good: info.checksum_good,
            coalesced: info.coalesced,
        };
        // SAFETY: The buffer was filled, with an Ethernet header, and is given away.
        unsafe { hv_bindings::skb_deliver(self.napi, skb.into_stack().as_ptr(), &info) };
    }
}
