// SPDX-License-Identifier: GPL-2.0

//! Places of frames on their way: which are free.

use kernel::prelude::*;
use kernel_ext::atomic::{Atomic, Full, Relaxed};

/// Places of one queue. One CPU takes at a time, anybody gives back.
pub(crate) struct Slots {
    /// A bit for each place, 1 while it is free.
    free: KVec<Atomic<u64>>,
    count: usize,
    /// How many are taken, or are just being.
    used: Atomic<i32>,
}

impl Slots {
    /// So many places, all free.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(count: usize) -> Result<Self> {
        let mut free = KVec::with_capacity(count.div_ceil(64), GFP_KERNEL)?;
        let mut left = count;
        while left != 0 {
            let bits = left.min(64);
            let word = u64::MAX >> (64 - bits);
            free.push(Atomic::new(word), GFP_KERNEL)?;
            left -= bits;
        }
        let used = Atomic::new(0);
        Ok(Self { free, count, used })
    }

    /// Takes a place, if one is free.
    #[inline]
    pub(crate) fn take(&self) -> Option<usize> {
        for (index, word) in self.free.iter().enumerate() {
            loop {
                let before = word.load(Relaxed);
                if before == 0 {
                    break;
                }
                let after = before & (before - 1);
                if word.cmpxchg(before, after, Full).is_ok() {
                    self.used.add(1, Relaxed);
                    return Some(index * 64 + before.trailing_zeros() as usize);
                }
            }
        }
        None
    }

    /// Gives a place back: a full barrier.
    #[inline]
    pub(crate) fn give(&self, place: usize) {
        if let Some(word) = self.free.get(place / 64) {
            let bit = 1 << (place % 64);
            let mut before = word.load(Relaxed);
            while let Err(now) = word.cmpxchg(before, before | bit, Full) {
                before = now;
            }
            self.used.fetch_add(-1, Full);
        }
    }

    /// How many are free. A moment's figure.
    pub(crate) fn free(&self) -> usize {
        self.count - self.used()
    }

    /// How many are taken. A moment's figure.
    #[inline]
    pub(crate) fn used(&self) -> usize {
        usize::try_from(self.used.load(Relaxed))
            .unwrap_or(0)
            .min(self.count)
    }
}
