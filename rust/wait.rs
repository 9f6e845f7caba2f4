// SPDX-License-Identifier: GPL-2.0

//! Waiting for an event, never for ever.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h). The kernel crate's
//! own `Completion` can only wait without a time-out.

use core::time::Duration;

use kernel::{
    fmt,
    prelude::*,
    types::Opaque, //
};

/// The event didn't happen in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl From<TimedOut> for Error {
    fn from(_: TimedOut) -> Error {
        ETIMEDOUT
    }
}

/// An event, or a count of events, that threads wait for.
///
/// Events may be reported in any context, also before anyone waits. Each [`Completion::complete`]
/// lets one wait succeed, [`Completion::complete_all`] all waits until [`Completion::reinit`].
///
/// # Invariants
///
/// `inner` is an initialised `struct completion`, pinned.
#[pin_data]
pub struct Completion {
    #[pin]
    inner: Opaque<hv_bindings::completion>,
}

// SAFETY: A `struct completion` may be used from any thread.
unsafe impl Send for Completion {}
// SAFETY: A `struct completion` may be used from several threads at once; it locks itself.
unsafe impl Sync for Completion {}

impl Completion {
    /// An event that hasn't happened yet.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid for writes and pinned from now on.
            inner <- Opaque::ffi_init(|slot| unsafe { hv_bindings::init_completion(slot) }),
        })
    }

    /// Waits until the event happens, at most for `timeout`, which is rounded up to a tick of the
    /// kernel and ends at 24 days. Uninterruptible; process context.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] if it doesn't happen in time.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), TimedOut> {
        // The kernel takes anything above `i32::MAX` milliseconds for "no time-out".
        let ms = timeout.as_millis().min(i32::MAX as u128 - 1) as u32;
        // SAFETY: A pure conversion.
        let jiffies = unsafe { hv_bindings::msecs_to_jiffies(ms) };
        // SAFETY: By the type invariant the completion is initialised.
        match unsafe { hv_bindings::wait_for_completion_timeout(self.inner.get(), jiffies) } {
            0 => Err(TimedOut),
            _ => Ok(()),
        }
    }

    /// [`Completion::wait_timeout`] with milliseconds.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] if it doesn't happen in time.
    pub fn wait_timeout_ms(&self, ms: u32) -> Result<(), TimedOut> {
        self.wait_timeout(Duration::from_millis(ms.into()))
    }

    /// Takes one event if there is one, without waiting. Any context.
    pub fn try_wait(&self) -> bool {
        // SAFETY: By the type invariant the completion is initialised.
        unsafe { hv_bindings::try_wait_for_completion(self.inner.get()) }
    }

    /// Reports one event: one thread's wait succeeds. Any context.
    pub fn complete(&self) {
        // SAFETY: By the type invariant the completion is initialised.
        unsafe { hv_bindings::complete(self.inner.get()) };
    }

    /// Reports the event for good: all threads' waits succeed. Any context.
    pub fn complete_all(&self) {
        // SAFETY: By the type invariant the completion is initialised.
        unsafe { hv_bindings::complete_all(self.inner.get()) };
    }

    /// Forgets all events. Only of use while nobody reports any, else it may forget too many or too
    /// few.
    pub fn reinit(&self) {
        // SAFETY: By the type invariant the completion is initialised; `done` is one word, which
        // the C side writes without its lock as well.
        unsafe { hv_bindings::reinit_completion(self.inner.get()) };
    }
}
