# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# One device, bound and unbound thirty times by hand: open and close without the module.

load_balloon
driver=$(driver_of "$DEVICE")
instance=$(basename "$DEVICE")
round=0
while [ $round -lt 30 ]; do
	round=$((round + 1))
	echo "$instance" >"$BUS/drivers/$driver/unbind" || fail "round $round: unbind failed"
	is_unbound "$DEVICE" || fail "round $round: the device kept its driver"
	echo "$instance" >"$BUS/drivers/$driver/bind" || fail "round $round: bind failed"
	[ "$(cat "$DEVICE/state")" = 3 ] || fail "round $round: the channel is not open"
done
note "$round rounds"
