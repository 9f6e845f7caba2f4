# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Programs that see received frames before the stack does: each verdict, and what can't be had with one.

# What hv_netvsc says when it refuses, and what the kernel says of it when it goes with a program: Documentation/c-drivers.md.
[ "$STACK" = rust ] || DMESG_ALLOW='XDP: (not support LRO|mtu:[0-9]+ too large)|WARNING: net/core/dev.c:[0-9]+ at unregister_netdevice|Call Trace:'
load_net
net_up

# program NAME: has it see what comes in.
program() { must ip link set dev "$NIC" xdpdrv obj /tests/xdp.o sec "$1"; }
no_program() { must ip link set dev "$NIC" xdp off; }
# verdicts NAME: how many there were, on all queues.
verdicts() { queues_stat rx "xdp_$1"; }
# Echo requests that the stack has seen.
echoes() { awk '/^Icmp:/ && names { for (i = 2; i <= n; i++) if (name[i] == "InEchos") print $i; exit }
	/^Icmp:/ { names = 1; n = split($0, name, " ") }' /proc/net/snmp; }
from_host() { ask run ping -q -c 3 -i 0.3 -W 3 192.168.77.2; }

# A VLAN of an earlier case has switched it off: the kernel does that.
must ethtool -K "$NIC" lro on
refused "a program while segments are put together" ip link set dev "$NIC" xdpdrv obj /tests/xdp.o sec pass
must ethtool -K "$NIC" lro off
program pass
ip -d link show dev "$NIC" | grep -q 'prog/xdp' || wrong "ip shows no program"
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with a program"
from_host
ethtool -K "$NIC" lro on >/dev/null 2>&1
ethtool -k "$NIC" | grep -q '^large-receive-offload: off' || wrong "segments are put together in spite of a program"
refused "an MTU beyond a page with a program" ip link set dev "$NIC" mtu 9000
same "MTU" "$(cat "/sys/class/net/$NIC/mtu")" 1500
must ip link set dev "$NIC" mtu 1400
from_host
must ip link set dev "$NIC" mtu 1500

for verdict in drop aborted; do
	no_program
	program "$verdict"
	before=$(echoes)
	host run ping -q -c 3 -i 0.3 -W 1 192.168.77.2 && wrong "$verdict: the guest answers"
	same "$verdict: requests that the stack saw" "$(echoes)" "$before"
	wait_for 20 pings 192.168.77.1 || wrong "$verdict: the host does not answer"
done
more "frames dropped" "$(verdicts drop)" 5

for verdict in tx redirect; do
	no_program
	program "$verdict"
	before=$(echoes)
	from_host
	same "$verdict: requests that the stack saw" "$(echoes)" "$before"
	more "$verdict: frames" "$(verdicts "$verdict")" 2
done
# A new session has the program as well.
must ethtool -L "$NIC" combined 2
from_host
same "requests that the stack saw with other channels" "$(echoes)" "$before"
must ethtool -L "$NIC" combined 4

no_program
before=$(echoes)
from_host
more "requests without a program" "$(echoes)" "$before"
program drop
unload "$NETVSC"
load_net
nic_up "$NIC" 192.168.77.2/24
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer after the driver went with a program"
