# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A kernel starts another one: bus and devices are left in order, and the next kernel on the same host has them again.

case $STAGE in
'')
	load_disks
	load_net
	nic_up "$NIC" 192.168.77.2/24
	need_disk 0
	echo 'before the kexec' | dd of="$DISK" bs=512 conv=sync,fsync 2>/dev/null || fail "can't write $DISK"
	must kexec -s -l /boot/vmlinuz --initrd=/boot/initrd --reuse-cmdline
	ask expect second
	dmesg_check
	[ -z "$FAILURE" ] || fail "$FAILURE"
	# Through the kernel's shutdown path: devices' shutdown methods, then the new kernel.
	kexec -e
	fail "kexec -e came back"
	;;
second)
	[ ! -e /boot/vmlinuz ] || fail "this is still the first kernel"
	same "VMBus version" "$(vmbus_version)" 6.0
	load_disks
	need_disk 0
	same "what was written before" "$(head -c 16 "$DISK")" 'before the kexec'
	load_net
	net_up
	;;
esac
