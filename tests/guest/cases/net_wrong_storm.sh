# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Thousands of packets that nobody asked for, of every sort, while the guest pings: nothing falls over, the
# host gets all its sections back, and the log doesn't drown.

DMESG_ALLOW='] (netvsc|vmbus): '
load_net
net_up
for packet in noise nvsp answers ranges messages segments; do
	net_wrong storm 1500 300 "\"packet\": \"$packet\""
done
net_wrong storm 600 100 '"channel": 1'
# More messages than there are sections: whatever was wrong with one, the host got its section back.
sections=$(agreed receive_sections)
between "sections, few enough to use all of them up" "$sections" 1 4000
net_wrong storm $((sections * 2)) 1 '"packet": "messages"'
more "errors in the statistics" "$(cat "/sys/class/net/$NIC/statistics/rx_errors")" 0
must ethtool -S "$NIC"
between "lines in the log" "$(log_lines 'netvsc|vmbus')" 0 300
must ip link set "$NIC" down
nic_up "$NIC" 192.168.77.2/24
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer after the NIC was down"
