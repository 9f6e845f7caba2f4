// SPDX-License-Identifier: GPL-2.0

//! One value for each CPU.

use kernel::prelude::*;

/// One value for each CPU that the machine can have, also for those that aren't on-line.
///
/// The values are shared: several CPUs may look at one, also at the same time, and so they change
/// by atomics or locks only. Values that different CPUs write often deserve `#[repr(align(64))]`.
///
/// # Invariants
///
/// There are at least `nr_cpu_ids` values.
pub struct PerCpu<T> {
    values: KVVec<T>,
}

impl<T> PerCpu<T> {
    /// Makes each CPU's value from its number, in ascending order. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory, else what `make` says.
    pub fn new(mut make: impl FnMut(u32) -> Result<T>) -> Result<Self> {
        let count = super::nr_cpu_ids();
        let mut values = KVVec::with_capacity(count as usize, GFP_KERNEL)?;
        for cpu in 0..count {
            values.push(make(cpu)?, GFP_KERNEL)?;
        }
        // INVARIANT: One was pushed for each number; `nr_cpu_ids` doesn't change after boot.
        Ok(Self { values })
    }

    /// The value of a CPU, if there can be such a CPU.
    #[inline]
    pub fn get(&self, cpu: u32) -> Option<&T> {
        self.values.get(cpu as usize)
    }

    /// The value of the CPU that runs this; with preemption on it may be another's by the time that
    /// it's used. Any context, the interrupt handler first of all.
    #[inline]
    pub fn this_cpu(&self) -> &T {
        let cpu = super::current_cpu() as usize;
        // SAFETY: A CPU's number is below `nr_cpu_ids`, and so below the number of values by the
        // type invariant.
        unsafe { self.values.get_unchecked(cpu) }
    }

    /// All values with their CPU's number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> + '_ {
        self.values
            .iter()
            .enumerate()
            .map(|(cpu, value)| (cpu as u32, value))
    }
}
