# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Fifty times the driver goes under traffic and comes back.

load_net
for round in $(seq 1 50); do
	nic_up "$NIC" 192.168.77.2/24
	wait_for 20 pings 192.168.77.1 || fail "round $round: the host does not answer"
	ping -q -f -w 20 -s 1400 192.168.77.1 >/dev/null 2>&1 &
	traffic=$!
	sleep 0.3
	unload "$NETVSC"
	kill $traffic 2>/dev/null
	wait $traffic
	load_net
done
nic_up "$NIC" 192.168.77.2/24
wait_for 20 pings 192.168.77.1 || fail "the host does not answer in the end"
