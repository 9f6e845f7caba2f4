# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# Hyper-V's hypervisor without an ACPI VMBUS device: no bus, one line, ENODEV.

rust_only "it only stays quiet"
dmesg_ever 'Hypervisor detected: Microsoft' || fail "this guest does not see Hyper-V"
refused_with "/lib/modules/$(uname -r)/vmbus.ko" 'vmbus: .*ACPI.*' 'No such device'
is_loaded vmbus && wrong "vmbus is loaded"
[ ! -e "$BUS" ] || wrong "$BUS is there"
