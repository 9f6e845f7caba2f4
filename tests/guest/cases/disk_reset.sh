# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The controller is reset by hand (sg_reset) again and again while a disk is written and read
# back: no command is lost.

DMESG_ALLOW='sd [0-9:]+: \[sd[a-z]+\] tag#|sd [0-9:]+: (Power-on or device reset occurred|Device offlined)'
load_disks
need_disk 0
load sg
resets=0
[ "$STACK" = c ] || resets=$(counter resets)
start_verify busy "$DISK"
verify_goes_on busy 60
for round in 1 2 3 4 5; do
	timeout 60 sg_reset --no-esc --host "$DISK" >/tmp/reset 2>&1 || wrong "reset $round: $(tr '\n' ' ' </tmp/reset)"
	verify_goes_on busy 60
done
end_verify busy 60
same "state of the disk" "$(cat "$(scsi_dir 0)/state")" running
[ "$STACK" = c ] || same "resets" "$(counter resets)" $((resets + 5))
check_disk "$DISK"
nothing_hangs 20
settled
no_breach
