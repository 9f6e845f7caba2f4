# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# With --on-reboot restart hvhost begins anew with the same command line; RAM disks are empty again.

case $STAGE in
'')
	load_disks
	need_disk 0
	echo 'before the reboot' | dd of="$DISK" bs=512 conv=sync,fsync 2>/dev/null || fail "can't write $DISK"
	dmesg_check
	[ -z "$FAILURE" ] || fail "$FAILURE"
	ask expect second
	reboot -f
	sleep 30
	fail "the machine did not restart"
	;;
second)
	same "VMBus version" "$(vmbus_version)" 6.0
	load_disks
	need_disk 0
	same "bytes other than 0 on the RAM disk" "$(head -c 4096 "$DISK" | tr -d '\0' | wc -c)" 0
	;;
esac
