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

# least BEFORE AFTER: packets that the queue with the fewest of them had.
least() { echo "$1 $2" | awk '{ for (i = 1; i <= 4; i++) if (i == 1 || $(i + 4) - $i < min) min = $(i + 4) - $i; print min }'; }

# spread DIRECTION WORDS OPTION...: each queue has its part of the flows. Where a flow goes depends
# on its port, which chance gives it: one time in five, a single flow or none comes to some queue
# of the four. So further sixteen flows may be needed.
spread() {
	local way="$1" words="$2" before after tries=0
	shift 2
	before=$(counts "$way")
	until [ $tries -ge 5 ]; do
		iperf 192.168.77.1 -P 16 -t 3 -b 200K -l 4K "$@"
		after=$(counts "$way")
		tries=$((tries + 1))
		[ "$(least "$before" "$after")" -le 20 ] || break
	done
	note "$tries times 16 flows $words: $KBITS kbit/s, $way before $before after $after"
	more "packets of the $way queue with the fewest" "$(least "$before" "$after")" 20
}

spread tx "to the host"
spread rx "from the host" -R
