// SPDX-License-Identifier: GPL-2.0

//! What all devices of a driver share: a directory in debugfs, and a queue for their work.

use kernel::{
    debugfs,
    prelude::*,
    sync::Arc, //
};

use crate::{
    rcu::RcuSlot,
    workqueue::{
        Flags,
        Queue, //
    },
};

/// What all devices of a driver share. The last reference is the [`Guard`]'s, given up when no work is
/// queued any more, so that no work ever takes down the queue it runs on.
pub struct Shared {
    /// `/sys/kernel/debug/<driver>`.
    pub debug: debugfs::Dir,
    /// Where devices look at what changed.
    pub worker: Queue,
}

/// A place for a [`Shared`], in a `static`; full while the driver is registered.
pub struct Place(RcuSlot<Shared>);

impl Place {
    /// An empty one.
    #[allow(clippy::new_without_default, reason = "for statics only")]
    pub const fn new() -> Self {
        Self(RcuSlot::empty())
    }

    /// What is there.
    ///
    /// # Errors
    ///
    /// `ENODEV` before and after the driver is registered.
    pub fn get(&self) -> Result<Arc<Shared>> {
        self.0.get().ok_or(ENODEV)
    }
}

/// Fills a [`Place`] and empties it when dropped, after the driver is registered no more.
pub struct Guard {
    place: &'static Place,
    shared: Arc<Shared>,
}

impl Guard {
    /// Makes the directory and the queue, both of that name.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(place: &'static Place, name: &'static CStr, flags: Flags) -> Result<Self> {
        let shared = Arc::new(
            Shared {
                debug: debugfs::Dir::new(name),
                worker: Queue::new(name, flags, 0)?,
            },
            GFP_KERNEL,
        )?;
        drop(place.0.replace(Some(shared.clone())));
        Ok(Self { place, shared })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.place.0.replace(None));
        // Whatever was queued may hold a device, and that the queue.
        self.shared.worker.drain();
    }
}
