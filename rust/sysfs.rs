// SPDX-License-Identifier: GPL-2.0

//! Files in sysfs: attributes of devices, of buses, and of directories of one's own.
//!
//! An [`Attribute`] is a name and one or two functions over what it is an attribute of (its
//! [`Owner`]). All attributes of one kind of owner are declared as one static table:
//!
//! ```ignore
//! kernel_ext::attributes! {
//!     /// Attributes of every device.
//!     static DEVICE_ATTRIBUTES: Device<MyBus> = [
//!         Attribute::ro(c"id", |dev, out| emit!(out, "{}\n", dev.payload().id)),
//!         Attribute::rw(c"cpu", show_cpu, store_cpu).visible_if(|dev| dev.payload().movable),
//!     ];
//! }
//! ```
//!
//! and given to the owner: [`Bus::device_attributes`](crate::bus::Bus::device_attributes),
//! [`Bus::bus_attributes`](crate::bus::Bus::bus_attributes), [`Dir::new`].
//!
//! C header: [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

mod dir;

pub use self::dir::{
    Dir,
    Parent, //
};

use core::{
    fmt::Write,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
    slice, //
};
use kernel::{
    bindings,
    ffi,
    fmt,
    page::PAGE_SIZE,
    prelude::*, //
};

use crate::bus::{
    Bus,
    BusType, //
};

/// Mode of a file that anyone may read.
const READ_ONLY: u16 = 0o444;
/// Mode of a file that anyone may read and root may write.
const READ_WRITE: u16 = 0o644;
/// Mode of a file that only root may write, and no one read.
const WRITE_ONLY: u16 = 0o200;
/// What sysfs allows.
const MODE_MASK: u16 = 0o664;

/// The text of an attribute, as it is being read: at most a page less one
/// byte, what is more is cut off.
pub struct Writer<'a> {
    page: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    /// Appends formatted text. [`emit!`](crate::emit) is shorter.
    ///
    /// # Errors
    ///
    /// Only what formatting an argument fails with, as `EINVAL`.
    pub fn emit(&mut self, args: fmt::Arguments<'_>) -> Result {
        self.write_fmt(args).map_err(|_| EINVAL)
    }

    /// How many bytes there are so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Write for Writer<'_> {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        let free = self.page.get_mut(self.len..).unwrap_or_default();
        let n = s.len().min(free.len());

        if let (Some(to), Some(from)) = (free.get_mut(..n), s.as_bytes().get(..n)) {
            to.copy_from_slice(from);
            self.len += n;
        }
        Ok(())
    }
}

/// Appends formatted text to a [`Writer`]: `emit!(out, "{}\n", value)`, a `Result`.
///
/// Takes whatever has the formatting traits of `core`. What only the kernel crate's `fmt!` can
/// print, such as a `CStr`, goes through [`Writer::emit`](crate::sysfs::Writer::emit).
#[macro_export]
macro_rules! emit {
    ($out:expr, $($f:tt)*) => { $out.emit(::core::format_args!($($f)*)) };
}

/// What was written to an attribute, as text without surrounding white space.
///
/// # Errors
///
/// `EINVAL` if it isn't UTF-8.
pub fn text(written: &[u8]) -> Result<&str> {
    core::str::from_utf8(written)
        .map(|text| text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0'))
        .map_err(|_| EINVAL)
}

/// What an attribute's functions are called with.
pub trait HasAttributes: 'static {
    /// The type of their first argument.
    type Target: 'static;
}

/// An owner of attributes whose C functions get both the owner and the attribute.
///
/// # Safety
///
/// - The C functions of an attribute of this kind have the types of `show_callback` and
///   `store_callback`, and the C attribute the layout of [`RawAttribute`].
/// - Tables of attributes of this owner are given only to owners of this type.
pub unsafe trait Owner: HasAttributes {
    /// The C type of the first argument.
    type RawOwner;
    /// The C type of the attribute.
    type RawAttribute;

    /// # Safety
    ///
    /// `owner` is the first argument of a C function of an attribute of this owner, and used while
    /// that runs.
    unsafe fn from_raw<'a>(owner: *mut Self::RawOwner) -> &'a Self::Target;

    /// # Safety
    ///
    /// `kobj` is the kobject of an owner of this type, kept alive as long as the reference.
    unsafe fn from_kobject<'a>(kobj: *mut bindings::kobject) -> &'a Self::Target;
}

impl<B: Bus> HasAttributes for BusType<B> {
    type Target = Self;
}

/// The C part of an attribute: `struct device_attribute`, `bus_attribute`, `driver_attribute` and
/// `kobj_attribute` have the same layout (asserted in `helpers/sysfs.c`), but not the same types of
/// functions.
#[doc(hidden)]
#[repr(C)]
pub struct RawAttribute {
    attr: bindings::attribute,
    show: *const ffi::c_void,
    store: *const ffi::c_void,
}

impl RawAttribute {
    pub(crate) const fn new(
        name: &'static CStr,
        mode: u16,
        show: *const ffi::c_void,
        store: *const ffi::c_void,
    ) -> Self {
        // SAFETY: All zeroes are a valid `struct attribute`.
        let mut attr: bindings::attribute = unsafe { core::mem::zeroed() };

        attr.name = kernel::str::as_char_ptr_in_const_context(name);
        attr.mode = mode;
        Self { attr, show, store }
    }
}

/// The C `struct attribute_group` (layout asserted in `helpers/sysfs.c`).
#[doc(hidden)]
#[repr(C)]
pub struct RawGroup {
    name: *const ffi::c_char,
    is_visible: Option<VisibleFn>,
    is_bin_visible: *const ffi::c_void,
    bin_size: *const ffi::c_void,
    attrs: *const *const RawAttribute,
    bin_attrs: *const ffi::c_void,
}

type VisibleFn =
    unsafe extern "C" fn(*mut bindings::kobject, *mut bindings::attribute, ffi::c_int) -> u16;

impl RawGroup {
    /// A group without a name; `attrs` ends with a null pointer.
    pub(crate) const fn new(
        attrs: *const *const RawAttribute,
        is_visible: Option<VisibleFn>,
    ) -> Self {
        Self {
            name: ptr::null(),
            is_visible,
            is_bin_visible: ptr::null(),
            bin_size: ptr::null(),
            attrs,
            bin_attrs: ptr::null(),
        }
    }
}

type Show<T> = fn(&T, &mut Writer<'_>) -> Result;
type Store<T> = fn(&T, &[u8]) -> Result;

/// One file: its name, who may read and write it, and the functions that do.
///
/// `show` fills a page. `store` gets what was written, all of it or none: a write that it accepts
/// counts as complete. Both run in the context of the reading or writing process and may sleep;
/// removing the owner waits for them.
#[repr(C)]
pub struct Attribute<O: HasAttributes> {
    /// First, so that a pointer to the one is a pointer to the other.
    raw: RawAttribute,
    show: Option<Show<O::Target>>,
    store: Option<Store<O::Target>>,
    visible: Option<fn(&O::Target) -> bool>,
}

// SAFETY: Nothing in it changes.
unsafe impl<O: HasAttributes> Sync for Attribute<O> {}

impl<O: HasAttributes> Attribute<O> {
    /// Shows the file only for owners for which `f` is true when they are added.
    pub const fn visible_if(mut self, f: fn(&O::Target) -> bool) -> Self {
        self.visible = Some(f);
        self
    }

    /// Sets the permissions: read and write bits, but not for others to write.
    pub const fn mode(mut self, mode: u16) -> Self {
        assert!(mode & !MODE_MASK == 0, "what sysfs takes no attribute with");
        self.raw.attr.mode = mode;
        self
    }
}

impl<O: Owner> Attribute<O> {
    const SHOW: unsafe extern "C" fn(
        *mut O::RawOwner,
        *mut O::RawAttribute,
        *mut ffi::c_char,
    ) -> isize = show_callback::<O>;
    const STORE: unsafe extern "C" fn(
        *mut O::RawOwner,
        *mut O::RawAttribute,
        *const ffi::c_char,
        usize,
    ) -> isize = store_callback::<O>;

    /// A file that anyone may read.
    pub const fn ro(name: &'static CStr, show: Show<O::Target>) -> Self {
        Self {
            raw: RawAttribute::new(name, READ_ONLY, Self::SHOW as *const _, ptr::null()),
            show: Some(show),
            store: None,
            visible: None,
        }
    }

    /// A file that anyone may read and root may write.
    pub const fn rw(name: &'static CStr, show: Show<O::Target>, store: Store<O::Target>) -> Self {
        Self {
            raw: RawAttribute::new(
                name,
                READ_WRITE,
                Self::SHOW as *const _,
                Self::STORE as *const _,
            ),
            show: Some(show),
            store: Some(store),
            visible: None,
        }
    }

    /// A file that only root may write, and no one read.
    pub const fn wo(name: &'static CStr, store: Store<O::Target>) -> Self {
        Self {
            raw: RawAttribute::new(name, WRITE_ONLY, ptr::null(), Self::STORE as *const _),
            show: None,
            store: Some(store),
            visible: None,
        }
    }
}

/// Attributes of a bus. Their C functions aren't told which attribute is meant, so each Rust
/// function gets a C function of its own; it must be a function or a closure that captures nothing.
impl<B: Bus> Attribute<BusType<B>> {
    /// A file that anyone may read.
    pub const fn bus_ro<S>(name: &'static CStr, _show: S) -> Self
    where
        S: Fn(&BusType<B>, &mut Writer<'_>) -> Result + Copy + 'static,
    {
        let show: unsafe extern "C" fn(*const bindings::bus_type, *mut ffi::c_char) -> isize =
            bus_show_callback::<B, S>;

        Self {
            raw: RawAttribute::new(name, READ_ONLY, show as *const _, ptr::null()),
            show: None,
            store: None,
            visible: None,
        }
    }

    /// A file that anyone may read and root may write.
    pub const fn bus_rw<S, W>(name: &'static CStr, _show: S, _store: W) -> Self
    where
        S: Fn(&BusType<B>, &mut Writer<'_>) -> Result + Copy + 'static,
        W: Fn(&BusType<B>, &[u8]) -> Result + Copy + 'static,
    {
        let show: unsafe extern "C" fn(*const bindings::bus_type, *mut ffi::c_char) -> isize =
            bus_show_callback::<B, S>;
        let store: unsafe extern "C" fn(
            *const bindings::bus_type,
            *const ffi::c_char,
            usize,
        ) -> isize = bus_store_callback::<B, W>;

        Self {
            raw: RawAttribute::new(name, READ_WRITE, show as *const _, store as *const _),
            show: None,
            store: None,
            visible: None,
        }
    }
}

/// Pointers to the attributes of one table, the last one null. Made by
/// [`attributes!`](crate::attributes).
#[doc(hidden)]
#[repr(transparent)]
pub struct List<O: HasAttributes, const N: usize>([*const RawAttribute; N], PhantomData<fn(O)>);

// SAFETY: Nothing in it changes.
unsafe impl<O: HasAttributes, const N: usize> Sync for List<O, N> {}

impl<O: HasAttributes, const N: usize> List<O, N> {
    /// `N` is one more than there are attributes.
    pub const fn new(attributes: &'static [Attribute<O>]) -> Self {
        assert!(attributes.len() + 1 == N);

        let mut list = [ptr::null(); N];
        let mut i = 0;
        while i < attributes.len() {
            list[i] = ptr::from_ref(&attributes[i]).cast();
            i += 1;
        }
        Self(list, PhantomData)
    }
}

/// A group of attributes. Made by [`attributes!`](crate::attributes).
#[doc(hidden)]
#[repr(transparent)]
pub struct Group<O: HasAttributes>(RawGroup, PhantomData<fn(O)>);

// SAFETY: Nothing in it changes.
unsafe impl<O: HasAttributes> Sync for Group<O> {}

impl<O: Owner> Group<O> {
    /// The group of the attributes in `list`.
    pub const fn new<const N: usize>(list: &'static List<O, N>) -> Self {
        Self(
            RawGroup::new(ptr::from_ref(list).cast(), Some(visible_callback::<O>)),
            PhantomData,
        )
    }
}

impl<B: Bus> Group<BusType<B>> {
    /// The group of the attributes in `list`.
    pub const fn bus<const N: usize>(list: &'static List<BusType<B>, N>) -> Self {
        Self(RawGroup::new(ptr::from_ref(list).cast(), None), PhantomData)
    }
}

/// A table of attributes. Made by [`attributes!`](crate::attributes).
///
/// # Invariants
///
/// A list of static groups that ends with a null pointer.
#[repr(transparent)]
pub struct Attributes<O: HasAttributes>([*const RawGroup; 2], PhantomData<fn(O)>);

// SAFETY: Nothing in it changes.
unsafe impl<O: HasAttributes> Sync for Attributes<O> {}

impl<O: HasAttributes> Attributes<O> {
    #[doc(hidden)]
    pub const fn new(group: &'static Group<O>) -> Self {
        Self([ptr::from_ref(group).cast(), ptr::null()], PhantomData)
    }

    /// The groups as the driver core takes them.
    pub(crate) fn groups(&'static self) -> *const *const bindings::attribute_group {
        self.0.as_ptr().cast()
    }
}

/// Declares a static table of attributes of one kind of owner: each entry is a call of a constructor
/// of [`Attribute`](crate::sysfs::Attribute), and what is chained to it. See
/// [`sysfs`](crate::sysfs) for an example.
#[macro_export]
macro_rules! attributes {
    (@unit $name:ident) => { () };
    (@table $group:ident $(#[$meta:meta])* $vis:vis static $name:ident: $owner:ty = [
        $($attribute:ident::$kind:ident($($arg:tt)*) $(.$with:ident($($with_arg:tt)*))*),* $(,)?
    ];) => {
        $(#[$meta])*
        $vis static $name: $crate::sysfs::Attributes<$owner> = {
            const N: usize = <[()]>::len(&[$($crate::attributes!(@unit $kind)),*]);
            static TABLE: [$crate::sysfs::Attribute<$owner>; N] = [
                $($attribute::<$owner>::$kind($($arg)*)
                    $(.$with($($with_arg)*))*),*
            ];
            static LIST: $crate::sysfs::List<$owner, { N + 1 }> =
                $crate::sysfs::List::new(&TABLE);
            static GROUP: $crate::sysfs::Group<$owner> = $crate::sysfs::Group::$group(&LIST);

            $crate::sysfs::Attributes::new(&GROUP)
        };
    };
    ($($table:tt)*) => { $crate::attributes! { @table new $($table)* } };
}

/// Declares a static table of attributes of a bus: [`attributes!`](crate::attributes) for the owner
/// [`BusType`], with [`Attribute::bus_ro`] and [`Attribute::bus_rw`].
#[macro_export]
macro_rules! bus_attributes {
    ($($table:tt)*) => { $crate::attributes! { @table bus $($table)* } };
}

/// # Safety
///
/// `buf` is a page that sysfs gave a function of an attribute to fill.
unsafe fn fill(buf: *mut ffi::c_char, f: impl FnOnce(&mut Writer<'_>) -> Result) -> isize {
    let mut out = Writer {
        // Less than a page: sysfs takes a full one for an overrun.
        //
        // SAFETY: By the safety requirement; sysfs hands out zeroed pages.
        page: unsafe { slice::from_raw_parts_mut(buf.cast(), PAGE_SIZE - 1) },
        len: 0,
    };

    match f(&mut out) {
        Ok(()) => out.len as isize,
        Err(e) => e.to_errno() as isize,
    }
}

/// # Safety
///
/// `buf` is `count` bytes that sysfs gave a function of an attribute to read, used while that runs.
pub(crate) unsafe fn written<'a>(buf: *const ffi::c_char, count: usize) -> &'a [u8] {
    // SAFETY: By the safety requirement.
    unsafe { slice::from_raw_parts(buf.cast(), count) }
}

/// The result of a C `store` function: everything was taken, or an error.
pub(crate) fn store_result(count: usize, f: impl FnOnce() -> Result) -> isize {
    match f() {
        Ok(()) => count as isize,
        Err(e) => e.to_errno() as isize,
    }
}

/// # Safety
///
/// Only for sysfs, for an attribute of one of our tables.
unsafe extern "C" fn show_callback<O: Owner>(
    owner: *mut O::RawOwner,
    attr: *mut O::RawAttribute,
    buf: *mut ffi::c_char,
) -> isize {
    // SAFETY: By the safety requirement `attr` is in one of our tables, which by that of `Owner`
    // belongs to owners of this type; `owner` and `buf` are what sysfs calls its functions with.
    unsafe {
        let target = O::from_raw(owner);
        let show = (*attr.cast::<Attribute<O>>()).show;

        fill(buf, |out| show.map_or(Err(EIO), |show| show(target, out)))
    }
}

/// # Safety
///
/// As [`show_callback`].
unsafe extern "C" fn store_callback<O: Owner>(
    owner: *mut O::RawOwner,
    attr: *mut O::RawAttribute,
    buf: *const ffi::c_char,
    count: usize,
) -> isize {
    // SAFETY: As in `show_callback`.
    unsafe {
        let target = O::from_raw(owner);
        let store = (*attr.cast::<Attribute<O>>()).store;
        let buf = written(buf, count);

        store_result(count, || store.map_or(Err(EIO), |store| store(target, buf)))
    }
}

/// # Safety
///
/// As [`show_callback`], for the kobject of an owner that is being added.
unsafe extern "C" fn visible_callback<O: Owner>(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::attribute,
    _index: ffi::c_int,
) -> u16 {
    // SAFETY: By the safety requirement `attr` is in one of our tables, which by that of `Owner`
    // is being added to an owner of this type, the one that `kobj` is part of.
    unsafe {
        let attr = &*attr.cast::<Attribute<O>>();

        match attr.visible {
            Some(visible) if !visible(O::from_kobject(kobj)) => 0,
            _ => attr.raw.attr.mode,
        }
    }
}

/// A reference to the only value of a zero-sized function type.
const fn function<F: Copy>() -> &'static F {
    const { assert!(size_of::<F>() == 0, "the function captures something") };
    // SAFETY: Any aligned address is a valid place for a value without a size. That a value of the
    // type exists was shown by whoever made the attribute; being `Copy`, here is another.
    unsafe { NonNull::<F>::dangling().as_ref() }
}

/// # Safety
///
/// Only for sysfs, for an attribute that was made with a value of type `S`.
unsafe extern "C" fn bus_show_callback<B, S>(
    _bus: *const bindings::bus_type,
    buf: *mut ffi::c_char,
) -> isize
where
    B: Bus,
    S: Fn(&BusType<B>, &mut Writer<'_>) -> Result + Copy + 'static,
{
    // SAFETY: `buf` is what sysfs calls this with.
    unsafe { fill(buf, |out| function::<S>()(B::bus_type(), out)) }
}

/// # Safety
///
/// Only for sysfs, for an attribute that was made with a value of type `W`.
unsafe extern "C" fn bus_store_callback<B, W>(
    _bus: *const bindings::bus_type,
    buf: *const ffi::c_char,
    count: usize,
) -> isize
where
    B: Bus,
    W: Fn(&BusType<B>, &[u8]) -> Result + Copy + 'static,
{
    // SAFETY: `buf` is what sysfs calls this with.
    let buf = unsafe { written(buf, count) };

    store_result(count, || function::<W>()(B::bus_type(), buf))
}
