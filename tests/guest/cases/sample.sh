# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# The smallest driver on the bus: takes the device that it is told to, asks the host a
# question and prints the answer: a version response of 16 bytes, type 2.

rust_only "samples/ is written for ours"
load_bus
unload_balloon
module=vmbus_sample
[ -e "/lib/modules/$(uname -r)/$module.ko" ] || skip "$module.ko was not built"
ERROR=$(modprobe $module 2>&1) || fail "modprobe $module: $ERROR"
is_loaded $module || wrong "$module is not loaded"
dir=$(balloon_device)
is_unbound "$dir" || wrong "the device has a driver before one was named"
echo "$BALLOON_CLASS" >"$BUS/drivers/$module/new_id" || wrong "new_id can't be written"
wait_for 10 is_bound "$dir" || wrong "the device has no driver"
answered() { dmesg_has 'vmbus_sample: packet .*16 bytes, \[02, 00, 10, 00, '; }
if wait_for 10 answered; then note "$LINE"; else wrong "no answer of the host was printed"; fi
ERROR=$(rmmod $module 2>&1) || wrong "rmmod $module: $ERROR"
load_balloon
