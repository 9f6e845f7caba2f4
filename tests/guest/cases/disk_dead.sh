# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The host answers nothing any more, not even a reset: every command ends in bounded time, the disk
# goes off line, nothing hangs, the module can be unloaded, and when the host is itself again the
# driver is, too.

# Seconds: a time-out (5), a reset without an answer (30), the channels closed and opened without an
# answer, and noise.
BOUND=240
DMESG_ALLOW="$DISK_GONE|$HOST_SILENT|sd [0-9:]+: (Power-on or device reset occurred|timing out command)"
load_disks
need_disk 0
start_verify keeper "$DISK"
need_disk 0 1
victim=$DISK
start_fio victim --filename="$victim" --direct=1 --ioengine=libaio --iodepth=16 --numjobs=4 --rw=randrw --bs=4k \
	--time_based --runtime=900 --group_reporting
sleep 2
began=$(uptime_seconds)
misbehave silent '"reset": false' scsi1
fio_end victim $BOUND
note "fio ended after $(($(uptime_seconds) - began)) s with error $FIO_ERROR"
[ "$FIO_RC" != 0 ] || wrong "fio did not notice"
verify_goes_on keeper 60
matches "state of the disk" "$(cat "$(scsi_dir 0 1)/state" 2>/dev/null || echo gone)" 'offline|transport-offline|gone'
# Nobody waits any more, not even who asks now.
timeout 60 dd if="$victim" of=/dev/null bs=4k count=1 2>/dev/null && wrong "a read of a dead disk was good"
nothing_hangs 60
end_verify keeper 60

wait_for 60 rmmod "$STORVSC" 2>/dev/null || fail "$STORVSC can't be unloaded: $(blocked_tasks)"
misbehave none '"forget": true' scsi1
load_disks
need_disk 0
check_disk "$DISK"
need_disk 0 1
check_disk "$DISK"
settled 0
settled 1
