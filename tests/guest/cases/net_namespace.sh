# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The NIC moves to a network namespace, works there, and comes back when that goes; also when the driver goes
# meanwhile.

load_net
must ip netns add lab
must ip link set "$NIC" netns lab
lab() { ip netns exec lab "$@"; }
lab_up() {
	must ip netns exec lab ip addr add 192.168.77.2/24 dev "$1"
	must ip netns exec lab ip link set "$1" up
	lab_carrier() { lab cat "/sys/class/net/$NIC/carrier" 2>/dev/null | grep -q 1; }
	wait_for 20 lab_carrier || fail "no carrier in the namespace"
	lab_pings() { lab /usr/bin/ping -q -c 1 -W 2 192.168.77.1 >/dev/null 2>&1; }
	wait_for 20 lab_pings || fail "the host does not answer in the namespace"
}
lab_up "$NIC"
must ip netns exec lab ethtool -L "$NIC" combined 2
wait_for 20 lab_pings || wrong "the host does not answer in the namespace with two channels"
must ip netns del lab
there() { [ -e "/sys/class/net/$NIC" ]; }
wait_for 20 there || fail "the NIC does not come back from the namespace"
nic_up "$NIC" 192.168.77.2/24
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer after the NIC came back"
must ip netns add lab
must ip link set "$NIC" netns lab
unload "$NETVSC"
must ip netns del lab
load_net
nic_up "$NIC" 192.168.77.2/24
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer in the end"
