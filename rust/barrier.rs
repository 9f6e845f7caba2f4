// SPDX-License-Identifier: GPL-2.0

//! Memory barriers towards a hypervisor.

/// Orders all memory accesses before it against all after it, as the host sees them.
///
/// Unlike the kernel crate's `smp_mb()` this is a barrier on a kernel for one CPU as well: the host
/// runs on others. `virt_mb()` in C.
#[inline]
pub fn virt_mb() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: Adds nothing to a word of the stack's; locked, it is the barrier that the C macro is as well. All
    // of memory may be read and written around it.
    unsafe {
        core::arch::asm!("lock add dword ptr [rsp - 4], 0")
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: A barrier has no requirements.
    unsafe {
        hv_bindings::virt_mb()
    }
}
