# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# The device that QEMU offers is on the bus, with the identity it was given.

load_bus
dir=$(balloon_device)
instance=$(basename "$dir")
note "$dir"
same "instance" "$instance" "$BALLOON_INSTANCE"
same "class_id" "$(cat "$dir/class_id")" "{$BALLOON_CLASS}"
same "device_id" "$(cat "$dir/device_id")" "{$instance}"
file_matches "$dir/id" '[1-9][0-9]*'
# The class GUID's bytes as they are in memory.
same "modalias" "$(cat "$dir/modalias")" vmbus:dc7450528589e2468057a307dc18a502
grep -qx 'MODALIAS=vmbus:dc7450528589e2468057a307dc18a502' "$dir/uevent" ||
	wrong "the uevent file has no MODALIAS: $(tr '\n' ' ' <"$dir/uevent")"
[ "$(basename "$(readlink -f "$dir/subsystem")")" = vmbus ] || wrong "its subsystem is not vmbus"
[ -d "$dir/channels/$(cat "$dir/id")" ] || wrong "there is no directory for its channel"
