// SPDX-License-Identifier: GPL-2.0

//! From a device to what the firmware says of it.
//!
//! C header: [`include/linux/acpi.h`](srctree/include/linux/acpi.h)

use core::ptr::NonNull;

use kernel::{device::Device, sync::aref::ARef};

/// The ACPI device that `dev` stands for, if the firmware described it.
pub fn companion(dev: &Device) -> Option<ARef<Device>> {
    let raw = core::ptr::from_ref(dev).cast_mut();
    // SAFETY: `dev` is a valid device; the result is null or the device embedded in its companion.
    let companion = unsafe { hv_bindings::acpi_companion_device(raw.cast()) };
    let companion = NonNull::new(companion.cast::<Device>())?;
    // SAFETY: A device holds a reference to its companion for as long as it exists, and `dev` exists
    // during this call; `Device` is a transparent wrapper of `struct device`.
    Some(ARef::from(unsafe { companion.as_ref() }))
}
