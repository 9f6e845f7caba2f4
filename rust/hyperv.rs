// SPDX-License-Identifier: GPL-2.0

//! The Hyper-V hypervisor, as far as a VMBus client needs it.
//!
//! C headers: [`include/asm-generic/mshyperv.h`](srctree/include/asm-generic/mshyperv.h),
//! [`include/hyperv/hvgdk_mini.h`](srctree/include/hyperv/hvgdk_mini.h).
//!
//! Everything starts with [`Hypervisor::detect`], whose result is the proof that the hypervisor's
//! registers and hypercalls exist; without it nothing here touches them, so that asking is safe on
//! any machine.

use kernel::{
    fmt,
    prelude::*, //
};

mod handler;
mod hypercall;
mod owner;
mod synic;

pub use self::{
    handler::{
        Crash,
        CrashHandler,
        Isr,
        IsrRegistration,
        Kexec,
        KexecHandler, //
    },
    hypercall::{
        HvError,
        MAX_MESSAGE_PAYLOAD, //
    },
    owner::{
        acpi_device_present,
        c_driver_present, //
    },
    synic::{
        Synic,
        EVENT_FLAGS,
        MESSAGE_SIZE,
        MESSAGE_TIMER_EXPIRED,
        VMBUS_SINT, //
    },
};

/// Why there is no hypervisor that a VMBus client could use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Linux doesn't run on Hyper-V, or took another hypervisor interface that the machine offers.
    NotHyperV,
    /// There is no synthetic interrupt controller.
    NoSynic,
    /// The partition may not post messages.
    NoPostMessages,
    /// The partition may not signal events.
    NoSignalEvents,
    /// Linux is the root partition: VMBus is offered by it, not to it.
    RootPartition,
    /// The virtual machine is confidential, or has a paravisor: messages and interrupts take
    /// another way there, which isn't supported yet.
    Confidential,
    /// The kernel's table of virtual processors or its hypercall page isn't there.
    NotInitialized,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHyperV => "not on Hyper-V, or the kernel uses another hypervisor interface",
            Self::NoSynic => "the hypervisor offers no synthetic interrupt controller (SynIC)",
            Self::NoPostMessages => "the hypervisor doesn't let this partition post messages",
            Self::NoSignalEvents => "the hypervisor doesn't let this partition signal events",
            Self::RootPartition => "this is the root partition",
            Self::Confidential => "confidential guests and paravisors aren't supported yet",
            Self::NotInitialized => "the kernel didn't set up its Hyper-V support",
        })
    }
}

impl From<Unavailable> for Error {
    fn from(_: Unavailable) -> Error {
        ENODEV
    }
}

/// Proof that Linux runs on Hyper-V with everything that a VMBus client needs.
///
/// # Invariants
///
/// The kernel initialised its Hyper-V support: hypercalls, the synthetic registers, the per-CPU
/// hypercall input pages and `hv_vp_index` are usable; the partition is neither the root nor
/// confidential, and may post messages and signal events.
#[derive(Clone, Copy)]
pub struct Hypervisor(());

impl Hypervisor {
    /// Looks for the hypervisor. Touches nothing that faults elsewhere.
    ///
    /// # Errors
    ///
    /// The reason why there is none that can be used.
    pub fn detect() -> Result<Self, Unavailable> {
        // SAFETY: Looks at the kernel's own variables, and at a register only if they say that
        // there is a Hyper-V.
        if !unsafe { hv_bindings::hv_is_hyperv_initialized() } {
            return Err(Unavailable::NotHyperV);
        }
        // SAFETY: Reads a variable of the kernel.
        if unsafe { hv_bindings::hv_root_partition() } {
            return Err(Unavailable::RootPartition);
        }
        // SAFETY: Both read variables that don't change after boot.
        if unsafe {
            hv_bindings::hv_paravisor_present()
                || hv_bindings::hv_get_isolation_type()
                    != hv_bindings::hv_isolation_type_HV_ISOLATION_TYPE_NONE
        } {
            return Err(Unavailable::Confidential);
        }
        if features() & hv_bindings::HV_MSR_SYNIC_AVAILABLE == 0 {
            return Err(Unavailable::NoSynic);
        }
        // SAFETY: `ms_hyperv` is written during boot only.
        let privileges = unsafe { hv_bindings::ms_hyperv.priv_high };
        if privileges & hv_bindings::HV_POST_MESSAGES == 0 {
            return Err(Unavailable::NoPostMessages);
        }
        if privileges & hv_bindings::HV_SIGNAL_EVENTS == 0 {
            return Err(Unavailable::NoSignalEvents);
        }
        // SAFETY: The pointer is written during boot only.
        if unsafe { hv_bindings::hv_vp_index }.is_null() {
            return Err(Unavailable::NotInitialized);
        }
        // INVARIANT: All of it was just checked; the input pages come with `hv_vp_index`.
        Ok(Self(()))
    }

    /// The hypervisor's number for a CPU; `None` if there is no such CPU or it was never on-line.
    pub fn vp_index(&self, cpu: u32) -> Option<u32> {
        /// `VP_INVAL`
        const INVALID: u32 = u32::MAX;

        if cpu >= kernel::cpu::nr_cpu_ids() {
            return None;
        }
        // SAFETY: By the type invariant the table exists; it has an entry for each possible CPU,
        // written once while the CPU comes up.
        let index = unsafe { core::ptr::read_volatile(hv_bindings::hv_vp_index.add(cpu as usize)) };
        (index != INVALID).then_some(index)
    }

    /// Whether timers interrupt by themselves. If not, they send messages
    /// ([`MESSAGE_TIMER_EXPIRED`]) through the VMBus client's interrupt.
    pub fn direct_timers(&self) -> bool {
        // SAFETY: `ms_hyperv` is written during boot only.
        let misc = unsafe { hv_bindings::ms_hyperv.misc_features };
        misc & hv_bindings::HV_STIMER_DIRECT_MODE_AVAILABLE != 0
    }

    /// Whether there are synthetic timers at all.
    pub fn timers(&self) -> bool {
        features() & hv_bindings::HV_MSR_SYNTIMER_AVAILABLE != 0
    }

    /// Whether the hypervisor recommends that it ends interrupts by itself.
    pub fn auto_eoi(&self) -> bool {
        // SAFETY: Reads a variable that is written during boot only.
        unsafe { hv_bindings::hv_recommend_using_aeoi() }
    }

    /// Whether this hypervisor runs on another Hyper-V, which owns the VMBus.
    pub fn nested(&self) -> bool {
        // SAFETY: Written during boot only.
        unsafe { hv_bindings::hv_nested }
    }
}

/// What the hypervisor offers, `HV_MSR_*_AVAILABLE`.
fn features() -> u32 {
    // SAFETY: `ms_hyperv` is written during boot only.
    unsafe { hv_bindings::ms_hyperv.features }
}
