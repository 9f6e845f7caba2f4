# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# lsvmbus of the kernel's tools/hv prints our device, in all its forms.

load_balloon
[ -x /usr/bin/python3 ] || skip "this guest has no python3"
relid=$(relid_of "$DEVICE")
out=$(lsvmbus 2>&1) || fail "lsvmbus: $out"
note "$out"
echo "$out" | grep -Eq "^VMBUS ID +$relid: .*Dynamic [Mm]emory" || wrong "lsvmbus does not name the device"
out=$(lsvmbus -vv 2>&1) || fail "lsvmbus -vv: $out"
echo "$out" | grep -q "$BALLOON_INSTANCE" || wrong "lsvmbus -vv does not show the instance"
echo "$out" | grep -Eq "Rel_ID=$relid, target_cpu=[0-9]+" || wrong "lsvmbus -vv does not show the channel's CPU"
echo "$out" | while IFS= read -r line; do note "$line"; done
lsvmbus -vvv >/dev/null 2>&1 || wrong "lsvmbus -vvv fails"
