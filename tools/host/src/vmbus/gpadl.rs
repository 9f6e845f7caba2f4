// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SKELETON: page lists that the guest shares with a channel.

use crate::memory::Pages;

/// A GPADL: one or more ranges of guest pages, checked. Keeping the `Arc` of one keeps nothing
/// but host memory; the bus answers the guest's teardown only when the channel no longer serves.
#[derive(Debug)]
pub struct Gpadl {
    /// The guest's name for it.
    pub id: u32,
    /// Its ranges; at least one.
    pub ranges: Vec<Pages>,
}
