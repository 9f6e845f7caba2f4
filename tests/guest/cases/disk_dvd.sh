# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A DVD: the medium is read, not written, and its file system mounted.

load "$STORVSC" sr_mod isofs
wait_for 30 test -b /dev/sr0 || fail "there is no /dev/sr0"
same "media type" "$(cat /sys/block/sr0/device/type)" 5
mkdir -p /tmp/dvd
must mount -t iso9660 -o ro /dev/sr0 /tmp/dvd
seq 1 200000 | cmp - /tmp/dvd/numbers.txt || wrong "the file on the DVD is not what was written"
umount /tmp/dvd
refused "a write" dd if=/dev/zero of=/dev/sr0 bs=2048 count=1 conv=fsync
