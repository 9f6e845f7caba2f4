// SPDX-License-Identifier: GPL-2.0

//! Which devices a driver drives.
//!
//! [`vmbus_device_table!`](crate::vmbus_device_table) declares it once, for two readers: the bus,
//! which matches devices by it, and `modpost`, which turns it into `alias=vmbus:...` lines of the
//! module, so that user space loads the module when such a device appears.

#[doc(hidden)]
pub use vmbus_wire::Guid;

/// The class ids of the devices that a driver drives.
pub struct IdTable {
    ids: &'static [Guid],
}

impl IdTable {
    /// A table of class ids. A driver without any is bound only to devices that user space names,
    /// by `new_id` or `driver_override`.
    pub const fn new(ids: &'static [Guid]) -> Self {
        Self { ids }
    }

    /// Whether devices of this class are in the table.
    pub fn contains(&self, class: &Guid) -> bool {
        self.ids.contains(class)
    }
}

/// An entry of a table as `modpost` reads it (`struct hv_vmbus_device_id`).
#[doc(hidden)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RawId {
    guid: [u8; 16],
    driver_data: usize,
}

// What `modpost` compares the table's size with.
const _: () = assert!(
    size_of::<RawId>() == size_of::<hv_bindings::hv_vmbus_device_id>()
        && align_of::<RawId>() == align_of::<hv_bindings::hv_vmbus_device_id>()
);

impl RawId {
    /// All zeroes: the end of a table.
    const END: Self = Self {
        guid: [0; 16],
        driver_data: 0,
    };

    /// The table of `ids`. `N` is one more than there are ids.
    pub const fn table<const N: usize>(ids: &[Guid]) -> [Self; N] {
        assert!(ids.len() + 1 == N);
        let mut table = [Self::END; N];
        let mut at = 0;
        while at < ids.len() {
            table[at].guid = ids[at].to_bytes();
            at += 1;
        }
        table
    }
}

/// Declares the classes of devices that a driver drives:
///
/// ```ignore
/// vmbus::vmbus_device_table!(IDS, [class::DYNAMIC_MEMORY]);
///
/// impl Driver<Vmbus> for Balloon {
///     const INFO: &'static IdTable = &IDS;
///     // ...
/// }
/// ```
///
/// To be used in the root of the module's crate, whose name `modpost` wants in the symbol's.
#[macro_export]
macro_rules! vmbus_device_table {
    ($name:ident, [$($class:expr),* $(,)?]) => {
        static $name: $crate::device_id::IdTable =
            $crate::device_id::IdTable::new(&[$($class),*]);

        // The name is what `modpost` looks for, as in `kernel::module_device_table!`.
        const _: () = {
            const CLASSES: &[$crate::device_id::Guid] = &[$($class),*];
            #[export_name = concat!(
                "__mod_device_table__", line!(),
                "__kmod_", module_path!(),
                "__vmbus__", stringify!($name)
            )]
            static TABLE: [$crate::device_id::RawId; CLASSES.len() + 1] =
                $crate::device_id::RawId::table(CLASSES);
        };
    };
}
