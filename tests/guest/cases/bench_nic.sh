# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# make bench-net: figures of one NIC on a tap, whichever this guest has: TCP streams both ways at two
# MTUs, small UDP packets both ways, TCP round trips; and what a megabyte or a packet costs:
# processor time of the guest's processors and of the rest of its VMM, packets, exits, signals to
# the host and interrupts. Guests that are compared are up at the same time and are measured in turn, row by row.
# The costs are taken in a window of the time in which the traffic goes: how it starts and ends is
# no part of them.
#
# The command line says with which NIC (vmlab.nic) and what is left out (vmlab.rows):
#   few       flows but the first, for a device that nobody takes for many
#   receive   all but what is received
#   queues    all but what tells one queue from four

# shellcheck source=tests/guest/bench.sh
. /tests/bench.sh

# Seconds: before costs are counted, of that window, and of what can't be ended.
RAMP=0.5
WINDOW=2
TRAFFIC=4
# Bytes in a datagram so that its frame has the 64 that Ethernet has at least.
SMALL=18
# One for each guest: they are up at the same time.
NETWORK=192.168.$(wanted subnet)
HOST=$NETWORK.1

case $(wanted nic) in
virtio)
	load virtio_net
	NIC=eth0
	INTERRUPTS='virtio[0-9]+-(input|output)'
	;;
e1000)
	# The cloud kernel has no driver for it; this one is built from its source.
	must insmod /lib/emulated-nic/e1000.ko
	NIC=eth0
	INTERRUPTS='eth0'
	;;
*)
	load_net
	CHANNELS=$(synthetic "$NET_CLASS" 0)/channels
	INTERRUPTS=''
	;;
esac
wait_for 20 test -e "/sys/class/net/$NIC" || fail "there is no $NIC"
STATISTICS=/sys/class/net/$NIC/statistics
nic_up "$NIC" "$NETWORK.2/24"
wait_for 20 pings "$HOST" || fail "the host does not answer"
# Only there: others have servers of their own.
ask serve iperf3 -s -B "$HOST"
ask serve netserver -D -4 -L "$HOST"

# Whether the rows of this sort are measured here. Whoever leaves one out takes its turn all the
# same, so that all guests are at the same row.
wants() {
	case $(wanted rows) in
	queues) [ "$1" = queues ] ;;
	few) [ "$1" != queues ] && [ "$1" != many ] && [ "$1" != many-receive ] ;;
	receive) [ "$1" = receive ] || [ "$1" = many-receive ] ;;
	*) [ "$1" != queues ] ;;
	esac
}

# octets: what IP has sent and received is left in SENT and RECEIVED, the NIC's packets in SENT_PACKETS and RECEIVED_PACKETS.
# Of IP and not of the NIC, because drivers count headers of what they divide or join differently. Like
# all that runs in the window, it starts no program.
octets() {
	local name rest last='' in out
	while read -r name rest; do
		[ "$name" != IpExt: ] || last=$rest
	done </proc/net/netstat
	# shellcheck disable=SC2086 # words
	set -- $last
	RECEIVED=$7 SENT=$8
	read -r in <"$STATISTICS/rx_packets" || fail "$NIC has no statistics"
	read -r out <"$STATISTICS/tx_packets" || fail "$NIC has no statistics"
	RECEIVED_PACKETS=$in SENT_PACKETS=$out
}

# amount WAY PER: bytes or packets of that way so far, left in AMOUNT.
amount() {
	octets
	case $1-$2 in
	send-MB) AMOUNT=$SENT ;;
	receive-MB) AMOUNT=$RECEIVED ;;
	send-packet) AMOUNT=$SENT_PACKETS ;;
	*) AMOUNT=$RECEIVED_PACKETS ;;
	esac
}

has_grown() {
	amount "$1" "$2"
	[ "$AMOUNT" -gt "$3" ]
}

# goes_or_ended WAY PER START: there is traffic, or who makes it has ended.
goes_or_ended() { has_grown "$@" || ! kill -0 "$TRAFFIC_PID" 2>/dev/null; }

# traffic COMMAND...: runs it in the background; what it says comes to /tmp/traffic. Sixteen flows have
# sixteen threads: whoever counts comes before them.
traffic() {
	# shellcheck disable=SC2016 # that shell's
	sh -c 'renice -n 10 -p $$ >/dev/null && exec "$@"' sh "$@" >/tmp/traffic 2>&1 &
	TRAFFIC_PID=$!
}

# costs KEY WAY PER COMMAND...: what the traffic costs that this command makes, for each MB (PER is MB) or
# packet of that way. The command has ended when this does.
costs() {
	# More than what the two sides say to each other before.
	local key=$1 way=$2 per=$3 scale=1 tries=3 least=100
	local signals interrupts guest vmm exits packets start middle began ended tool _
	shift 3
	tool=$1
	[ "$per" = packet ] || scale=1000000 least=30000
	# A server may be busy with the end of the last connection.
	while :; do
		amount "$way" "$per"
		start=$((AMOUNT + least))
		traffic "$@"
		if wait_for 30 goes_or_ended "$way" "$per" "$start" && kill -0 "$TRAFFIC_PID" 2>/dev/null; then
			sleep $RAMP
			break
		fi
		wait "$TRAFFIC_PID"
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "$key: $* does nothing: $(tail -n 2 /tmp/traffic | tr '\n' ' ')"
	done
	# For whoever knows how much of this time the machine was kept from working.
	note "mark $key"
	count
	signals=$SIGNALED interrupts=$INTERRUPTED
	ask 'kvm? exits'
	exits=$ANSWER
	amount "$way" "$per"
	read -r began _ </proc/uptime
	start=$AMOUNT packets=$((SENT_PACKETS + RECEIVED_PACKETS))
	ask cpu?
	guest=${ANSWER% *} vmm=${ANSWER#* }
	sleep $WINDOW
	ask cpu?
	guest=$((${ANSWER% *} - guest)) vmm=$((${ANSWER#* } - vmm))
	amount "$way" "$per"
	read -r ended _ </proc/uptime
	middle=$AMOUNT
	ask 'kvm? exits'
	exits=$((ANSWER - exits))
	count
	amount "$way" "$per"
	note "mark $key"
	signals=$((SIGNALED - signals)) interrupts=$((INTERRUPTED - interrupts))
	packets=$((SENT_PACKETS + RECEIVED_PACKETS - packets))
	if [ "$tool" = iperf3 ]; then
		# Its end would take longer than the window, and it would count what the sockets lose, not the NIC.
		kill -9 "$TRAFFIC_PID" 2>/dev/null || fail "$key: $* was over too soon: $(tail -n 2 /tmp/traffic | tr '\n' ' ')"
		wait "$TRAFFIC_PID"
	else
		wait "$TRAFFIC_PID" || fail "$key: $*: $(tail -n 2 /tmp/traffic | tr '\n' ' ')"
	fi
	[ "$middle" -gt "$start" ] || fail "$key: nothing moved in $WINDOW s"
	# Milliseconds to s/GB or us; exits, signals and interrupts were counted a little longer.
	# shellcheck disable=SC2046 # words
	set -- $(awk -v n=$((middle - start)) -v m=$((AMOUNT - start)) -v scale=$scale -v guest=$guest \
		-v vmm=$vmm -v exits=$exits -v signals=$signals -v interrupts=$interrupts -v packets=$packets \
		-v seconds="$(awk -v a="$began" -v b="$ended" 'BEGIN { print b - a }')" \
		'BEGIN {
			n /= scale; m /= scale
			unit = scale == 1 ? 1000 : 1
			printf "%.2f %.2f %.3f %.3f %.3f %.1f %.2f %.0f\n", guest * unit / n, vmm * unit / n, exits / m,
				signals / m, interrupts / m, packets / m, n * 8 / seconds, n / seconds
		}')
	if [ "$per" = MB ]; then
		note "bench $key/throughput $7 Mbit/s"
		note "bench $key/guest-cpu $1 s/GB"
		note "bench $key/vmm-cpu $2 s/GB"
		note "bench $key/packets $6 per-MB"
	else
		[ "$tool" = netperf ] || note "bench $key/rate $8 packets/s"
		note "bench $key/packet-cpu $1 us"
		note "bench $key/packet-vmm-cpu $2 us"
	fi
	note "bench $key/exits $3 per-$per"
	[ -n "$INTERRUPTS" ] || note "bench $key/signals $4 per-$per"
	note "bench $key/interrupts $5 per-$per"
	GUEST_COST=$1 INTERRUPT_COST=$5
}

# stream KEY WAY OPTION...: a TCP stream, which lasts until its window is over.
stream() {
	local key=$1 way=$2
	shift 2
	[ "$way" = send ] || set -- "$@" -R
	costs "$key" "$way" MB iperf3 -c "$HOST" -t 120 "$@"
}

# small WAY: datagrams as fast as they go, or as the guest could take them: an emulated machine whose only processor does
# nothing but send has none left for the guest, nor for ending it.
small() {
	local key=udp-64-$1 way=$1 rate=0
	shift
	if [ "$way" = receive ]; then
		rate=1500K
		set -- -R
	fi
	costs "$key" "$way" packet iperf3 -c "$HOST" -u -b $rate -l $SMALL -t 120 "$@"
}

# round_trips: a byte there, a byte back.
round_trips() {
	costs tcp-round-trip receive packet netperf -4 -H "$HOST" -t TCP_RR -l $TRAFFIC -P 0 -v 0 -- -r 1,1
	matches "what netperf says" "$(tr -d ' \n' </tmp/traffic)" '[0-9]+\.[0-9]+'
	note "bench tcp-round-trip/rate $(tr -d ' \n' </tmp/traffic) round-trips/s"
}

# row SORT COMMAND...: in this guest's turn.
row() {
	local sort=$1
	shift
	take_turn
	if wants "$sort"; then
		"$@"
		# The servers notice that it was the last connection.
		sleep 0.3
	fi
	pass_turn
}

# plain: nothing is divided or joined on the way, on either side: as many packets as there are frames.
plain() {
	case $1 in
	on)
		ask run ethtool -K "$TAP" tso off gso off
		must ethtool -K "$NIC" tso off gso off gro off
		# Some have it, some don't.
		ethtool -K "$NIC" lro off >/dev/null 2>&1
		matches "offloads" "$(ethtool -k "$NIC" | awk '/^(tcp-segmentation|generic-(segmentation|receive)|large-receive)/ { print $2 }' | tr '\n' ' ')" \
			'^(off ){4}$'
		;;
	off)
		# A tap without offloads of its own refuses.
		host run ethtool -K "$TAP" tso on gso on
		must ethtool -K "$NIC" tso on gso on gro on
		ethtool -K "$NIC" lro on >/dev/null 2>&1
		;;
	esac
}

# plain_stream KEY WAY: by which INTERRUPT_COST is that of single frames.
plain_stream() {
	plain on
	stream "$1" "$2"
	plain off
}

# paced KEY WAY MTU: ten megabits a second in datagrams as long as a frame may be, one at a time. As fast as it goes, frames are
# taken in turns of the processor, of whatever length they are; here each one may have its interrupt.
paced() {
	local key=$1 way=$2 bytes=$(($3 - 28))
	shift 3
	[ "$way" = send ] || set -- -R
	costs "$key" "$way" MB iperf3 -c "$HOST" -u -b 10M -l $bytes -t 120 "$@"
}

# set_mtu MTU
set_mtu() {
	must ip link set "$NIC" mtu "$1"
	wait_for 20 has_carrier "$NIC" || fail "no carrier with MTU $1"
	wait_for 20 pings "$HOST" || fail "the host does not answer with MTU $1"
}

# jumbo_row MTU WHAT SORT COMMAND...: a row. What it takes of interrupts at an MTU of 9000 is told as a ratio to what
# it took at 1500.
jumbo_row() {
	local mtu=$1 at_1500=/tmp/interrupts.$2 what=$2
	shift 2
	INTERRUPT_COST=''
	row "$@"
	if [ "$mtu" = 1500 ]; then
		echo "$INTERRUPT_COST" >"$at_1500"
	elif [ -n "$INTERRUPT_COST" ]; then
		note "bench $what-9000-of-1500/jumbo $(awk -v a="$INTERRUPT_COST" '{ printf "%.3f", a / $1 }' "$at_1500") of-interrupts"
	fi
}

streams() {
	local flows sort
	for flows in 1 4 16; do
		sort=
		[ $flows = 1 ] || sort=many
		row "${sort:-send}" stream "tcp-$1-f$flows-send" send -P $flows
		row "${sort:+many-}receive" stream "tcp-$1-f$flows-receive" receive -P $flows
	done
}

# queue_rows: sixteen flows, each a slow one, through one queue and through four.
queue_rows() {
	local queues way one one_send one_receive
	# The C driver forgets its table when its channels change: Documentation/c-drivers.md.
	local key=6d:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4:77:cb:2d:a3:80:30:f2:0c:6a:42:b7:3b:be:ac:01:fa
	for queues in 1 4; do
		must ethtool -L "$NIC" combined $queues
		must ethtool -X "$NIC" default
		must ethtool -X "$NIC" hkey $key
		wait_for 20 has_carrier "$NIC" || fail "no carrier with $queues queues"
		wait_for 20 pings "$HOST" || fail "the host does not answer with $queues queues"
		for way in send receive; do
			row queues stream "tcp-16x500K-q$queues-$way" "$way" -P 16 -b 500K -l 4K
			if [ $queues = 1 ]; then
				eval "one_$way=$GUEST_COST"
			else
				eval "one=\$one_$way"
				note "bench tcp-16x500K-$way-q4-of-q1/queues $(awk -v a="$GUEST_COST" -v b="$one" 'BEGIN { printf "%.3f", a / b }') of-guest-cpu"
			fi
		done
	done
}

TAP=tap$(wanted subnet)
if [ "$(wanted rows)" = queues ]; then
	queue_rows
else
	for mtu in 1500 9000; do
		[ $mtu = 1500 ] || set_mtu $mtu
		streams $mtu
		jumbo_row $mtu receive receive plain_stream "tcp-$mtu-plain-receive" receive
		jumbo_row $mtu send send plain_stream "tcp-$mtu-plain-send" send
		jumbo_row $mtu receive-10M receive paced "udp-$mtu-10M-receive" receive $mtu
		jumbo_row $mtu send-10M send paced "udp-$mtu-10M-send" send $mtu
	done
	set_mtu 1500
	row send small send
	row receive small receive
	row send round_trips
fi
