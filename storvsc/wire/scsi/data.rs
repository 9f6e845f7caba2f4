// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Room for the data that a short command answers with.

use core::fmt;
use zerocopy::{Immutable, IntoBytes};

/// Longest answer that is built in one piece.
pub const MAX_DATA_BYTES: usize = 256;

/// The answer of a command, as long as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Data {
    bytes: [u8; MAX_DATA_BYTES],
    len: usize,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            bytes: [0; MAX_DATA_BYTES],
            len: 0,
        }
    }
}

impl Data {
    /// A structure's bytes.
    pub fn of<T: IntoBytes + Immutable + ?Sized>(value: &T) -> Self {
        Self::default().with(value)
    }

    /// The same with a structure's bytes behind. What doesn't fit is left out.
    #[must_use]
    pub fn with<T: IntoBytes + Immutable + ?Sized>(mut self, value: &T) -> Self {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let mut taken = 0usize;
        for (to, from) in room.iter_mut().zip(value.as_bytes()) {
            *to = *from;
            taken = taken.saturating_add(1);
        }
        self.len = self.len.saturating_add(taken);
        self
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", self.as_bytes())
    }
}
