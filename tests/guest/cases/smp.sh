# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# Several CPUs: all of them are ready to take the host's interrupts, and the channel is on
# one that exists.

load_balloon
cpus=$(nproc)
more "CPUs" "$cpus" 1
cpu=$(channel_value "$DEVICE" cpu)
between "the channel's CPU" "$cpu" 0 $((cpus - 1))
same "channel_vp_mapping" "$(cat "$DEVICE/channel_vp_mapping")" "$(relid_of "$DEVICE"):$cpu"
note "$cpus CPUs, channel on CPU $cpu"
# Protocol 4.0 can't move an open channel to another CPU.
other=$(((cpu + 1) % cpus))
refused "moving a channel on protocol 4.0" sh -c "echo $other >$DEVICE/channels/$(relid_of "$DEVICE")/cpu"
same "the channel's CPU afterwards" "$(channel_value "$DEVICE" cpu)" "$cpu"
refused "moving a channel to a CPU that isn't there" \
	sh -c "echo 4000 >$DEVICE/channels/$(relid_of "$DEVICE")/cpu"
[ "$STACK" = rust ] || return
same "CPUs of the connection" "$(value "$DEBUG/vmbus/connection" cpus)" "$cpus"
