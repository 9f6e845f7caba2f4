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
net_up
serve_iperf 5201

# measure KEY OPTION...: Mbit/s, and the processor time that the guest and the VMM take for them.
measure() {
	local key=$1 bytes guest vmm
	shift
	bytes=$(nic_bytes)
	ask cpu?
	guest=${ANSWER% *} vmm=${ANSWER#* }
	iperf 192.168.77.1 -t 4 -O 1 "$@"
	ask cpu?
	bytes=$((($(nic_bytes) - bytes) / 1000000))
	note "bench $key $((KBITS / 1000)) Mbit/s"
	note "bench $key-guest-cpu $(((${ANSWER% *} - guest) * 1000 / bytes)) ms/GB"
	note "bench $key-vmm-cpu $(((${ANSWER#* } - vmm) * 1000 / bytes)) ms/GB"
}

# Both ways.
nic_bytes() {
	echo $(($(cat "/sys/class/net/$NIC/statistics/rx_bytes") + $(cat "/sys/class/net/$NIC/statistics/tx_bytes")))
}

measure net-guest-to-host
sleep 1
measure net-host-to-guest -R
