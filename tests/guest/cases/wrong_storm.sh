# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Thousands of packets that nobody asked for, of every sort, while four jobs write and read back:
# the disks stay, I/O goes on, the log doesn't drown.

load_disks
need_disk 0
disks=$(how_many /sys/block/sd*)
start_verify storm "$DISK"
verify_goes_on storm 60
for packet in enumerate remove unknown garbage complete; do
	wrong_under_io storm storm 2000 "\"packet\": \"$packet\""
done
counted 1
wrong_under_io storm storm 3000 '"channel": 1'
# The first look at the devices after each storm may still be under way.
wait_for 60 no_blocked_task || wrong "these wait: $(blocked_tasks)"
end_verify storm 120
same "disks" "$(how_many /sys/block/sd*)" "$disks"
between "lines in the log" "$(log_lines 'storvsc')" 0 300
check_disk "$DISK"
settled
