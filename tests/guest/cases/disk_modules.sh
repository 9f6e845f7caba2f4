# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The driver leaves and comes back, over and over; what is on the disk stays, nothing is left behind.

rounds=${ROUNDS:-10}
load_disks
need_disk 0
seq 1 20000 >/tmp/pattern
must dd if=/tmp/pattern of="$DISK" bs=64k conv=fsync
leaked=$(value "$DEBUG/vmbus/connection" gpadls_leaked)

round=1
while [ "$round" -le "$rounds" ]; do
	# Every other time with reads under way until the last moment.
	[ $((round % 2)) = 0 ] || dd if="$DISK" of=/dev/null bs=4k count=512 2>/dev/null &
	wait_for 20 rmmod "$STORVSC" 2>/dev/null || fail "round $round: $STORVSC can't be unloaded: $(rmmod "$STORVSC" 2>&1)"
	if has_disk 0; then fail "round $round: the disk outlived its driver"; fi
	[ "$STACK" = c ] || [ ! -d "$DEBUG/storvsc" ] || wrong "round $round: $DEBUG/storvsc is still there"
	load_disks
	need_disk 0
	head -c "$(stat -c %s /tmp/pattern)" "$DISK" | cmp - /tmp/pattern || fail "round $round: other content"
	round=$((round + 1))
done
note "$rounds rounds; MemAvailable $(mem MemAvailable) MiB, slab $(mem SUnreclaim) MiB"
[ "$STACK" = c ] || same "page lists that were given up" "$(value "$DEBUG/vmbus/connection" gpadls_leaked)" "$leaked"
settled
no_breach
