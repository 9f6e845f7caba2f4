# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The link goes and comes; traffic goes on after it.

load_net
net_up
for round in 1 2 3 4 5; do
	ask hvctl '{"command": "link", "device": "net0", "state": "down"}'
	wait_for 10 no_carrier "$NIC" || fail "round $round: the link is still up"
	pings 192.168.77.1 && wrong "round $round: packets pass a link that is down"
	ask hvctl '{"command": "link", "device": "net0", "state": "up"}'
	wait_for 10 has_carrier "$NIC" || fail "round $round: the link does not come back"
	wait_for 20 pings 192.168.77.1 || fail "round $round: the host does not answer"
done
ask hvctl '{"command": "speed", "device": "net0", "mbps": 2500}'
speed_is() { [ "$(cat "/sys/class/net/$NIC/speed")" = "$1" ]; }
wait_for 10 speed_is 2500 || wrong "the guest believes in $(cat "/sys/class/net/$NIC/speed") Mbit/s"
