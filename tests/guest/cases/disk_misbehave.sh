# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A host that breaks the protocol in ways that the driver knows of: I/O goes on all the same.

DMESG_ALLOW='Invalid pkt|Invalid packet with ID of 0|Incorrect transaction ID|tag#[0-9]+ (cmd|CDB|Sense|Add)'
# misbehave FIELD...: what the first controller is to do, as fields of the command.
misbehave() { ask hvctl "{\"command\": \"misbehave\", \"device\": \"scsi0\", $1}"; }
# did KIND: how often it did, in ANSWER.
did() { ask "hvctl/misbehaviour/done/$1" '{"command": "stats", "device": "scsi0"}'; }
# survives KIND COUNT FIELDS: the disk is read and written while that happens COUNT times.
survives() {
	local before
	did "$1"
	before=$ANSWER
	misbehave "\"kind\": \"$1\", \"count\": $2${3:+, $3}"
	must dd if=/tmp/noise of="$DISK" bs=64k oflag=direct
	must dd if="$DISK" of=/tmp/back bs=64k count=16 iflag=direct
	cmp /tmp/noise /tmp/back || wrong "$1: other content"
	did "$1"
	same "times of $1" "$((ANSWER - before))" "$2"
}

load_disks
need_disk 0
must dd if=/dev/urandom of=/tmp/noise bs=64k count=16
survives unknown-id 4 '"shape": "zero"'
survives unknown-id 4 '"shape": "max"'
survives unknown-id 4 '"shape": "beyond"'
survives short 4
survives sense-length 4 '"opcode": 40'
survives residual 4 '"by": "0xffffffff"'
survives storm 200 '"packet": "unknown"'
# Sub-channels that never come.
misbehave '"kind": "missing-subchannels"'
wait_for 10 rmmod "$STORVSC" 2>/dev/null || fail "$STORVSC can't be unloaded"
load_disks
need_disk 0
did missing-subchannels
more "missing sub-channels" "$ANSWER" 0
misbehave '"kind": "none"'
must dd if="$DISK" of=/tmp/back bs=64k count=16 iflag=direct
cmp /tmp/noise /tmp/back || wrong "without sub-channels: other content"
