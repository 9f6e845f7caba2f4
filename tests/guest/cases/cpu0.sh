# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# The CPU that the connection was made on can't go; if the kernel lets us ask at all.

load_bus
if [ ! -e /sys/devices/system/cpu/cpu0/online ]; then
	skip "this kernel can't take CPU 0 off-line"
fi
refused "taking the connect CPU" sh -c 'echo 0 >/sys/devices/system/cpu/cpu0/online'
