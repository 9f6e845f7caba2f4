// SPDX-License-Identifier: GPL-2.0 OR MIT
//! ACPI tables of a machine without PCI and firmware: processors, one I/O APIC, two serial lines,
//! a clock, and the VMBus.
//!
//! The machine is "hardware-reduced": no PM timer, no power button, no system control interrupt,
//! no 8259; sleep and reset are two ports.

use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, Interrupt, Name, Package,
    ResourceTemplate, Scope, IO,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace as Space, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, ProcessorLocalApic, MADT,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};
use anyhow::{ensure, Context, Result};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{cmos, layout, ports};

const OEM: [u8; 6] = *b"VMBRS ";
const TABLE: [u8; 8] = *b"HVHOST  ";
const REVISION: u32 = 1;
/// Type and flags of a device that is there, works and is shown.
const PRESENT: u8 = 0x0f;
/// FADT, IAPC_BOOT_ARCH: there is no VGA. That the bit for a keyboard controller is clear says
/// that there is none, so that nobody waits for one.
const NO_VGA: u16 = 1 << 2;
const HEADER_BYTES: u32 = 36;

/// Writes the tables; answers where the RSDP is.
///
/// # Errors
///
/// When they are larger than their place.
pub(super) fn write(
    memory: &GuestMemoryMmap<()>,
    processors: u32,
    memory_bytes: u64,
) -> Result<u64> {
    // The RSDP is found by its place, the rest by the RSDP.
    let mut next = layout::ACPI + 64;
    let mut place = |table: &[u8]| -> Result<u64> {
        let at = next;
        next = (at + table.len() as u64).next_multiple_of(16);
        ensure!(next <= layout::RESET_VECTOR, "too many ACPI tables");
        memory
            .write_slice(table, GuestAddress(at))
            .context("ACPI tables")?;
        Ok(at)
    };
    let dsdt = place(dsdt(processors, memory_bytes).as_slice())?;
    let fadt = place(&bytes(&fadt(dsdt)))?;
    let madt = place(&bytes(&madt(processors)))?;
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = place(&bytes(&xsdt))?;
    memory
        .write_slice(&bytes(&Rsdp::new(OEM, xsdt)), GuestAddress(layout::ACPI))
        .context("RSDP")?;
    Ok(layout::ACPI)
}

fn port_register(port: u16) -> GAS {
    GAS::new(Space::SystemIo, 8, 0, AccessSize::ByteAccess, port.into())
}

fn fadt(dsdt: u64) -> impl Aml {
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::Wbinvd)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless);
    fadt.iapc_boot_arch = NO_VGA.into();
    fadt.century = cmos::CENTURY;
    fadt.reset_reg = port_register(ports::RESET);
    fadt.reset_value = ports::RESET_VALUE;
    fadt.sleep_control_reg = port_register(ports::SLEEP_CONTROL);
    fadt.sleep_status_reg = port_register(ports::SLEEP_STATUS);
    // Tells a guest that knows it where it is.
    fadt.hypervisor_vendor_identity = u64::from_le_bytes(*b"MsHyperV").into();
    fadt.finalize()
}

fn madt(processors: u32) -> impl Aml {
    let address = LocalInterruptController::Address(layout::LOCAL_APIC);
    let mut madt = MADT::new(OEM, TABLE, REVISION, address);
    for id in 0..processors as u8 {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, layout::IO_APIC, 0));
    madt
}

fn dsdt(processors: u32, memory: u64) -> Sdt {
    let mut devices = Vec::new();
    for index in 0..processors {
        devices.push(device(
            &format!("C{index:03X}"),
            &[
                &Name::new("_HID".into(), &"ACPI0007"),
                &Name::new("_UID".into(), &index),
            ],
        ));
    }
    for (uid, (port, line)) in (1u8..).zip(ports::SERIAL) {
        let ports = IO::new(port, port, 1, 8);
        let line = Interrupt::new(true, true, false, false, line);
        devices.push(device(
            &format!("UAR{uid}"),
            &[
                &Name::new("_HID".into(), &EISAName::new("PNP0501")),
                &Name::new("_DDN".into(), &format!("COM{uid}")),
                &Name::new("_UID".into(), &uid),
                &resources(vec![&ports, &line]),
            ],
        ));
    }
    devices.push(device(
        "RTC0",
        &[
            &Name::new("_HID".into(), &EISAName::new("PNP0B00")),
            &Name::new("_UID".into(), &0u8),
            &resources(vec![&IO::new(0x70, 0x70, 1, 2)]),
        ],
    ));
    devices.push(vmbus(memory));
    let devices = devices.iter().map(|device| -> &dyn Aml { device });
    let scope = Scope::new("_SB_".into(), devices.collect());
    let off = Name::new("_S5_".into(), &Package::new(vec![&ports::SLEEP_TYPE_OFF]));

    let mut dsdt = Sdt::new(*b"DSDT", HEADER_BYTES, 2, OEM, TABLE, REVISION);
    dsdt.append_slice(&bytes(&off));
    dsdt.append_slice(&bytes(&scope));
    dsdt
}

/// The VMBus, below a module that has the addresses for its devices, as in a generation 2 machine
/// of Hyper-V. Linux looks for the id `VMBus` and needs a _CRS, be it empty
/// (drivers/hv/vmbus_drv.c).
fn vmbus(memory: u64) -> Made {
    let kind = AddressSpaceCacheable::NotCacheable;
    let (first, last) = layout::LOW_MMIO;
    let low = AddressSpace::new_memory(kind, true, first, last, None);
    let first = layout::high_mmio(memory);
    let last = first + layout::HIGH_MMIO_BYTES - 1;
    let high = AddressSpace::new_memory(kind, true, first, last, None);
    let bus = device(
        "VMBS",
        &[
            &Name::new("_ADR".into(), &0u8),
            &Name::new("_DDN".into(), &"VMBUS"),
            &Name::new("_HID".into(), &"VMBus"),
            &Name::new("_UID".into(), &0u8),
            &Name::new("_STA".into(), &PRESENT),
            &resources(vec![]),
        ],
    );
    device(
        "VMOD",
        &[
            &Name::new("_HID".into(), &"ACPI0004"),
            &Name::new("_UID".into(), &0u8),
            &resources(vec![&low, &high]),
            &bus,
        ],
    )
}

fn device(name: &str, fields: &[&dyn Aml]) -> Made {
    Made(bytes(&Device::new(name.into(), fields.to_vec())))
}

fn resources(list: Vec<&dyn Aml>) -> Name {
    Name::new("_CRS".into(), &ResourceTemplate::new(list))
}

/// AML that was made before.
struct Made(Vec<u8>);

impl Aml for Made {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

fn bytes(object: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.to_aml_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(memory: &GuestMemoryMmap<()>, at: u64) -> Vec<u8> {
        let length: u32 = memory.read_obj(GuestAddress(at + 4)).unwrap();
        let mut table = vec![0; length as usize];
        memory.read_slice(&mut table, GuestAddress(at)).unwrap();
        table
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn every_table_is_found_and_adds_up() {
        let memory = layout::allocate(64 << 20).unwrap();
        let rsdp = write(&memory, 4, 64 << 20).unwrap();
        assert_eq!(rsdp, layout::ACPI);
        let mut bytes = [0; 36];
        memory.read_slice(&mut bytes, GuestAddress(rsdp)).unwrap();
        assert_eq!(&bytes[..8], b"RSD PTR ");
        assert_eq!((sum(&bytes[..20]), sum(&bytes)), (0, 0));
        let xsdt = table(
            &memory,
            u64::from_le_bytes(bytes[24..32].try_into().unwrap()),
        );
        assert_eq!(
            (&xsdt[..4], sum(&xsdt), xsdt.len()),
            (&b"XSDT"[..], 0, 36 + 16)
        );
        let tables: Vec<Vec<u8>> = xsdt[36..]
            .chunks(8)
            .map(|at| table(&memory, u64::from_le_bytes(at.try_into().unwrap())))
            .collect();
        let [fadt, madt] = &tables[..] else { panic!() };
        assert_eq!((&fadt[..4], sum(fadt)), (&b"FACP"[..], 0));
        // Hardware-reduced, with a reset register; no keyboard controller, no VGA.
        let flags = u32::from_le_bytes(fadt[112..116].try_into().unwrap());
        assert_eq!(flags & (1 << 20 | 1 << 10), 1 << 20 | 1 << 10);
        assert_eq!(fadt[109..111], [4, 0]);
        assert_eq!((&madt[..4], sum(madt)), (&b"APIC"[..], 0));
        assert_eq!(madt.len(), 44 + 4 * 8 + 12);
        let dsdt = table(
            &memory,
            u64::from_le_bytes(fadt[140..148].try_into().unwrap()),
        );
        assert_eq!((&dsdt[..4], sum(&dsdt)), (&b"DSDT"[..], 0));
        for name in [&b"VMBus\0"[..], b"VMBS", b"_S5_", b"C003", b"UAR2"] {
            assert!(dsdt.windows(name.len()).any(|at| at == name), "{name:?}");
        }
    }

    #[test]
    fn the_largest_machine_has_room_for_its_tables() {
        let memory = layout::allocate(64 << 20).unwrap();
        assert!(write(&memory, 8, 1 << 40).is_ok());
    }
}
