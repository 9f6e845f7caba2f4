# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Four queues are busy under sixteen flows, both ways.

load_net
must ethtool -L "$NIC" combined 4
# The C driver loses a table that somebody set whenever it attaches the device again (ring sizes,
# channels, MTU): rndis_filter_device_add() makes a new one, all zeroes, and fills it only when
# nobody had set one. All frames would come to the first queue.
must ethtool -X "$NIC" default
nic_up "$NIC" 192.168.77.2/24
wait_for 20 pings 192.168.77.1 || fail "the host does not answer"
serve_iperf 5201

# counts DIRECTION: packets of the four queues.
counts() { for q in 0 1 2 3; do nic_stat "$NIC" "${1}_queue_${q}_packets"; done | tr '\n' ' '; }

# busy DIRECTION BEFORE AFTER: each queue had its part.
busy() {
	local queue=1 from to
	while [ $queue -le 4 ]; do
		from=$(echo "$2" | cut -d ' ' -f $queue)
		to=$(echo "$3" | cut -d ' ' -f $queue)
		more "packets of ${1} queue $((queue - 1))" $((to - from)) 20
		queue=$((queue + 1))
	done
}

before=$(counts tx)
iperf 192.168.77.1 -P 16 -t 3
after=$(counts tx)
note "16 flows to the host: $MBITS Mbit/s, tx before $before after $after"
busy tx "$before" "$after"
before=$(counts rx)
iperf 192.168.77.1 -P 16 -t 3 -R
after=$(counts rx)
note "16 flows from the host: $MBITS Mbit/s, rx before $before after $after"
busy rx "$before" "$after"
