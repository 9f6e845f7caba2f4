# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# What is counted agrees, wherever one looks: ip, ethtool, the queues' own file, and the host.

load_net
net_up
# The host has counted since its start, the driver since its own.
ours() { cat "/sys/class/net/$NIC/statistics/tx_packets"; }
must ip link set "$NIC" down
host_stat total/tx_frames net0
before=$((ANSWER - $(ours)))
net_up "again"
must ping -q -c 50 -i 0.02 -s 800 192.168.77.1
column() { awk -v column="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == column) at = i }
	NR > 1 && at { sum += $at } END { print sum + 0 }' "$(netvsc_dir)/queues"; }
# Nothing else goes while it is looked at.
must ip link set "$NIC" down
for way in rx tx; do
	for what in packets bytes; do
		of_ip=$(cat "/sys/class/net/$NIC/statistics/${way}_$what")
		more "$way $what" "$of_ip" 49
		same "$way $what of ethtool" "$(queues_stat $way $what)" "$of_ip"
		same "$way $what of the queues" "$(column ${way}_$what)" "$of_ip"
	done
done
host_stat total/tx_frames net0
same "frames that the host took" $((ANSWER - before)) "$(ours)"
agrees=$(agreed nvsp)
matches "version" "$agrees" '[0-9]+\.[0-9]+'
same "channels" "$(agreed channels)" 4
same "channels that ethtool shows" "$(ethtool -l "$NIC" | awk '/^Combined:/ { n = $2 } END { print n }')" 4
