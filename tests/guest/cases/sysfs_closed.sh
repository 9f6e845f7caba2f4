# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# Attributes of a device without a driver: its channel is not open, so nothing about its
# rings can be read, and reading says so instead of showing old or foreign memory.

load_balloon
unload_balloon
wait_for 10 is_unbound "$DEVICE" || fail "the device kept its driver"
relid=$(relid_of "$DEVICE")
for name in out_intr_mask in_read_index out_write_bytes_avail; do
	refused "reading $name of a closed channel" cat "$DEVICE/$name"
done
for name in out_mask read_avail; do
	refused "reading channels/$relid/$name of a closed channel" cat "$DEVICE/channels/$relid/$name"
done
file_matches "$DEVICE/state" '[0-9]+'
file_matches "$DEVICE/channels/$relid/cpu" '[0-9]+'
file_matches "$DEVICE/channel_vp_mapping" "$relid:[0-9]+"
