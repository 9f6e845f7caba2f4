# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Four queues are busy under sixteen flows, both ways. Each flow is slow: four processors that
# share the one of a nested lab, all of them full, spend their turns on locks whose holder waits
# for its own.

load_net
must ethtool -L "$NIC" combined 4
# The C driver forgets both when the device is attached again, which changing channels, rings or
# the MTU does (Documentation/c-drivers.md); all frames would come to the first queue.
key=6d:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4:77:cb:2d:a3:80:30:f2:0c:6a:42:b7:3b:be:ac:01:fa
must ethtool -X "$NIC" default
must ethtool -X "$NIC" hkey $key
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
iperf 192.168.77.1 -P 16 -t 3 -b 200K -l 4K
after=$(counts tx)
note "16 flows to the host: $KBITS kbit/s, tx before $before after $after"
busy tx "$before" "$after"
before=$(counts rx)
iperf 192.168.77.1 -P 16 -t 3 -b 200K -l 4K -R
after=$(counts rx)
note "16 flows from the host: $KBITS kbit/s, rx before $before after $after"
busy rx "$before" "$after"
