// SPDX-License-Identifier: GPL-2.0

//! What the mid-layer calls, turned into calls of a [`HostDriver`].

use core::{
    ffi::c_void,
    ptr::NonNull, //
};

use kernel::{
    error::from_result,
    ffi,
    sync::{
        rcu,
        Arc,
        ArcBorrow, //
    },
};
use kernel_ext::atomic::{Acquire, Atomic, Relaxed};

use super::{
    command::{
        Busy,
        Command,
        Info, //
    },
    device::NewDevice,
    host::{
        HostDriver,
        TimedOut, //
    },
};

/// Puts the callbacks of `T` into a template.
///
/// # Safety
///
/// `template` is valid and the caller's alone.
pub(super) unsafe fn fill<T: HostDriver>(template: *mut hv_bindings::scsi_host_template) {
    // SAFETY: The caller's promise.
    unsafe {
        (*template).queuecommand = Some(queuecommand::<T>);
        (*template).commit_rqs = Some(commit_rqs::<T>);
        (*template).sdev_init = Some(sdev_init::<T>);
        (*template).sdev_configure = Some(sdev_configure::<T>);
        (*template).sdev_destroy = Some(sdev_destroy::<T>);
        (*template).eh_timed_out = Some(eh_timed_out::<T>);
        (*template).eh_host_reset_handler = Some(eh_host_reset::<T>);
        (*template).change_queue_depth = Some(change_queue_depth);
        (*template).bios_param = Some(bios_param::<T>);
    }
}

/// The word of a host that points to its driver's data.
///
/// # Safety
///
/// `shost` is a host that [`Registration`](super::Registration) has made, kept alive.
#[inline]
pub(super) unsafe fn private<'a>(shost: *mut hv_bindings::Scsi_Host) -> &'a Atomic<*mut c_void> {
    // SAFETY: The host was made with room for one pointer there, which is only used atomically once
    // others know the host.
    unsafe { Atomic::from_ptr(hv_bindings::shost_priv(shost)) }
}

/// The driver's data of a host.
///
/// # Safety
///
/// `shost` is a host of the driver `T` that isn't removed before the reference ends.
unsafe fn driver<'a, T: HostDriver>(shost: *mut hv_bindings::Scsi_Host) -> &'a T {
    // SAFETY: By the invariant of `Registration` the private data points to a valid `T` until the
    // host is removed.
    unsafe { &*private(shost).load(Relaxed).cast::<T>() }
}

/// A reference to the driver's data of a host that may have been removed; `None` then.
///
/// # Safety
///
/// `shost` is a host of the driver `T`, kept alive.
unsafe fn driver_if_there<T: HostDriver>(shost: *mut hv_bindings::Scsi_Host) -> Option<Arc<T>> {
    let guard = rcu::read_lock();
    // SAFETY: The caller's promise.
    let data = unsafe { private(shost) }.load(Acquire).cast::<T>();
    // SAFETY: By the invariant of `Registration` the pointer that isn't null is to the content of an
    // `Arc`, which isn't dropped before this guard is.
    let data = (!data.is_null()).then(|| unsafe { ArcBorrow::from_raw(data) });
    let data = data.map(Into::into);
    drop(guard);
    data
}

/// [`driver`] of a device's host.
///
/// # Safety
///
/// As for [`driver`].
unsafe fn driver_of<'a, T: HostDriver>(sdev: *mut hv_bindings::scsi_device) -> &'a T {
    // SAFETY: The caller's promise.
    unsafe { driver((*sdev).host) }
}

extern "C" fn queuecommand<T: HostDriver>(
    shost: *mut hv_bindings::Scsi_Host,
    cmd: *mut hv_bindings::scsi_cmnd,
) -> hv_bindings::scsi_qc_status {
    // SAFETY: The mid-layer passes a valid command of this host, ours from now on; `flags` doesn't
    // change while it is.
    let (driver, command, last) = unsafe {
        (
            driver::<T>(shost),
            Command::from_raw(NonNull::new_unchecked(cmd)),
            (*cmd).flags as u32 & hv_bindings::SCMD_LAST != 0,
        )
    };
    match driver.queue(command, last) {
        Ok(()) => 0,
        Err(rejected) => {
            rejected.command.give_back();
            match rejected.busy {
                Busy::Device => hv_bindings::scsi_qc_status_SCSI_MLQUEUE_DEVICE_BUSY,
                Busy::Host => hv_bindings::scsi_qc_status_SCSI_MLQUEUE_HOST_BUSY,
            }
        }
    }
}

extern "C" fn commit_rqs<T: HostDriver>(shost: *mut hv_bindings::Scsi_Host, queue: u16) {
    // SAFETY: The mid-layer passes a host of this driver.
    unsafe { driver::<T>(shost) }.commit(queue);
}

extern "C" fn sdev_init<T: HostDriver>(sdev: *mut hv_bindings::scsi_device) -> ffi::c_int {
    from_result(|| {
        // SAFETY: The mid-layer passes a valid device that nobody else uses yet.
        let (driver, mut device) = unsafe {
            (
                driver_of::<T>(sdev),
                NewDevice::from_raw(NonNull::new_unchecked(sdev)),
            )
        };
        let data = driver.init_device(&mut device)?;
        // SAFETY: As above; `hostdata` is the driver's. `sdev_destroy` takes the pointer back.
        unsafe { (*sdev).hostdata = Arc::into_raw(data).cast_mut().cast() };
        Ok(0)
    })
}

extern "C" fn sdev_configure<T: HostDriver>(
    sdev: *mut hv_bindings::scsi_device,
    _limits: *mut hv_bindings::queue_limits,
) -> ffi::c_int {
    from_result(|| {
        // SAFETY: The mid-layer passes a valid device that only its scan uses.
        let (driver, mut device) = unsafe {
            (
                driver_of::<T>(sdev),
                NewDevice::from_raw(NonNull::new_unchecked(sdev)),
            )
        };
        driver.configure_device(&mut device).map(|()| 0)
    })
}

extern "C" fn sdev_destroy<T: HostDriver>(sdev: *mut hv_bindings::scsi_device) {
    // SAFETY: The mid-layer passes a device whose queue has ended: nobody else looks at `hostdata`.
    let data = unsafe { core::mem::replace(&mut (*sdev).hostdata, core::ptr::null_mut()) };
    if data.is_null() {
        return;
    }
    // SAFETY: Not null: it is what `sdev_init` stored, taken back once. The host isn't removed
    // before its last device is.
    unsafe { driver_of::<T>(sdev).destroy_device(Arc::from_raw(data.cast())) };
}

extern "C" fn eh_timed_out<T: HostDriver>(
    cmd: *mut hv_bindings::scsi_cmnd,
) -> hv_bindings::scsi_timeout_action {
    // SAFETY: The mid-layer passes a command that is under way, and holds it for this call.
    let action = unsafe { driver_of::<T>((*cmd).device).timed_out(Info::from_raw(cmd)) };
    match action {
        TimedOut::Wait => hv_bindings::scsi_timeout_action_SCSI_EH_RESET_TIMER,
        TimedOut::GiveUp => hv_bindings::scsi_timeout_action_SCSI_EH_NOT_HANDLED,
    }
}

extern "C" fn eh_host_reset<T: HostDriver>(cmd: *mut hv_bindings::scsi_cmnd) -> ffi::c_int {
    // SAFETY: The mid-layer passes a command with its device, which it holds for this call, and with
    // it the host. A reset may be asked for after the host was removed.
    let Some(this) = (unsafe { driver_if_there::<T>((*(*cmd).device).host) }) else {
        return hv_bindings::SCSI_EH_FAILED;
    };
    if T::reset(this.as_arc_borrow()) {
        hv_bindings::SCSI_EH_SUCCESS
    } else {
        hv_bindings::SCSI_EH_FAILED
    }
}

extern "C" fn change_queue_depth(
    sdev: *mut hv_bindings::scsi_device,
    depth: ffi::c_int,
) -> ffi::c_int {
    // SAFETY: The mid-layer passes a valid device.
    unsafe {
        let most = (*(*sdev).host).can_queue;
        hv_bindings::scsi_change_queue_depth(sdev, depth.min(most))
    }
}

extern "C" fn bios_param<T: HostDriver>(
    _sdev: *mut hv_bindings::scsi_device,
    _disk: *mut hv_bindings::gendisk,
    capacity: hv_bindings::sector_t,
    geometry: *mut ffi::c_int,
) -> ffi::c_int {
    let made_up = T::GEOMETRY;
    let track = u64::from(made_up.heads.max(1)) * u64::from(made_up.sectors.max(1));
    // As many cylinders as the field that programs read has room for.
    let cylinders = (capacity / track).min(0xffff);
    // SAFETY: The mid-layer passes room for heads, sectors and cylinders.
    unsafe {
        *geometry = made_up.heads.into();
        *geometry.add(1) = made_up.sectors.into();
        *geometry.add(2) = cylinders as ffi::c_int;
    }
    0
}
