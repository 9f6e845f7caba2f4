// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SKELETON.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
