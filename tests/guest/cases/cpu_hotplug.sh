# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# CPUs leave and come back. The ones that the host's messages or a channel depend on stay:
# protocol 4.0 can't move a channel. The bus works through it all.

load_balloon
cpus=$(nproc)
more "CPUs" "$cpus" 1 || fail "this needs several CPUs"
channel_cpu=$(channel_value "$DEVICE" cpu)
file=''
[ "$STACK" = c ] || file=$(debugfs_of "$DEVICE")

switch() { echo "$2" >"/sys/devices/system/cpu/cpu$1/online"; }

gone=0
cpu=1
while [ $cpu -lt "$cpus" ]; do
	if [ "$cpu" = "$channel_cpu" ]; then
		refused "taking CPU $cpu, which has the channel" sh -c "echo 0 >/sys/devices/system/cpu/cpu$cpu/online"
		matches "why" "$REFUSAL" '.*(busy|Resource).*'
	elif switch "$cpu" 0; then
		gone=$((gone + 1))
	else
		wrong "CPU $cpu did not go"
	fi
	cpu=$((cpu + 1))
done
more "CPUs that went" "$gone" 0
note "channel on CPU $channel_cpu, $gone of $cpus CPUs went, $(nproc) left"

# The channel still works: the driver can go and come.
unload_balloon
load_balloon

cpu=1
while [ $cpu -lt "$cpus" ]; do
	[ "$(cat /sys/devices/system/cpu/cpu$cpu/online)" = 1 ] || switch "$cpu" 1 || wrong "CPU $cpu did not come back"
	cpu=$((cpu + 1))
done
same "CPUs at the end" "$(nproc)" "$cpus"
unload_balloon
load_balloon
[ -z "$file" ] || same "errors" "$(value "$(debugfs_of "$DEVICE")" errors)" 0
