# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The shutdown service: the host asks, hv_utils has the guest switch itself off.

load hv_utils
wait_for 20 service_is_bound 0e0b6031-5213-4934-818b-38d90ced39db || fail "nobody serves shutdown"
# What the kernel calls then; init here is a script that takes no signals.
rm -f /sbin/poweroff
cat >/sbin/poweroff <<-'POWEROFF'
	#!/bin/sh
	echo "# /sbin/poweroff was called" >/dev/ttyS1
	exec /bin/busybox poweroff -f
POWEROFF
chmod 755 /sbin/poweroff
dmesg_check
[ -z "$FAILURE" ] || fail "$FAILURE"
ask end power-off
host hvctl '{"command": "power-off"}' || fail "the host: $ANSWER"
sleep 60
fail "the machine did not switch itself off"
