# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# make bench-host: throughput of one NIC on a tap, synthetic or virtio, both ways.

if grep -q 'vmlab.bench=virtio' /proc/cmdline; then
	load virtio_net
	NIC=eth0
	wait_for 20 test -e /sys/class/net/$NIC || fail "there is no $NIC"
else
	load_net
fi
nic_up "$NIC" 192.168.77.2/24
wait_for 20 pings 192.168.77.1 || fail "the host does not answer"
serve_iperf 5201

iperf 192.168.77.1 -t 4 -O 1
note "bench net-guest-to-host $MBITS Mbit/s"
sleep 1
iperf 192.168.77.1 -t 4 -O 1 -R
note "bench net-host-to-guest $MBITS Mbit/s"
