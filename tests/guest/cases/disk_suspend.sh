# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The guest suspends itself to idle in the middle of I/O, and its control line wakes it: I/O goes on, with
# what is mounted as with what is not.

load_disks
need_disk 0 1
must mkfs.ext4 -q -F -E nodiscard "$DISK"
mkdir -p /tmp/fs
must mount "$DISK" /tmp/fs
dd if=/dev/urandom of=/tmp/fs/random bs=64k count=64 2>/dev/null || fail "the file can't be written"
sum=$(md5sum </tmp/fs/random)
need_disk 0
start_verify steady "$DISK"
verify_goes_on steady 60

suspends
before=$SUSPENDED
for round in 1 2 3; do
	note "round $round"
	sleep_and_wake
	verify_goes_on steady 60
done
suspends
same "times that the guest was suspended" $((SUSPENDED - before)) 3
echo 3 >/proc/sys/vm/drop_caches
same "sum of the file" "$(md5sum </tmp/fs/random)" "$sum"
must umount /tmp/fs
end_verify steady 60
nothing_hangs 20
settled 0
settled 1
no_breach
