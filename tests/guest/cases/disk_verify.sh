# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# fio writes and verifies with four jobs at once.

load_disks
need_disk 0
fio_job verify --filename="$DISK" --direct=1 --ioengine=libaio --iodepth=16 --numjobs=4 \
	--rw=randwrite --bssplit=4k/50:16k/30:64k/20 --size=12M --offset_increment=48M \
	--verify=crc32c --verify_fatal=1 --do_verify=1 --group_reporting
note "written $(fio_field 47) KiB, verified $(fio_field 6) KiB"
more "KiB verified" "$(fio_field 6)" $((4 * 12 * 1024 - 1))
# The same with lengths of any number of sectors, and through the page cache.
fio_job sectors --filename="$DISK" --direct=1 --ioengine=libaio --iodepth=8 --rw=randrw \
	--bsrange=512-20k --blockalign=512 --size=4M --verify=md5 --verify_fatal=1
fio_job buffered --filename="$DISK" --ioengine=psync --rw=write --bs=4k --size=4M --offset=128M \
	--verify=crc32c --verify_fatal=1 --fsync_on_close=1
