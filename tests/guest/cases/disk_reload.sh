# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The driver leaves and comes back; disks and what is on them are there again.

load_disks
need_disk 0
seq 1 50000 >/tmp/pattern
must dd if=/tmp/pattern of="$DISK" bs=64k conv=fsync
for round in 1 2 3; do
	wait_for 10 rmmod "$STORVSC" 2>/dev/null || fail "$STORVSC can't be unloaded"
	has_disk 0 && fail "the disk outlived its driver"
	load_disks
	need_disk 0
	head -c "$(stat -c %s /tmp/pattern)" "$DISK" | cmp - /tmp/pattern || wrong "round $round: other content"
done
