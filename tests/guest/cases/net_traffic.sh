# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# TCP both ways, with every offload on and with each off: as fast as it goes, and unharmed.

load_net
net_up
serve_iperf 5201
ask serve-echo 5300
head -c 3000000 /dev/urandom >/tmp/data

# try WHAT: both ways.
try() {
	local to
	iperf 192.168.77.1 -t 2
	to=$KBITS
	iperf 192.168.77.1 -t 2 -R
	note "$1: $to kbit/s to the host, $KBITS from it"
	more "$1: kbit/s to the host" "$to" 0
	more "$1: kbit/s from the host" "$KBITS" 0
	there_and_back "$1"
}

try "all offloads on"
for off in "tso off" "tx off" "rx off" "lro off" "tx off rx off tso off gso off gro off"; do
	# shellcheck disable=SC2086 # words
	ethtool -K "$NIC" $off >/tmp/out 2>&1 || { note "ethtool -K $off: $(cat /tmp/out)" && continue; }
	try "$off"
	ethtool -K "$NIC" tx on rx on tso on gso on gro on >/dev/null 2>&1
	ethtool -K "$NIC" lro on >/dev/null 2>&1
done
