# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Sixteen flows come to all of four queues, both ways. They are short: four processors that share the
# one of a nested lab, all of them full, spend their turns on locks whose holder waits for its own.

load_net
must ethtool -L "$NIC" combined 4
# The C driver forgets both when the device is attached again, which changing channels, rings or
# the MTU does (Documentation/c-drivers.md); all frames would come to the first queue.
key=6d:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4:77:cb:2d:a3:80:30:f2:0c:6a:42:b7:3b:be:ac:01:fa
must ethtool -X "$NIC" default
must ethtool -X "$NIC" hkey $key
net_up
ask serve-echo 5300
head -c 60000 /dev/urandom >/tmp/data

# counts DIRECTION: packets of the four queues.
counts() { for q in 0 1 2 3; do nic_stat "$NIC" "${1}_queue_${q}_packets"; done | tr '\n' ' '; }

# least BEFORE AFTER: packets that the queue with the fewest of them had.
least() { echo "$1 $2" | awk '{ for (i = 1; i <= 4; i++) if (i == 1 || $(i + 4) - $i < min) min = $(i + 4) - $i; print min }'; }

# flows: sixteen connections, each sends a little and gets it back.
flows() {
	local flow=1
	while [ $flow -le 16 ]; do
		nc 192.168.77.1 5300 </tmp/data >"/tmp/back.$flow" &
		flow=$((flow + 1))
	done
	wait
	flow=1
	while [ $flow -le 16 ]; do
		cmp /tmp/data "/tmp/back.$flow" || wrong "flow $flow: what came back differs"
		flow=$((flow + 1))
	done
}

# Where a flow goes depends on its port, which chance gives it: one time in five, a single flow or none comes to
# some queue of the four. So further sixteen may be needed.
sent=$(counts tx)
received=$(counts rx)
tries=0
until [ $tries -ge 6 ]; do
	flows
	tries=$((tries + 1))
	sent_now=$(counts tx) received_now=$(counts rx)
	[ "$(least "$sent" "$sent_now")" -le 20 ] || [ "$(least "$received" "$received_now")" -le 20 ] || break
done
note "$tries times 16 flows: sent before $sent after $sent_now, received before $received after $received_now"
more "packets of the transmit queue with the fewest" "$(least "$sent" "$sent_now")" 20
more "packets of the receive queue with the fewest" "$(least "$received" "$received_now")" 20
