# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A NIC on a tap: packets of all sizes both ways, and its MAC address.

load_net
net_up
same "MAC address" "$(cat "/sys/class/net/$NIC/address")" 00:15:5d:77:00:02
for size in 0 1 17 18 63 64 65 511 1471 1472 4000 20000; do
	ping -q -c 2 -i 0.2 -W 5 -s $size 192.168.77.1 >/dev/null || wrong "$size bytes are lost on the way to the host"
done
ask run ping -q -c 3 -i 0.2 -W 5 -s 1400 192.168.77.2
must ip -6 addr add fd77::2/64 dev "$NIC"
wait_for 20 pings -6 fd77::1 || wrong "the host does not answer with IPv6"
same "receive errors" "$(cat "/sys/class/net/$NIC/statistics/rx_errors")" 0
same "transmit errors" "$(cat "/sys/class/net/$NIC/statistics/tx_errors")" 0
