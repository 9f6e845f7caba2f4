// SPDX-License-Identifier: GPL-2.0

//! Devices of a bus made in Rust.

use super::{
    Bus,
    BusType,
    Registration, //
};
use crate::sysfs;
use core::{
    marker::PhantomData,
    mem::offset_of,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    device::{
        self,
        Bound,
        Core,
        CoreInternal,
        DeviceContext,
        Normal, //
    },
    error::to_result,
    ffi,
    fmt,
    prelude::*,
    str::CString,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};

/// Highest address a device may reach, before its driver says otherwise: all of memory.
const DMA_MASK: u64 = u64::MAX;

/// The memory of a device.
#[pin_data]
#[repr(C)]
struct Inner<B: Bus> {
    /// First, so that a pointer to the one is a pointer to the other.
    #[pin]
    dev: Opaque<bindings::device>,
    #[pin]
    dma_mask: Opaque<u64>,
    #[pin]
    dma_parms: Opaque<bindings::device_dma_parameters>,
    bus: &'static BusType<B>,
    #[pin]
    payload: B::Payload,
}

/// A device on the bus `B`: the driver core's `struct device` and what the bus adds to it.
///
/// `Ctx` says, as everywhere in the kernel crate, what is known about the device in the scope of
/// the reference: [`Normal`] nothing, [`Bound`] that a driver is bound, [`Core`] that this is a
/// callback of the driver core, under the device lock.
///
/// # Invariants
///
/// An instance is the `Inner<B>` of a device that [`Added::new`] has made and whose reference count
/// isn't zero.
#[repr(transparent)]
pub struct Device<B: Bus, Ctx: DeviceContext = Normal>(Inner<B>, PhantomData<Ctx>);

impl<B: Bus, Ctx: DeviceContext> Device<B, Ctx> {
    /// # Safety
    ///
    /// - `dev` is a device of the bus `B`, and stays alive as long as the reference.
    /// - What `Ctx` stands for holds as long as the reference.
    pub(super) unsafe fn from_raw<'a>(dev: *mut bindings::device) -> &'a Self {
        // SAFETY: Only `Added::new` makes devices of the bus, and it makes them part of an
        // `Inner<B>`, as the first field.
        unsafe { &*dev.cast::<Self>() }
    }

    /// The C `struct device`.
    pub(crate) fn as_raw(&self) -> *mut bindings::device {
        self.0.dev.get()
    }

    /// What the bus has given to this device.
    pub fn payload(&self) -> &B::Payload {
        &self.0.payload
    }

    /// The name of the device: that of its directory under `/sys/bus/<bus>/devices`.
    pub fn name(&self) -> &CStr {
        let dev: &device::Device<Ctx> = self.as_ref();

        dev.name()
    }

    /// The name of the driver that is bound, if any.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: the device lock is held, a driver is just being bound or unbound (or this is a
    ///   callback of the driver). It isn't waited for, because a probe may take long.
    /// - `ENOMEM`: no memory.
    pub fn driver_name(&self) -> Result<Option<CString>> {
        let dev = self.as_raw();

        // SAFETY: `dev` is valid by the type invariant.
        if !unsafe { hv_bindings::device_trylock(dev.cast()) } {
            return Err(EBUSY);
        }
        // SAFETY: The device lock is held: the driver can't change, nor be unregistered, and its
        // name is a C string.
        let name = unsafe {
            let drv = (*dev).driver;

            (!drv.is_null()).then(|| CStr::from_char_ptr((*drv).name))
        };
        // Copied, because the module of the driver may be gone once the lock is released.
        let name = name.map(CString::try_from).transpose();
        // SAFETY: We hold the lock.
        unsafe { hv_bindings::device_unlock(dev.cast()) };
        Ok(name?)
    }
}

/// Gives `Device<B, $src>` all that `Device<B, $dst>` has, and a way to [`ARef`].
macro_rules! context_deref {
    ([$($lt:lifetime)?] $src:ty => $dst:ty) => {
        impl<$($lt,)? B: Bus> Deref for Device<B, $src> {
            type Target = Device<B, $dst>;

            fn deref(&self) -> &Self::Target {
                // SAFETY: Both are transparent wrappers of `Inner<B>`; the source context implies
                // the target context.
                unsafe { &*ptr::from_ref(self).cast() }
            }
        }

        impl<$($lt,)? B: Bus> From<&Device<B, $src>> for ARef<Device<B>> {
            fn from(dev: &Device<B, $src>) -> Self {
                let dev: &Device<B> = dev;

                dev.into()
            }
        }
    };
}

context_deref!(['a] CoreInternal<'a> => Core<'a>);
context_deref!(['a] Core<'a> => Bound);
context_deref!([] Bound => Normal);

impl<B: Bus, Ctx: DeviceContext> AsRef<device::Device<Ctx>> for Device<B, Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: By the type invariant it is valid as long as `self`.
        unsafe { device::Device::from_raw(self.as_raw()) }
    }
}

impl<'a, B: Bus, Ctx: DeviceContext> TryFrom<&'a device::Device<Ctx>> for &'a Device<B, Ctx> {
    type Error = Error;

    /// The device of the bus `B` that `dev` is part of; `EINVAL` if it is on another bus.
    fn try_from(dev: &'a device::Device<Ctx>) -> Result<Self> {
        let dev = ptr::from_ref(dev).cast_mut().cast::<bindings::device>();

        // SAFETY: `dev` is valid; its bus is set before it is visible and never changes.
        if unsafe { (*dev).bus } != B::bus_type().as_raw().cast_const() {
            return Err(EINVAL);
        }
        // SAFETY: It is a device of our bus, in the context that the caller has shown.
        Ok(unsafe { Device::from_raw(dev) })
    }
}

// SAFETY: The base device is at the start of `Inner`, the only field of `Device`.
unsafe impl<B: Bus, Ctx: DeviceContext> device::AsBusDevice<Ctx> for Device<B, Ctx> {
    const OFFSET: usize = offset_of!(Inner<B>, dev);
}

impl<'a, B: Bus> kernel::dma::Device<'a> for Device<B, Core<'a>> {}

// SAFETY: The reference count is that of the `struct device`.
unsafe impl<B: Bus> AlwaysRefCounted for Device<B> {
    fn inc_ref(&self) {
        // SAFETY: By the type invariant the reference count isn't zero.
        unsafe { bindings::get_device(self.as_raw()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference, so there is one.
        unsafe { bindings::put_device(obj.cast().as_ptr()) };
    }
}

// SAFETY: The release callback may run anywhere that may sleep, and the payload is `Send`.
unsafe impl<B: Bus> Send for Device<B> {}

// SAFETY: The driver core synchronises the `struct device`; the payload is `Sync`.
unsafe impl<B: Bus> Sync for Device<B> {}

// SAFETY: As for `Device<B>`: the context is no data.
unsafe impl<B: Bus> Sync for Device<B, Bound> {}

// SAFETY: The kobject of a device is part of it. While it is bound it is in sysfs: removing it
// unbinds it first.
unsafe impl<B: Bus> sysfs::Parent for Device<B, Bound> {
    fn kobject(&self) -> *mut bindings::kobject {
        // SAFETY: Only computes the address of a field of a valid device.
        unsafe { &raw mut (*self.as_raw()).kobj }
    }
}

// SAFETY: By the type invariant it is in sysfs, and only its drop removes it.
unsafe impl<B: Bus> sysfs::Parent for Added<B> {
    fn kobject(&self) -> *mut bindings::kobject {
        // SAFETY: Only computes the address of a field of a valid device.
        unsafe { &raw mut (*self.0.as_raw()).kobj }
    }
}

impl<B: Bus> sysfs::HasAttributes for Device<B> {
    type Target = Self;
}

// SAFETY: The driver core calls the functions of a `device_attribute` of a device of bus `B` with
// that device; `Bus::device_attributes` is the only use of attributes of this owner. The kobject
// of a device is part of it.
unsafe impl<B: Bus> sysfs::Owner for Device<B> {
    type RawOwner = bindings::device;
    type RawAttribute = bindings::device_attribute;

    unsafe fn from_raw<'a>(owner: *mut bindings::device) -> &'a Self {
        // SAFETY: By the safety requirement it is a device of our bus, kept alive.
        unsafe { Device::from_raw(owner) }
    }

    unsafe fn from_kobject<'a>(kobj: *mut bindings::kobject) -> &'a Self {
        // SAFETY: By the safety requirement `kobj` is that of a device of our bus.
        unsafe { Device::from_raw(kernel::container_of!(kobj, bindings::device, kobj)) }
    }
}

/// Owner of a device that is on the bus. Dropping it takes the device off the bus.
///
/// References to the device may outlive it; they then see a device that is on no bus and will
/// never be bound again.
///
/// # Invariants
///
/// `device_add()` of the device has succeeded, and the reference is the one it was made with.
pub struct Added<B: Bus>(ARef<Device<B>>);

impl<B: Bus> Added<B> {
    /// Makes a device and puts it on the bus: it appears in sysfs, user space gets an event, and if
    /// a driver matches it is probed, in this call or (drivers that prefer so) on another thread.
    ///
    /// `parent` is where the device's directory is (`/sys/devices/...`) and who it is shut down
    /// before. It must be in sysfs for the whole call, best because this is called between its
    /// probe and its unbind; the driver core doesn't synchronise adding a child with removing the
    /// parent. `payload` is set up before anyone can see the device.
    ///
    /// # Errors
    ///
    /// - `EEXIST`: the bus has a device of this name.
    /// - `ENOMEM`: no memory.
    /// - Whatever `payload` fails with.
    ///
    /// A failing probe isn't an error: the device is on the bus, without a driver.
    pub fn new(
        _bus: &Registration<B>,
        parent: Option<&device::Device>,
        name: fmt::Arguments<'_>,
        payload: impl PinInit<B::Payload, Error>,
    ) -> Result<Self> {
        let bus = B::bus_type();
        let inner = KBox::try_pin_init(
            try_pin_init!(Inner::<B> {
                dev <- Opaque::zeroed(),
                dma_mask <- Opaque::new(DMA_MASK),
                dma_parms <- Opaque::zeroed(),
                bus,
                payload <- payload,
            }? Error),
            GFP_KERNEL,
        )?;
        // SAFETY: It isn't moved: from here on its address belongs to the driver core, until
        // `release_callback` makes a box of it again.
        let inner = KBox::into_raw(unsafe { Pin::into_inner_unchecked(inner) });

        // SAFETY: `inner` is valid, and the fields are zero or plain numbers, ready to be set
        // before the device is initialised.
        let dev = unsafe {
            let dev = (*inner).dev.get();

            bindings::device_initialize(dev);
            (*dev).bus = bus.as_raw();
            (*dev).release = Some(release_callback::<B>);
            (*dev).dma_mask = (*inner).dma_mask.get();
            (*dev).coherent_dma_mask = DMA_MASK;
            (*dev).dma_parms = (*inner).dma_parms.get();
            // `device_add()` takes a reference to it.
            (*dev).parent = parent.map_or(ptr::null_mut(), |p| {
                ptr::from_ref(p).cast_mut().cast::<bindings::device>()
            });
            dev
        };
        bus.add_user();

        // From here on `put_device()`, in the drop of `this`, frees everything.
        //
        // SAFETY: `device_initialize()` has made one reference, which is now the one of `this`.
        let this = unsafe { ARef::from_raw(NonNull::new_unchecked(inner.cast::<Device<B>>())) };

        // SAFETY: `dev` is initialised; `%pA` takes a pointer to `fmt::Arguments`.
        to_result(unsafe {
            bindings::dev_set_name(
                dev,
                c"%pA".as_char_ptr(),
                ptr::from_ref(&name).cast::<ffi::c_void>(),
            )
        })?;
        // Such a name fails in `device_add()` as well, but only after sysfs has dumped the stack.
        //
        // SAFETY: The bus is registered, as `_bus` shows; `device_match_name` takes a C string.
        let clash = unsafe {
            bindings::bus_find_device(
                bus.as_raw(),
                ptr::null_mut(),
                this.name().as_char_ptr().cast(),
                Some(bindings::device_match_name),
            )
        };
        if !clash.is_null() {
            // SAFETY: The reference that it was found with.
            unsafe { bindings::put_device(clash) };
            return Err(EEXIST);
        }
        // SAFETY: `dev` is initialised, has a name, a bus that is registered as `_bus` shows, and
        // a release function. If it fails the device isn't added and only needs to be put.
        to_result(unsafe { bindings::device_add(dev) })?;

        // INVARIANT: Just added.
        Ok(Self(this))
    }

    /// A reference to the device that may outlive its being on the bus.
    pub fn device(&self) -> ARef<Device<B>> {
        self.0.clone()
    }

    /// Unbinds the driver, if one is bound, and leaves the device on the bus. Returns when the
    /// driver has let go.
    ///
    /// Must not be called from a callback of the driver of this device, which holds the lock that
    /// this waits for.
    pub fn unbind_driver(&self) {
        // SAFETY: The device is valid and on a bus.
        unsafe { bindings::device_release_driver(self.0.as_raw()) };
    }

    /// Takes the device off the bus: unbinds its driver, waits until that has let go and until no
    /// one is reading or writing an attribute, tells user space. The same as dropping.
    ///
    /// Must not be called from a callback of the driver of this device, or from an attribute of
    /// it: it would wait for itself.
    pub fn remove(self) {}
}

impl<B: Bus> Deref for Added<B> {
    type Target = Device<B>;

    fn deref(&self) -> &Device<B> {
        &self.0
    }
}

impl<B: Bus> Drop for Added<B> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it has been added, and only this deletes it.
        unsafe { bindings::device_del(self.0.as_raw()) };
    }
}

/// The last reference is gone.
extern "C" fn release_callback<B: Bus>(dev: *mut bindings::device) {
    // SAFETY: Called once, for a device that `Added::new` made from a box, as its first field.
    let inner = unsafe { KBox::from_raw(dev.cast::<Inner<B>>()) };
    let bus = inner.bus;

    drop(inner);
    bus.remove_user();
}
