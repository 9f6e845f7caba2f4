# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The NIC's driver leaves and comes back, idle and under traffic.

load_net
for round in 1 2 3; do
	net_up "round $round"
	[ $round -eq 1 ] || ping -q -f -w 20 192.168.77.1 >/dev/null 2>&1 &
	sleep 0.5
	unload "$NETVSC"
	nic_is_there && fail "round $round: the interface outlived its driver"
	load_net
done
wait
net_up "in the end"
