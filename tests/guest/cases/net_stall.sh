# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A host that takes no frames for a while: the queues stop, the watchdog says so, and when the host goes on,
# so do they.

DMESG_ALLOW='netvsc: .*stopped for too long|NETDEV WATCHDOG|transmit queue [0-9]+ timed out'
load_net
net_up
ask hvctl '{"command": "pause", "device": "net0"}'
(while [ ! -e /tmp/enough ]; do ping -q -f -w 5 -s 1400 192.168.77.1 >/dev/null 2>&1; done) &
flood=$!
timed_out() { [ "$(agreed tx_timeouts)" -gt 0 ]; }
wait_for 90 timed_out || wrong "no queue was stopped for too long"
touch /tmp/enough
ask hvctl '{"command": "resume", "device": "net0"}'
wait $flood
rm -f /tmp/enough
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer after it went on"
frames_end
# The NIC goes down in bounded time although the host takes nothing.
ask hvctl '{"command": "pause", "device": "net0"}'
began=$(uptime_seconds)
must ip link set "$NIC" down
between "seconds until the NIC was down" $(($(uptime_seconds) - began)) 0 40
ask hvctl '{"command": "resume", "device": "net0"}'
must ip link set "$NIC" up
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer in the end"
