# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The host's index in a ring makes no sense: commands end in bounded time, and after the controller
# was withdrawn and offered again it works. First the primary channel, then a sub-channel.

# Seconds: a time-out, a reset without an answer, and a look at the result.
BOUND=120
DMESG_ALLOW="$DISK_GONE|] (storvsc|vmbus): "
load_disks
need_disk 0
start_verify keeper "$DISK"
for channel in 0 1; do
	need_disk 0 1
	victim=$DISK
	remember_controller 1
	errors=$(value "$DEBUG/vmbus/connection" protocol_errors)
	start_fio victim --filename="$victim" --direct=1 --ioengine=libaio --iodepth=16 --numjobs=4 --rw=randrw \
		--bs=4k --time_based --runtime=$BOUND --group_reporting
	sleep 2
	misbehave bad-ring "\"channel\": $channel" scsi1
	verify_goes_on keeper 60
	# Either an error, or it went on by another way to the end of its time.
	fio_end victim $((2 * BOUND))
	note "channel $channel: fio ended with $FIO_RC, error $FIO_ERROR"
	# The controller may be gone already, and its counters with it.
	own=$(breaches 1 2>/dev/null)
	more "breaches" "$(($(value "$DEBUG/vmbus/connection" protocol_errors) + ${own:-0}))" "$errors"
	ask hvctl '{"command": "rescind", "device": "scsi1"}'
	wait_for 60 lacks_controller || stands_still "channel $channel: the controller is still there"
	ask hvctl '{"command": "reoffer", "device": "scsi1"}'
	need_disk 0 1
	check_disk "$DISK"
	settled 1
done
end_verify keeper 60
nothing_hangs 20
settled 0
