# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The answer to a request comes on another channel: it isn't taken, the request times out and is
# sent again; what was written is what is read.

DMESG_ALLOW='sd [0-9:]+: (\[sd[a-z]+\] tag#|Power-on or device reset occurred)'
load_disks
need_disk 0
more "channels" "$(counter channels)" 1 || fail "this needs several channels"
start_verify channel "$DISK"
verify_goes_on channel 60
before=$(counter timeouts)
wrong_under_io channel other-channel 3
counted 3
timed_out() { [ "$(counter timeouts)" -gt "$before" ]; }
wait_for 60 timed_out || wrong "nothing timed out"
end_verify channel 120
same "state of the disk" "$(cat "$(scsi_dir 0)/state")" running
note "time-outs $(($(counter timeouts) - before)), resets $(counter resets)"
check_disk "$DISK"
nothing_hangs 20
settled
