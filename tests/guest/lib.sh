# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034
#
# What guest cases are written with: results, assertions, the host, the bus.
# A case is a script that is sourced after this file; it ends by running out, by fail or
# by skip. CASE is its name, STAGE where to go on after a boot, STACK is rust or c.

# Class of the dynamic-memory device, the one that stock QEMU offers.
BALLOON_CLASS=525074dc-8985-46e2-8057-a307dc18a502
# Its instance in our scenarios (tests/scenarios/*.json).
BALLOON_INSTANCE=5be7cd8f-9b5a-4a5f-8d2c-6a3d1a0e4b11
BUS=/sys/bus/vmbus
DEBUG=/sys/kernel/debug

# The driver of that device.
BALLOON_MODULE=vmbus_balloon
[ "$STACK" = rust ] || BALLOON_MODULE=hv_balloon

FAILURE=''
# Extended regular expression of kernel messages that this case provokes on purpose.
DMESG_ALLOW=''

#### Results

# note TEXT...: a remark that is shown with the result.
note() { echo "# $*" >&3; }

# fail TEXT...: ends the case as failed.
fail() {
	dmesg_since | tail -n 15 | while IFS= read -r line; do note "dmesg: $line"; done
	echo "result fail $*" >&3
	exit 1
}

# skip TEXT...: ends the case as not run; TEXT is the reason.
skip() {
	echo "result skip $*" >&3
	exit 0
}

# wrong TEXT...: the case has failed but goes on, to tell more.
wrong() {
	note "not: $*"
	[ -n "$FAILURE" ] || FAILURE=$*
}

# finish: the end of every case that got this far.
finish() {
	dmesg_check
	[ -z "$FAILURE" ] || fail "$FAILURE"
	echo "result pass" >&3
	exit 0
}

# rust_only TEXT...: skips with the C stack.
rust_only() { [ "$STACK" = rust ] || skip "C stack: $*"; }

#### Assertions: each says what was compared when it doesn't hold, and then returns 1

# same WHAT GOT WANT
same() {
	[ "$2" = "$3" ] && return 0
	wrong "$1 is '$2', not '$3'"
	return 1
}

# matches WHAT GOT REGEX: an extended regular expression for the whole of GOT
matches() {
	echo "$2" | grep -Eqx -- "$3" && return 0
	wrong "$1 is '$2', which is not of the form $3"
	return 1
}

# more WHAT A B: A > B
more() {
	[ "$2" -gt "$3" ] 2>/dev/null && return 0
	wrong "$1: $2 is not more than $3"
	return 1
}

# between WHAT VALUE LOW HIGH: LOW <= VALUE <= HIGH
between() {
	[ "$2" -ge "$3" ] 2>/dev/null && [ "$2" -le "$4" ] 2>/dev/null && return 0
	wrong "$1 is $2, not between $3 and $4"
	return 1
}

# file_matches FILE REGEX: the file is there and its one line has this form
file_matches() {
	local content
	if ! content=$(cat "$1" 2>&1); then
		wrong "$1 can't be read: $content"
		return 1
	fi
	matches "$1" "$content" "$2"
}

# refused WHAT CMD...: CMD has to fail; what it said is left in REFUSAL
refused() {
	local what=$1
	shift
	if REFUSAL=$("$@" 2>&1); then
		wrong "$what was not refused"
		return 1
	fi
}

# wait_for SECONDS CMD...: until CMD succeeds
wait_for() {
	local end=$(($(uptime_seconds) + $1))
	shift
	until "$@"; do
		[ "$(uptime_seconds)" -lt "$end" ] || return 1
		sleep 0.2
	done
}

uptime_seconds() { cut -d . -f 1 /proc/uptime; }

#### Kernel messages

# What no case may cause: warnings and oopses of the kernel, the reports of its debug
# options (lockdep, KASAN, UBSAN, kmemleak, ...), and any message of level error or worse.
DMESG_BAD='WARNING: |BUG: |BUG at|Oops|INFO: (task|rcu|possible|suspicious|trying|lockdep)|KASAN|UBSAN|KCSAN|kmemleak: [0-9]+ new|unreferenced object|general protection|possible (circular|recursive|irq lock)|inconsistent lock|refcount_t:|list_(add|del) corruption|soft lockup|hung_task|Call Trace:|scheduling while atomic|sleeping function called|rust_kernel: panicked|Rust panic'

# What the host is to blame for: QEMU's ACPI tables describe the VMBUS device's power methods
# as integers, which the kernel reports whenever a driver lets go of that device.
DMESG_KNOWN='ACPI BIOS Error \(bug\): \\_SB\.VMBS\._PS[0-3]: '

# dmesg_mark: what was said before this is not this case's.
dmesg_mark() {
	MARK="vmlab: case $CASE ${STAGE:-start} $(cut -d ' ' -f 1 /proc/uptime)"
	echo "<6>$MARK" >/dev/kmsg
}

# dmesg_since: the kernel's messages since the mark, each with its <level>. A message's line break
# leaves an empty line behind it, which says nothing.
dmesg_since() {
	dmesg -r | awk -v mark="$MARK" 'seen && !/^<[0-9]*>\[[^]]*\] *$/ { print } index($0, mark) { seen = 1 }'
}

# dmesg_check: fails the case for a message that should not be there.
dmesg_check() {
	local bad line
	if [ -w "$DEBUG/kmemleak" ] && [ "${CHECK_LEAKS:-0}" = 1 ]; then
		echo scan >"$DEBUG/kmemleak"
	fi
	bad=$(dmesg_since | grep -E "^<[0-3]>|$DMESG_BAD" | grep -vE "$DMESG_KNOWN")
	[ -z "$DMESG_ALLOW" ] || bad=$(echo "$bad" | grep -vE -- "$DMESG_ALLOW")
	[ -n "$bad" ] || return 0
	echo "$bad" | head -n 30 | while IFS= read -r line; do note "dmesg: $line"; done
	[ -n "$FAILURE" ] || FAILURE="the kernel complained: $(echo "$bad" | head -n 1 | cut -c 1-120)"
}

# dmesg_has REGEX: the kernel said so since the mark; the line is left in LINE.
dmesg_has() {
	LINE=$(dmesg_since | grep -E -- "$1" | tail -n 1 | sed 's/^<[0-9]*>\[[^]]*\] *//')
	[ -n "$LINE" ]
}

# dmesg_ever REGEX: as dmesg_has, since the boot.
dmesg_ever() {
	LINE=$(dmesg | grep -E -- "$1" | tail -n 1 | sed 's/^\[[^]]*\] *//')
	[ -n "$LINE" ]
}

# our_lines: what vmbus said since the mark, each line once (insmod tries two system calls),
# without the kernel's own remarks about modules from outside its tree.
our_lines() {
	dmesg_since | grep '] vmbus: ' | grep -vE 'taint|module verification' |
		sed 's/^<[0-9]*>\[[^]]*\] *//' | sort -u
}

# refused_with MODULE_FILE REGEX ERROR: insmod fails with ERROR, and vmbus says why in one
# line of this form.
refused_with() {
	local lines
	refused "insmod $1" insmod "$1"
	note "$REFUSAL"
	matches "what insmod said" "$REFUSAL" ".*$3.*"
	lines=$(our_lines)
	same "number of lines that say why" "$(echo "$lines" | grep -c .)" 1
	matches "the line" "$lines" "$2"
	note "$lines"
	# The refusal is an error message, and expected.
	DMESG_ALLOW='] vmbus: '
}

#### The host

# host COMMAND...: asks for something; 0 when it was done. Its answer is left in ANSWER.
# Commands: balloon MIB, balloon?, pressure?, trace? WORD, console? WORD, expect STAGE, reset,
# wake SECONDS (an answer that comes only then, for a guest that has suspended itself),
# turn take (yes or no), turn pass.
host() {
	local word=''
	ANSWER=''
	echo "host $*" >&3
	# shellcheck disable=SC3045 # busybox has it
	if ! read -r -t 60 word ANSWER <&3; then
		ANSWER="no answer from the host"
		return 1
	fi
	[ "$word" = ok ]
}

#### The bus

# balloon_device: directory of the dynamic-memory device; fails when there is none.
balloon_device() {
	local dir
	for dir in "$BUS"/devices/*; do
		if [ "$(cat "$dir/class_id" 2>/dev/null)" = "{$BALLOON_CLASS}" ]; then
			echo "$dir"
			return 0
		fi
	done
	return 1
}

has_balloon_device() { balloon_device >/dev/null; }

# driver_of DIR: name of the driver that is bound, or nothing.
driver_of() { basename "$(readlink "$1/driver")" 2>/dev/null; }

is_bound() { [ -L "$1/driver" ]; }
is_unbound() { [ ! -L "$1/driver" ]; }

is_loaded() { grep -q "^$1 " /proc/modules; }

# load_bus: our vmbus.ko, up to the device that QEMU offers. Nothing to do with C.
load_bus() {
	if [ "$STACK" = rust ] && ! is_loaded vmbus; then
		[ -e "/lib/modules/$(uname -r)/vmbus.ko" ] || fail "vmbus.ko was not built"
		ERROR=$(modprobe vmbus 2>&1) || fail "modprobe vmbus: $ERROR"
	fi
	wait_for 20 has_balloon_device || fail "the dynamic-memory device did not appear"
}

# unload_bus: everything of ours, drivers first.
unload_bus() {
	local module
	[ "$STACK" = rust ] || return 0
	for module in vmbus_sample vmbus_balloon vmbus; do
		if is_loaded "$module"; then
			ERROR=$(rmmod "$module" 2>&1) || fail "rmmod $module: $ERROR"
		fi
	done
}

# load_balloon: the driver of the dynamic-memory device, bound. Leaves its directory in DEVICE.
load_balloon() {
	load_bus
	DEVICE=$(balloon_device)
	if ! is_loaded "$BALLOON_MODULE"; then
		ERROR=$(modprobe "$BALLOON_MODULE" 2>&1) || fail "modprobe $BALLOON_MODULE: $ERROR"
	elif [ "$STACK" = c ] && is_unbound "$DEVICE"; then
		echo "$BALLOON_INSTANCE" >"$BUS/drivers/hv_balloon/bind" || fail "bind failed"
	fi
	wait_for 20 is_bound "$DEVICE" || fail "no driver was bound to $DEVICE"
}

# unload_balloon: the driver gone, its channel closed. The C driver's module has no exit
# and stays; it only lets go of the device.
unload_balloon() {
	is_loaded "$BALLOON_MODULE" || return 0
	if [ "$STACK" = c ]; then
		local dir
		dir=$(balloon_device)
		is_unbound "$dir" && return 0
		echo "$BALLOON_INSTANCE" >"$BUS/drivers/hv_balloon/unbind" || fail "unbind failed"
		return 0
	fi
	ERROR=$(rmmod "$BALLOON_MODULE" 2>&1) || fail "rmmod $BALLOON_MODULE: $ERROR"
}

# relid_of DIR: number of a device's channel.
relid_of() { cat "$1/id"; }

# channel_value DIR NAME: an attribute of a device's primary channel.
channel_value() { cat "$1/channels/$(relid_of "$1")/$2"; }

# debugfs_of DIR: our text file about a device's primary channel.
debugfs_of() { echo "$DEBUG/vmbus/$(basename "$1")/$(relid_of "$1")"; }

# value FILE KEY: from a file of `key: value` lines.
value() { sed -n "s/^$2: *//p" "$1" 2>/dev/null; }

#### Memory

# mem NAME: a line of /proc/meminfo, in MiB.
mem() { awk -v name="$1:" '$1 == name { print int($2 / 1024) }' /proc/meminfo; }

# mem_total_at_most MIB, mem_total_at_least MIB: for wait_for
mem_total_at_most() { [ "$(mem MemTotal)" -le "$1" ]; }
mem_total_at_least() { [ "$(mem MemTotal)" -ge "$1" ]; }

# host_balloon_is MIB: what QEMU believes the guest has.
host_balloon_is() { host 'balloon?' && [ "$ANSWER" = "$1" ]; }
