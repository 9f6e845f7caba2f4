// SPDX-License-Identifier: GPL-2.0 OR MIT
//! CPUID: this machine's processor as far as KVM can give it to a guest, in a topology of one
//! socket, and Hyper-V's leaves (Linux: include/hyperv/hvgdk_mini.h, arch/x86/kernel/cpu/mshyperv.c).

use std::fs;

use anyhow::{ensure, Context, Result};
use bitflags::bitflags;
use kvm_bindings::{
    kvm_cpuid_entry2, CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES,
};
use kvm_ioctls::Kvm;

use super::kvm;
use super::StimerMode;

const FIRST_HYPERVISOR_LEAF: u32 = 0x4000_0000;
const LAST_HYPERVISOR_LEAF: u32 = 0x4fff_ffff;
/// The last leaf that the first one speaks of.
const LAST_HYPERV_LEAF: u32 = 0x4000_0006;
const INTERFACE: u32 = 0x4000_0001;
const VERSION: u32 = 0x4000_0002;
const FEATURES: u32 = 0x4000_0003;
const HINTS: u32 = 0x4000_0004;
const LIMITS: u32 = 0x4000_0005;
const HARDWARE: u32 = 0x4000_0006;
/// Linux reads it whatever the first leaf says; KVM would answer with something else on Intel's
/// processors if it weren't there.
const VIRTUALIZATION_STACK: u32 = 0x4000_0082;
/// Windows Server 2022: 10.0, build 20348.
const BUILD: u32 = 20348;
const MAJOR_MINOR: u32 = 10 << 16;
/// Processors the interface could have, and what it says of the machine below.
const MAX_VIRTUAL_PROCESSORS: u32 = 240;
const MAX_LOGICAL_PROCESSORS: u32 = 512;
/// Tries to take a lock before the hypervisor is told.
const SPIN_RETRIES: u32 = 0xfff;

bitflags! {
    /// HYPERV_CPUID_FEATURES, EAX: registers that the guest may use.
    struct Access: u32 {
        const VP_RUNTIME = 1 << 0;
        const TIME_REF_COUNT = 1 << 1;
        const SYNIC = 1 << 2;
        const SYNTIMER = 1 << 3;
        const APIC = 1 << 4;
        const HYPERCALL = 1 << 5;
        const VP_INDEX = 1 << 6;
        const RESET = 1 << 7;
        const REFERENCE_TSC = 1 << 9;
        const FREQUENCIES = 1 << 11;
    }
}

bitflags! {
    /// HYPERV_CPUID_FEATURES, EBX: hypercalls that the guest may make.
    struct Privileges: u32 {
        const POST_MESSAGES = 1 << 4;
        const SIGNAL_EVENTS = 1 << 5;
    }
}

bitflags! {
    /// HYPERV_CPUID_FEATURES, EDX.
    struct Misc: u32 {
        const XMM_INPUT = 1 << 4;
        const FREQUENCIES = 1 << 8;
        const CRASH = 1 << 10;
        const STIMER_DIRECT = 1 << 19;
    }
}

bitflags! {
    /// HYPERV_CPUID_ENLIGHTMENT_INFO, EAX: what the guest should do.
    struct Hints: u32 {
        const REMOTE_TLB_FLUSH = 1 << 2;
        const APIC_REGISTERS = 1 << 3;
        const RELAXED_TIMING = 1 << 5;
        const NO_AUTO_EOI = 1 << 9;
        const CLUSTER_IPI = 1 << 10;
    }
}

/// What all processors have in common.
#[derive(Debug)]
pub(super) struct Template {
    entries: Vec<kvm_cpuid_entry2>,
    processors: u32,
}

impl Template {
    /// Asks KVM what there is.
    ///
    /// # Errors
    ///
    /// When KVM refuses, or can't do what a guest of Hyper-V needs.
    pub(super) fn new(kvm: &Kvm, processors: u32, stimer: StimerMode) -> Result<Self> {
        let host = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .context("KVM tells no CPUID")?;
        let hyperv = kvm::supported_hyperv_cpuid(kvm).context("KVM tells no CPUID of Hyper-V")?;
        let leaves = hyperv_leaves(hyperv.as_slice(), stimer, virtual_apic())?;
        Ok(Self::make(host.as_slice(), leaves, processors))
    }

    fn make(host: &[kvm_cpuid_entry2], leaves: Vec<kvm_cpuid_entry2>, processors: u32) -> Self {
        let mut entries: Vec<kvm_cpuid_entry2> = host
            .iter()
            // Linux takes KVM's leaves for KVM, wherever they are. Topology is ours.
            .filter(|e| !(FIRST_HYPERVISOR_LEAF..=LAST_HYPERVISOR_LEAF).contains(&e.function))
            .filter(|e| !matches!(e.function, 0xb | 0x1f | 0x8000_0026))
            .copied()
            .collect();
        for entry in &mut entries {
            features(entry);
        }
        entries.extend(leaves);
        Self {
            entries,
            processors,
        }
    }

    /// The leaves of one processor.
    ///
    /// # Errors
    ///
    /// When there are too many.
    pub(super) fn processor(&self, id: u32) -> Result<CpuId> {
        let mut entries = self.entries.clone();
        for entry in &mut entries {
            topology(entry, id, self.processors);
        }
        // Threads: one a core; then cores: all in one socket; then the end.
        let shift = core_bits(self.processors);
        for (index, (eax, ebx, kind)) in [(0, 1, 1), (shift, self.processors, 2), (0, 0, 0)]
            .into_iter()
            .enumerate()
        {
            let index = index as u32;
            entries.push(kvm_cpuid_entry2 {
                function: 0xb,
                index,
                flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                eax,
                ebx,
                ecx: kind << 8 | index,
                edx: id,
                ..Default::default()
            });
        }
        CpuId::from_entries(&entries).context("too many CPUID leaves")
    }
}

/// Bits of an APIC id that number the cores of a socket.
fn core_bits(processors: u32) -> u32 {
    processors.next_power_of_two().trailing_zeros()
}

/// What every processor shows differently from the host's.
fn features(entry: &mut kvm_cpuid_entry2) {
    match entry.function {
        1 => {
            // A hypervisor is there; x2APIC is KVM's, whatever the machine has; no VMX and, as on
            // Hyper-V, no TSC deadline.
            entry.ecx |= 1 << 31 | 1 << 21;
            entry.ecx &= !(1 << 5 | 1 << 24);
        }
        // The local APIC's timer runs in every sleep state.
        6 => entry.eax |= 1 << 2,
        // No performance counters: the guest would spend exits on finding out whether they work.
        0xa => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        // No SVM.
        0x8000_0001 => entry.ecx &= !(1 << 2),
        0x8000_000a => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        _ => {}
    }
}

/// What tells one processor from another.
fn topology(entry: &mut kvm_cpuid_entry2, id: u32, processors: u32) {
    let several = u32::from(processors > 1);
    // Cores that share a cache: the third level is the socket's.
    let sharing = |entry: &kvm_cpuid_entry2| {
        if entry.eax >> 5 & 7 >= 3 {
            (1 << core_bits(processors)) - 1
        } else {
            0
        }
    };
    match entry.function {
        1 => {
            entry.ebx = entry.ebx & 0xffff | (processors * several) << 16 | id << 24;
            entry.edx = entry.edx & !(1 << 28) | several << 28;
        }
        // Type 0: no more caches.
        4 if entry.eax & 0x1f != 0 => {
            let cores = (1 << core_bits(processors)) - 1;
            entry.eax = entry.eax & 0x3fff | sharing(entry) << 14 | cores << 26;
        }
        0x8000_0001 => entry.ecx = entry.ecx & !(1 << 1) | several << 1,
        0x8000_0008 => entry.ecx = (processors - 1) & 0xff | core_bits(processors) << 12,
        0x8000_001d if entry.eax & 0x1f != 0 => {
            entry.eax = entry.eax & 0x3fff | sharing(entry) << 14;
        }
        0x8000_001e => {
            entry.eax = id;
            entry.ebx = id & 0xff;
            entry.ecx = 0;
        }
        _ => {}
    }
}

/// Whether the processors have interrupt controllers of their own for guests (AVIC, APICv), which
/// KVM uses: then the guest's own registers are faster than Hyper-V's.
fn virtual_apic() -> bool {
    [
        "kvm_amd/parameters/avic",
        "kvm_intel/parameters/enable_apicv",
    ]
    .into_iter()
    .filter_map(|name| fs::read_to_string(format!("/sys/module/{name}")).ok())
    .any(|value| matches!(value.trim(), "Y" | "1"))
}

fn leaf(function: u32, eax: u32, ebx: u32, ecx: u32, edx: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function,
        eax,
        ebx,
        ecx,
        edx,
        ..Default::default()
    }
}

/// Hyper-V's leaves, made of what KVM supports.
fn hyperv_leaves(
    supported: &[kvm_cpuid_entry2],
    stimer: StimerMode,
    virtual_apic: bool,
) -> Result<Vec<kvm_cpuid_entry2>> {
    let find = |function| {
        supported
            .iter()
            .find(|entry| entry.function == function)
            .copied()
            .unwrap_or_default()
    };
    let features = find(FEATURES);
    let access = Access::all();
    let privileges = Privileges::all();
    let mut misc = Misc::all();
    misc.set(Misc::STIMER_DIRECT, stimer == StimerMode::Direct);
    for (name, wanted, there) in [
        ("registers", access.bits(), features.eax),
        ("hypercalls", privileges.bits(), features.ebx),
        ("features", misc.bits(), features.edx),
    ] {
        let missing = wanted & !there;
        ensure!(
            missing == 0,
            "this machine's KVM lacks {name} of Hyper-V: {missing:#x}"
        );
    }
    let mut hints = Hints::all();
    hints.set(Hints::APIC_REGISTERS, !virtual_apic);
    // A hint that KVM doesn't support isn't given.
    let hints = hints.bits() & find(HINTS).eax | Hints::RELAXED_TIMING.bits();
    let [ebx, ecx, edx] = [*b"Micr", *b"osof", *b"t Hv"].map(u32::from_le_bytes);
    Ok(vec![
        leaf(FIRST_HYPERVISOR_LEAF, LAST_HYPERV_LEAF, ebx, ecx, edx),
        leaf(INTERFACE, u32::from_le_bytes(*b"Hv#1"), 0, 0, 0),
        leaf(VERSION, BUILD, MAJOR_MINOR, 0, 0),
        leaf(FEATURES, access.bits(), privileges.bits(), 0, misc.bits()),
        leaf(HINTS, hints, SPIN_RETRIES, 0, 0),
        leaf(LIMITS, MAX_VIRTUAL_PROCESSORS, MAX_LOGICAL_PROCESSORS, 0, 0),
        leaf(HARDWARE, 0, 0, 0, 0),
        leaf(VIRTUALIZATION_STACK, 0, 0, 0, 0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<kvm_cpuid_entry2> {
        [FEATURES, HINTS]
            .map(|function| leaf(function, u32::MAX, u32::MAX, u32::MAX, u32::MAX))
            .to_vec()
    }

    fn find(entries: &[kvm_cpuid_entry2], function: u32, index: u32) -> kvm_cpuid_entry2 {
        *entries
            .iter()
            .find(|e| e.function == function && e.index == index)
            .unwrap()
    }

    #[test]
    fn linux_finds_hyper_v_and_not_kvm() {
        let host = [
            leaf(1, 0x123, 0xffff_0800, 1 << 5, 0),
            leaf(0x4000_0000, 0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d),
            leaf(0x4000_0001, 0xffff, 0, 0, 0),
        ];
        let leaves = hyperv_leaves(&all(), StimerMode::Direct, false).unwrap();
        let template = Template::make(&host, leaves, 4);
        let cpuid = template.processor(3).unwrap();
        let entries = cpuid.as_slice();
        let vendor = find(entries, 0x4000_0000, 0);
        assert_eq!(vendor.ebx.to_le_bytes(), *b"Micr");
        assert!(vendor.eax >= 0x4000_0005);
        let interface = find(entries, 0x4000_0001, 0);
        assert_eq!(interface.eax.to_le_bytes(), *b"Hv#1");
        let of_hypervisor = entries.iter().filter(|e| e.function >> 28 == 4).count();
        assert_eq!(of_hypervisor, 8);
        let one = find(entries, 1, 0);
        assert_eq!(one.ebx >> 24, 3);
        assert_eq!(one.ebx >> 16 & 0xff, 4);
        assert_ne!(one.ecx & 1 << 31, 0);
        assert_eq!(one.ecx & 1 << 5, 0);
    }

    #[test]
    fn timers_are_direct_or_messages() {
        for (mode, direct) in [(StimerMode::Direct, true), (StimerMode::Message, false)] {
            let leaves = hyperv_leaves(&all(), mode, false).unwrap();
            let edx = find(&leaves, FEATURES, 0).edx;
            assert_eq!(edx & 1 << 19 != 0, direct);
        }
    }

    #[test]
    fn a_kvm_that_cannot_is_refused_and_hints_are_only_what_it_can() {
        assert!(hyperv_leaves(&[], StimerMode::Direct, false).is_err());
        let mut some = all();
        some[1].eax = 0;
        let leaves = hyperv_leaves(&some, StimerMode::Direct, false).unwrap();
        assert_eq!(find(&leaves, HINTS, 0).eax, 1 << 5);
        let leaves = hyperv_leaves(&all(), StimerMode::Direct, true).unwrap();
        assert_eq!(find(&leaves, HINTS, 0).eax & 1 << 3, 0);
    }

    #[test]
    fn cores_are_numbered() {
        let host = [
            leaf(1, 0, 0, 0, 0),
            // A third-level cache, then a first-level one, then none.
            kvm_cpuid_entry2 {
                function: 0x8000_001d,
                eax: 3 | 3 << 5,
                ..Default::default()
            },
            leaf(0x8000_0008, 0, 0, 0xffff, 0),
        ];
        for (processors, bits) in [(1, 0), (2, 1), (3, 2), (4, 2), (8, 3)] {
            let template = Template::make(&host, Vec::new(), processors);
            let cpuid = template.processor(processors - 1).unwrap();
            let entries = cpuid.as_slice();
            let core = find(entries, 0xb, 1);
            assert_eq!((core.eax, core.ebx), (bits, processors));
            assert_eq!((core.ecx, core.edx), (0x201, processors - 1));
            assert_eq!(find(entries, 0xb, 0).ecx, 0x100);
            assert_eq!(find(entries, 0xb, 2).ebx, 0);
            let shared = find(entries, 0x8000_001d, 0).eax >> 14;
            assert_eq!(shared, (1 << bits) - 1);
            let cores = find(entries, 0x8000_0008, 0).ecx;
            assert_eq!((cores & 0xff, cores >> 12), (processors - 1, bits));
        }
    }
}
