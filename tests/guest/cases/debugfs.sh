# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# Our text files: every key is there, once, with a value of its kind.

rust_only "it has no such files"
load_balloon
connection=$DEBUG/vmbus/connection
[ -r "$connection" ] || fail "there is no $connection"
for key in connection_id cpus channels offers rescinds messages_in messages_out looks \
	protocol_errors gpadls_leaked; do
	matches "connection: $key" "$(value "$connection" "$key")" '[0-9]+'
done
matches "connection: version" "$(value "$connection" version)" '[0-9]+\.[0-9]+'
matches "connection: state" "$(value "$connection" state)" '[a-z]+'
same "connection: channels" "$(value "$connection" channels)" 1
same "connection: rescinds" "$(value "$connection" rescinds)" 0
same "connection: gpadls_leaked" "$(value "$connection" gpadls_leaked)" 0
more "connection: offers" "$(value "$connection" offers)" 0
more "connection: messages_in" "$(value "$connection" messages_in)" 0
more "connection: messages_out" "$(value "$connection" messages_out)" 0

file=$(debugfs_of "$DEVICE")
[ -r "$file" ] || fail "there is no $file"
for key in relid target_cpu out_ring_bytes in_ring_bytes out_read out_write in_read in_write \
	packets_out packets_in bytes_out bytes_in signals_out interrupts_in pending gpadl errors; do
	matches "channel: $key" "$(value "$file" "$key")" '(0x)?[0-9a-f]+'
done
# A name for people, or the GUID where we know no name.
matches "channel: class" "$(value "$file" class)" '[a-z0-9-]+'
same "channel: instance" "$(value "$file" instance | tr -d '{}')" "$BALLOON_INSTANCE"
same "channel: relid" "$(value "$file" relid)" "$(relid_of "$DEVICE")"
same "channel: state" "$(value "$file" state)" open
same "channel: driver" "$(value "$file" driver)" "$(driver_of "$DEVICE")"
same "channel: errors" "$(value "$file" errors)" 0
more "channel: out_ring_bytes" "$(value "$file" out_ring_bytes)" 4095
twice=$(cut -d : -f 1 "$file" | sort | uniq -d)
[ -z "$twice" ] || wrong "keys that are there twice: $twice"

file=$DEBUG/vmbus_balloon/$BALLOON_INSTANCE
for key in ballooned_pages up_requests down_requests pressure_reports hot_added_pages errors; do
	matches "balloon: $key" "$(value "$file" "$key")" '[0-9]+'
done
