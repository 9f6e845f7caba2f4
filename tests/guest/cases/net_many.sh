# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Eight NICs: they all come, each with its own peer, and all go with the driver.

load_net
all_there() { nic_is_there 7; }
wait_for 30 all_there || fail "not all NICs are there: $(echo /sys/class/net/*)"
count=0
while [ $count -lt 8 ]; do
	NIC=$(nic $count)
	nic_up "$NIC" 10.7.$count.2/24
	wait_for 20 pings -I "$NIC" 10.7.$count.1 || wrong "NIC $count: the peer does not answer"
	count=$((count + 1))
done
addresses=$(for count in 0 1 2 3 4 5 6 7; do cat "/sys/class/net/$(nic $count)/address"; done | sort -u | wc -l)
same "addresses" "$addresses" 8
unload "$NETVSC"
nic_is_there 0 && wrong "a NIC outlived its driver"
load_net
wait_for 30 all_there || wrong "not all NICs came back"
