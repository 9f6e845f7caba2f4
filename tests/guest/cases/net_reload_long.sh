# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Fifty times the driver goes under traffic and comes back.

load_net
for round in $(seq 1 50); do
	net_up "round $round"
	ping -q -f -w 20 -s 1400 192.168.77.1 >/dev/null 2>&1 &
	traffic=$!
	sleep 0.3
	unload "$NETVSC"
	kill $traffic 2>/dev/null
	wait $traffic
	load_net
done
net_up "in the end"
