# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The host takes requests and answers none. After the time-out the driver has the bus reset, the
# commands are sent again, and what was written is what is read: three ways of a reset.

# Seconds from the silence to I/O: time-out, reset, the channels opened anew, and noise.
BOUND=120
DMESG_ALLOW="sd [0-9:]+: (\[sd[a-z]+\] tag#|Power-on or device reset occurred)|$HOST_SILENT"
load_disks
need_disk 0
same "seconds for a command" "$(cat "$(scsi_dir 0)/timeout")" 5
start_verify silent "$DISK"
verify_goes_on silent 60
# The reset ends what the host holds; it forgets what it holds; a short silence that ends by itself.
for how in true '"forget"'; do
	resets=$(counter resets)
	timeouts=$(counter timeouts)
	began=$(uptime_seconds)
	misbehave silent "\"count\": 20, \"reset\": $how"
	wait_for $BOUND counter_above resets "$resets" || fail "reset $how: the driver never reset the bus: $(blocked_tasks)"
	note "reset=$how: $(($(uptime_seconds) - began)) s until the reset was begun"
	verify_goes_on silent $BOUND
	note "reset=$how: $(($(uptime_seconds) - began)) s until I/O went on; time-outs $(($(counter timeouts) - timeouts)), resets $(($(counter resets) - resets)), reconnects $(counter reconnects)"
	more "time-outs" "$(counter timeouts)" "$timeouts"
	misbehave none
done
end_verify silent $BOUND
same "state of the disk" "$(cat "$(scsi_dir 0)/state")" running
check_disk "$DISK"
nothing_hangs 20
settled
