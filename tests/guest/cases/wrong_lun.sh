# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Every command is answered with INVALID_LUN: the disks of the controller go, in bounded time, and
# come back when it is offered again; the other controller isn't disturbed.

DMESG_ALLOW=$DISK_GONE
load_disks
need_disk 0
start_verify keeper "$DISK"
need_disk 0 1
victim=$DISK
start_fio victim --filename="$victim" --direct=1 --ioengine=libaio --iodepth=16 --numjobs=4 --rw=randrw --bs=4k \
	--time_based --runtime=600 --group_reporting
sleep 2
misbehave invalid-lun '' scsi1
fio_end victim 60
[ "$FIO_RC" != 0 ] || wrong "fio did not notice"
wait_for 60 lacks_disk 0 1 || wrong "the disk is still there"
verify_goes_on keeper 60
misbehave none '' scsi1
remember_controller 1
ask hvctl '{"command": "rescind", "device": "scsi1"}'
wait_for 60 lacks_controller || stands_still "the controller is still there"
ask hvctl '{"command": "reoffer", "device": "scsi1"}'
need_disk 0 1
check_disk "$DISK"
end_verify keeper 60
nothing_hangs 20
settled 0
settled 1
