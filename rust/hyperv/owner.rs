// SPDX-License-Identifier: GPL-2.0

//! Who drives the VMBus device, and whether there is one.

use kernel::{
    c_str,
    str::CStrExt, //
};

/// Whether the C driver is there and owns the VMBus device.
///
/// Its platform driver is called `vmbus`
/// ([`drivers/hv/vmbus_drv.c`](srctree/drivers/hv/vmbus_drv.c)), built in or loaded. Ask before
/// registering a platform driver of the same name, which would be found too. Process context.
pub fn c_driver_present() -> bool {
    [c_str!("vmbus"), c_str!("hv_vmbus")].iter().any(|name| {
        // SAFETY: Both are valid for the call; the platform bus is never unregistered. The result
        // is compared only.
        let driver = unsafe {
            hv_bindings::driver_find(
                name.as_char_ptr(),
                &raw const hv_bindings::platform_bus_type,
            )
        };
        !driver.is_null()
    })
}

/// Whether the firmware describes a VMBus device: an ACPI device with hardware id `VMBUS` or
/// `VMBus`, which is how Hyper-V hosts spell it. Process context.
pub fn acpi_device_present() -> bool {
    [c_str!("VMBUS"), c_str!("VMBus")].iter().any(|hid| {
        // SAFETY: The string is valid for the call; a null unique id and a negative revision match
        // any. ACPI being disabled is a plain "no".
        unsafe { hv_bindings::acpi_dev_present(hid.as_char_ptr(), core::ptr::null(), -1) }
    })
}
