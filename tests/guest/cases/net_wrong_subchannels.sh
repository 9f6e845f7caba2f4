# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Sub-channels that are granted and never offered: the NIC works with those it has.

DMESG_ALLOW='netvsc: .*sub-channel'
load_net
net_up
must ethtool -L "$NIC" combined 4
same "channels" "$(agreed channels)" 4
net_misbehave missing-subchannels
began=$(uptime_seconds)
must ethtool -L "$NIC" combined 2
note "there after $(($(uptime_seconds) - began)) s"
between "seconds" $(($(uptime_seconds) - began)) 0 60
same "channels without those that never came" "$(agreed channels)" 1
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with one channel"
net_misbehave none
must ethtool -L "$NIC" combined 4
same "channels in the end" "$(agreed channels)" 4
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with all channels"
