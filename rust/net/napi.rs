// SPDX-License-Identifier: GPL-2.0

//! Polling (NAPI).

use core::{
    marker::PhantomPinned,
    ops::Deref, //
};

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        Arc, //
    },
    types::Opaque,
};
use kernel_ext::pages::{
    OutOfBounds,
    Window, //
};

use super::{
    device::{
        Dev,
        Device, //
    },
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
/// enabled exactly while `enabled` is 1.
#[pin_data(PinnedDrop)]
pub struct Napi<T: Poll> {
    #[pin]
    napi: Opaque<hv_bindings::napi_struct>,
    device: Arc<Device>,
    enabled: Atomic<u32>,
    queue: T,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The stack locks its part.
unsafe impl<T: Poll> Send for Napi<T> {}
// SAFETY: As above.
unsafe impl<T: Poll> Sync for Napi<T> {}

impl<T: Poll> Napi<T> {
    /// A queue of a device, not polled yet. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(device: &Arc<Device>, queue: T) -> Result<Arc<Self>> {
        let device = device.clone();
        let raw = device.raw();
        Arc::pin_init(
            try_pin_init!(Self {
                // Before the NAPI is added, so that nothing is to be undone if it fails.
                queue,
                enabled: Atomic::new(0),
                device,
                // INVARIANT: Added here, as the last step.
                napi <- Opaque::ffi_init(|napi: *mut hv_bindings::napi_struct| {
                    // SAFETY: Zero is what an unused one is; the device is allocated, and stays.
                    unsafe {
                        napi.write_bytes(0, 1);
                        hv_bindings::netif_napi_add(raw, napi, Some(poll::<T>));
                    }
                }),
                _pin: PhantomPinned,
            }? Error),
            GFP_KERNEL,
        )
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
        self.disable();
        // SAFETY: By the type invariant it was added, and is disabled now.
        unsafe { hv_bindings::netif_napi_del(self.napi.get()) };
    }
}

extern "C" fn poll<T: Poll>(napi: *mut hv_bindings::napi_struct, budget: i32) -> i32 {
    // SAFETY: The stack polls what was added in `Napi::new`, the field of a `Napi<T>`, until it was
    // disabled.
    let this = unsafe { &*kernel::container_of!(Opaque::cast_from(napi), Napi<T>, napi) };
    let polled = Polled {
        napi,
        device: &this.device,
    };
    let budget = usize::try_from(budget).unwrap_or(0);
    let done = this.queue.poll(&polled, budget);
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

/// A queue while it is polled.
///
/// # Invariants
///
/// `napi` is being polled, in this context.
pub struct Polled<'a> {
    napi: *mut hv_bindings::napi_struct,
    device: &'a Device,
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

    /// Copies a frame from its parts in a window and hands it to the stack; false when there is no memory
    /// for it, or it is shorter than an Ethernet header.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] when it isn't all inside.
    #[inline]
    pub fn receive(
        &self,
        window: &Window<'_>,
        parts: &[Part],
        info: &Received,
    ) -> core::result::Result<bool, OutOfBounds> {
        let bytes = parts.iter().map(|part| part.bytes).sum::<usize>();
        // More than a segment may have.
        let bytes = u32::try_from(bytes).map_err(|_| OutOfBounds {
            offset: 0,
            len: bytes,
        })?;
        // SAFETY: By the type invariant this is a poll.
        let skb = unsafe { hv_bindings::skb_receive(self.napi, bytes) };
        let Some(skb) = core::ptr::NonNull::new(skb) else {
            return Ok(false);
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
        Ok(true)
    }
}
