// SPDX-License-Identifier: GPL-2.0

//! Devices at a host: disks, drives, whatever has a unit number.

use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};

use super::{
    Address,
    HostByte, //
};

/// Where a device is.
///
/// # Safety
///
/// `sdev` is a valid device.
#[inline]
pub(super) unsafe fn address(sdev: *const hv_bindings::scsi_device) -> Address {
    // SAFETY: The caller's promise; an address never changes.
    unsafe {
        Address {
            channel: (*sdev).channel,
            target: (*sdev).id,
            lun: (*sdev).lun,
        }
    }
}

/// A reference to a device.
///
/// # Invariants
///
/// `sdev` is a valid device, and this value owns a reference to it (`scsi_device_get`).
pub struct DeviceRef(NonNull<hv_bindings::scsi_device>);

// SAFETY: References may be used and given back on any thread.
unsafe impl Send for DeviceRef {}

impl DeviceRef {
    /// # Safety
    ///
    /// `sdev` is null or a valid device, with a reference that is passed on to the value.
    pub(super) unsafe fn from_raw(sdev: *mut hv_bindings::scsi_device) -> Option<Self> {
        // INVARIANT: The caller's promise.
        NonNull::new(sdev).map(Self)
    }

    pub(super) fn into_raw(self) -> *mut hv_bindings::scsi_device {
        core::mem::ManuallyDrop::new(self).0.as_ptr()
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        // SAFETY: By the type invariant.
        unsafe { address(self.0.as_ptr()) }
    }

    /// Asks the device whether it is ready, for at most about `seconds`, and says whether it is there to
    /// answer. The host driver sees the answer, too. One that somebody else is about to take off the
    /// host isn't asked, and counts as there. Process context; waits for scans of the host, because
    /// what they are still finding out about isn't a device yet.
    pub fn poke(&self, seconds: u16) -> bool {
        let jiffies = {
            let ms = u32::from(seconds).saturating_mul(1000);
            // SAFETY: A pure conversion.
            unsafe { hv_bindings::msecs_to_jiffies(ms) }
        };
        let timeout = i32::try_from(jiffies).unwrap_or(i32::MAX);
        let sdev = self.0.as_ptr();
        // SAFETY: By the type invariant; a device keeps its host.
        let mutex = unsafe { &raw mut (*(*sdev).host).scan_mutex };
        // SAFETY: The mutex lives as long as the host. Whoever scans or removes devices holds it, and
        // neither waits for the caller.
        unsafe { kernel::bindings::mutex_lock(mutex.cast()) };
        // SAFETY: By the type invariant; the state changes to these two under the mutex only.
        let state = unsafe { (*sdev).sdev_state };
        let leaving = [
            hv_bindings::scsi_device_state_SDEV_CANCEL,
            hv_bindings::scsi_device_state_SDEV_DEL,
        ];
        let result = if leaving.contains(&state) {
            0
        } else {
            // SAFETY: By the type invariant; no sense header is asked for.
            unsafe { hv_bindings::scsi_test_unit_ready(sdev, timeout, 1, ptr::null_mut()) }
        };
        // SAFETY: Locked above.
        unsafe { kernel::bindings::mutex_unlock(mutex.cast()) };
        // A negative number, or the command's outcome with the host byte in bits 16 to 23.
        result >= 0 && (result >> 16 & 0xff) as u8 != HostByte::NoConnect as u8
    }

    /// Reads the device's size and parameters again. Process context.
    pub fn rescan(&self) {
        // SAFETY: By the type invariant. What can fail is being busy elsewhere with the same.
        unsafe { hv_bindings::scsi_rescan_device(self.0.as_ptr()) };
    }

    /// Takes the device off its host. Process context; not from a callback of the host.
    pub fn remove(self) {
        // SAFETY: By the type invariant; `self` keeps the device until the end of the call.
        unsafe { hv_bindings::scsi_remove_device(self.0.as_ptr()) };
    }
}

impl Drop for DeviceRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours.
        unsafe { hv_bindings::scsi_device_put(self.0.as_ptr()) };
    }
}

/// A device that is being set up: its driver says what is special about it.
///
/// # Invariants
///
/// `sdev` is a valid device that takes no commands but those of the scan.
pub struct NewDevice<'a> {
    sdev: NonNull<hv_bindings::scsi_device>,
    _callback: PhantomData<&'a mut ()>,
}

impl NewDevice<'_> {
    /// # Safety
    ///
    /// What the type invariant says holds for the lifetime.
    pub(super) unsafe fn from_raw(sdev: NonNull<hv_bindings::scsi_device>) -> Self {
        // INVARIANT: The caller's promise.
        Self {
            sdev,
            _callback: PhantomData,
        }
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        // SAFETY: By the type invariant.
        unsafe { address(self.sdev.as_ptr()) }
    }

    /// The start of the vendor's name in INQUIRY data; empty before [`HostDriver::configure_device`].
    ///
    /// [`HostDriver::configure_device`]: super::HostDriver::configure_device
    pub fn vendor(&self) -> &[u8] {
        // SAFETY: By the type invariant; the name is null or points to at least eight bytes of the
        // INQUIRY data, which the device keeps.
        unsafe {
            let vendor = hv_bindings::scsi_vendor(self.sdev.as_ptr());
            if vendor.is_null() {
                return &[];
            }
            core::slice::from_raw_parts(vendor.cast(), 8)
        }
    }

    /// Asks for vital product data and, for SCSI-2 devices, for REPORT LUNS, even where the device's
    /// version doesn't promise that it has them.
    pub fn try_newer_commands(&mut self) {
        let flags = hv_bindings::BLIST_REPORTLUN2 | hv_bindings::BLIST_TRY_VPD_PAGES;
        // SAFETY: By the type invariant nobody else changes it.
        unsafe { (*self.sdev.as_ptr()).sdev_bflags |= flags };
    }

    /// Milliseconds that a command may take.
    pub fn set_timeout_ms(&mut self, ms: u32) {
        // SAFETY: By the type invariant; the device has its queue by now.
        unsafe { hv_bindings::scsi_set_timeout(self.sdev.as_ptr(), ms) };
    }

    /// The device doesn't know REPORT SUPPORTED OPERATION CODES.
    pub fn no_report_opcodes(&mut self) {
        // SAFETY: By the type invariant nobody else changes it.
        unsafe { (*self.sdev.as_ptr()).set_no_report_opcodes(1) };
    }

    /// Whether WRITE SAME may be used.
    pub fn set_write_same(&mut self, allowed: bool) {
        // SAFETY: By the type invariant nobody else changes it.
        unsafe { (*self.sdev.as_ptr()).set_no_write_same(u32::from(!allowed)) };
    }

    /// The device does what SPC-3 asks for, whatever it says.
    pub fn claim_spc3(&mut self) {
        // SAFETY: By the type invariant nobody else changes it.
        unsafe { (*self.sdev.as_ptr()).scsi_level = hv_bindings::SCSI_SPC_3 };
    }
}
