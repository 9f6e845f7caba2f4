// SPDX-License-Identifier: GPL-2.0

//! Buses whose `bus_type` is made in Rust.
//!
//! The `kernel` crate lets Rust drivers sit on buses that C made. Here the bus itself is Rust: a
//! [`Bus`] implementation says how devices match drivers and what they tell user space, a
//! [`Registration`] puts it under `/sys/bus`, an [`Added`] owns one device on it, and a [`Driver`]
//! implementation, in this module or in another, is registered through [`Adapter`] with the kernel
//! crate's own [`kernel::driver::Registration`].
//!
//! The one piece of memory that the driver core keeps for the life of the bus is a [`BusType`]. It
//! has to be a `static` of the crate that implements [`Bus`]: a static inside a generic function
//! would exist once per module, and devices and drivers of one bus would disagree on what it is.
//!
//! # Lifetimes
//!
//! - A device's memory and payload live until the last reference is gone, wherever it is held.
//! - A driver's private data lives from a successful [`Driver::probe`] to the end of
//!   [`Driver::unbind`]; the driver core calls both, and everything between them, under the device
//!   lock.
//! - [`Registration`] goes last: dropping it waits until every device has been freed and every
//!   driver of the bus is unregistered, because their release and callbacks are code of the module
//!   that is about to go.
//!
//! C headers: [`include/linux/device/bus.h`](srctree/include/linux/device/bus.h),
//! [`include/linux/device/driver.h`](srctree/include/linux/device/driver.h)

mod device;
mod driver;

pub use self::{
    device::{
        Added,
        Device, //
    },
    driver::{
        Adapter,
        Driver,
        DriverType,
        ProbeType, //
    },
};

use crate::{
    atomic::{Acquire, Atomic, Full, Relaxed, Release},
    sysfs,
};
use core::{
    marker::PhantomData,
    ops::ControlFlow,
    ptr, //
};
use kernel::{
    bindings,
    device::Core,
    error::{
        from_result,
        to_result, //
    },
    ffi,
    fmt,
    prelude::*,
    sync::aref::ARef,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    types::Opaque, //
};

/// A bus: what its devices carry, how they find their driver, what user space is told about them.
///
/// Implemented by a zero-sized type that stands for the bus.
pub trait Bus: Sized + 'static {
    /// Name of the bus: the directory under `/sys/bus`, and the prefix of messages about a device
    /// that has no driver.
    const NAME: &'static CStr;

    /// Whether devices have a `driver_override` attribute: the name of the one driver that may
    /// bind, whether it matches or not.
    const DRIVER_OVERRIDE: bool = true;

    /// Whether drivers have `new_id` and `remove_id` attributes (see [`Bus::DynamicId`]).
    const DYNAMIC_IDS: bool = false;

    /// Whether the devices take part in hibernation, through [`Driver::suspend`] and
    /// [`Driver::resume`]. They are called with interrupts of devices off (`freeze_noirq`,
    /// `poweroff_noirq`; `thaw_noirq`, `restore_noirq`). Suspend to idle and to memory leave the
    /// devices alone.
    const HIBERNATE: bool = false;

    /// What every device of the bus carries: set up before the device is visible, pinned, dropped
    /// with the device's last reference.
    type Payload: Send + Sync + 'static;

    /// What a driver states about itself, in [`Driver::INFO`]: the table of devices it drives.
    type DriverInfo: Sync + 'static;

    /// An id that user space adds to a driver at run time. [`core::convert::Infallible`] where
    /// [`Bus::DYNAMIC_IDS`] is false.
    type DynamicId: PartialEq + Send + 'static;

    /// The one `static` of this bus.
    ///
    /// ```ignore
    /// static BUS_TYPE: BusType<MyBus> = BusType::new();
    /// ```
    fn bus_type() -> &'static BusType<Self>;

    /// Whether a driver that stated `info` drives `dev`.
    ///
    /// Called for each pair of device and driver, repeatedly, concurrently, with or without the
    /// device lock; may sleep.
    fn matches(dev: &Device<Self>, info: &Self::DriverInfo) -> bool;

    /// Whether `dev` is one of those that `id` names.
    fn matches_dynamic(dev: &Device<Self>, id: &Self::DynamicId) -> bool {
        let _ = (dev, id);
        false
    }

    /// Reads what user space wrote to `new_id` or `remove_id`, trimmed of white space.
    ///
    /// # Errors
    ///
    /// Becomes the error of the `write()`; `EINVAL` for text that is no id.
    fn parse_dynamic_id(text: &str) -> Result<Self::DynamicId> {
        let _ = text;
        Err(not_supported())
    }

    /// Adds variables to an event that user space gets about `dev`, such as `MODALIAS`.
    ///
    /// # Errors
    ///
    /// The event isn't sent; reading the device's `uevent` file shows what was added so far.
    fn uevent(dev: &Device<Self>, env: &mut UeventEnv<'_>) -> Result {
        let _ = (dev, env);
        Ok(())
    }

    /// Prepares `dev` for DMA, right before each probe.
    ///
    /// # Errors
    ///
    /// The probe fails with this error, `EPROBE_DEFER` means later.
    fn dma_configure(dev: &Device<Self>) -> Result {
        let _ = dev;
        Ok(())
    }

    /// The machine is going down: quiesces `dev`. Called for every device, after the driver's
    /// [`Driver::shutdown`] where one is bound.
    fn shutdown(dev: &Device<Self>) {
        let _ = dev;
    }

    /// Attributes of every device.
    fn device_attributes() -> Option<&'static sysfs::Attributes<Device<Self>>> {
        None
    }

    /// Attributes of the bus itself, in `/sys/bus/<name>`.
    fn bus_attributes() -> Option<&'static sysfs::Attributes<BusType<Self>>> {
        None
    }
}

/// What the driver core reads of a bus while it is registered. Self-referential once
/// [`Registration::new`] has filled it in.
struct Raw {
    bus: bindings::bus_type,
    pm: bindings::dev_pm_ops,
    driver_attributes: driver::Attributes,
}

/// States of a [`BusType`].
const IDLE: i32 = 0;
/// Being registered, or unregistered.
const CLAIMED: i32 = 1;
const REGISTERED: i32 = 2;

/// The memory of a bus, a `static` of the crate that implements [`Bus`].
///
/// # Invariants
///
/// - `raw` is written only between `state` leaving `IDLE` and `bus_register()`, read by the driver
///   core only while the bus is registered, and valid while `state` is `REGISTERED`.
/// - `users` counts the devices that exist and the drivers that are registered.
pub struct BusType<B: Bus> {
    raw: Opaque<Raw>,
    state: Atomic<i32>,
    users: Atomic<i32>,
    _bus: PhantomData<fn(B)>,
}

// SAFETY: Everything that changes is atomic, except `raw`, which by the type invariant has one
// writer and no reader at that time; after that the driver core synchronises itself.
unsafe impl<B: Bus> Sync for BusType<B> {}

impl<B: Bus> BusType<B> {
    /// A bus that isn't registered.
    #[expect(clippy::new_without_default, reason = "has to be const, for a static")]
    pub const fn new() -> Self {
        // INVARIANT: Not registered, no devices, no drivers.
        Self {
            raw: Opaque::uninit(),
            state: Atomic::new(IDLE),
            users: Atomic::new(0),
            _bus: PhantomData,
        }
    }

    /// The C `bus_type`. Its content is valid from [`Registration::new`] on.
    fn as_raw(&self) -> *mut bindings::bus_type {
        // SAFETY: Only computes the address of a field of `raw`, which is memory of `self`.
        unsafe { &raw mut (*self.raw.get()).bus }
    }

    fn is_registered(&self) -> bool {
        self.state.load(Acquire) == REGISTERED
    }

    fn add_user(&self) {
        self.users.add(1, Relaxed);
    }

    fn remove_user(&self) {
        self.users.fetch_sub(1, Release);
    }

    /// Fills in `raw`.
    ///
    /// # Safety
    ///
    /// The caller has just claimed `self`.
    unsafe fn prepare(&'static self) {
        let raw = self.raw.get();

        // SAFETY: By the safety requirement no one else reads or writes `raw`. All zeroes are a
        // valid value of its C structs.
        unsafe { raw.write_bytes(0, 1) };
        // SAFETY: As above, and it has just been initialised.
        let raw = unsafe { &mut *raw };

        raw.bus.name = B::NAME.as_char_ptr();
        raw.bus.driver_override = B::DRIVER_OVERRIDE;
        raw.bus.match_ = Some(match_callback::<B>);
        raw.bus.uevent = Some(uevent_callback::<B>);
        raw.bus.probe = Some(driver::probe_callback::<B>);
        raw.bus.remove = Some(driver::remove_callback::<B>);
        raw.bus.shutdown = Some(shutdown_callback::<B>);
        raw.bus.dma_configure = Some(dma_configure_callback::<B>);
        raw.bus.dev_groups = B::device_attributes().map_or(ptr::null(), |a| a.groups());
        raw.bus.bus_groups = B::bus_attributes().map_or(ptr::null(), |a| a.groups());
        if B::DYNAMIC_IDS {
            raw.bus.drv_groups = raw.driver_attributes.prepare::<B>();
        }
        if B::HIBERNATE {
            raw.pm.freeze_noirq = Some(driver::suspend_callback::<B>);
            raw.pm.poweroff_noirq = Some(driver::suspend_callback::<B>);
            raw.pm.thaw_noirq = Some(driver::resume_callback::<B>);
            raw.pm.restore_noirq = Some(driver::resume_callback::<B>);
            raw.bus.pm = &raw.pm;
        }
    }
}

/// Keeps a bus registered: `/sys/bus/<name>` exists while this does.
///
/// Drop it last. Dropping waits, and says so every ten seconds, until all devices of the bus have
/// been freed and all its drivers are unregistered: their callbacks are code of this module, so
/// returning earlier would let the kernel run code that isn't there any more. Drivers of other
/// modules hold a reference to this one and are gone already.
pub struct Registration<B: Bus>(PhantomData<fn(B)>);

impl<B: Bus> Registration<B> {
    /// Registers the bus.
    ///
    /// # Errors
    ///
    /// - `EEXIST`: a bus of this name exists, for instance that of a built-in driver.
    /// - `EBUSY`: this very bus is registered.
    /// - `ENOMEM`: no memory.
    pub fn new() -> Result<Self> {
        let this = B::bus_type();

        if this.state.cmpxchg(IDLE, CLAIMED, Full).is_err() {
            return Err(EBUSY);
        }
        // SAFETY: `NAME` is a C string.
        if unsafe { hv_bindings::bus_name_taken(B::NAME.as_char_ptr()) } {
            this.state.store(IDLE, Release);
            return Err(EEXIST);
        }
        // SAFETY: It was not claimed, and now is by us.
        unsafe { this.prepare() };

        // SAFETY: `prepare()` made a valid `struct bus_type` of static memory.
        let ret = to_result(unsafe { bindings::bus_register(this.as_raw()) });
        // INVARIANT: `raw` is valid, and isn't changed any more.
        let state = if ret.is_ok() { REGISTERED } else { IDLE };
        this.state.store(state, Release);
        ret.map(|()| Self(PhantomData))
    }

    /// Calls `f` for each device on the bus, in the order they were added, until it breaks.
    pub fn for_each_device(&self, f: impl FnMut(&Device<B>) -> ControlFlow<()>) {
        for_each_device(f);
    }
}

impl<B: Bus> Drop for Registration<B> {
    fn drop(&mut self) {
        const POLL: Delta = Delta::from_millis(2);
        const MESSAGE: Delta = Delta::from_secs(10);

        let this = B::bus_type();
        let mut waited = false;
        let mut since = Instant::<Monotonic>::now();

        while this.users.load(Acquire) != 0 {
            waited = true;
            fsleep(POLL);
            if since.elapsed() > MESSAGE {
                since = Instant::now();
                pr_err!(
                    "bus {}: waiting for {} devices and drivers to be freed\n",
                    B::NAME,
                    this.users.load(Relaxed)
                );
            }
        }

        if waited {
            // Someone else was the last. The count goes down as the last thing that the callback
            // does; this waits until the few instructions behind it have run.
            //
            // SAFETY: May sleep here.
            unsafe { hv_bindings::synchronize_rcu_tasks() };
        }

        this.state.store(CLAIMED, Release);
        // SAFETY: The existence of `self` says that it is registered; with no device and no
        // driver left, no callback runs.
        unsafe { bindings::bus_unregister(this.as_raw()) };
        this.state.store(IDLE, Release);
    }
}

/// Calls `f` for each device on the bus, in the order they were added, until it breaks.
///
/// Devices that come or go meanwhile may or may not be seen. Does nothing if the bus isn't
/// registered.
pub fn for_each_device<B: Bus, F: FnMut(&Device<B>) -> ControlFlow<()>>(mut f: F) {
    extern "C" fn each<B: Bus, F: FnMut(&Device<B>) -> ControlFlow<()>>(
        dev: *mut bindings::device,
        f: *mut ffi::c_void,
    ) -> ffi::c_int {
        // SAFETY: `f` is what was given to `bus_for_each_dev()` below, on whose stack it lives.
        let f = unsafe { &mut *f.cast::<F>() };
        // SAFETY: The iterator of the bus holds a reference to `dev`, a device of our bus.
        let dev = unsafe { Device::<B>::from_raw(dev) };

        f(dev).is_break().into()
    }

    let bus = B::bus_type();
    if !bus.is_registered() {
        return;
    }
    // SAFETY: The memory of a bus is static; a bus that isn't registered is an error that the
    // function reports. `each` gets what it expects.
    unsafe {
        bindings::bus_for_each_dev(
            bus.as_raw(),
            ptr::null_mut(),
            (&raw mut f).cast(),
            Some(each::<B, F>),
        )
    };
}

/// The first device for which `f` is true.
pub fn find_device<B: Bus>(mut f: impl FnMut(&Device<B>) -> bool) -> Option<ARef<Device<B>>> {
    let mut found = None;

    for_each_device(|dev: &Device<B>| {
        if f(dev) {
            found = Some(dev.into());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    found
}

/// `EOPNOTSUPP`, which the kernel crate doesn't name.
fn not_supported() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as ffi::c_int))
}

/// The environment of an event to user space, in the making.
pub struct UeventEnv<'a>(&'a mut bindings::kobj_uevent_env);

impl UeventEnv<'_> {
    /// Adds one variable, as `KEY=value`: `env.add(fmt!("MODALIAS=vmbus:{}", id))`.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there are more variables or more text than an event holds (64, 2048 bytes).
    pub fn add(&mut self, variable: fmt::Arguments<'_>) -> Result {
        // SAFETY: The environment is valid and ours alone for now; `%pA` takes a pointer to
        // `fmt::Arguments`.
        to_result(unsafe {
            bindings::add_uevent_var(
                self.0,
                c"%pA".as_char_ptr(),
                ptr::from_ref(&variable).cast::<ffi::c_void>(),
            )
        })
    }
}

extern "C" fn match_callback<B: Bus>(
    dev: *mut bindings::device,
    drv: *const bindings::device_driver,
) -> ffi::c_int {
    // SAFETY: The driver core asks about a device of our bus, which it keeps alive, and a driver
    // that is registered with our bus.
    let (dev, drv) = unsafe { (Device::<B>::from_raw(dev), DriverType::<B>::from_raw(drv)) };

    drv.matches(dev).into()
}

extern "C" fn uevent_callback<B: Bus>(
    dev: *const bindings::device,
    env: *mut bindings::kobj_uevent_env,
) -> ffi::c_int {
    // SAFETY: The driver core asks about a device of our bus, which it keeps alive.
    let dev = unsafe { Device::<B>::from_raw(dev.cast_mut()) };
    // SAFETY: The environment is the caller's own, and valid for this call.
    let mut env = UeventEnv(unsafe { &mut *env });

    from_result(|| B::uevent(dev, &mut env).map(|()| 0))
}

extern "C" fn dma_configure_callback<B: Bus>(dev: *mut bindings::device) -> ffi::c_int {
    // SAFETY: The driver core calls this for a device of our bus that it is about to probe.
    let dev = unsafe { Device::<B>::from_raw(dev) };

    from_result(|| B::dma_configure(dev).map(|()| 0))
}

extern "C" fn shutdown_callback<B: Bus>(dev: *mut bindings::device) {
    // SAFETY: The driver core calls this with the device lock held, so that it may stand for the
    // core context while this function runs.
    let dev = unsafe { Device::<B, Core<'_>>::from_raw(dev) };

    driver::shutdown(dev);
    B::shutdown(dev);
}
