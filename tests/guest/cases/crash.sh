# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# A kernel dies: the panic handler tells the host, the machine resets, and the next boot
# finds a host that is as new. What makes this hard: the CPU that was stopped may have left a
# timer's message in the slot that the host's answer goes through. QEMU then waits for that
# CPU's own end-of-message, which will never come, so the slot has to be empty before the
# host is told; and a QEMU that is reset while its bus is in use ends with an assertion.

case $STAGE in
'')
	load_balloon
	host expect second || fail "the host: $ANSWER"
	dmesg_check
	[ -z "$FAILURE" ] || fail "$FAILURE"
	echo 1 >/proc/sys/kernel/sysrq
	echo c >/proc/sysrq-trigger
	sleep 30
	fail "the machine survived a crash"
	;;
second)
	load_balloon
	host console? 'Kernel panic' || fail "the host: $ANSWER"
	more "panics on the console" "$ANSWER" 0
	note "after the crash: MemTotal $(mem MemTotal) MiB, channel state $(cat "$DEVICE/state")"
	;;
esac
