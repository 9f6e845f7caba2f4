# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# The C driver has the bus: vmbus.ko says which option keeps it away, and goes.

rust_only "it owns the bus"
dmesg_ever 'hv_vmbus: Vmbus version' || fail "the C driver does not own the bus here"
refused_with "/lib/modules/$(uname -r)/vmbus.ko" 'vmbus: .*initcall_blacklist=hv_acpi_init.*' busy
is_loaded vmbus && wrong "vmbus is loaded"
has_balloon_device || wrong "the C driver's device is gone"
