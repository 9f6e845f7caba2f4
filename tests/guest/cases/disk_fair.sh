# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# One LUN is flooded with a deep queue; another one, with one request at a time, goes on.

load_disks
need_disk 0
flooded=$DISK
need_disk 1
quiet=$DISK
# measure: IOPS of the quiet one.
measure() {
	fio_job quiet --filename="$quiet" --direct=1 --ioengine=psync --rw=randread --bs=4k --norandommap \
		--time_based --runtime=5
	IOPS=$(fio_field 8)
	# Completion latency in microseconds: mean (16) and the 99th percentile (field of its own form).
	P99=$(echo "$FIO" | tr ';' '\n' | sed -n 's/^99.000000%=//p' | head -n 1)
}
measure
alone=$IOPS
note "alone: $alone IOPS, p99 $P99 us"
more "IOPS alone" "$alone" 0 || fail "there is nothing to compare with"
# Counted in the same way, with nothing beside it.
start_fio flood --filename="$flooded" --direct=1 --ioengine=libaio --iodepth=256 --numjobs=2 --rw=randread \
	--bs=4k --norandommap --time_based --runtime=15 --group_reporting
sleep 2
measure
note "beside $(cat "$(scsi_dir 0)/queue_depth") deep flood: $IOPS IOPS, p99 $P99 us, ratio 1/$((alone / (IOPS ? IOPS : 1)))"
fio_end_good flood 60
note "flood: $(fio_field 8) IOPS"
more "requests of the quiet LUN in a second, beside the flood" "$IOPS" $((alone / 200))
more "IOPS of the flood" "$(fio_field 8)" 0
settled
