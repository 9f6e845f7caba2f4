// SPDX-License-Identifier: GPL-2.0

//! What differs between the kernel crates that the modules are built with, or is missing there; see also
//! `helpers/compat.c`.

use core::borrow::Borrow;

use kernel::{
    bindings,
    prelude::*, //
};

/// The value of a module parameter, from what its `value()` returns: a reference before 7.3, a value
/// since.
pub fn param<T: Copy, B: Borrow<T>>(value: B) -> T {
    *value.borrow()
}

/// `EPROTO`, which the kernel crate doesn't name.
pub fn protocol_error() -> Error {
    Error::from_errno(-(bindings::EPROTO as i32))
}
