# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# The host takes 256 MiB of the guest's memory through the bus (of 512: half) and gives it back. Memory is
# counted by the guest, the way there is logged by QEMU.

load_balloon
before=$(mem MemTotal) free_before=$(mem MemAvailable)
note "MemTotal $before MiB, MemAvailable $free_before MiB"

# QEMU acts on a target only 15 s after the driver's capability report.
host 'balloon?' || fail "the host doesn't know what the guest has: $ANSWER"
all=$ANSWER rest=$((ANSWER - 256))
host balloon "$rest" || fail "the host refused a target of $rest MiB: $ANSWER"
wait_for 90 mem_total_at_most $((before - 250)) ||
	fail "MemTotal is still $(mem MemTotal) MiB 90 s after a target of $rest MiB"
wait_for 20 host_balloon_is "$rest" || wrong "QEMU believes the guest has $ANSWER MiB, not $rest"
down=$(mem MemTotal)
note "target $rest: MemTotal $down MiB, MemAvailable $(mem MemAvailable) MiB"
between "the memory that left" $((before - down)) 250 262

host balloon "$all" || fail "the host refused a target of $all MiB: $ANSWER"
wait_for 90 mem_total_at_least $((before - 2)) ||
	fail "MemTotal is still $(mem MemTotal) MiB 90 s after a target of $all MiB"
wait_for 20 host_balloon_is "$all" || wrong "QEMU believes the guest has $ANSWER MiB, not $all"
after=$(mem MemTotal)
note "target $all: MemTotal $after MiB, MemAvailable $(mem MemAvailable) MiB"
between "MemTotal at the end" "$after" $((before - 2)) $((before + 2))

host trace? outgoing_unballoon
more "messages by which QEMU gave memory back" "$ANSWER" 0

[ "$STACK" = rust ] || return
file=$DEBUG/vmbus_balloon/$BALLOON_INSTANCE
same "ballooned_pages" "$(value "$file" ballooned_pages)" 0
more "up_requests" "$(value "$file" up_requests)" 0
more "down_requests" "$(value "$file" down_requests)" 0
same "errors" "$(value "$file" errors)" 0
