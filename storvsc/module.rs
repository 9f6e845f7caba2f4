// SPDX-License-Identifier: GPL-2.0

//! The module: its driver, and what all controllers share.

use kernel::{debugfs, driver, prelude::*, sync::Arc, ThisModule};
use kernel_ext::{
    rcu::RcuSlot,
    workqueue::{Flags, Queue},
};

use crate::device::Bound;

/// What all controllers share, while the driver is registered.
static SHARED: RcuSlot<Shared> = RcuSlot::empty();

/// What all controllers share. The last reference is the module's, given up when no work is queued
/// any more, so that no work ever takes down the queue it runs on.
pub(crate) struct Shared {
    /// `/sys/kernel/debug/storvsc`.
    pub(crate) debug: debugfs::Dir,
    /// Where controllers look at what changed. Memory may be waiting for their disks.
    pub(crate) worker: Queue,
}

/// What all controllers share.
///
/// # Errors
///
/// `ENODEV` when the module is going.
pub(crate) fn shared() -> Result<Arc<Shared>> {
    SHARED.get().ok_or(ENODEV)
}

/// Empties [`SHARED`] when the module goes.
struct SharedGuard(Arc<Shared>);

impl SharedGuard {
    fn new() -> Result<Self> {
        let shared = Arc::new(
            Shared {
                debug: debugfs::Dir::new(c"storvsc"),
                worker: Queue::new(c"storvsc", Flags::UNBOUND | Flags::MEM_RECLAIM, 0)?,
            },
            GFP_KERNEL,
        )?;
        drop(SHARED.replace(Some(shared.clone())));
        Ok(Self(shared))
    }
}

impl Drop for SharedGuard {
    fn drop(&mut self) {
        drop(SHARED.replace(None));
        // Whatever was queued may hold a controller, and that this.
        self.0.worker.drain();
    }
}

/// What the module keeps; dropped from top to bottom.
#[pin_data]
pub(crate) struct Module {
    #[pin]
    _driver: driver::Registration<vmbus::Adapter<Bound>>,
    // After the driver, whose devices use it.
    _shared: SharedGuard,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let shared = SharedGuard::new()?;
            Ok(try_pin_init!(Self {
                // First, so that it goes last if the rest fails.
                _shared: shared,
                _driver <- driver::Registration::new(c"storvsc", module),
            }? Error))
        })
    }
}
