// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How much memory a guest gives away, and in which portions. Numbers are pages of 4 KiB.

/// Pages of `mib` MiB.
const fn mib(mib: u64) -> u64 {
    mib << 8
}

/// Pages that a guest of `total` pages keeps whatever the host wants.
///
/// A continuous function of straight pieces, each half as steep as the one before (the rule of
/// the C driver's `compute_balloon_floor()`): 72 MiB of 128 MiB, 168 of 512, 360 of 2048, 744 of
/// 8192, 1512 of 32768.
pub const fn floor(total: u64) -> u64 {
    if total < mib(128) {
        mib(8) + total / 2
    } else if total < mib(512) {
        mib(40) + total / 4
    } else if total < mib(2048) {
        mib(104) + total / 8
    } else if total < mib(8192) {
        mib(232) + total / 16
    } else {
        mib(488) + total / 32
    }
}

/// Pages to give of `wanted`, when `available` could be had without swapping and the guest manages
/// `total`: as many as leave the [`floor`].
pub fn to_give(wanted: u32, available: u64, total: u64) -> u32 {
    let spare = available.saturating_sub(floor(total));
    u32::try_from(spare).unwrap_or(u32::MAX).min(wanted)
}

/// What to report as committed: what the guest has promised (`promised`), what the host has
/// already (`ballooned`), and the floor below which nothing more is to be had.
pub const fn committed(promised: u64, ballooned: u64, total: u64) -> u64 {
    promised
        .saturating_add(ballooned)
        .saturating_add(floor(total))
}

/// In which portions to allocate: large ones while there are any, so that the host gets back
/// memory it can map with large pages, then ever smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portions {
    order: u32,
}

impl Portions {
    /// Order of the largest portion: 512 pages, 2 MiB.
    pub const MAX_ORDER: u32 = 9;

    /// Starts with the largest.
    pub const fn new() -> Self {
        Self {
            order: Self::MAX_ORDER,
        }
    }

    /// Order of the next allocation when `left` pages are wanted; `None` when none are.
    pub const fn next_order(&mut self, left: u32) -> Option<u32> {
        if left == 0 {
            return None;
        }
        // At most 31: `left` isn't 0.
        let fits = 31 - left.leading_zeros();
        if fits < self.order {
            self.order = fits;
        }
        Some(self.order)
    }

    /// The allocation failed: goes on with the next smaller ones, as no larger ones are left. False
    /// when it was for a single page.
    #[must_use]
    pub const fn smaller(&mut self) -> bool {
        match self.order.checked_sub(1) {
            Some(order) => {
                self.order = order;
                true
            }
            None => false,
        }
    }
}

impl Default for Portions {
    fn default() -> Self {
        Self::new()
    }
}
