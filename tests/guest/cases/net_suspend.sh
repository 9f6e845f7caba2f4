# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The guest suspends itself to idle in the middle of a stream, and its control line wakes it: the stream goes on and
# all of it arrives, and the NIC's queues are what they were.

load_net
must ethtool -L "$NIC" combined 2
net_up
ask serve-echo 5300
head -c 4000000 /dev/urandom >/tmp/data

suspends
before=$SUSPENDED
for round in 1 2 3; do
	note "round $round"
	rm -f /tmp/back
	# A little at a time, so that it lasts.
	(
		part=0
		while [ $part -lt 40 ]; do
			dd if=/tmp/data bs=100000 count=1 skip=$part 2>/dev/null
			sleep 0.1
			part=$((part + 1))
		done
	) | nc 192.168.77.1 5300 >/tmp/back &
	stream=$!
	sleep_and_wake
	wait_for 20 pings 192.168.77.1 || fail "round $round: the host does not answer any more"
	wait $stream || wrong "round $round: the stream broke"
	cmp /tmp/data /tmp/back || wrong "round $round: what came back differs"
done
suspends
same "times that the guest was suspended" $((SUSPENDED - before)) 3
same "queues" "$(rx_queues "$NIC")" 2
[ "$STACK" = c ] || frames_end
