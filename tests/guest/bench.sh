# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# What cases that measure share. Sourced after lib.sh.

# take_turn, pass_turn: of guests that are up at the same time (`together` in the suite's file), one
# does something at a time; the others wait here. A guest that is alone needn't wait.
take_turn() {
	ANSWER=no
	until [ "$ANSWER" = yes ]; do
		host turn take || fail "the host: $ANSWER"
	done
}
pass_turn() { host turn pass || fail "the host: $ANSWER"; }

# count: signals and interrupts so far are left in SIGNALED and INTERRUPTED: those of the channels in the directory
# CHANNELS, or, where INTERRUPTS isn't empty, interrupts whose lines in /proc/interrupts match it. What other
# devices tell their hosts, by exits, no guest counts.
count() {
	local file number
	SIGNALED=0 INTERRUPTED=0
	if [ -n "$INTERRUPTS" ]; then
		INTERRUPTED=$(awk -v name="$INTERRUPTS" '
			NR == 1 { cpus = NF }
			$0 ~ name { for (i = 2; i <= cpus + 1; i++) sum += $i; lines++ }
			END { print lines ? sum : "none" }' /proc/interrupts)
		[ "$INTERRUPTED" != none ] || fail "/proc/interrupts has no $INTERRUPTS"
		return
	fi
	for file in "$CHANNELS"/*/events; do
		read -r number <"$file" || fail "$file can't be read"
		SIGNALED=$((SIGNALED + number))
		read -r number <"${file%events}interrupts" || fail "${file%events}interrupts can't be read"
		INTERRUPTED=$((INTERRUPTED + number))
	done
}
