# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# make bench-storage: figures of one disk, whichever this guest has. For every measurement:
# what fio says (IOPS or KiB/s, 99th percentile of the completion latency), and what an I/O
# costs: processor time of the guest's processors and of the rest of its VMM, exits of the guest,
# signals to the host and interrupts. Guests that are compared are up at the same time and are measured in
# turn, row by row. The costs are taken in a window of the time in which fio measures: its start
# and its end, expensive in an emulated machine, are no part of them.

# Seconds: before fio measures, and of that window. fio is ended when the window is over, however long
# that takes on a slow machine; it counts what it has done in the time that it has had.
RAMP=1
WINDOW=2
TOO_LONG=120

# shellcheck source=tests/guest/bench.sh
. /tests/bench.sh

case $(sed -n 's/.*vmlab.disk=\([a-z]*\).*/\1/p' /proc/cmdline) in
virtio)
	load virtio_blk
	DISK=/dev/vda
	INTERRUPTS='virtio[0-9]+-req'
	;;
ahci)
	load ahci sd_mod
	DISK=/dev/sda
	INTERRUPTS='ahci'
	;;
*)
	load_disks
	need_disk 0
	CHANNELS=$(synthetic "$SCSI_CLASS" 0)/channels
	INTERRUPTS=''
	;;
esac
wait_for 20 test -b "$DISK" || fail "there is no $DISK"
BLOCK=/sys/block/${DISK#/dev/}

# The same for all: nobody but the driver decides when a request goes.
echo none >"$BLOCK/queue/scheduler" || fail "$DISK has no scheduler none"
same "the scheduler" "$(sed 's/.*\[\(.*\)\].*/\1/' "$BLOCK/queue/scheduler")" none

# Every block is there before anything is measured.
fio_job fill --filename="$DISK" --rw=write --bs=1M --direct=1 --ioengine=libaio --iodepth=4

# moved: the 512-byte sectors that the disk has read and written are left in SECTORS. Like
# all that runs in the window, it starts no program.
moved() {
	local _ read written
	read -r _ _ read _ _ _ written _ <"$BLOCK/stat"
	SECTORS=$((read + written))
}

has_moved() {
	moved
	[ "$SECTORS" -gt "$1" ]
}

# measure KEY FIELD UNIT BYTES OPTION...: what fio does with I/Os of BYTES, FIELD of its report, and what
# they cost.
measure() {
	local key=$1 field=$2 unit=$3 size=$(($4 / 512)) what=iops p99=18
	local signals interrupts guest vmm exits start middle
	shift 4
	take_turn
	moved
	start=$SECTORS
	fio_start "$key" --filename="$DISK" --direct=1 --ioengine=libaio --norandommap --randrepeat=0 \
		--thread --group_reporting --percentile_list=99 \
		--time_based --ramp_time=$RAMP --runtime=$TOO_LONG "$@"
	wait_for 30 has_moved "$start" || fail "$key: fio does nothing"
	sleep $RAMP
	# For whoever knows how much of this time the machine was kept from working.
	note "mark $key"
	count
	signals=$SIGNALED interrupts=$INTERRUPTED
	moved
	start=$SECTORS
	ask 'kvm? exits'
	exits=$ANSWER
	ask cpu?
	guest=${ANSWER% *} vmm=${ANSWER#* }
	sleep $WINDOW
	moved
	middle=$SECTORS
	ask cpu?
	guest=$((${ANSWER% *} - guest)) vmm=$((${ANSWER#* } - vmm))
	ask 'kvm? exits'
	exits=$((ANSWER - exits))
	count
	signals=$((SIGNALED - signals)) interrupts=$((INTERRUPTED - interrupts))
	moved
	note "mark $key"
	fio_stop "$key"
	pass_turn
	[ "$middle" -gt "$start" ] || fail "$key: no I/O in $WINDOW s"
	[ "$unit" = IOPS ] || what=bandwidth
	note "bench $key/$what $(fio_field "$field") $unit"
	# Writes are reported after reads, the percentile asked for is the first of twenty.
	[ "$field" -lt 47 ] || p99=59
	p99=$(fio_field $p99)
	matches "fio's percentile" "$p99" '99\.0+%=[0-9]+'
	note "bench $key/p99 ${p99#*=} us"
	# Milliseconds to microseconds. Exits, signals and interrupts were counted a little longer.
	# shellcheck disable=SC2046 # words
	set -- $(awk -v size=$size -v n=$((middle - start)) -v m=$((SECTORS - start)) \
		-v guest=$guest -v vmm=$vmm -v exits=$exits -v signals=$signals \
		-v interrupts=$interrupts 'BEGIN {
			n /= size; m /= size
			printf "%.1f %.1f %.3f %.4f %.4f\n", guest * 1000 / n, vmm * 1000 / n, exits / m,
				signals / m, interrupts / m
		}')
	note "bench $key/guest-cpu $1 us"
	note "bench $key/vmm-cpu $2 us"
	note "bench $key/exits $3 per-IO"
	[ -n "$INTERRUPTS" ] || note "bench $key/signals $4 per-IO"
	note "bench $key/interrupts $5 per-IO"
}

for jobs in 1 4; do
	for depth in 1 32 128; do
		shape=qd$depth-j$jobs
		measure 4k-randread-$shape 8 IOPS 4096 --rw=randread --bs=4k --iodepth=$depth --numjobs=$jobs
		measure 4k-randwrite-$shape 49 IOPS 4096 --rw=randwrite --bs=4k --iodepth=$depth --numjobs=$jobs
	done
done
# As a database does it: several at a time.
batch="--rw=randread --bs=4k --iodepth=32 --iodepth_batch_submit=16 --iodepth_batch_complete_min=16 --iodepth_batch_complete_max=16"
# shellcheck disable=SC2086 # words
measure 4k-randread-qd32-b16 8 IOPS 4096 $batch
# shellcheck disable=SC2086 # words
measure 4k-randwrite-qd32-b16 49 IOPS 4096 $batch --rw=randwrite
measure 128k-read-qd8-j1 7 KiB/s 131072 --rw=read --bs=128k --iodepth=8
measure 128k-write-qd8-j1 48 KiB/s 131072 --rw=write --bs=128k --iodepth=8
