# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# The smallest driver on the bus: it is built, loads, and takes the device.

rust_only "samples/ is written for ours"
load_bus
unload_balloon
module=vmbus_sample
[ -e "/lib/modules/$(uname -r)/$module.ko" ] || skip "$module.ko was not built"
ERROR=$(modprobe $module 2>&1) || fail "modprobe $module: $ERROR"
is_loaded $module || wrong "$module is not loaded"
dmesg_has 'vmbus_sample' && note "$LINE"
ERROR=$(rmmod $module 2>&1) || wrong "rmmod $module: $ERROR"
load_balloon
