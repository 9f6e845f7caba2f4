// SPDX-License-Identifier: GPL-2.0

//! The module: its driver, and what all controllers share.

use kernel::{driver, prelude::*, ThisModule};
use kernel_ext::{
    shared::{Guard, Place},
    workqueue::Flags,
};

use crate::device::Bound;

/// What all controllers share.
pub(crate) static SHARED: Place = Place::new();

/// What the module keeps; dropped from top to bottom.
#[pin_data]
pub(crate) struct Module {
    #[pin]
    _driver: driver::Registration<vmbus::Adapter<Bound>>,
    // After the driver, whose devices use it.
    _shared: Guard,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            // Memory may be waiting for the disks.
            let flags = Flags::UNBOUND | Flags::MEM_RECLAIM;
            let shared = Guard::new(&SHARED, c"storvsc", flags)?;
            Ok(try_pin_init!(Self {
                // First, so that it goes last if the rest fails.
                _shared: shared,
                _driver <- driver::Registration::new(c"storvsc", module),
            }? Error))
        })
    }
}
