# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Answers that are too short, sense data that are longer than they can be, more bytes than were
# asked for, a status that no SRB has: while four jobs write and read back.

DMESG_ALLOW='sd [0-9:]+: \[sd[a-z]+\] tag#|I/O error, dev sd'
load_disks
need_disk 0
start_verify lengths "$DISK"
verify_goes_on lengths 60
wrong_under_io lengths short 50
counted 150
for length in 0 8 16 47 63; do
	wrong_under_io lengths short 10 "\"length\": $length"
done
wrong_under_io lengths sense-length 10
wrong_under_io lengths residual 50
wrong_under_io lengths residual 50 '"by": 4294967295'
counted 50
end_verify lengths 60

# A request that is refused by the protocol itself is no success: tried again at first, then an error.
misbehave refuse '"count": 2'
check_disk "$DISK"
misbehave refuse '"count": 1000'
start_fio refused --filename="$DISK" --direct=1 --ioengine=psync --rw=read --bs=4k --size=4k
fio_end refused 90
same "fio's error when everything is refused" "$FIO_ERROR" 5
misbehave none
check_disk "$DISK"
nothing_hangs 20
settled
