# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# One sub-channel is withdrawn under traffic, the device is not: the NIC goes on with those before it.

DMESG_ALLOW='netvsc: .*sub-channel 2 is gone'
load_net
must ethtool -L "$NIC" combined 4
net_up
wait_for 20 agreed_is channels 4 || fail "channels: $(agreed channels)"
serve_iperf 5201
ping -q -f -w 60 192.168.77.1 >/dev/null 2>&1 &
flood=$!
ask hvctl '{"command": "rescind", "device": "net0", "subchannel": 2}'
wait_for 30 agreed_is channels 2 || wrong "channels after one was withdrawn: $(agreed channels)"
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer any more"
same "receive queues" "$(rx_queues "$NIC")" 2
kill $flood 2>/dev/null
wait $flood
iperf 192.168.77.1 -P 4 -t 2 -b 500K
more "kbit/s with the queues that are left" "$KBITS" 0
frames_end
must ethtool -L "$NIC" combined 4
wait_for 20 agreed_is channels 4 || wrong "channels in the end: $(agreed channels)"
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer in the end"
refused "a sub-channel that there isn't" host hvctl '{"command": "rescind", "device": "net0", "subchannel": 9}'
