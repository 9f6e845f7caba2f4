# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Sixty-four disks on one controller.

load_disks
count_disks() {
	COUNT=0
	for dir in /sys/block/sd*; do [ ! -d "$dir" ] || COUNT=$((COUNT + 1)); done
	[ $COUNT -eq 64 ]
}
wait_for 60 count_disks || fail "there are $COUNT disks, not 64"
# Each is a disk of its own.
for lun in $(seq 0 63); do
	printf 'LUN %02d' "$lun" | dd of="$(disk "$lun")" bs=512 conv=sync,fsync 2>/dev/null || wrong "LUN $lun can't be written"
done
echo 3 >/proc/sys/vm/drop_caches
for lun in $(seq 0 63); do
	[ "$(head -c 6 "$(disk "$lun")")" = "$(printf 'LUN %02d' "$lun")" ] || wrong "LUN $lun has other content"
done
