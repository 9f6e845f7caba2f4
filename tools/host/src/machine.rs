// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The virtual machine: KVM, memory, boot, ACPI, serial lines, processors.
