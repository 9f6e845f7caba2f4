# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# A kernel dies: the panic handler tells the host, the machine resets, and the next boot
# finds a host that is as new. What makes this hard: the CPU that was stopped may have left a
# timer's message in the slot that the host's answer goes through. QEMU then waits for that
# CPU's own end-of-message, which will never come, so the slot has to be empty before the
# host is told; and a QEMU that is reset while its bus is in use ends with an assertion.

# told: how often the host was told to let go, as it traces.
told() { host trace? 'vmbus_recv_message type 16' || fail "the host: $ANSWER"; }

case $STAGE in
'')
	load_balloon
	told
	host expect "after-$ANSWER" || fail "the host: $ANSWER"
	dmesg_check
	[ -z "$FAILURE" ] || fail "$FAILURE"
	echo 1 >/proc/sys/kernel/sysrq
	echo c >/proc/sysrq-trigger
	sleep 30
	fail "the machine survived a crash"
	;;
after-*)
	load_balloon
	told
	same "times that the host was told to let go" "$ANSWER" $((${STAGE#after-} + 1))
	# A CPU that is stopped while it prints may take a line with it.
	signs=0
	for line in 'Trigger a crash' 'Kernel panic' 'Rebooting in'; do
		host console? "$line" || fail "the host: $ANSWER"
		signs=$((signs + ANSWER))
	done
	more "lines of a panic on the console" "$signs" 0
	note "after the crash: MemTotal $(mem MemTotal) MiB, channel state $(cat "$DEVICE/state")"
	;;
esac
