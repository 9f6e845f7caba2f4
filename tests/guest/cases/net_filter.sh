# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Which frames the host passes on, as the stack wants it: to the NIC and to all, to groups, all of them; and
# another address.

load_net
net_up
# filter_is BITS...: NDIS_PACKET_TYPE_*: 1 directed, 4 all groups, 8 broadcast, 32 promiscuous.
filter_is() {
	local bits
	host_stat packet_filter net0
	for bits in "$@"; do [ "$ANSWER" = "$bits" ] && return 0; done
	return 1
}
wait_for 10 filter_is 9 13 || wrong "the filter is $ANSWER"
must ip link set "$NIC" promisc on
wait_for 10 filter_is 32 || wrong "the filter is $ANSWER with promisc on"
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with promisc on"
must ip link set "$NIC" promisc off
must ip link set "$NIC" allmulticast on
wait_for 10 filter_is 13 || wrong "the filter is $ANSWER with allmulticast on"
must ip link set "$NIC" allmulticast off
must ip maddr add 01:00:5e:00:00:77 dev "$NIC"
wait_for 10 filter_is 13 || wrong "the filter is $ANSWER with a group"
must ip link set "$NIC" down
wait_for 10 filter_is 0 || wrong "the filter is $ANSWER while the NIC is down"
must ip link set "$NIC" address 00:15:5d:77:00:99
nic_up "$NIC" 192.168.77.2/24
same "address" "$(cat "/sys/class/net/$NIC/address")" 00:15:5d:77:00:99
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with another address"
host_stat mac net0
note "the host's address of the NIC: $ANSWER"
must ip link set "$NIC" address 00:15:5d:77:00:02
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with the old address"
