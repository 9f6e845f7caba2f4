// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where things are in the guest's physical address space.

use anyhow::{bail, Context, Result};
use vm_memory::{
    Address, GuestAddress, GuestMemory as _, GuestMemoryMmap, GuestMemoryRegion as _,
    GuestRegionMmap,
};

/// Descriptors of the 64-bit entry.
pub(super) const GDT: u64 = 0x500;
/// `struct boot_params`.
pub(super) const ZERO_PAGE: u64 = 0x7000;
/// Stack of the first instructions; grows down.
pub(super) const STACK: u64 = 0x8ff0;
/// Page tables that map the first 4 GiB onto themselves: one PML4, one PDPT, four directories.
pub(super) const PAGE_TABLES: u64 = 0x9000;
/// The kernel's command line.
pub(super) const COMMAND_LINE: u64 = 0x20000;
/// Longest command line, with its end; x86's COMMAND_LINE_SIZE.
pub(super) const COMMAND_LINE_BYTES: usize = 2048;
/// End of the memory below the old adapter area.
pub(super) const BASE_MEMORY_END: u64 = 0x9_fc00;
/// ACPI tables, the RSDP first: a kernel that was started by kexec looks for it from here on.
pub(super) const ACPI: u64 = 0xe_0000;
/// End of what is for ACPI tables; where a PC's processor begins, in real mode.
pub(super) const RESET_VECTOR: u64 = 0xf_fff0;
/// Memory from here on is the kernel's.
pub(super) const HIGH_MEMORY: u64 = 0x10_0000;
/// Memory below 4 GiB ends here at the latest.
pub(super) const LOW_LIMIT: u64 = 3 << 30;
/// The rest of the memory begins here.
pub(super) const ABOVE_4G: u64 = 4 << 30;
/// Addresses for devices on the VMBus, below 4 GiB: first and last.
pub(super) const LOW_MMIO: (u32, u32) = (0xf800_0000, 0xfebf_ffff);
/// How much of that there is behind the memory.
pub(super) const HIGH_MMIO_BYTES: u64 = 64 << 30;
/// The I/O APIC.
pub(super) const IO_APIC: u32 = 0xfec0_0000;
/// The local APICs.
pub(super) const LOCAL_APIC: u32 = 0xfee0_0000;
/// Three pages and one that KVM wants for itself on Intel's processors.
pub(super) const KVM_TSS: usize = 0xfffb_d000;
/// The one.
pub(super) const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;

/// Least memory: a distribution's kernel and a small RAM disk.
const MIN_MEMORY: u64 = 64 << 20;
/// Huge pages are the unit.
const MEMORY_UNIT: u64 = 2 << 20;

/// The ranges of a guest's memory: (address, bytes).
///
/// # Errors
///
/// When the amount is too small or odd.
pub(super) fn ranges(bytes: u64) -> Result<Vec<(u64, u64)>> {
    if bytes < MIN_MEMORY {
        bail!("a guest needs at least {} MiB of memory", MIN_MEMORY >> 20);
    }
    if bytes % MEMORY_UNIT != 0 {
        bail!("memory comes in units of {} MiB", MEMORY_UNIT >> 20);
    }
    let low = bytes.min(LOW_LIMIT);
    let mut ranges = vec![(0, low)];
    if bytes > low {
        ranges.push((ABOVE_4G, bytes - low));
    }
    Ok(ranges)
}

/// Where addresses for devices behind the memory begin.
pub(super) fn high_mmio(memory: u64) -> u64 {
    let end = ABOVE_4G.saturating_add(memory.saturating_sub(LOW_LIMIT));
    // Of its own GiB, so that the kernel's huge pages don't cover both.
    end.next_multiple_of(1 << 30)
}

/// Makes the memory: anonymous, in huge pages where the system has them.
///
/// # Errors
///
/// When there is not enough address space.
pub(super) fn allocate(bytes: u64) -> Result<GuestMemoryMmap<()>> {
    let mut regions = Vec::new();
    for (address, bytes) in ranges(bytes)? {
        let bytes = usize::try_from(bytes).context("more memory than this machine can address")?;
        regions.push((GuestAddress(address), bytes));
    }
    let map =
        GuestMemoryMmap::<()>::from_ranges(&regions).context("cannot map memory for the guest")?;
    for region in map.iter() {
        advise(region);
    }
    Ok(map)
}

/// Asks for huge pages: a guest with small ones takes a hundred times as many faults at its start.
fn advise(region: &GuestRegionMmap<()>) {
    let advise = |advice| {
        // SAFETY: it is the region's own mapping; advice changes how it is backed, never what is in
        // it.
        unsafe { libc::madvise(region.as_ptr().cast(), region.size(), advice) }
    };
    // Refused where the system has no huge pages, or a core dump limit of its own: works without.
    if advise(libc::MADV_HUGEPAGE) != 0 {
        tracing::debug!("no huge pages for the guest's memory");
    }
    let _ = advise(libc::MADV_DONTDUMP);
}

/// The guest's memory by KVM's slots: slot, guest address, bytes, host address.
pub(super) fn slots(map: &GuestMemoryMmap<()>) -> Vec<(u32, u64, u64, u64)> {
    (0..)
        .zip(map.iter())
        .map(|(slot, region)| {
            let host = region.as_ptr() as u64;
            (slot, region.start_addr().raw_value(), region.len(), host)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_leaves_room_below_4_gib() {
        assert_eq!(ranges(1 << 30).unwrap(), [(0, 1 << 30)]);
        assert_eq!(ranges(3 << 30).unwrap(), [(0, 3 << 30)]);
        assert_eq!(ranges(5 << 30).unwrap(), [(0, 3 << 30), (4 << 30, 2 << 30)]);
        assert!(ranges(1 << 20).is_err());
        assert!(ranges((1 << 30) + 4096).is_err());
        assert_eq!(high_mmio(1 << 30), 4 << 30);
        assert_eq!(high_mmio((5 << 30) + (2 << 20)), 7 << 30);
    }

    #[test]
    fn slots_are_the_ranges() {
        let map = allocate(64 << 20).unwrap();
        let slots = slots(&map);
        assert_eq!(slots.len(), 1);
        assert_eq!((slots[0].0, slots[0].1, slots[0].2), (0, 0, 64 << 20));
    }
}
