# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# Hyper-V's hypervisor without an ACPI VMBUS device: no bus, one line, ENODEV.

rust_only "it only stays quiet"
refused "vmbus.ko without a VMBus" insmod "/lib/modules/$(uname -r)/vmbus.ko"
note "$REFUSAL"
matches "what insmod said" "$REFUSAL" '.*No such device.*'
dmesg_has '] vmbus: ' || wrong "no line of ours says why"
note "$LINE"
same "lines of ours" "$(dmesg_since | grep -c '] vmbus: ')" 1
is_loaded vmbus && wrong "vmbus is loaded"
[ ! -e "$BUS" ] || wrong "$BUS is there"
DMESG_ALLOW='vmbus: '
