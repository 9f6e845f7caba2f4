# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Commands fail in every way a unit or a host knows; the application hears the right error, the
# kernel's log has the right words, what is worth a new try is tried again, and the disk goes on.

DMESG_ALLOW='(critical (medium|target|space allocation)|I/O|reservation conflict) error, dev sd|sd [0-9:]+: \[sd[a-z]+\] tag#|sd [0-9:]+: reservation conflict'
load_disks
need_disk 0
check_disk "$DISK"

# job MODE: one request of 4 KiB; fio's error is left in FIO_ERROR.
job() {
	start_fio one --filename="$DISK" --direct=1 --ioengine=psync --rw="$1" --bs=4k --size=4k --offset=1M
	fio_end one 60
}
# sense KEY ASC [ASCQ [COUNT]], port SRB-STATUS [SCSI-STATUS [COUNT]]: what to inject.
sense() {
	echo "\"kind\": \"sense\", \"key\": $1, \"asc\": \"$2\", \"ascq\": \"${3:-0}\", \"count\": ${4:-1}"
}
port() {
	echo "\"kind\": \"srb-status\", \"status\": \"$1\", \"scsi\": \"${2:-0}\", \"count\": ${3:-1}"
}
# ends WHAT MODE ERRNO REGEX INJECTION: a request with that injection ends with that error, the log
# has such a line (if there is to be one), and the next request is good.
ends() {
	step_mark
	scsi inject "\"lun\": 0, $5"
	job "$2"
	same "$1: fio's error" "$FIO_ERROR" "$3"
	LINE='nothing in the log'
	[ -z "$4" ] || step_has "$4" || wrong "$1: no line '$4' in the log"
	note "$1: error $FIO_ERROR; $LINE"
	scsi inject '"lun": 0, "kind": "none"'
	job "$2"
	same "$1: fio's error afterwards" "$FIO_ERROR" 0
}

# What no new try would help: heard at once.
ends "medium error" read 61 'critical medium error, dev sd' "$(sense 3 0x11)"
ends "write error" write 5 'I/O error, dev sd' "$(sense 3 0x0c 0 9)"
ends "hardware error" read 121 'critical target error, dev sd' "$(sense 4 0x44 0 9)"
ends "data protect" write 121 'critical target error, dev sd' "$(sense 7 0x27)"
ends "no space" write 28 'critical space allocation error, dev sd' "$(sense 7 0x27 7)"
ends "beyond the end" read 121 'critical target error, dev sd' "$(sense 5 0x21)"
# What is tried again: nobody hears of it.
ends "aborted command" write 0 '' "$(sense 11 0)"
ends "reset happened" read 0 '' "$(sense 6 0x29)"
ends "not ready yet" read 0 '' "$(sense 2 4 1)"
ends "recovered error" read 0 '' "$(sense 1 0x17)"
# Statuses of the unit.
ends "busy" read 0 '' "$(port 4 8 3)"
ends "task set full" read 0 '' "$(port 4 0x28 3)"
ends "reservation conflict" write 52 'reservation conflict' "$(port 4 0x18)"
# Statuses of the port: tried again, and an error when that doesn't help.
for status in 0x02 0x04 0x05 0x06 0x0e 0x30; do
	ends "SRB status $status" read 0 '' "$(port $status)"
done
ends "SRB status 4 for good" read 5 'I/O error, dev sd' "$(port 4 0 100)"
# A late answer is no error.
scsi inject '"lun": 0, "kind": "delay", "ms": 1500'
job read
same "fio's error after a late answer" "$FIO_ERROR" 0

# An application that asks itself gets the sense data.
scsi inject "\"lun\": 0, $(sense 3 0x11), \"opcode\": \"0x28\""
if sg_raw -r 4096 "$DISK" 28 00 00 00 00 00 00 00 08 00 >/tmp/raw 2>&1; then wrong "the READ(10) was good"; fi
grep -qi 'Medium Error' /tmp/raw || wrong "no medium error for the application: $(tr '\n' ' ' </tmp/raw)"
grep -qi 'Unrecovered read error' /tmp/raw || wrong "not the sense data: $(tr '\n' ' ' </tmp/raw)"

unit_stat 0 injected
note "$ANSWER commands were made to fail"
check_disk "$DISK"
settled
no_breach
