# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A host that puts frames where the stack can use them: what arrives is unharmed, also when somebody doesn't
# take it for a while, and frames that are kept don't stop others.

load_net
nic_up "$NIC" 192.168.77.2/24
wait_for 20 pings 192.168.77.1 || fail "the host does not answer"
wait_for 20 agreed_is vmq yes || fail "the host has no buffer for queues"
serve_iperf 5201
ask serve-echo 5300
head -c 2000000 /dev/urandom >/tmp/data
in_place() { ethtool -S "$NIC" | awk '/^ *rx_queue_[0-9]+_in_place:/ { sum += $2 } END { print sum + 0 }'; }

# unharmed WHAT: a stream there and back, with frames in place.
unharmed() {
	local before
	before=$(in_place)
	there_and_back "$1"
	more "$1: frames in place" $(($(in_place) - before)) 100
}
iperf 192.168.77.1 -t 2 -R
note "$KBITS kbit/s from the host, $(in_place) frames in place"
more "frames in place" "$(in_place)" 0
unharmed "MTU 1500"

# The last frames of a stream go back to the host, too, though no other comes.
all_returned() { wait_for 5 agreed_is vmq_lent 0 || wrong "$1: the stack still has $(agreed vmq_lent) frames"; }
all_returned "after a stream"

# Streams that nobody reads keep their frames; there is room for others.
rm -f /tmp/read
for stream in 1 2 3 4; do
	(nc 192.168.77.1 5300 </tmp/data | (wait_for 60 test -e /tmp/read && cat >"/tmp/late.$stream")) &
done
keeps_frames() { [ "$(agreed vmq_lent)" -gt 0 ]; }
wait_for 30 keeps_frames || wrong "nothing waits for who reads it"
must ping -q -c 20 -i 0.1 -s 1400 192.168.77.1
# They may have all that is lent at a time; the others are copied then.
there_and_back "beside streams that nobody reads"
touch /tmp/read
wait
for stream in 1 2 3 4; do
	cmp /tmp/data "/tmp/late.$stream" || wrong "stream $stream: what came late differs"
	rm -f "/tmp/late.$stream"
done

all_returned "after streams that nobody read"

must ip link set "$NIC" mtu 9000
wait_for 20 pings 192.168.77.1 || fail "the host does not answer with MTU 9000"
wait_for 20 agreed_is vmq yes || fail "the host has no buffer for queues with MTU 9000"
unharmed "MTU 9000"
must ethtool -L "$NIC" combined 1
wait_for 20 agreed_is vmq yes || fail "the host has no buffer for the queue"
unharmed "one channel"

# Not when the parameter says so.
unload "$NETVSC"
must modprobe "$NETVSC" vmq=0
wait_for 30 nic_is_there || fail "no interface appeared"
nic_up "$NIC" 192.168.77.2/24
wait_for 20 pings 192.168.77.1 || fail "the host does not answer without"
same "VMQ with vmq=0" "$(agreed vmq)" no
nc 192.168.77.1 5300 </tmp/data >/tmp/back
cmp /tmp/data /tmp/back || wrong "what came back differs without"
same "frames in place" "$(in_place)" 0
