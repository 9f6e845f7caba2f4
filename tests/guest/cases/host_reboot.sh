# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# An orderly reboot ends hvhost with the status for it; the next boot finds a host as new.

case $STAGE in
'')
	load_disks
	need_disk 0
	echo 'before the reboot' | dd of="$DISK" bs=512 conv=sync,fsync 2>/dev/null || fail "can't write $DISK"
	dmesg_check
	[ -z "$FAILURE" ] || fail "$FAILURE"
	ask expect second reboot
	reboot -f
	sleep 30
	fail "the machine did not restart"
	;;
second)
	load_disks
	need_disk 0
	same "what was written before" "$(head -c 17 "$DISK")" 'before the reboot'
	;;
esac
