# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Questions that the host doesn't answer, or answers on another channel: who asked gets an error in bounded
# time, and the NIC goes on.

DMESG_ALLOW='] (netvsc|vmbus): '
load_net
net_up

# late KIND: the next question is lost.
late() {
	local began took
	net_misbehave "$1"
	began=$(uptime_seconds)
	refused "a new key while the host does not answer" ethtool -X "$NIC" hkey \
		5a:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4:77:cb:2d:a3:80:30:f2:0c:6a:42:b7:3b:be:ac:01:fa
	took=$(($(uptime_seconds) - began))
	note "$1: the error came after $took s"
	between "$1: seconds" "$took" 0 40
	matches "$1: the key is that of before" "$(ethtool -x "$NIC" | awk '/RSS hash key/ { getline; print $1 }')" '6d:.*'
	wait_for 20 pings 192.168.77.1 || wrong "$1: the host does not answer any more"
}
late silent
late elsewhere
# A MTU that can't be agreed on for want of an answer leaves the one of before.
net_misbehave silent
refused "another MTU while the host does not answer" ip link set "$NIC" mtu 1400
same "MTU" "$(cat "/sys/class/net/$NIC/mtu")" 1500
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer after that"
must ip link set "$NIC" mtu 1400
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with MTU 1400"
