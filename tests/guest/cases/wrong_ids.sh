# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Completions that are for nobody: twice, late, with ids that were never given, while four jobs
# write and read back. None of them completes a command, or any command twice.

load_disks
need_disk 0
start_verify ids "$DISK"
verify_goes_on ids 60
wrong_under_io ids twice 200
counted 200
wrong_under_io ids late-twice 100 '"ms": 100'
sleep 1
counted 100
wrong_under_io ids unknown-id 50
counted 200
for id in 1 4294967296 18446744073709551615; do
	wrong_under_io ids unknown-id 20 "\"id\": $id"
	counted 20
done
end_verify ids 60
# Of all that the log has a few lines.
between "lines in the log" "$(log_lines 'storvsc')" 1 200
same "resets" "$(counter resets)" 0
check_disk "$DISK"
nothing_hangs 20
settled
