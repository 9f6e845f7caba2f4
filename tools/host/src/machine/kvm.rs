// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What of KVM kvm-ioctls has no words for, and the making of a virtual machine.

use std::io;
use std::os::fd::AsRawFd;

use anyhow::{bail, ensure, Context, Result};
use kvm_bindings::{
    kvm_enable_cap, kvm_hyperv_eventfd, kvm_irq_routing_entry, kvm_irq_routing_hv_sint,
    kvm_irq_routing_irqchip, kvm_msr_filter, kvm_msr_filter_range, kvm_userspace_memory_region,
    CpuId, KvmIrqRouting, KVMIO, KVM_CAP_HYPERV_ENFORCE_CPUID, KVM_CAP_HYPERV_EVENTFD,
    KVM_CAP_HYPERV_SYNIC2, KVM_CAP_SYS_HYPERV_CPUID, KVM_CAP_X86_MSR_FILTER,
    KVM_CAP_X86_USER_SPACE_MSR, KVM_HYPERV_EVENTFD_DEASSIGN, KVM_IRQCHIP_IOAPIC,
    KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQ_ROUTING_HV_SINT,
    KVM_IRQ_ROUTING_IRQCHIP, KVM_MSR_EXIT_REASON_FILTER, KVM_MSR_FILTER_WRITE,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::ioctl::{ioctl_with_mut_ptr, ioctl_with_ref};
use vmm_sys_util::{ioctl_iow_nr, ioctl_iowr_nr};

use super::layout;

/// Synthetic interrupt sources of a processor.
pub(super) const SINTS: u32 = 16;
/// HV_X64_MSR_EOM: the guest has taken a message and asks for the next.
pub(super) const MSR_EOM: u32 = 0x4000_0084;
/// Interrupt lines from here on are the processors' synthetic sources.
const FIRST_SINT_GSI: u32 = 32;
/// Lines of the I/O APIC.
const IO_APIC_PINS: u32 = 24;
/// Leaves that KVM knows of its Hyper-V part, and some more.
const MAX_HYPERV_LEAVES: usize = 32;

ioctl_iow_nr!(HYPERV_EVENTFD, KVMIO, 0xbd, kvm_hyperv_eventfd);
ioctl_iowr_nr!(
    GET_SUPPORTED_HV_CPUID,
    KVMIO,
    0xc1,
    kvm_bindings::kvm_cpuid2
);
ioctl_iow_nr!(SET_MSR_FILTER, KVMIO, 0xc6, kvm_msr_filter);

/// Opens KVM and sees whether it can run guests of Hyper-V.
///
/// # Errors
///
/// A line for the person who started this.
pub(super) fn open() -> Result<Kvm> {
    let kvm = Kvm::new().context("cannot open /dev/kvm")?;
    let missing: Vec<&str> = [
        (KVM_CAP_HYPERV_SYNIC2, "SynIC"),
        (KVM_CAP_HYPERV_EVENTFD, "event connections"),
        (KVM_CAP_SYS_HYPERV_CPUID, "CPUID"),
        (KVM_CAP_X86_USER_SPACE_MSR, "MSR exits"),
        (KVM_CAP_X86_MSR_FILTER, "MSR filters"),
    ]
    .into_iter()
    .filter(|(capability, _)| kvm.check_extension_raw((*capability).into()) <= 0)
    .map(|(_, name)| name)
    .collect();
    if !missing.is_empty() {
        bail!(
            "this machine's KVM can't run Hyper-V guests: it has no {}",
            missing.join(", ")
        );
    }
    Ok(kvm)
}

/// Makes a virtual machine with interrupt controllers, memory, and a way for each synthetic
/// interrupt of each processor.
///
/// # Errors
///
/// When KVM refuses.
pub(super) fn create(kvm: &Kvm, memory: &GuestMemoryMmap<()>, processors: u32) -> Result<VmFd> {
    let vm = kvm.create_vm().context("KVM makes no virtual machine")?;
    vm.set_identity_map_address(layout::KVM_IDENTITY_MAP)
        .context("KVM takes no identity map")?;
    vm.set_tss_address(layout::KVM_TSS)
        .context("KVM takes no TSS")?;
    vm.create_irq_chip()
        .context("KVM has no interrupt controllers of its own")?;
    for (slot, guest_phys_addr, memory_size, userspace_addr) in layout::slots(memory) {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr,
            memory_size,
            userspace_addr,
        };
        // SAFETY: the regions are mapped, don't overlap, and whoever keeps the machine keeps the
        // memory (`Partition` has both).
        unsafe { vm.set_user_memory_region(region) }.context("KVM takes no memory")?;
    }
    route(&vm, processors).context("KVM routes no synthetic interrupts")?;
    exit_on_eom(&vm).context("KVM filters no MSR")?;
    Ok(vm)
}

/// The line of a synthetic interrupt source.
pub(super) fn sint_gsi(vp: u32, sint: u8) -> u32 {
    FIRST_SINT_GSI + vp * SINTS + u32::from(sint)
}

/// Sets up all lines: those of the controllers as on a PC, then the synthetic ones.
fn route(vm: &VmFd, processors: u32) -> Result<()> {
    let mut entries = Vec::new();
    let mut chip = |gsi, irqchip, pin| {
        let mut entry = kvm_irq_routing_entry {
            gsi,
            type_: KVM_IRQ_ROUTING_IRQCHIP,
            ..Default::default()
        };
        entry.u.irqchip = kvm_irq_routing_irqchip { irqchip, pin };
        entries.push(entry);
    };
    for gsi in 0..8 {
        chip(gsi, KVM_IRQCHIP_PIC_MASTER, gsi);
        chip(gsi + 8, KVM_IRQCHIP_PIC_SLAVE, gsi);
    }
    for gsi in 0..IO_APIC_PINS {
        chip(gsi, KVM_IRQCHIP_IOAPIC, gsi);
    }
    for vcpu in 0..processors {
        for sint in 0..SINTS {
            let mut entry = kvm_irq_routing_entry {
                gsi: FIRST_SINT_GSI + vcpu * SINTS + sint,
                type_: KVM_IRQ_ROUTING_HV_SINT,
                ..Default::default()
            };
            entry.u.hv_sint = kvm_irq_routing_hv_sint { vcpu, sint };
            entries.push(entry);
        }
    }
    let table = KvmIrqRouting::from_entries(&entries).context("too many lines")?;
    vm.set_gsi_routing(&table)?;
    Ok(())
}

/// Has the guest's end-of-message leave to the thread of its processor, which then writes the next
/// message at once. It is rare: the guest writes it only when it was told that another one waits.
fn exit_on_eom(vm: &VmFd) -> Result<()> {
    vm.enable_cap(&kvm_enable_cap {
        cap: KVM_CAP_X86_USER_SPACE_MSR,
        args: [KVM_MSR_EXIT_REASON_FILTER.into(), 0, 0, 0],
        ..Default::default()
    })?;
    // One bit for one MSR: not allowed.
    let mut denied = [0u8; 8];
    let mut filter = kvm_msr_filter::default();
    filter.ranges[0] = kvm_msr_filter_range {
        flags: KVM_MSR_FILTER_WRITE,
        nmsrs: 1,
        base: MSR_EOM,
        bitmap: denied.as_mut_ptr(),
    };
    // SAFETY: the filter and the bitmap it points to (KVM reads whole words of it and copies them)
    // live until the call returns.
    let answer = unsafe { ioctl_with_ref(vm, SET_MSR_FILTER(), &filter) };
    ensure!(answer == 0, io::Error::last_os_error());
    Ok(())
}

/// What KVM can say of Hyper-V in CPUID.
///
/// # Errors
///
/// When KVM refuses.
pub(super) fn supported_hyperv_cpuid(kvm: &Kvm) -> Result<CpuId> {
    let mut cpuid = CpuId::new(MAX_HYPERV_LEAVES).context("CPUID list")?;
    // SAFETY: the list says itself how many entries it has room for.
    let answer =
        unsafe { ioctl_with_mut_ptr(kvm, GET_SUPPORTED_HV_CPUID(), cpuid.as_mut_fam_struct_ptr()) };
    ensure!(answer == 0, io::Error::last_os_error());
    Ok(cpuid)
}

/// Gives a processor its synthetic interrupt controller, and has KVM refuse what CPUID (set
/// already) doesn't offer.
///
/// # Errors
///
/// When KVM refuses.
pub(super) fn enable_synic(vcpu: &VcpuFd) -> Result<()> {
    vcpu.enable_cap(&kvm_enable_cap {
        cap: KVM_CAP_HYPERV_SYNIC2,
        ..Default::default()
    })
    .context("KVM gives no SynIC")?;
    let enforce = kvm_enable_cap {
        cap: KVM_CAP_HYPERV_ENFORCE_CPUID,
        args: [1, 0, 0, 0],
        ..Default::default()
    };
    if vcpu.enable_cap(&enforce).is_err() {
        tracing::debug!("this KVM lets guests use more of Hyper-V than it is told to offer");
    }
    Ok(())
}

/// Has SIGNAL_EVENT on `connection` count up an event without leaving the kernel.
///
/// # Errors
///
/// When KVM refuses.
pub(super) fn connect(vm: &VmFd, connection: u32, event: &impl AsRawFd) -> io::Result<()> {
    hyperv_eventfd(
        vm,
        kvm_hyperv_eventfd {
            conn_id: connection,
            fd: event.as_raw_fd(),
            ..Default::default()
        },
    )
}

/// Undoes [`connect`].
///
/// # Errors
///
/// When KVM knows no such connection.
pub(super) fn disconnect(vm: &VmFd, connection: u32) -> io::Result<()> {
    hyperv_eventfd(
        vm,
        kvm_hyperv_eventfd {
            conn_id: connection,
            fd: -1,
            flags: KVM_HYPERV_EVENTFD_DEASSIGN,
            ..Default::default()
        },
    )
}

fn hyperv_eventfd(vm: &VmFd, arguments: kvm_hyperv_eventfd) -> io::Result<()> {
    // SAFETY: KVM only reads the structure, and takes its own reference on the event.
    match unsafe { ioctl_with_ref(vm, HYPERV_EVENTFD(), &arguments) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
