# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The host takes a NIC away under traffic: it goes in bounded time, whoever sends gets an error, the other NIC
# goes on; and the next one that comes works.

DMESG_ALLOW='] netvsc: '
load_net
wait_for 20 nic_is_there 1 || fail "there is no second NIC"
nic_up "$NIC" 192.168.77.2/24
OTHER=$(nic 1)
wait_for 20 pings 192.168.77.1 || fail "the host does not answer"
name=net1
for round in 1 2 3; do
	nic_up "$OTHER" 10.7.0.2/24
	wait_for 20 pings 10.7.0.1 || fail "round $round: the peer does not answer"
	ping -q -f -w 30 -s 1400 10.7.0.1 >/dev/null 2>&1 &
	flood=$!
	sleep 0.5
	began=$(uptime_seconds)
	ask hvctl "{\"command\": \"remove\", \"device\": \"$name\"}"
	gone() { [ ! -e "/sys/class/net/$OTHER" ]; }
	wait_for 30 gone || fail "round $round: the interface is still there"
	note "round $round: gone after $(($(uptime_seconds) - began)) s"
	kill $flood 2>/dev/null
	wait $flood
	wait_for 20 pings 192.168.77.1 || wrong "round $round: the host does not answer on the other NIC"
	ask hvctl '{"command": "add-nic", "spec": "peer=echo"}'
	name=$(echo "$ANSWER" | grep -o 'net[0-9]*')
	wait_for 30 nic_is_there 1 || fail "round $round: the new NIC does not come"
	OTHER=$(nic 1)
done
nic_up "$OTHER" 10.7.0.2/24
wait_for 20 pings 10.7.0.1 || wrong "the peer does not answer in the end"
