// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Pages of a guest that are free.

use std::collections::BTreeSet;

/// Gives pages away by their frame numbers.
#[derive(Debug)]
pub struct Allocator {
    free: BTreeSet<u64>,
}

impl Allocator {
    /// The pages from `first` up to, not including, `end`.
    pub fn new(first: u64, end: u64) -> Self {
        Self {
            free: (first..end).collect(),
        }
    }

    /// Pages in one piece, the lowest there are.
    ///
    /// # Panics
    ///
    /// When there are none.
    pub fn contiguous(&mut self, count: u32) -> Vec<u64> {
        let mut run: Vec<u64> = Vec::new();
        for pfn in &self.free {
            if run.last().is_some_and(|last| last + 1 != *pfn) {
                run.clear();
            }
            run.push(*pfn);
            if run.len() == count as usize {
                break;
            }
        }
        assert_eq!(run.len(), count as usize, "out of memory");
        self.take(&run);
        run
    }

    /// Pages from the upper end, in an order in which none follows its neighbour.
    ///
    /// # Panics
    ///
    /// When there are too few.
    pub fn scattered(&mut self, count: u32) -> Vec<u64> {
        let all: Vec<u64> = self
            .free
            .iter()
            .rev()
            .take(count as usize)
            .copied()
            .collect();
        assert_eq!(all.len(), count as usize, "out of memory");
        self.take(&all);
        // From the top down is enough.
        all
    }

    /// Takes pages back.
    pub fn free(&mut self, pfns: &[u64]) {
        self.free.extend(pfns);
    }

    fn take(&mut self, pfns: &[u64]) {
        for pfn in pfns {
            self.free.remove(pfn);
        }
    }
}
