# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# A device that appears says so in a uevent whose MODALIAS names its driver's module.

load_bus
unload_balloon
dir=$(balloon_device)
cat >/tmp/on-uevent <<-'HANDLER'
	#!/bin/sh
	[ "$SUBSYSTEM" = vmbus ] || exit 0
	echo "$ACTION $MODALIAS $DEVPATH" >>/tmp/uevents
	[ "$ACTION" = add ] && [ -n "$MODALIAS" ] && modprobe "$MODALIAS"
HANDLER
chmod +x /tmp/on-uevent
: >/tmp/uevents
uevent /tmp/on-uevent &
listener=$!
sleep 1
if [ "$STACK" = rust ]; then
	# The whole bus again: the device's own uevent has to do it.
	unload_bus
	ERROR=$(modprobe vmbus 2>&1) || fail "modprobe vmbus: $ERROR"
else
	echo add >"$dir/uevent"
fi
seen() { grep -q "^add vmbus:dc7450528589e2468057a307dc18a502 " /tmp/uevents; }
wait_for 20 seen || wrong "no such uevent, but: $(tr '\n' ';' </tmp/uevents)"
wait_for 20 is_loaded "$BALLOON_MODULE" || wrong "$BALLOON_MODULE was not loaded"
kill "$listener"
dir=$(balloon_device)
wait_for 20 is_bound "$dir" || wrong "the device has no driver"
note "$(head -n 1 /tmp/uevents)"
