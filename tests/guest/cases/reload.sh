# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# The whole stack leaves and comes back fifty times (fifteen in the debug kernel), each time with the device's channel
# open in between. With the C stack only the driver can (its bus is built in).

rounds=50
# Many times slower under KASAN and lockdep, where each round is looked at much more closely.
case $(uname -r) in *-debug) rounds=15 ;; esac
CHECK_LEAKS=1
load_balloon
unload_balloon
unload_bus
sleep 1
before=$(mem MemAvailable)
round=0
while [ $round -lt $rounds ]; do
	round=$((round + 1))
	load_balloon
	[ "$(cat "$DEVICE/state")" = 3 ] || fail "round $round: the channel is not open"
	if [ "$STACK" = rust ]; then
		file=$(debugfs_of "$DEVICE")
		[ "$(value "$file" state)" = open ] || fail "round $round: $file: not open"
	fi
	unload_balloon
	unload_bus
	if [ "$STACK" = rust ] && [ -e "$BUS" ]; then fail "round $round: $BUS outlived the module"; fi
done
sleep 1
after=$(mem MemAvailable)
note "$rounds rounds, MemAvailable $before MiB before and $after MiB after"
# A page a round would be nothing; a ring (2 x 64 KiB or more) a round would be 6 MiB and more.
more "MemAvailable after $rounds rounds" "$after" $((before - 6))
load_balloon
