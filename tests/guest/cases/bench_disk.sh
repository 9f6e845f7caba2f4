# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# make bench-host: figures of one disk, synthetic or virtio, whichever this guest has.

if grep -q 'vmlab.bench=virtio' /proc/cmdline; then
	load virtio_blk
	DISK=/dev/vda
	wait_for 20 test -b $DISK || fail "there is no $DISK"
else
	load_disks
	need_disk 0
fi

# Every block is there before anything is measured.
fio_job fill --filename="$DISK" --rw=write --bs=1M --direct=1 --ioengine=libaio --iodepth=4

# measure KEY FIELD UNIT OPTION...
measure() {
	local key=$1 field=$2 unit=$3
	shift 3
	fio_job "$key" --filename="$DISK" --direct=1 --ioengine=libaio --norandommap --randrepeat=0 \
		--time_based --ramp_time=1 --runtime=4 "$@"
	note "bench disk-$key $(fio_field "$field") $unit"
}

for depth in 1 32; do
	measure 4k-randread-qd$depth 8 IOPS --rw=randread --bs=4k --iodepth=$depth
	measure 4k-randwrite-qd$depth 49 IOPS --rw=randwrite --bs=4k --iodepth=$depth
done
measure 128k-read-qd8 7 KiB/s --rw=read --bs=128k --iodepth=8
measure 128k-write-qd8 48 KiB/s --rw=write --bs=128k --iodepth=8
