# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The host sends small datagrams faster than anybody reads them, hundreds in a packet: a poll takes its budget of them and
# no more, so that others have their turn.

load_net
net_up
serve_iperf 5201

taken() { read -r TAKEN <"/sys/class/net/$NIC/statistics/rx_packets"; }
has_taken() {
	taken
	[ "$TAKEN" -ge "$1" ]
}
turns() { awk '/NET_RX/ { for (i = 2; i <= NF; i++) sum += $i; print sum }' /proc/softirqs; }

iperf3 -c 192.168.77.1 -u -b 1500K -l 18 -t 60 -R >/tmp/flood 2>&1 &
flood=$!
wait_for 60 has_taken 3000 || wrong "$TAKEN frames: $(tail -n 1 /tmp/flood)"
before=$TAKEN turns_before=$(turns)
wait_for 30 has_taken $((before + 2000)) || wrong "only $((TAKEN - before)) frames in 30 s"
frames=$((TAKEN - before)) turns=$(($(turns) - turns_before))
kill -9 $flood 2>/dev/null
wait $flood
note "$frames frames in $turns turns"
# The stack's own limit of a turn is 300 and what the last poll had more than that: a packet of 375.
more "turns for them" $turns $((frames / 1000))
wait_for 60 pings 192.168.77.1 || wrong "the host does not answer after a flood"
