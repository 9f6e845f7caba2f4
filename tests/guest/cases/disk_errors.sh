# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Commands fail in every way a unit or a host knows; the application hears the right error, the
# kernel's log has the right words, what is worth a new try is tried again, and the disk goes on.

DMESG_ALLOW='(critical (medium|target|space allocation)|I/O|reservation conflict) error, dev sd|sd [0-9:]+: \[sd[a-z]+\] tag#|sd [0-9:]+: reservation conflict'
load_disks
need_disk 0
check_disk "$DISK"

# job read|write: one request of 4 KiB past the page cache; the error that dd says is left in SAID.
job() {
	local said
	if [ "$1" = read ]; then
		said=$(dd if="$DISK" of=/dev/null bs=4k count=1 skip=256 iflag=direct 2>&1)
	else
		said=$(dd if=/dev/zero of="$DISK" bs=4k count=1 seek=256 oflag=direct conv=notrunc 2>&1)
	fi && SAID=good && return
	SAID=$(echo "$said" | sed -n '1s/.*: //p')
}
# sense KEY ASC [ASCQ [COUNT]], port SRB-STATUS [SCSI-STATUS [COUNT]]: what to inject.
sense() {
	echo "\"kind\": \"sense\", \"key\": $1, \"asc\": \"$2\", \"ascq\": \"${3:-0}\", \"count\": ${4:-1}"
}
port() {
	echo "\"kind\": \"srb-status\", \"status\": \"$1\", \"scsi\": \"${2:-0}\", \"count\": ${3:-1}"
}
# ends WHAT MODE ERROR REGEX INJECTION: a request with that injection ends with that error, the log
# has such a line (if there is to be one), and the next request is good.
ends() {
	step_mark
	scsi inject "\"lun\": 0, $5"
	job "$2"
	same "$1: the error" "$SAID" "$3"
	LINE='nothing in the log'
	[ -z "$4" ] || step_has "$4" || wrong "$1: no line '$4' in the log"
	note "$1: $SAID; $LINE"
	scsi inject '"lun": 0, "kind": "none"'
	job "$2"
	same "$1: the error afterwards" "$SAID" good
}

# What no new try would help: heard at once.
ends "medium error" read 'No data available' 'critical medium error, dev sd' "$(sense 3 0x11)"
ends "write error" write 'Input/output error' 'I/O error, dev sd' "$(sense 3 0x0c 0 9)"
ends "hardware error" read 'Remote I/O error' 'critical target error, dev sd' "$(sense 4 0x44 0 9)"
ends "data protect" write 'Remote I/O error' 'critical target error, dev sd' "$(sense 7 0x27)"
ends "no space" write 'No space left on device' 'critical space allocation error, dev sd' "$(sense 7 0x27 7)"
ends "beyond the end" read 'Remote I/O error' 'critical target error, dev sd' "$(sense 5 0x21)"
# What is tried again: nobody hears of it.
ends "aborted command" write good '' "$(sense 11 0)"
ends "reset happened" read good '' "$(sense 6 0x29)"
ends "not ready yet" read good '' "$(sense 2 4 1)"
# Statuses of the unit.
ends "busy" read good '' "$(port 4 8 3)"
ends "task set full" read good '' "$(port 4 0x28 3)"
ends "reservation conflict" write 'Invalid exchange' 'reservation conflict' "$(port 4 0x18)"
# Statuses of the port: tried again, and an error when that doesn't help.
for status in 0x02 0x04 0x05 0x06 0x0e 0x30; do
	ends "SRB status $status" read good '' "$(port $status)"
done
ends "SRB status 4 for good" read 'Input/output error' 'I/O error, dev sd' "$(port 4 0 100)"
# A late answer is no error.
scsi inject '"lun": 0, "kind": "delay", "ms": 1500'
job read
same "the error after a late answer" "$SAID" good

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
