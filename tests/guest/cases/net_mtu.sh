# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Jumbo frames end to end, and the way back to 1500.

load_net
net_up
refused "8972 bytes in one packet with MTU 1500" ping -q -c 1 -W 2 -M "do" -s 8972 192.168.77.1
must ip link set "$NIC" mtu 9000
wait_for 20 has_carrier "$NIC" || fail "no carrier with MTU 9000"
wait_for 20 pings 192.168.77.1 || fail "the host does not answer with MTU 9000"
must ping -q -c 3 -i 0.2 -W 5 -M "do" -s 8972 192.168.77.1
ask run ping -q -c 3 -i 0.2 -W 5 -M "do" -s 8972 192.168.77.2
refused "8973 bytes in one packet" ping -q -c 1 -W 2 -M "do" -s 8973 192.168.77.1
serve_iperf 5201
iperf 192.168.77.1 -t 2
note "MTU 9000: $KBITS kbit/s to the host"
more "kbit/s to the host" "$KBITS" 0
iperf 192.168.77.1 -t 2 -R
note "MTU 9000: $KBITS kbit/s from the host"
more "kbit/s from the host" "$KBITS" 0
must ip link set "$NIC" mtu 1500
wait_for 20 has_carrier "$NIC" || fail "no carrier with MTU 1500"
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with MTU 1500 again"
# What the host doesn't take isn't believed in: it keeps 1500 without a word. The C driver does believe it.
if [ "$STACK" = rust ]; then
	DMESG_ALLOW='netvsc: .*the host takes frames|netvsc: .*no session with'
	refused "an MTU beyond the host's" ip link set "$NIC" mtu 9001
	same "MTU after that" "$(cat "/sys/class/net/$NIC/mtu")" 1500
	wait_for 20 pings 192.168.77.1 || wrong "the host does not answer after a refused MTU"
	same "the host's MTU" "$(agreed host_mtu)" 1500
	must ip link set "$NIC" mtu 9000
	same "the host's MTU, jumbo" "$(agreed host_mtu)" 9000
	must ip link set "$NIC" mtu 68
	must ip link set "$NIC" mtu 1500
	wait_for 20 pings 192.168.77.1 || wrong "the host does not answer in the end"
fi
