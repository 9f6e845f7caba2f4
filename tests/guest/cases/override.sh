# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# Drivers are bound and unbound by hand, and driver_override decides who may.

load_balloon
driver=$(driver_of "$DEVICE")
instance=$(basename "$DEVICE")
echo "$instance" >"$BUS/drivers/$driver/unbind" || wrong "unbind failed"
wait_for 10 is_unbound "$DEVICE" || wrong "the device kept its driver"
echo nobody >"$DEVICE/driver_override" || wrong "driver_override can't be written"
same "driver_override" "$(cat "$DEVICE/driver_override")" nobody
refused "binding against driver_override" sh -c "echo $instance >$BUS/drivers/$driver/bind"
echo "$driver" >"$DEVICE/driver_override"
echo "$instance" >"$BUS/drivers/$driver/bind" || wrong "bind failed"
wait_for 10 is_bound "$DEVICE" || wrong "the device has no driver"
echo >"$DEVICE/driver_override"
