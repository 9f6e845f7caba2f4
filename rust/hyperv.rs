//! hyperv

/// Reads.
pub fn msr(reg: u32) -> u64 {
    // SAFETY: x
    unsafe { hv_bindings::hv_get_msr(reg) }
}
