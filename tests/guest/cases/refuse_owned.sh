# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# The C driver has the bus: vmbus.ko says which option keeps it away, and goes.

rust_only "it owns the bus"
dmesg_ever 'hv_vmbus: Vmbus version' || fail "the C driver does not own the bus here"
refused "vmbus.ko beside the C driver" insmod "/lib/modules/$(uname -r)/vmbus.ko"
note "$REFUSAL"
matches "what insmod said" "$REFUSAL" '.*(busy|Device or resource busy|File exists).*'
dmesg_has '^<[0-9]+>.*vmbus: .*initcall_blacklist=hv_acpi_init' ||
	wrong "no line of ours names initcall_blacklist=hv_acpi_init"
note "$LINE"
same "lines of ours" "$(dmesg_since | grep -c '] vmbus: ')" 1
is_loaded vmbus && wrong "vmbus is loaded"
has_balloon_device || wrong "the C driver's device is gone"
# The kernel's own hint that a name was taken is expected.
DMESG_ALLOW='vmbus: '
