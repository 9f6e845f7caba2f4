# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# The host wants more than the guest can live without: the driver gives what is above its
# floor, the guest stays well, and everything comes back.

load_balloon
before=$(mem MemTotal)
host 'balloon?' || fail "the host doesn't know what the guest has: $ANSWER"
all=$ANSWER
host balloon 40 || fail "the host refused the target: $ANSWER"
wait_for 60 mem_total_at_most $((before - 100)) || fail "nothing was given at all"
# Until nothing moves for five seconds.
last=0
steady() {
	local now
	now=$(mem MemTotal)
	[ "$now" = "$last" ] && return 0
	last=$now
	sleep 5
	return 1
}
wait_for 90 steady || fail "the balloon never came to rest"
note "target 40 MiB: MemTotal $(mem MemTotal) MiB, MemAvailable $(mem MemAvailable) MiB"
more "MemTotal at the floor" "$(mem MemTotal)" 40
more "MemAvailable at the floor" "$(mem MemAvailable)" 8
# A guest that is well can still allocate and start programs.
dd if=/dev/zero of=/tmp/some bs=1M count=4 2>/dev/null || wrong "4 MiB could not be written"
rm -f /tmp/some

host balloon "$all" || fail "the host refused to give back: $ANSWER"
wait_for 120 mem_total_at_least $((before - 2)) ||
	fail "MemTotal is $(mem MemTotal) MiB, was $before MiB"
