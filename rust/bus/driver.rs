// SPDX-License-Identifier: GPL-2.0

//! Drivers of a bus made in Rust.

use super::{
    Bus,
    BusType,
    Device, //
};
use crate::sysfs;
use core::{
    marker::PhantomData,
    mem::offset_of,
    ptr, //
};
use kernel::{
    bindings,
    device::{
        self,
        Core,
        CoreInternal, //
    },
    error::{
        from_result,
        to_result, //
    },
    ffi,
    new_mutex,
    prelude::*,
    sync::Mutex,
    types::Opaque, //
};

/// Where a driver's probe runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeType {
    /// As the kernel sees fit: today, in the thread that adds the device or the driver.
    Default,
    /// On a thread of its own, for a probe that is slow and that nothing waits for.
    PreferAsynchronous,
    /// In the thread that adds the device or the driver.
    ForceSynchronous,
}

/// A driver of devices on the bus `B`. The implementing type is the driver's private data of one
/// device.
///
/// All callbacks of one device are called under its device lock, so never two at a time, but not
/// always on the same thread.
pub trait Driver<B: Bus>: Send + Sized + 'static {
    /// Which devices it drives, in the terms of the bus.
    const INFO: &'static B::DriverInfo;

    /// Where [`Driver::probe`] runs.
    const PROBE_TYPE: ProbeType = ProbeType::Default;

    /// Whether user space may bind and unbind devices by hand (attributes `bind`, `unbind`).
    const BIND_ATTRIBUTES: bool = true;

    /// Takes a device into operation. What it returns is set up in place, and is dropped after
    /// [`Driver::unbind`].
    ///
    /// # Errors
    ///
    /// `ENODEV` and `ENXIO` refuse the device without a message, `EPROBE_DEFER` asks to be called
    /// again after other drivers have been bound, others are logged by the driver core.
    fn probe(dev: &Device<B, Core<'_>>) -> impl PinInit<Self, Error>;

    /// Takes a device out of operation. `this` is dropped afterwards; what needs no device is best
    /// done there.
    fn unbind(dev: &Device<B, Core<'_>>, this: Pin<&Self>) {
        let _ = (dev, this);
    }

    /// The machine is going down or starting another kernel: stop what would disturb that. Neither
    /// [`Driver::unbind`] nor `drop` follow.
    fn shutdown(dev: &Device<B, Core<'_>>, this: Pin<&Self>) {
        let _ = (dev, this);
    }

    /// The machine is about to be frozen or powered off for hibernation ([`Bus::HIBERNATE`]).
    ///
    /// # Errors
    ///
    /// Aborts the hibernation; `EOPNOTSUPP` is what a driver answers that doesn't know how to.
    fn suspend(dev: &Device<B, Core<'_>>, this: Pin<&Self>) -> Result {
        let _ = (dev, this);
        Err(super::not_supported())
    }

    /// The machine runs again, from its image or because the hibernation was aborted.
    ///
    /// # Errors
    ///
    /// Logged; the device stays bound.
    fn resume(dev: &Device<B, Core<'_>>, this: Pin<&Self>) -> Result {
        let _ = (dev, this);
        Err(super::not_supported())
    }
}

/// What differs from driver to driver, as the callbacks of the bus find it.
struct Ops<B: Bus> {
    bus: &'static BusType<B>,
    info: &'static B::DriverInfo,
    probe: fn(&Device<B, CoreInternal<'_>>) -> Result,
    unbind: fn(&Device<B, CoreInternal<'_>>),
    shutdown: fn(&Device<B, CoreInternal<'_>>),
    suspend: fn(&Device<B, CoreInternal<'_>>) -> Result,
    resume: fn(&Device<B, CoreInternal<'_>>) -> Result,
}

/// What the driver's registration holds on to while it is registered.
#[pin_data]
struct Registered<B: Bus> {
    ops: Ops<B>,
    /// The ids that user space has added.
    #[pin]
    dynamic_ids: Mutex<KVec<B::DynamicId>>,
}

/// The driver core's view of a driver on the bus `B`. Used through
/// [`kernel::driver::Registration`].
///
/// # Invariants
///
/// While `driver` is registered, `registered` is a valid `Registered<B>`.
#[repr(C)]
pub struct DriverType<B: Bus> {
    /// First, so that a pointer to the one is a pointer to the other.
    driver: bindings::device_driver,
    registered: *mut Registered<B>,
}

impl<B: Bus> Default for DriverType<B> {
    fn default() -> Self {
        Self {
            driver: bindings::device_driver::default(),
            registered: ptr::null_mut(),
        }
    }
}

/// A borrowed [`DriverType`] that is known to be registered.
pub(super) struct DriverRef<'a, B: Bus> {
    driver: *const bindings::device_driver,
    registered: &'a Registered<B>,
}

impl<B: Bus> DriverType<B> {
    /// # Safety
    ///
    /// `drv` is a driver that is registered with the bus `B`, and stays so as long as the
    /// reference.
    pub(super) unsafe fn from_raw<'a>(drv: *const bindings::device_driver) -> DriverRef<'a, B> {
        // SAFETY: Only `Adapter` registers drivers with the bus, as the first field of a
        // `DriverType<B>`; by its invariant `registered` is valid.
        let registered = unsafe { &*(*drv.cast::<Self>()).registered };

        DriverRef {
            driver: drv,
            registered,
        }
    }
}

impl<B: Bus> DriverRef<'_, B> {
    /// Whether this driver may bind `dev`: what user space has forced comes first, then the ids
    /// that user space has added, then what the driver states itself.
    pub(super) fn matches(&self, dev: &Device<B>) -> bool {
        // SAFETY: Both are valid for the duration of the call.
        match unsafe {
            hv_bindings::device_match_driver_override(dev.as_raw().cast(), self.driver.cast())
        } {
            0 => return false,
            forced if forced > 0 => return true,
            _ => {}
        }
        B::DYNAMIC_IDS
            && self
                .registered
                .dynamic_ids
                .lock()
                .iter()
                .any(|id| B::matches_dynamic(dev, id))
            || B::matches(dev, self.registered.ops.info)
    }

    fn add_id(&self, id: B::DynamicId) -> Result {
        let mut ids = self.registered.dynamic_ids.lock();

        if ids.contains(&id) {
            return Err(EEXIST);
        }
        ids.push(id, GFP_KERNEL)?;
        drop(ids);
        // SAFETY: The driver is registered.
        to_result(unsafe { bindings::driver_attach(self.driver) })
    }

    fn remove_id(&self, id: &B::DynamicId) -> Result {
        let mut ids = self.registered.dynamic_ids.lock();
        let at = ids.iter().position(|known| known == id).ok_or(ENODEV)?;

        ids.remove(at).map(drop).map_err(|_| ENODEV)
    }
}

/// Lets [`kernel::driver::Registration`] register the driver `T` with the bus `B`:
/// `kernel::driver::Registration::<Adapter<B, T>>::new(name, module)`, or through
/// [`kernel::module_driver!`].
///
/// # Errors
///
/// The registration fails with
/// - `EINVAL` if the bus isn't registered,
/// - `EBUSY` if it has a driver of this name,
/// - `ENOMEM` if there is no memory.
pub struct Adapter<B: Bus, T: Driver<B>>(PhantomData<fn(B) -> T>);

// SAFETY: `DriverType` is `repr(C)`, and its field `driver` is a `struct device_driver`, zeroed
// until it is registered. `T` is what `probe()` stores as the private data of a device.
unsafe impl<B: Bus, T: Driver<B>> kernel::driver::DriverLayout for Adapter<B, T> {
    type DriverType = DriverType<B>;
    type DriverData<'bound> = T;

    const DEVICE_DRIVER_OFFSET: usize = offset_of!(DriverType<B>, driver);
}

// SAFETY: `unregister` undoes exactly what a successful `register` has done.
unsafe impl<B: Bus, T: Driver<B>> kernel::driver::RegistrationOps for Adapter<B, T> {
    unsafe fn register(
        reg: &Opaque<DriverType<B>>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        let bus = B::bus_type();

        // The name of the bus is valid only once that is registered, and the driver core would
        // print it.
        if !bus.is_registered() {
            return Err(EINVAL);
        }

        let registered = KBox::pin_init(
            try_pin_init!(Registered::<B> {
                ops: Self::ops(bus),
                dynamic_ids <- new_mutex!(KVec::new(), "bus::dynamic_ids"),
            }? Error),
            GFP_KERNEL,
        )?;
        // SAFETY: It isn't moved: only `release_registered` makes a box of it again.
        let registered = KBox::into_raw(unsafe { Pin::into_inner_unchecked(registered) });
        let driver = reg.get();

        // SAFETY: The caller gives us the driver to be set up, valid and not yet shared.
        //
        // INVARIANT: `registered` is valid from before it is registered.
        unsafe {
            (*driver).registered = registered;
            (*driver).driver.name = name.as_char_ptr();
            (*driver).driver.bus = bus.as_raw();
            (*driver).driver.owner = module.as_ptr();
            (*driver).driver.suppress_bind_attrs = !T::BIND_ATTRIBUTES;
            (*driver).driver.probe_type = match T::PROBE_TYPE {
                ProbeType::Default => bindings::probe_type_PROBE_DEFAULT_STRATEGY,
                ProbeType::PreferAsynchronous => bindings::probe_type_PROBE_PREFER_ASYNCHRONOUS,
                ProbeType::ForceSynchronous => bindings::probe_type_PROBE_FORCE_SYNCHRONOUS,
            };
        }

        bus.add_user();
        // SAFETY: The driver is set up, and stays where it is until it is unregistered.
        let ret = to_result(unsafe { bindings::driver_register(&raw mut (*driver).driver) });
        if ret.is_err() {
            // SAFETY: The driver core has forgotten about it, so no one uses `registered`.
            unsafe { Self::release_registered(reg) };
        }
        ret
    }

    unsafe fn unregister(reg: &Opaque<DriverType<B>>) {
        // SAFETY: By the safety requirement it is registered. Unbinds all devices.
        unsafe { bindings::driver_unregister(&raw mut (*reg.get()).driver) };
        // SAFETY: It isn't registered any more; the driver core waits for its users.
        unsafe { Self::release_registered(reg) };
    }
}

impl<B: Bus, T: Driver<B>> Adapter<B, T> {
    /// # Safety
    ///
    /// `register` has set `reg` up, and it is not registered.
    unsafe fn release_registered(reg: &Opaque<DriverType<B>>) {
        // SAFETY: By the safety requirement it was made from a box, and no one uses it.
        let registered = unsafe { KBox::from_raw((*reg.get()).registered) };
        let bus = registered.ops.bus;

        drop(registered);
        bus.remove_user();
    }

    fn ops(bus: &'static BusType<B>) -> Ops<B> {
        Ops {
            bus,
            info: T::INFO,
            probe: |dev| {
                let base: &device::Device<CoreInternal<'_>> = dev.as_ref();

                base.set_drvdata(T::probe(dev))
            },
            unbind: |dev| T::unbind(dev, Self::data(dev)),
            shutdown: |dev| T::shutdown(dev, Self::data(dev)),
            suspend: |dev| T::suspend(dev, Self::data(dev)),
            resume: |dev| T::resume(dev, Self::data(dev)),
        }
    }

    /// The private data of `dev`. Only for `ops`: their callers have made sure that a device which
    /// gets to any but `probe` is bound to this driver.
    fn data<'a>(dev: &'a Device<B, CoreInternal<'_>>) -> Pin<&'a T> {
        let base: &device::Device<CoreInternal<'_>> = dev.as_ref();

        // SAFETY: `dev` is bound to this driver, so its `probe` has stored a `T`, which is taken
        // back only after `unbind`.
        unsafe { base.drvdata_borrow::<T>() }
    }
}

/// Calls `f` with `dev` and what its driver, if one is bound, does about it.
///
/// # Safety
///
/// `dev` is a device of bus `B` whose device lock is held.
unsafe fn with_driver<B: Bus, R>(
    dev: *mut bindings::device,
    f: impl FnOnce(&Device<B, CoreInternal<'_>>, &Ops<B>) -> R,
) -> Option<R> {
    // SAFETY: By the safety requirement `dev` is valid, and its driver doesn't change.
    let drv = unsafe { (*dev).driver };
    if drv.is_null() {
        return None;
    }
    // SAFETY: A driver with a device of our bus is registered with our bus; it can't go while the
    // device lock is held, because that would have to unbind the device first.
    let drv = unsafe { DriverType::<B>::from_raw(drv) };
    // SAFETY: The device lock is held while `f` runs, which is what the context stands for.
    let dev = unsafe { Device::<B, CoreInternal<'_>>::from_raw(dev) };

    Some(f(dev, &drv.registered.ops))
}

pub(super) extern "C" fn probe_callback<B: Bus>(dev: *mut bindings::device) -> ffi::c_int {
    // SAFETY: The driver core holds the lock, and has set the driver that is to be probed.
    let ret = unsafe { with_driver::<B, _>(dev, |dev, ops| (ops.probe)(dev)) };

    from_result(|| ret.unwrap_or(Err(ENODEV)).map(|()| 0))
}

pub(super) extern "C" fn remove_callback<B: Bus>(dev: *mut bindings::device) {
    // SAFETY: The driver core holds the lock. The device is bound: its probe has succeeded.
    unsafe { with_driver::<B, _>(dev, |dev, ops| (ops.unbind)(dev)) };
}

/// Shuts down the driver of `dev`, if one is bound.
pub(super) fn shutdown<B: Bus>(dev: &Device<B, Core<'_>>) {
    // SAFETY: `Core` says that the device lock is held. A device that has a driver in this state
    // is bound to it: a probe in progress would hold the lock.
    unsafe { with_driver::<B, _>(dev.as_raw(), |dev, ops| (ops.shutdown)(dev)) };
}

/// As [`with_driver`], taking the device lock; `EBUSY` if someone holds it.
///
/// # Safety
///
/// `dev` is a device of bus `B`, kept alive.
unsafe fn lock_with_driver<B: Bus>(
    dev: *mut bindings::device,
    f: impl FnOnce(&Device<B, CoreInternal<'_>>, &Ops<B>) -> Result,
) -> Result {
    // SAFETY: By the safety requirement.
    if !unsafe { hv_bindings::device_trylock(dev.cast()) } {
        return Err(EBUSY);
    }
    // SAFETY: The lock is held; nothing is being probed, so a device that has a driver is bound.
    let ret = unsafe { with_driver(dev, f) };
    // SAFETY: We hold the lock.
    unsafe { hv_bindings::device_unlock(dev.cast()) };
    ret.unwrap_or(Ok(()))
}

// The driver core takes no device lock for these phases of hibernation. User space is frozen and
// probing is off by then; whoever holds the lock all the same (a device that the other side has
// just withdrawn) is in the middle of something that can't be frozen.

pub(super) extern "C" fn suspend_callback<B: Bus>(dev: *mut bindings::device) -> ffi::c_int {
    // SAFETY: Called for a device of our bus.
    from_result(|| unsafe { lock_with_driver::<B>(dev, |dev, ops| (ops.suspend)(dev)).map(|()| 0) })
}

pub(super) extern "C" fn resume_callback<B: Bus>(dev: *mut bindings::device) -> ffi::c_int {
    // SAFETY: Called for a device of our bus.
    from_result(|| unsafe { lock_with_driver::<B>(dev, |dev, ops| (ops.resume)(dev)).map(|()| 0) })
}

/// The attributes of all drivers of a bus: `new_id` and `remove_id`.
pub(super) struct Attributes {
    new_id: sysfs::RawAttribute,
    remove_id: sysfs::RawAttribute,
    list: [*const sysfs::RawAttribute; 3],
    group: sysfs::RawGroup,
    groups: [*const sysfs::RawGroup; 2],
}

impl Attributes {
    /// Makes the attributes, in place, and returns the list of groups for the driver core, valid
    /// as long as `self` stays where it is.
    pub(super) fn prepare<B: Bus>(&mut self) -> *const *const bindings::attribute_group {
        const WRITE_ONLY: u16 = 0o200;

        let new_id: StoreFn = new_id_store::<B>;
        let remove_id: StoreFn = remove_id_store::<B>;

        self.new_id = sysfs::RawAttribute::new(
            c"new_id",
            WRITE_ONLY,
            ptr::null(),
            new_id as *const ffi::c_void,
        );
        self.remove_id = sysfs::RawAttribute::new(
            c"remove_id",
            WRITE_ONLY,
            ptr::null(),
            remove_id as *const ffi::c_void,
        );
        self.list = [&self.new_id, &self.remove_id, ptr::null()];
        self.group = sysfs::RawGroup::new(&raw const self.list[0], None);
        self.groups = [&self.group, ptr::null()];
        (&raw const self.groups[0]).cast()
    }
}

type StoreFn = extern "C" fn(*mut bindings::device_driver, *const ffi::c_char, usize) -> isize;

extern "C" fn new_id_store<B: Bus>(
    drv: *mut bindings::device_driver,
    buf: *const ffi::c_char,
    count: usize,
) -> isize {
    // SAFETY: What the driver core calls for a write to an attribute of a driver of our bus.
    unsafe { store_id::<B>(drv, buf, count, |drv, id| drv.add_id(id)) }
}

extern "C" fn remove_id_store<B: Bus>(
    drv: *mut bindings::device_driver,
    buf: *const ffi::c_char,
    count: usize,
) -> isize {
    // SAFETY: As for `new_id_store`.
    unsafe { store_id::<B>(drv, buf, count, |drv, id| drv.remove_id(&id)) }
}

/// # Safety
///
/// `drv` is a registered driver of bus `B`, `buf` is `count` bytes.
unsafe fn store_id<B: Bus>(
    drv: *mut bindings::device_driver,
    buf: *const ffi::c_char,
    count: usize,
    f: impl FnOnce(&DriverRef<'_, B>, B::DynamicId) -> Result,
) -> isize {
    // SAFETY: By the safety requirement; attributes go before the driver does.
    let drv = unsafe { DriverType::<B>::from_raw(drv) };
    // SAFETY: By the safety requirement.
    let buf = unsafe { sysfs::written(buf, count) };

    sysfs::store_result(count, || f(&drv, B::parse_dynamic_id(sysfs::text(buf)?)?))
}
