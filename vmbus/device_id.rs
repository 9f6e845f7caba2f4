// SPDX-License-Identifier: GPL-2.0

//! Which devices a driver drives.

use vmbus_wire::Guid;

/// The class ids of the devices that a driver drives.
pub struct IdTable {
    ids: &'static [Guid],
}

impl IdTable {
    /// A table of class ids.
    pub const fn new(ids: &'static [Guid]) -> Self {
        Self { ids }
    }

    /// Whether devices of this class are in the table.
    pub fn contains(&self, class: &Guid) -> bool {
        self.ids.contains(class)
    }
}
