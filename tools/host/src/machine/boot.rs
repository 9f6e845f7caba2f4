// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Putting a kernel into memory, and the first processor's state at its 64-bit entry
//! (Documentation/arch/x86/boot.rst).

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use kvm_bindings::{kvm_msr_entry, kvm_regs, kvm_segment, Msrs};
use kvm_ioctls::VcpuFd;
use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use linux_loader::loader::{bzimage::BzImage, KernelLoader};
use vm_memory::{Bytes, GuestAddress, GuestMemory as _, GuestMemoryMmap};

use super::{layout, ports};

/// The 64-bit entry is this far behind the 32-bit one.
const ENTRY_64: u64 = 0x200;
/// XLF_KERNEL_64.
const HAS_ENTRY_64: u16 = 1;
/// Boot protocol 2.12: xloadflags.
const PROTOCOL: u16 = 0x020c;
/// A loader without a number of its own.
const LOADER: u8 = 0xff;
const PAGE: u64 = 4096;
/// A kernel that can be moved is never decompressed below this.
const KERNEL_LOW: u64 = 16 << 20;

const E820_RAM: u32 = 1;
const E820_ACPI: u32 = 3;

const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
/// Null, null, 64-bit code, data.
const DESCRIPTORS: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

const CR0_PE: u64 = 1;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Present, writable.
const TABLE: u64 = 0x03;
/// Present, writable, 2 MiB.
const LARGE_PAGE: u64 = 0x83;
/// mov dx, port; mov al, value; out dx, al; hlt; jmp to the hlt.
const RESET_CODE: [u8; 9] = {
    let [low, high] = ports::RESET.to_le_bytes();
    let value = ports::RESET_VALUE;
    [0xba, low, high, 0xb0, value, 0xee, 0xf4, 0xeb, 0xfd]
};
const LARGE_PAGE_BYTES: u64 = 2 << 20;
const MSR_MTRR_DEF_TYPE: u32 = 0x2ff;
/// On, write-back.
const MTRR_WRITE_BACK: u64 = 1 << 11 | 6;

/// What is to be booted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boot<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initrd: Option<&'a Path>,
    pub(super) command_line: &'a str,
    /// Bytes of memory.
    pub(super) memory: u64,
    /// Where the RSDP is.
    pub(super) rsdp: u64,
}

/// Loads everything; answers the kernel's entry.
///
/// # Errors
///
/// When a file can't be read, isn't a kernel, or there is too little memory.
pub(super) fn load(memory: &GuestMemoryMmap<()>, boot: &Boot<'_>) -> Result<u64> {
    let name = boot.kernel.display();
    let mut file = open(boot.kernel)?;
    let result = BzImage::load(
        memory,
        None,
        &mut file,
        Some(GuestAddress(layout::HIGH_MEMORY)),
    )
    .with_context(|| format!("{name} is no bzImage that fits into the guest's memory"))?;
    let mut header = result
        .setup_header
        .with_context(|| format!("{name} has no setup header"))?;
    let (version, flags) = (header.version, header.xloadflags);
    ensure!(
        version >= PROTOCOL && flags & HAS_ENTRY_64 != 0,
        "{name} has no 64-bit entry"
    );
    let low_end = boot.memory.min(layout::LOW_LIMIT);
    let load = result.kernel_load.0;
    let init_size = u64::from(header.init_size);
    let kernel_end = load.max(KERNEL_LOW).saturating_add(init_size);
    ensure!(
        kernel_end <= low_end,
        "{name} needs more than {} MiB of memory",
        low_end >> 20
    );
    if let Some(initrd) = boot.initrd {
        let limit = low_end.min(u64::from(header.initrd_addr_max).saturating_add(1));
        let (address, bytes) = load_initrd(memory, initrd, kernel_end, limit)?;
        header.ramdisk_image = u32::try_from(address).context("RAM disk above 4 GiB")?;
        header.ramdisk_size = u32::try_from(bytes).context("RAM disk larger than 4 GiB")?;
    }
    command_line(memory, boot.command_line, &mut header)?;
    header.type_of_loader = LOADER;
    zero_page(memory, header, boot)?;
    tables(memory)?;
    // On hardware-reduced machines Linux doesn't use ACPI's reset register: it tries EFI, which
    // there is none of, and then jumps to where a PC's firmware begins.
    memory
        .write_slice(&RESET_CODE, GuestAddress(layout::RESET_VECTOR))
        .context("reset vector")?;
    Ok(load + ENTRY_64)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// As high as it may be, where the kernel doesn't decompress itself.
fn load_initrd(
    memory: &GuestMemoryMmap<()>,
    path: &Path,
    from: u64,
    to: u64,
) -> Result<(u64, u64)> {
    let name = path.display();
    let mut file = open(path)?;
    let bytes = file
        .seek(SeekFrom::End(0))
        .and_then(|bytes| file.rewind().map(|()| bytes))
        .with_context(|| format!("cannot read {name}"))?;
    let Some(address) = to
        .checked_sub(bytes)
        .map(|address| address & !(PAGE - 1))
        .filter(|address| *address >= from)
    else {
        bail!(
            "{name} ({} MiB) doesn't fit into the guest's memory",
            bytes >> 20
        );
    };
    let size = usize::try_from(bytes).context("RAM disk larger than memory can be")?;
    memory
        .read_exact_volatile_from(GuestAddress(address), &mut file, size)
        .with_context(|| format!("cannot read {name}"))?;
    Ok((address, bytes))
}

fn command_line(memory: &GuestMemoryMmap<()>, text: &str, header: &mut setup_header) -> Result<()> {
    // The kernel says how much it takes, without the end; some say nothing.
    let most = match header.cmdline_size as usize {
        0 => 255,
        size => size.min(layout::COMMAND_LINE_BYTES - 1),
    };
    ensure!(
        text.len() <= most && !text.contains('\0'),
        "the command line is {} bytes long, this kernel takes {most}",
        text.len()
    );
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    memory
        .write_slice(&bytes, GuestAddress(layout::COMMAND_LINE))
        .context("command line")?;
    header.cmd_line_ptr = layout::COMMAND_LINE as u32;
    header.cmdline_size = text.len() as u32;
    Ok(())
}

/// The memory map: (address, bytes, type).
fn e820(memory: u64) -> Result<Vec<(u64, u64, u32)>> {
    let mut map = Vec::new();
    for (address, bytes) in layout::ranges(memory)? {
        if address == 0 {
            map.push((0, layout::BASE_MEMORY_END, E820_RAM));
            let firmware = layout::HIGH_MEMORY - layout::ACPI;
            map.push((layout::ACPI, firmware, E820_ACPI));
            let high = bytes - layout::HIGH_MEMORY;
            map.push((layout::HIGH_MEMORY, high, E820_RAM));
        } else {
            map.push((address, bytes, E820_RAM));
        }
    }
    Ok(map)
}

fn zero_page(memory: &GuestMemoryMmap<()>, header: setup_header, boot: &Boot<'_>) -> Result<()> {
    let mut params = boot_params {
        hdr: header,
        acpi_rsdp_addr: boot.rsdp,
        ..Default::default()
    };
    let map = e820(boot.memory)?;
    let entries = map
        .iter()
        .map(|&(addr, size, type_)| boot_e820_entry { addr, size, type_ });
    let mut table = params.e820_table;
    for (slot, entry) in table.iter_mut().zip(entries) {
        *slot = entry;
    }
    params.e820_table = table;
    params.e820_entries = map.len() as u8;
    LinuxBootConfigurator::write_bootparams(
        &BootParams::new(&params, GuestAddress(layout::ZERO_PAGE)),
        memory,
    )
    .context("boot parameters")
}

/// Descriptors, and page tables that map the first 4 GiB onto themselves.
fn tables(memory: &GuestMemoryMmap<()>) -> Result<()> {
    let write = |at: u64, entry: u64| {
        memory
            .write_obj(entry, GuestAddress(at))
            .context("page tables")
    };
    for (at, descriptor) in (layout::GDT..).step_by(8).zip(DESCRIPTORS) {
        write(at, descriptor)?;
    }
    let pdpt = layout::PAGE_TABLES + PAGE;
    write(layout::PAGE_TABLES, pdpt | TABLE)?;
    for gib in 0..4 {
        let directory = pdpt + (gib + 1) * PAGE;
        write(pdpt + gib * 8, directory | TABLE)?;
        for page in 0..512 {
            let address = (gib * 512 + page) * LARGE_PAGE_BYTES;
            write(directory + page * 8, address | LARGE_PAGE)?;
        }
    }
    Ok(())
}

fn segment(selector: u16, type_: u8, code: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: u8::from(!code),
        s: 1,
        l: u8::from(code),
        g: 1,
        avl: 0,
        unusable: 0,
        padding: 0,
    }
}

/// Sets the first processor to the kernel's entry.
///
/// # Errors
///
/// When KVM refuses.
pub(super) fn enter(vcpu: &VcpuFd, entry: u64) -> Result<()> {
    let mut sregs = vcpu.get_sregs().context("registers")?;
    sregs.gdt.base = layout::GDT;
    sregs.gdt.limit = (DESCRIPTORS.len() * 8 - 1) as u16;
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    let data = segment(DATA, 3, false);
    sregs.cs = segment(CODE, 11, true);
    sregs.ds = data;
    sregs.es = data;
    sregs.fs = data;
    sregs.gs = data;
    sregs.ss = data;
    sregs.cr0 |= CR0_PE | CR0_PG;
    sregs.cr3 = layout::PAGE_TABLES;
    sregs.cr4 |= CR4_PAE;
    sregs.efer |= EFER_LME | EFER_LMA;
    vcpu.set_sregs(&sregs).context("system registers")?;
    vcpu.set_regs(&kvm_regs {
        rip: entry,
        rsi: layout::ZERO_PAGE,
        rsp: layout::STACK,
        rbp: layout::STACK,
        // The bit that is always set.
        rflags: 2,
        ..Default::default()
    })
    .context("registers")
}

/// What firmware would have set on every processor: memory is cached.
///
/// # Errors
///
/// When KVM refuses.
pub(super) fn firmware_msrs(vcpu: &VcpuFd) -> Result<()> {
    let entry = kvm_msr_entry {
        index: MSR_MTRR_DEF_TYPE,
        data: MTRR_WRITE_BACK,
        ..Default::default()
    };
    let msrs = Msrs::from_entries(&[entry]).context("MSR list")?;
    let written = vcpu.set_msrs(&msrs).context("MSRs")?;
    ensure!(written == 1, "KVM has no memory types");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// The smallest file that passes for a bzImage: a setup header and a "kernel".
    fn bzimage(flags: u16, init_size: u32) -> tempfile::NamedTempFile {
        let mut image = vec![0u8; 1024];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x1f1, &[1]);
        put(0x202, b"HdrS");
        put(0x206, &0x020fu16.to_le_bytes());
        put(0x211, &[1]);
        put(0x214, &0x10_0000u32.to_le_bytes());
        put(0x22c, &0x7fff_ffffu32.to_le_bytes());
        put(0x236, &flags.to_le_bytes());
        put(0x238, &2047u32.to_le_bytes());
        put(0x260, &init_size.to_le_bytes());
        image.extend_from_slice(b"the kernel itself");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&image).unwrap();
        file
    }

    fn boot<'a>(kernel: &'a Path, initrd: Option<&'a Path>, line: &'a str) -> Boot<'a> {
        Boot {
            kernel,
            initrd,
            command_line: line,
            memory: 64 << 20,
            rsdp: layout::ACPI,
        }
    }

    fn memory() -> GuestMemoryMmap<()> {
        layout::allocate(64 << 20).unwrap()
    }

    fn read<T: vm_memory::ByteValued>(memory: &GuestMemoryMmap<()>, at: u64) -> T {
        memory.read_obj(GuestAddress(at)).unwrap()
    }

    #[test]
    fn everything_lies_where_the_zero_page_says() {
        let memory = memory();
        let kernel = bzimage(1, 8 << 20);
        let mut initrd = tempfile::NamedTempFile::new().unwrap();
        initrd.write_all(&[0xab; 5000]).unwrap();
        let boot = boot(kernel.path(), Some(initrd.path()), "quiet root=/dev/sda");
        assert_eq!(load(&memory, &boot).unwrap(), 0x10_0200);
        let mut text = [0; 10];
        memory
            .read_slice(&mut text, GuestAddress(0x10_0000))
            .unwrap();
        assert_eq!(&text, b"the kernel");

        let zero = layout::ZERO_PAGE;
        assert_eq!(read::<u64>(&memory, zero + 0x70), layout::ACPI);
        assert_eq!(read::<u8>(&memory, zero + 0x1e8), 3);
        let image = u64::from(read::<u32>(&memory, zero + 0x218));
        assert_eq!(image, (64 << 20) - 2 * PAGE);
        assert_eq!(read::<u32>(&memory, zero + 0x21c), 5000);
        assert_eq!(read::<u8>(&memory, image + 4999), 0xab);
        let line = u64::from(read::<u32>(&memory, zero + 0x228));
        let mut text = [0; 20];
        memory.read_slice(&mut text, GuestAddress(line)).unwrap();
        assert_eq!(&text, b"quiet root=/dev/sda\0");
    }

    #[test]
    fn four_gib_are_mapped() {
        let memory = memory();
        tables(&memory).unwrap();
        for address in [0u64, 0x10_0200, 0x7fff_ffff, 0xffff_ffff] {
            let pml4: u64 = read(&memory, layout::PAGE_TABLES);
            let pdpt: u64 = read(&memory, (pml4 & !0xfff) + (address >> 30) * 8);
            let entry: u64 = read(&memory, (pdpt & !0xfff) + (address >> 21 & 511) * 8);
            assert_eq!(entry, address & !0x1f_ffff | LARGE_PAGE);
        }
    }

    #[test]
    fn the_map_has_no_overlaps() {
        for memory in [64 << 20, 3 << 30, 8 << 30] {
            let map = e820(memory).unwrap();
            for pair in map.windows(2) {
                assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{map:x?}");
            }
        }
        assert_eq!(e820(8 << 30).unwrap().len(), 4);
    }

    #[test]
    fn what_cannot_boot_is_said() {
        let memory = memory();
        let says = |boot: &Boot<'_>, what: &str| {
            let error = format!("{:#}", load(&memory, boot).unwrap_err());
            assert!(error.contains(what), "{error}");
        };
        let garbage = tempfile::NamedTempFile::new().unwrap();
        says(&boot(garbage.path(), None, ""), "no bzImage");
        says(&boot(Path::new("/nonexistent"), None, ""), "cannot open");
        let old = bzimage(0, 8 << 20);
        says(&boot(old.path(), None, ""), "64-bit");
        let large = bzimage(1, 60 << 20);
        says(&boot(large.path(), None, ""), "memory");
        let good = bzimage(1, 8 << 20);
        says(&boot(good.path(), None, &"x".repeat(2048)), "2047");
        let initrd = tempfile::NamedTempFile::new().unwrap();
        initrd.as_file().set_len(41 << 20).unwrap();
        says(&boot(good.path(), Some(initrd.path()), ""), "doesn't fit");
    }
}
