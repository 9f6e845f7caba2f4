# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A host that puts frames where the stack can use them: what arrives is unharmed, also when somebody doesn't
# take it for a while, and frames that are kept don't stop others.

load_net
net_up
wait_for 20 agreed_is vmq yes || fail "the host has no buffer for queues"
serve_iperf 5201
ask serve-echo 5300
head -c 2000000 /dev/urandom >/tmp/data
in_place() { queues_stat rx in_place; }

# unharmed WHAT: a stream there and back, with frames in place; it is thirty segments of the longest there are.
unharmed() {
	local before
	before=$(in_place)
	there_and_back "$1"
	more "$1: frames in place" $(($(in_place) - before)) 20
}
iperf 192.168.77.1 -t 2 -R
note "$KBITS kbit/s from the host, $(in_place) frames in place"
more "frames in place" "$(in_place)" 0
unharmed "MTU 1500"

# Segments that the host leaves whole have one place each.
joined=$(queues_stat rx coalesced)
note "$joined segments that the host left whole"
more "segments that the host left whole" "$joined" 0
# alone WHAT COMMAND...: frames come alone, whole segments afterwards.
alone() {
	local what=$1 joined
	shift
	must ethtool -K "$NIC" lro off
	joined=$(queues_stat rx coalesced)
	"$@" "$what: frames alone"
	same "$what: segments that the host left whole" "$(queues_stat rx coalesced)" "$joined"
	must ethtool -K "$NIC" lro on
	unharmed "$what: segments again"
	more "$what: segments again" "$(queues_stat rx coalesced)" "$joined"
}
# Frames that are copied faster than they are kept track of.
alone "MTU 1500" there_and_back

# The last frames of a stream go back to the host, too, though no other comes.
all_returned() { wait_for 5 agreed_is vmq_lent 0 || wrong "$1: the stack still has $(agreed vmq_lent) frames"; }
all_returned "after a stream"

# keep_frames: streams that nobody reads keep their frames.
keeps_frames() { [ "$(agreed vmq_lent)" -gt 0 ]; }
keep_frames() {
	local stream
	for stream in 1 2 3 4; do
		rm -f "/tmp/gate.$stream"
		must mkfifo "/tmp/gate.$stream"
		(nc 192.168.77.1 5300 </tmp/data | (read -r _ <"/tmp/gate.$stream" && cat >"/tmp/late.$stream")) &
	done
	wait_for 60 keeps_frames || wrong "nothing waits for who reads it"
}

# read_frames WHAT: now they are read, and nothing was lost.
read_frames() {
	local stream
	for stream in 1 2 3 4; do echo >"/tmp/gate.$stream"; done
	wait
	for stream in 1 2 3 4; do
		cmp /tmp/data "/tmp/late.$stream" || wrong "$1: stream $stream: what came late differs"
		rm -f "/tmp/late.$stream"
	done
	all_returned "$1"
}

keep_frames
must ping -q -c 20 -i 0.1 -s 1400 192.168.77.1
# They may have all that is lent at a time; the others are copied then.
there_and_back "beside streams that nobody reads"
read_frames "after streams that nobody read"

# A host that frees its buffer while the stack has frames of it, and asks for another. One channel: on others,
# frames of the one that was freed might come later than it.
must ethtool -L "$NIC" combined 1
wait_for 20 agreed_is vmq yes || fail "the host has no buffer for the queue"
keep_frames
sleep 1
kept=$(agreed vmq_lent)
ask hvctl '{"command": "renew-buffer", "device": "net0"}'
must ping -q -c 20 -i 0.1 -s 1400 192.168.77.1
wait_for 20 agreed_is vmq yes || fail "the host has no other buffer"
note "of a buffer that is freed the stack has $kept frames, then $(agreed vmq_lent)"
more "frames that nobody has read" "$(agreed vmq_lent)" $((kept * 9 / 10))
read_frames "after a buffer that was freed"
unharmed "another buffer"
must ethtool -L "$NIC" combined 2
wait_for 20 agreed_is vmq yes || fail "the host has no buffer for two queues"

must ip link set "$NIC" mtu 9000
wait_for 20 pings 192.168.77.1 || fail "the host does not answer with MTU 9000"
wait_for 20 agreed_is vmq yes || fail "the host has no buffer for queues with MTU 9000"
unharmed "MTU 9000"
alone "MTU 9000" unharmed
must ethtool -L "$NIC" combined 1
wait_for 20 agreed_is vmq yes || fail "the host has no buffer for the queue"
unharmed "one channel"

# Not when the parameter says so.
unload "$NETVSC"
must modprobe "$NETVSC" vmq=0
wait_for 30 nic_is_there || fail "no interface appeared"
net_up "without"
same "VMQ with vmq=0" "$(agreed vmq)" no
there_and_back "without"
same "frames in place" "$(in_place)" 0
