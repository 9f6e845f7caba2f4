# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# Opening the channel and talking on it: counters of both directions move. The balloon
# negotiates version and capabilities when it is bound: two packets each way at least.

load_balloon
relid=$(relid_of "$DEVICE")
moved() { [ "$(channel_value "$DEVICE" events)" -gt 0 ] && [ "$(channel_value "$DEVICE" interrupts)" -gt 0 ]; }
wait_for 10 moved || wrong "events or interrupts of channel $relid stayed 0"
note "events $(channel_value "$DEVICE" events), interrupts $(channel_value "$DEVICE" interrupts)"

host trace? incoming_caps || fail "the host: $ANSWER"
more "capability reports that QEMU saw" "$ANSWER" 0

[ "$STACK" = rust ] || return
file=$(debugfs_of "$DEVICE")
packets_moved() { [ "$(value "$file" packets_out)" -ge 2 ] && [ "$(value "$file" packets_in)" -ge 2 ]; }
wait_for 10 packets_moved || wrong "fewer than two packets each way"
note "packets out $(value "$file" packets_out), in $(value "$file" packets_in)"
# A packet has a descriptor of 16 bytes and is a multiple of 8.
more "bytes_out" "$(value "$file" bytes_out)" 31
more "bytes_in" "$(value "$file" bytes_in)" 31
same "errors" "$(value "$file" errors)" 0
matches "gpadl" "$(value "$file" gpadl)" '0*x?[0-9a-f]*[1-9a-f][0-9a-f]*'
