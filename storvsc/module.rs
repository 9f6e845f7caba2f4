// SPDX-License-Identifier: GPL-2.0

//! The module: its driver, and the directory in debugfs that all controllers share.

use kernel::{debugfs, driver, prelude::*, sync::Arc, ThisModule};
use kernel_ext::rcu::RcuSlot;

use crate::device::Bound;

/// `/sys/kernel/debug/storvsc`, while the driver is registered.
static DEBUG: RcuSlot<Directory> = RcuSlot::empty();

struct Directory(debugfs::Dir);

/// Empties [`DEBUG`] when the module goes.
struct DebugGuard;

impl DebugGuard {
    fn new() -> Result<Self> {
        let dir = Arc::new(Directory(debugfs::Dir::new(c"storvsc")), GFP_KERNEL)?;
        drop(DEBUG.replace(Some(dir)));
        Ok(Self)
    }
}

impl Drop for DebugGuard {
    fn drop(&mut self) {
        drop(DEBUG.replace(None));
    }
}

/// Makes a controller's directory.
///
/// # Errors
///
/// `ENODEV` when the module is going.
pub(crate) fn debug_dir(name: &CStr) -> Result<debugfs::Dir> {
    Ok(DEBUG.get().ok_or(ENODEV)?.0.subdir(name))
}

/// What the module keeps; dropped from top to bottom.
#[pin_data]
pub(crate) struct Module {
    #[pin]
    _driver: driver::Registration<vmbus::Adapter<Bound>>,
    // After the driver, whose devices are in it.
    _debug: DebugGuard,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let debug = DebugGuard::new()?;
            Ok(try_pin_init!(Self {
                _debug: debug,
                _driver <- driver::Registration::new(c"storvsc", module),
            }? Error))
        })
    }
}
