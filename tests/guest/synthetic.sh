# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034
#
# What cases about synthetic disks, NICs and services are written with. Sourced after lib.sh.

# Drivers by kind.
STORVSC=storvsc
NETVSC=netvsc
if [ "$STACK" = c ]; then
	STORVSC=hv_storvsc
	NETVSC=hv_netvsc
fi

# load MODULE...: modprobe that fails the case.
load() {
	local module
	for module in "$@"; do
		ERROR=$(modprobe "$module" 2>&1) || fail "modprobe $module: $ERROR"
	done
}

# unload MODULE...: rmmod that fails the case.
unload() {
	local module
	for module in "$@"; do
		ERROR=$(rmmod "$module" 2>&1) || fail "rmmod $module: $ERROR"
	done
}

# must CMD...: fails the case, with what it said, when CMD fails.
must() { OUTPUT=$("$@" 2>&1) || fail "$*: $(echo "$OUTPUT" | tail -n 3 | tr '\n' ' ')"; }

# ask COMMAND...: `host` that fails the case.
ask() { host "$@" || fail "host $1: $ANSWER"; }

# wanted NAME: what the command line says after vmlab.NAME=.
wanted() { sed -n "s/.*\\bvmlab.$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline; }

# vmbus_version: what the connect line of the driver says, MAJOR.MINOR.
vmbus_version() {
	if [ "$STACK" = c ]; then
		dmesg_ever 'hv_vmbus: Vmbus version:' && echo "${LINE##*:}"
	else
		value "$DEBUG/vmbus/connection" version
	fi
}

# service_is_bound CLASS: a driver has the device of this class.
service_is_bound() {
	local dir
	for dir in "$BUS"/devices/*; do
		if [ "$(cat "$dir/class_id" 2>/dev/null)" = "{$1}" ] && is_bound "$dir"; then return 0; fi
	done
	return 1
}

# Classes of devices.
SCSI_CLASS=ba6163d9-04a1-4d29-b605-72e2ffb1dc7f
NET_CLASS=f8615163-df3e-46c5-913f-f2d2f965ed0e

# synthetic CLASS N: directory of the N-th device of a class, from 0, in the order in which the
# host offered them. Reads without other programs: cases ask often, and a guest is slow.
synthetic() {
	local dir class id
	dir=$(for dir in "$BUS"/devices/*; do
		# One that goes at this moment has neither.
		read -r class 2>/dev/null <"$dir/class_id" && [ "$class" = "{$1}" ] &&
			read -r id 2>/dev/null <"$dir/id" && echo "$id $dir"
	done | sort -n | sed -n "$(($2 + 1))s/^[0-9]* //p")
	[ -n "$dir" ] && echo "$dir"
}

# suspends: how often this guest was suspended is left in SUSPENDED.
suspends() { read -r SUSPENDED </sys/power/suspend_stats/success; }

# sleep_and_wake: the guest suspends itself to idle, and 8 s later the host wakes it by its control line.
sleep_and_wake() {
	local asked
	# Whatever arrives on this line is reason to wake up.
	echo enabled >/sys/class/tty/ttyS1/power/wakeup || fail "the control line can't wake the guest"
	rm -f /tmp/woken
	(host wake 8 && touch /tmp/woken) &
	asked=$!
	sleep 1
	echo freeze >/sys/power/state || fail "the guest can't suspend: $(dmesg | tail -n 3 | tr '\n' ' ')"
	wait $asked
	[ -e /tmp/woken ] || fail "the host never answered"
}

process_is_gone() { [ ! -d "/proc/$1" ]; }

#### Disks

# load_disks: the SCSI driver and the disk driver.
load_disks() { load "$STORVSC" sd_mod; }

# scsi_dir LUN [N]: directory of the SCSI device with that number on the N-th controller,
# from 0; fails when there is none.
scsi_dir() {
	local controller host dir
	controller=$(synthetic "$SCSI_CLASS" "${2:-0}") || return 1
	for host in "$controller"/host*; do
		for dir in /sys/bus/scsi/devices/"${host##*/host}":*:*:"$1"; do
			[ -d "$dir" ] || continue
			echo "$dir"
			return 0
		done
	done
	return 1
}

# disk LUN: the disk's device node; fails when there is none.
disk() {
	local dir name
	dir=$(scsi_dir "$@") || return 1
	name=$(ls "$dir/block" 2>/dev/null) || return 1
	[ -n "$name" ] && [ -b "/dev/$name" ] && echo "/dev/$name"
}

has_disk() { disk "$@" >/dev/null; }
lacks_disk() { ! scsi_dir "$@" >/dev/null; }

# need_disk LUN: waits for it; its device node is left in DISK.
need_disk() {
	wait_for 90 has_disk "$@" || fail "there is no disk with LUN $1"
	DISK=$(disk "$@")
}

# disk_bytes DISK
disk_bytes() { echo $(($(cat "/sys/block/${1#/dev/}/size") * 512)); }
disk_has_bytes() { [ "$(disk_bytes "$1")" = "$2" ]; }

# fio_job NAME OPTION...: one fio run that must succeed; what it reports is left in FIO.
fio_job() {
	fio_start "$@"
	fio_finish "$1"
}

# fio_start NAME OPTION...: as fio_job, up to where fio runs; its process is left in FIO_PID.
fio_start() {
	local name=$1
	shift
	(cd /tmp && exec fio --name="$name" --output-format=terse --terse-version=3 "$@") >/tmp/fio-out 2>&1 &
	FIO_PID=$!
}

# fio_finish NAME [STATUS]: the rest of fio_job; this exit status is as good as 0.
fio_finish() {
	local status=0
	wait "$FIO_PID" || status=$?
	[ $status = 0 ] || [ $status = "${2:-0}" ] ||
		fail "fio $1: status $status: $(grep -v ';' /tmp/fio-out | head -n 5 | tr '\n' ' ')"
	FIO=$(grep '^3;fio' /tmp/fio-out | tail -n 1)
	[ -n "$FIO" ] || fail "fio $1 reported nothing"
	# Field 5 is the error of the job.
	[ "$(fio_field 5)" = 0 ] || fail "fio $1: error $(fio_field 5)"
}

# fio_stop NAME: ends a fio that fio_start has started, which then reports what it has.
fio_stop() {
	kill -INT "$FIO_PID" 2>/dev/null || fail "fio $1 was over too soon"
	# What it makes of that signal.
	fio_finish "$1" 128
}

# fio_field N: of the terse report (version 3): 8 read IOPS, 7 read KiB/s, 49 and 48 written.
fio_field() { echo "$FIO" | cut -d ';' -f "$1"; }

#### NICs

# load_net: the NIC's driver, and the interfaces of all NICs.
load_net() {
	load "$NETVSC"
	wait_for 30 nic_is_there || fail "no interface appeared"
	NIC=$(nic)
}

# nic [N]: name of the N-th NIC's interface, from 0.
nic() {
	local dir
	dir=$(synthetic "$NET_CLASS" "${1:-0}") || return 1
	ls "$dir/net" 2>/dev/null
}

nic_is_there() { [ -n "$(nic "$@")" ]; }

# nic_up NIC ADDRESS/PREFIX: with this address only.
nic_up() {
	must ip addr flush dev "$1"
	must ip addr add "$2" dev "$1"
	must ip link set "$1" up
	wait_for 20 has_carrier "$1" || fail "$1 has no carrier"
}

has_carrier() { [ "$(cat "/sys/class/net/$1/carrier" 2>/dev/null)" = 1 ]; }
no_carrier() { ! has_carrier "$1"; }

# busybox's shell takes its own programs before any of that name on the path, and its ping
# doesn't know -M, its ip no programs.
if [ -x /usr/bin/ping ]; then
	ping() { /usr/bin/ping "$@"; }
fi
if [ -x /usr/bin/ip ]; then
	ip() { /usr/bin/ip "$@"; }
fi

# pings OPTION...: one answer is enough.
pings() { ping -q -c 1 -W 2 "$@" >/dev/null 2>&1; }

# net_up [WHEN]: the first NIC has the address of the scenarios' guests, and their host answers.
net_up() {
	nic_up "$NIC" 192.168.77.2/24
	wait_for 20 pings 192.168.77.1 || fail "${1:+$1: }the host does not answer"
}

# nic_stat NIC NAME: a counter of ethtool -S.
nic_stat() { ethtool -S "$1" | awk -v name="$2:" '$1 == name { print $2 }'; }

# queues_stat WAY COUNTER: of all queues of the NIC together.
queues_stat() { ethtool -S "$NIC" | awk -v way="$1" -v what="$2:" '$1 ~ "^" way "_queue_[0-9]+_" what "$" { sum += $2 } END { print sum + 0 }'; }

# rx_queues NIC: how many are in use.
rx_queues() {
	local count=0 dir
	for dir in "/sys/class/net/$1/queues/rx-"*; do
		[ ! -d "$dir" ] || count=$((count + 1))
	done
	echo $count
}

# there_and_back WHAT: what is in /tmp/data goes to the host's echo server, and comes back as it was.
there_and_back() {
	nc 192.168.77.1 5300 </tmp/data >/tmp/back || wrong "$1: the connection broke"
	cmp /tmp/data /tmp/back || wrong "$1: what came back differs"
}

# serve_iperf PORT...: servers on the host.
serve_iperf() {
	local port
	for port in "$@"; do ask serve iperf3 -s -p "$port"; done
}

# iperf ADDRESS OPTION...: the kbit/s that arrived are left in KBITS.
iperf() {
	local out tries=3
	# The server may be a moment late, or busy with the end of the last run.
	until out=$(iperf3 -f k -c "$@" 2>&1); do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "iperf3 $*: $(echo "$out" | tail -n 2 | tr '\n' ' ')"
		sleep 1
	done
	KBITS=$(echo "$out" | awk '/receiver/ { sum = $0 } /SUM.*receiver/ { total = $0 }
		END { if (total) sum = total; n = split(sum, w, " ");
			for (i = 2; i <= n; i++) if (w[i] ~ /bits\/sec/) print int(w[i - 1]) }')
	[ -n "$KBITS" ] || fail "iperf3 $* reported nothing: $(echo "$out" | tail -n 2 | tr '\n' ' ')"
}
