# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# A kernel starts another one: the bus is left in order, so that the next kernel on the
# same host can negotiate from the start.

case $STAGE in
'')
	[ -x /usr/sbin/kexec ] || skip "this guest has no kexec"
	load_balloon
	ERROR=$(kexec -s -l /boot/vmlinuz --initrd=/boot/initrd --reuse-cmdline 2>&1) ||
		fail "kexec -l: $ERROR"
	host expect second || fail "the host: $ANSWER"
	dmesg_check
	[ -z "$FAILURE" ] || fail "$FAILURE"
	# Through the kernel's shutdown path: devices' shutdown methods, then the new kernel.
	kexec -e
	fail "kexec -e came back"
	;;
second)
	[ ! -e /boot/vmlinuz ] || fail "this is still the first kernel"
	load_balloon
	if [ "$STACK" = rust ]; then
		dmesg_ever 'vmbus: connected' || fail "the second kernel did not connect"
	else
		dmesg_ever 'Vmbus version:' || fail "the second kernel did not connect"
	fi
	note "second kernel: $LINE"
	;;
esac
