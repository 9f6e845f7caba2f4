// SPDX-License-Identifier: GPL-2.0

//! Directories in sysfs, below a device or another directory.

use super::{
    Attributes,
    HasAttributes,
    Owner, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings,
    device::{
        self,
        Bound, //
    },
    error::to_result,
    ffi,
    fmt,
    prelude::*,
    str::CString,
    sync::Arc,
    types::Opaque, //
};

/// Something in sysfs that directories can be put in, and that can't leave sysfs meanwhile: the
/// owner of a device or directory, or a device that is known to be bound to a driver.
///
/// # Safety
///
/// `kobject` returns a valid kobject that is in sysfs, and isn't deleted before the borrow of
/// `self` ends. (The kernel doesn't synchronise adding to a kobject with its removal.)
#[diagnostic::on_unimplemented(
    message = "`{Self}` could be removed from sysfs while a directory is added to it",
    note = "the owner of the device (`Added`) or a bound device (`Device<.., Bound>`) can't"
)]
pub unsafe trait Parent {
    /// The C `struct kobject`.
    fn kobject(&self) -> *mut bindings::kobject;
}

// SAFETY: A device of the kernel crate is a valid `struct device`, whose kobject is part of it.
// While it is bound it is in sysfs: removing it unbinds it first.
unsafe impl Parent for device::Device<Bound> {
    fn kobject(&self) -> *mut bindings::kobject {
        let dev = ptr::from_ref(self).cast_mut().cast::<bindings::device>();

        // SAFETY: Only computes the address of a field of a valid device.
        unsafe { &raw mut (*dev).kobj }
    }
}

/// The memory of a directory's kobject. It goes with the last reference to the kobject, which may
/// be later than the [`Dir`]: what the attributes show isn't part of it.
#[repr(C)]
struct Inner {
    /// First, so that a pointer to the one is a pointer to the other.
    kobj: Opaque<bindings::kobject>,
    /// What the attributes are about; valid while the directory is in sysfs.
    target: *const ffi::c_void,
}

/// [`bindings::kobj_type`] is full of pointers to functions and tables that never change.
struct KobjType(bindings::kobj_type);

// SAFETY: Nothing in it changes.
unsafe impl Sync for KobjType {}

/// What all directories have in common; what they differ in, their attributes, is added to each.
static KOBJ_TYPE: KobjType = {
    // SAFETY: All zeroes are a valid `struct kobj_type`.
    let mut ktype: bindings::kobj_type = unsafe { core::mem::zeroed() };

    ktype.release = Some(release_callback);
    ktype.sysfs_ops = &raw const bindings::kobj_sysfs_ops;
    KobjType(ktype)
};

/// A directory in sysfs with attributes over `T`. Exists as long as this does.
///
/// Dropping it takes the directory, and everything below it, out of sysfs, waits until no one is
/// reading or writing an attribute of it, and then lets go of `T`. So it must not be dropped by an
/// attribute of its own, nor under a lock that they take.
///
/// The parent may go first; the directory then disappears with it.
///
/// # Invariants
///
/// `inner` has been added to sysfs, we own one reference to it, and `target` of it is `data`.
pub struct Dir<T: Send + Sync + 'static> {
    inner: NonNull<Inner>,
    data: Arc<T>,
}

// SAFETY: The kobject synchronises itself, and `T` may be shared and sent.
unsafe impl<T: Send + Sync + 'static> Send for Dir<T> {}

// SAFETY: As above.
unsafe impl<T: Send + Sync + 'static> Sync for Dir<T> {}

impl<T: Send + Sync + 'static> Dir<T> {
    /// Makes the directory `name` in that of `parent`, with `attributes` over `data`.
    ///
    /// # Errors
    ///
    /// - `EEXIST`: there is a file or directory of this name.
    /// - `ENOENT`: what `parent` is in has been removed.
    /// - `ENOMEM`: no memory.
    pub fn new(
        parent: &impl Parent,
        name: fmt::Arguments<'_>,
        attributes: Option<&'static Attributes<Self>>,
        data: Arc<T>,
    ) -> Result<Self> {
        let name = CString::try_from_fmt(name)?;
        // SAFETY: By the requirement of `Parent`; `name` is a C string.
        if unsafe { hv_bindings::sysfs_has_entry(parent.kobject().cast(), name.as_char_ptr()) } {
            return Err(EEXIST);
        }

        let inner = KBox::new(
            Inner {
                kobj: Opaque::zeroed(),
                target: (&raw const *data).cast(),
            },
            GFP_KERNEL,
        )?;
        // From here on the kobject's references keep it.
        let inner = NonNull::from(KBox::leak(inner));
        let kobj = inner.as_ptr().cast::<bindings::kobject>();

        // SAFETY: `kobj` is zeroed memory; `parent` is valid and stays in sysfs, and gets a
        // reference; `%s` takes a C string. Even if it fails, there is a reference to put.
        let added = to_result(unsafe {
            bindings::kobject_init_and_add(
                kobj,
                &KOBJ_TYPE.0,
                parent.kobject(),
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        });
        if let Err(e) = added {
            // SAFETY: The reference that it was initialised with.
            unsafe { bindings::kobject_put(kobj) };
            return Err(e);
        }

        // INVARIANT: Added, with the reference it was initialised with; `target` was set above.
        let this = Self { inner, data };

        if let Some(attributes) = attributes {
            // SAFETY: The kobject is in sysfs, and the attributes are static. They are of the type
            // that `kobj_sysfs_ops` calls, over the `T` that `target` points to.
            to_result(unsafe { bindings::sysfs_create_groups(kobj, attributes.groups().cast()) })?;
        }
        Ok(this)
    }

    /// What the attributes are about.
    pub fn data(&self) -> &Arc<T> {
        &self.data
    }
}

impl Dir<()> {
    /// Makes a directory that only holds others.
    ///
    /// # Errors
    ///
    /// As [`Dir::new`].
    pub fn plain(parent: &impl Parent, name: fmt::Arguments<'_>) -> Result<Self> {
        Self::new(parent, name, None, Arc::new((), GFP_KERNEL)?)
    }
}

// SAFETY: By the type invariant the kobject was added, and only our drop deletes it. If its parent
// is gone the directory is too, but the kobject isn't deleted, and adding to it fails cleanly.
unsafe impl<T: Send + Sync + 'static> Parent for Dir<T> {
    fn kobject(&self) -> *mut bindings::kobject {
        self.inner.as_ptr().cast()
    }
}

impl<T: Send + Sync + 'static> Drop for Dir<T> {
    fn drop(&mut self) {
        let kobj = self.kobject();

        // SAFETY: By the type invariant it was added. Once this returns, no function of an
        // attribute runs nor will, so that `data` may be dropped.
        unsafe { bindings::kobject_del(kobj) };
        // SAFETY: By the type invariant this reference is ours.
        unsafe { bindings::kobject_put(kobj) };
    }
}

impl<T: Send + Sync + 'static> HasAttributes for Dir<T> {
    type Target = T;
}

// SAFETY: `kobj_sysfs_ops` calls the functions of a `kobj_attribute` with the kobject.
// `Dir::<T>::new` is the only use of attributes of this owner.
unsafe impl<T: Send + Sync + 'static> Owner for Dir<T> {
    type RawOwner = bindings::kobject;
    type RawAttribute = bindings::kobj_attribute;

    unsafe fn from_raw<'a>(kobj: *mut bindings::kobject) -> &'a T {
        // SAFETY: By the safety requirement and the type invariant, `kobj` is the start of an
        // `Inner` whose `target` is a `T` that lives until `kobject_del()` is through.
        unsafe { &*(*kobj.cast::<Inner>()).target.cast::<T>() }
    }

    unsafe fn from_kobject<'a>(kobj: *mut bindings::kobject) -> &'a T {
        // SAFETY: The requirement is the same.
        unsafe { Self::from_raw(kobj) }
    }
}

/// The last reference is gone.
extern "C" fn release_callback(kobj: *mut bindings::kobject) {
    // SAFETY: Called once, for a kobject that `Dir::new` made from a box, as its first field.
    drop(unsafe { KBox::from_raw(kobj.cast::<Inner>()) });
}
