# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A VLAN on the NIC reaches the VLAN on the tap, and nothing else does.

load_net
load 8021q
net_up
must ip link add link "$NIC" name vlan100 type vlan id 100
must ip addr add 192.168.100.2/24 dev vlan100
must ip link set vlan100 up
wait_for 20 pings 192.168.100.1 || wrong "the host does not answer on VLAN 100"
must ping -q -c 3 -i 0.2 -W 5 -s 1400 192.168.100.1
ask run ping -q -c 3 -i 0.2 -W 5 192.168.100.2
serve_iperf 5201
iperf 192.168.100.1 -n 512K
note "VLAN 100: $KBITS kbit/s to the host"
more "kbit/s to the host" "$KBITS" 0
iperf 192.168.100.1 -n 512K -R
more "kbit/s from the host" "$KBITS" 0
# Another number is another network.
must ip link add link "$NIC" name vlan101 type vlan id 101
must ip addr flush dev vlan100
must ip addr add 192.168.100.2/24 dev vlan101
must ip link set vlan101 up
refused "a packet of VLAN 101" ping -q -c 2 -W 1 192.168.100.1
must ip link del vlan101
must ip link del vlan100
