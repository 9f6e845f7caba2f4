# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Jumbo frames end to end, and the way back to 1500.

load_net
nic_up "$NIC" 192.168.77.2/24
wait_for 20 pings 192.168.77.1 || fail "the host does not answer"
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
