# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# A hypervisor that isn't Hyper-V's and has no SynIC: one line, ENODEV.

rust_only "it only stays quiet"
dmesg_ever 'Hypervisor detected: Microsoft' && fail "this guest sees Hyper-V"
refused "vmbus.ko without Hyper-V" insmod "/lib/modules/$(uname -r)/vmbus.ko"
note "$REFUSAL"
matches "what insmod said" "$REFUSAL" '.*No such device.*'
dmesg_has '] vmbus: ' || wrong "no line of ours says why"
note "$LINE"
same "lines of ours" "$(dmesg_since | grep -c '] vmbus: ')" 1
is_loaded vmbus && wrong "vmbus is loaded"
[ ! -e "$BUS" ] || wrong "$BUS is there"
DMESG_ALLOW='vmbus: '
