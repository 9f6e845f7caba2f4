# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The root file system is on a synthetic disk.

is_loaded "$STORVSC" || wrong "$STORVSC is not loaded"
root=$(awk '$2 == "/" && $1 != "rootfs" { print $1 " " $3 }' /proc/mounts)
matches "root file system" "$root" '/dev/(root|sda) ext4'
grep -q 'root=/dev/sda' /proc/cmdline || wrong "this is not the scenario for it"
must mount -o remount,rw /
seq 1 300000 >/numbers
sync
echo 3 >/proc/sys/vm/drop_caches
seq 1 300000 | cmp - /numbers || wrong "the file reads differently"
# Programs come from the disk as well, and it bears several of them.
fio_job files --directory=/ --rw=randrw --bs=4k --size=2M --numjobs=4 --verify=crc32c \
	--ioengine=psync --group_reporting
rm -f /numbers /files.*
dmesg_ever 'EXT4-fs \(sda\): mounted' || wrong "the kernel did not mount it from sda"
note "$LINE"
