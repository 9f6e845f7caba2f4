// SPDX-License-Identifier: GPL-2.0

//! The kernel crate's print macros for values that print themselves with `core::fmt`, as those of
//! wire crates do.

/// `pr_err!` for values of `core::fmt`.
#[macro_export]
macro_rules! log_err {
    ($($arg:tt)*) => { ::kernel::pr_err!("{}", format_args!($($arg)*)) };
}

/// `pr_warn!` for values of `core::fmt`.
#[macro_export]
macro_rules! log_warn {
    ($($arg:tt)*) => { ::kernel::pr_warn!("{}", format_args!($($arg)*)) };
}

/// `pr_info!` for values of `core::fmt`.
#[macro_export]
macro_rules! log_info {
    ($($arg:tt)*) => { ::kernel::pr_info!("{}", format_args!($($arg)*)) };
}

/// For what the host can cause.
#[macro_export]
macro_rules! log_warn_limited {
    ($($arg:tt)*) => { $crate::pr_warn_ratelimited!("{}", format_args!($($arg)*)) };
}
