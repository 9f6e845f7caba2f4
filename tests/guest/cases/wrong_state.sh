# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Answers to questions of the set-up, long after it: they change nothing.

load_disks
need_disk 0
start_verify state "$DISK"
verify_goes_on state 60
bytes=$(counter max_transfer_bytes)
channels=$(counter channels)
for operation in begin version properties end subchannels; do
	wrong_under_io state flip-state 5 "\"operation\": \"$operation\""
	counted 5
	wrong_under_io state flip-state 5 "\"operation\": \"$operation\", \"status\": \"0xc0000001\""
	counted 5
done
end_verify state 60
same "most bytes of a transfer" "$(counter max_transfer_bytes)" "$bytes"
same "channels" "$(counter channels)" "$channels"
check_disk "$DISK"
nothing_hangs 20
settled
