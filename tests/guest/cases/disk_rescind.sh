# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The host takes a controller away in the middle of I/O: every command ends within the bound, with
# an error; the controller goes; nothing hangs; the other controller isn't disturbed. When it is
# offered again it works again. Three times: direct I/O, a file system, nothing at all.

# Seconds in which whoever waits for I/O must have heard of the end: a moment's work, on a machine that
# may be very busy; less than the time-out of a command in any case.
BOUND=60
DMESG_ALLOW="$DISK_GONE|EXT4-fs|JBD2|Aborting journal"
load_disks
need_disk 0
keeper=$DISK
need_disk 0 1
remember_controller 1
instance=${CONTROLLER##*/}
presence_is() {
	ask hvctl '{"command": "devices"}'
	case $ANSWER in *"\"$instance\""*"\"presence\":\"$1\""*) true ;; *) false ;; esac
}
start_verify keeper "$keeper"

# rescind: from here to the end of what is told of the controller.
rescind() {
	began=$(uptime_seconds)
	ask hvctl '{"command": "rescind", "device": "scsi1"}'
}
goes() {
	wait_for 30 lacks_controller || stands_still "$1: the controller is still there"
	if ls -d "/sys/block/${victim#/dev/}" >/dev/null 2>&1; then wrong "$1: $victim is still there"; fi
	verify_goes_on keeper 60
	[ "$STACK" = c ] || [ ! -d "$DEBUG/storvsc/$instance" ] || wrong "$1: its debugfs directory is still there"
	ask hvctl '{"command": "reoffer", "device": "scsi1"}'
	wait_for 60 has_controller || stands_still "$1: the controller did not come back"
	wait_for 15 has_disk 0 1 || tell_standstill
	need_disk 0 1
	check_disk "$DISK"
	settled 1
}

victim=$DISK
start_fio victim --filename="$victim" --direct=1 --ioengine=libaio --iodepth=32 --numjobs=4 --rw=randrw \
	--bsrange=4k-64k --time_based --runtime=600 --group_reporting
sleep 3
rescind
fio_end victim $BOUND
note "direct I/O ended $(($(uptime_seconds) - began)) s after the rescind, fio's error $FIO_ERROR"
[ "$FIO_RC" != 0 ] || wrong "fio did not notice"
# EIO, ENXIO, ENODEV, or ENOENT for a job that begins anew: never a result that looks good.
matches "fio's error" "$FIO_ERROR" '2|5|6|19'
goes "direct I/O"

victim=$DISK
must mkfs.ext4 -q -F -E nodiscard "$victim"
mkdir -p /tmp/gone
must mount "$victim" /tmp/gone
(while dd if=/dev/zero of=/tmp/gone/busy bs=64k count=64 conv=fsync 2>/dev/null; do :; done) &
writer=$!
sleep 2
rescind
wait_for $BOUND process_is_gone $writer || stands_still "the writer still waits"
note "the writer ended $(($(uptime_seconds) - began)) s after the rescind"
umount /tmp/gone || umount -l /tmp/gone
goes "file system"

victim=$DISK
rescind
goes "nothing under way"

end_verify keeper 60
nothing_hangs 20
settled 0
no_breach 0
