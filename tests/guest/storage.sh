# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034
#
# What cases of the suite storage are written with, besides synthetic.sh: I/O that goes on
# while something happens, the counters of host and driver. Sourced after synthetic.sh.

# The form of an instance id.
UUID='[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'

# What the kernel says of a disk that goes away while it is in use, and nothing else.
DISK_GONE='(I/O|device offline) error, dev sd|Buffer I/O error on dev(ice)? sd|sd [0-9:]+: (\[sd[a-z]+\] (Synchronize Cache|Synchronizing SCSI cache|tag#|Stopping disk|Start/Stop Unit failed|Cache data unavailable|Optimal transfer size)|rejecting I/O to (offline|dead) device|Device offlined)|lost (async|sync) page write'
# What our driver says of a host that doesn't answer.
HOST_SILENT='storvsc: host[0-9]+: ([0-9:]+: command 0x[0-9a-f]+ timed out|no answer to a reset|reset$|connected again|the host doesn.t answer any more)'

# how_many FILE...: the number of files that a pattern means.
how_many() {
	[ -e "$1" ] || set --
	echo $#
}

#### I/O in the background

# start_fio NAME OPTION...: one fio run, beside the case.
start_fio() {
	local name=$1
	shift
	rm -f "/tmp/fio-$name.rc"
	(
		cd /tmp || exit 1
		fio --name="$name" --output-format=terse --terse-version=3 "$@" >"/tmp/fio-$name.out" 2>&1
		echo $? >"/tmp/fio-$name.end"
		mv "/tmp/fio-$name.end" "/tmp/fio-$name.rc"
	) &
}

fio_has_ended() { [ -e "/tmp/fio-$1.rc" ]; }

# fio_end NAME SECONDS: waits for the end of that run. Its exit code is left in FIO_RC, the
# number of its first error in FIO_ERROR, its report in FIO. Fails the case when it doesn't end.
fio_end() {
	wait_for "$2" fio_has_ended "$1" || fail "fio $1 did not end within $2 s: $(blocked_tasks)"
	FIO_RC=$(cat "/tmp/fio-$1.rc")
	FIO=$(grep '^3;fio' "/tmp/fio-$1.out" | tail -n 1)
	FIO_ERROR=$(fio_field 5)
	[ -n "$FIO_ERROR" ] || FIO_ERROR=none
}

# fio_end_good NAME SECONDS: waits for the end, which has to be a good one.
fio_end_good() {
	fio_end "$1" "$2"
	[ "$FIO_RC" = 0 ] && [ "$FIO_ERROR" = 0 ] && return 0
	wrong "fio $1 ended with $FIO_RC: $(grep -v ';' "/tmp/fio-$1.out" | head -n 4 | tr '\n' ' ')"
	return 1
}

# start_verify NAME DISK [OPTION...]: writes and reads back with four jobs, over and over, until
# end_verify. OPTIONs come last: they override.
start_verify() {
	local name=$1 disk=$2
	shift 2
	rm -f "/tmp/verify-$name".*
	echo "${disk#/dev/}" >"/tmp/verify-$name.disk"
	(
		cd /tmp || exit 1
		rounds=0
		until [ -e "/tmp/verify-$name.stop" ]; do
			fio --name="verify-$name" --filename="$disk" --direct=1 --ioengine=libaio --iodepth=8 \
				--numjobs=4 --thread --rw=randwrite --bssplit=4k/60:16k/30:64k/10 --size=512k \
				--offset_increment=2M --verify=crc32c --verify_fatal=1 --do_verify=1 \
				--randseed=$((rounds + 1)) --group_reporting "$@" >"/tmp/verify-$name.out" 2>&1 || break
			rounds=$((rounds + 1))
			echo $rounds >"/tmp/verify-$name.rounds"
		done
		[ -e "/tmp/verify-$name.stop" ] || echo $rounds >"/tmp/verify-$name.broken"
		echo $rounds >"/tmp/verify-$name.end"
	) &
}

verify_has_ended() { [ -e "/tmp/verify-$1.end" ]; }
verify_rounds() { cat "/tmp/verify-$1.rounds" 2>/dev/null || echo 0; }
# Reads and writes that its disk has done.
verify_requests() { awk '{ print $1 + $5 }' "/sys/block/$(cat "/tmp/verify-$1.disk")/stat"; }
verify_is_past() { [ "$(verify_requests "$1")" -gt "$2" ] || verify_has_ended "$1"; }

# verify_goes_on NAME SECONDS: as many requests as can be under way, and more, are done from now on,
# within this time.
verify_goes_on() {
	wait_for "$2" verify_is_past "$1" "$(($(verify_requests "$1") + 100))" ||
		fail "I/O of $1 stands still: $(blocked_tasks)"
	! verify_has_ended "$1" || fail "I/O of $1 broke: $(head -n 4 "/tmp/verify-$1.out" | tr '\n' ' ')"
}

# end_verify NAME SECONDS: every round that was written was read back as it was, and there was
# at least one.
end_verify() {
	touch "/tmp/verify-$1.stop"
	wait_for "$2" verify_has_ended "$1" || fail "I/O of $1 did not end within $2 s: $(blocked_tasks)"
	note "$1: $(verify_rounds "$1") rounds of 4 x 512 KiB written and read back"
	more "rounds of $1" "$(verify_rounds "$1")" 0
	[ ! -e "/tmp/verify-$1.broken" ] ||
		wrong "$1 broke: $(head -n 4 "/tmp/verify-$1.out" | tr '\n' ' ')"
}

# check_disk DISK: a short run that writes and reads back.
check_disk() {
	fio_job check --filename="$1" --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k \
		--size=1M --verify=crc32c --verify_fatal=1 --do_verify=1
}

# blocked_tasks: names of what waits without end, for the reason of a failure.
blocked_tasks() {
	local stat
	for stat in /proc/[0-9]*/stat; do
		sed -n 's/^\([0-9]*\) (\(.*\)) D .*/\2[\1]/p' "$stat" 2>/dev/null
	done | tr '\n' ' '
}

# tell_standstill: leaves in the guest's console what the CPUs, the tasks that wait and the workqueues
# are at, and what can be seen of the bus.
tell_standstill() {
	local what
	for what in l w t; do echo $what >/proc/sysrq-trigger; done
	{
		grep -E '^cpu' /proc/stat
		grep -E 'HYP|HVS|LOC|RES|CAL' /proc/interrupts
		find "$DEBUG/vmbus" -type f -exec head -v -n 100 {} +
	} >/dev/console 2>&1
}

# stands_still REASON: fails the case for a wait that ended without what was waited for.
stands_still() {
	tell_standstill
	fail "$1: $(blocked_tasks)"
}

no_blocked_task() { [ -z "$(blocked_tasks)" ]; }

# nothing_hangs SECONDS: within this time no task waits for I/O any more.
nothing_hangs() { wait_for "$1" no_blocked_task || wrong "these wait for I/O: $(blocked_tasks)"; }

# remember_controller N: the N-th SCSI controller is the one that lacks_controller and has_controller
# ask for. The directory of the device itself: the bus forgets its link to it before the driver goes.
remember_controller() { CONTROLLER=$(readlink -f "$(synthetic "$SCSI_CLASS" "$1")"); }
lacks_controller() { [ ! -d "$CONTROLLER" ]; }
has_controller() { [ -L "$CONTROLLER/driver" ]; }

#### The host's side

# scsi COMMAND ARGUMENTS [DEVICE]: a command for a controller, scsi0 unless said otherwise;
# ARGUMENTS are JSON without braces.
scsi() { ask hvctl "{\"command\": \"$1\", \"device\": \"${3:-scsi0}\"${2:+, $2}}"; }

# host_stat POINTER [DEVICE]: a counter of the host; what it said is left in ANSWER.
host_stat() { ask "hvctl/$1" "{\"command\": \"stats\", \"device\": \"${2:-scsi0}\"}"; }

# unit_stat LUN-INDEX NAME [DEVICE]: a counter of a unit; units are counted in the order of LUNs.
unit_stat() { host_stat "luns/$1/$2" "${3:-scsi0}"; }

#### The driver's counters (ours only)

# storvsc_dir [N]: what the driver tells about the N-th controller; fails when there is none.
storvsc_dir() {
	local known=/tmp/storvsc-dir.${1:-0} dir=''
	[ ! -e "$known" ] || read -r dir <"$known"
	if [ ! -d "$dir" ]; then
		dir=$(synthetic "$SCSI_CLASS" "${1:-0}") || return 1
		dir=$DEBUG/storvsc/${dir##*/}
		echo "$dir" >"$known"
	fi
	echo "$dir"
}

# counter KEY [N]: from the file `controller`.
counter() { value "$(storvsc_dir "${2:-0}")/controller" "$1"; }

# cell FILE ROW COLUMN [N]: from a table whose rows begin with their name.
cell() {
	awk -v row="$2" -v column="$3" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == column) at = i }
		NR > 1 && $1 == row && at { print $at }' "$(storvsc_dir "${4:-0}")/$1"
}

# column_sum FILE COLUMN [N]
column_sum() {
	awk -v column="$2" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == column) at = i }
		NR > 1 && at { sum += $at }
		END { print sum + 0 }' "$(storvsc_dir "${3:-0}")/$1"
}

# row_sum FILE ROW [N]: of all numbers in rows that begin with these words.
row_sum() {
	awk -v row="$2" '
		BEGIN { words = split(row, word) }
		{
			for (i = 1; i <= words; i++) if ($i != word[i]) next
			for (; i <= NF; i++) sum += $i
		}
		END { print sum + 0 }' "$(storvsc_dir "${3:-0}")/$1"
}

# counter_is KEY VALUE [N], counter_above KEY VALUE [N]: for wait_for
counter_is() { [ "$(counter "$1" "${3:-0}")" = "$2" ]; }
counter_above() { [ "$(counter "$1" "${3:-0}")" -gt "$2" ] 2>/dev/null; }

# settled [N]: nothing is under way any more.
settled() {
	[ "$STACK" = rust ] || return 0
	wait_for 20 counter_is in_flight 0 "${1:-0}" || wrong "in flight at rest: $(counter in_flight "${1:-0}")"
	same "in flight on all channels" "$(column_sum channels in_flight "${1:-0}")" 0
	same "in flight on all LUNs" "$(column_sum luns in_flight "${1:-0}")" 0
}

# no_breach [N]: the driver has seen nothing wrong with the host.
no_breach() {
	[ "$STACK" = rust ] || return 0
	same "protocol errors" "$(counter protocol_errors "${1:-0}")" 0
	same "protocol errors of the bus" "$(value "$DEBUG/vmbus/connection" protocol_errors)" 0
}

#### Steps of a case

# step_mark: what the kernel said before this is not this step's.
step_mark() {
	STEP="vmlab: step of $CASE $(cut -d ' ' -f 1 /proc/uptime)"
	echo "<6>$STEP" >/dev/kmsg
}

# step_has REGEX: the kernel said so since then; the line is left in LINE.
step_has() {
	LINE=$(dmesg | awk -v mark="$STEP" 'seen { print } index($0, mark) { seen = 1 }' |
		grep -E -- "$1" | tail -n 1 | sed 's/^\[[^]]*\] *//')
	[ -n "$LINE" ]
}

#### A host that misbehaves

# misbehave KIND [ARGUMENTS [DEVICE]]: ARGUMENTS are JSON without braces.
misbehave() { scsi misbehave "\"kind\": \"$1\"${2:+, $2}" "${3:-scsi0}"; }

# misdeeds KIND [DEVICE]: how often that happened; left in ANSWER.
misdeeds() { host_stat "misbehaviour/done/$1" "${2:-scsi0}"; }
misdeeds_reach() { misdeeds "$1" "${3:-scsi0}" && [ "$ANSWER" -ge "$2" ]; }

# breaches N: protocol errors that the driver has seen at that controller.
breaches() {
	[ "$STACK" = rust ] || { echo 0; return; }
	counter protocol_errors "$1"
}

# log_lines REGEX: how many lines the kernel said since the case began.
log_lines() { dmesg_since | grep -cE -- "$1"; }

# wrong_under_io NAME KIND COUNT [ARGUMENTS]: the host does so COUNT times while NAME (start_verify)
# goes on. How many breaches of the protocol the driver counted meanwhile is left in BREACHES.
wrong_under_io() {
	local before done_before
	before=$(breaches 0)
	misdeeds "$2"
	done_before=$ANSWER
	misbehave "$2" "\"count\": $3${4:+, $4}"
	wait_for 90 misdeeds_reach "$2" $((done_before + $3)) || fail "$2: only $((ANSWER - done_before)) of $3 happened"
	verify_goes_on "$1" 120
	BREACHES=$(($(breaches 0) - before))
	note "$2${4:+ ($4)}: $3 times, $BREACHES breaches counted"
}

# counted LEAST: so many of them at least, if the driver counts.
counted() { [ "$STACK" = c ] || more "breaches counted" "$BREACHES" $(($1 - 1)); }
