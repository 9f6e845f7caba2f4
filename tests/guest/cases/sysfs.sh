# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# Every attribute of the C driver's ABI is there and reads in the documented form
# (Documentation/ABI/stable/sysfs-bus-vmbus and drivers/hv/vmbus_drv.c, which has more).
# The balloon's offer has no monitor, so the monitor's attributes have to be absent.

load_balloon
relid=$(relid_of "$DEVICE")

number='[0-9]+'
for name in out_intr_mask out_read_index out_write_index out_read_bytes_avail \
	out_write_bytes_avail in_intr_mask in_read_index in_write_index in_read_bytes_avail \
	in_write_bytes_avail state id; do
	file_matches "$DEVICE/$name" "$number"
done
file_matches "$DEVICE/numa_node" '-?[0-9]+'
file_matches "$DEVICE/vendor" '0x[0-9a-f]+'
file_matches "$DEVICE/device" '0x[0-9a-f]+'
file_matches "$DEVICE/channel_vp_mapping" "$relid:[0-9]+"
# CHANNEL_OPENED_STATE of the C driver
same "state of an open channel" "$(cat "$DEVICE/state")" 3
file_matches "$BUS/hibernation" '[01]'

channel=$DEVICE/channels/$relid
for name in out_mask in_mask read_avail write_avail cpu interrupts events intr_in_full \
	intr_out_empty out_full_first out_full_total subchannel_id; do
	file_matches "$channel/$name" "$number"
done
same "subchannel_id of a primary channel" "$(cat "$channel/subchannel_id")" 0
more "write_avail" "$(cat "$channel/write_avail")" 0

for name in monitor_id server_monitor_pending client_monitor_pending server_monitor_latency \
	client_monitor_latency server_monitor_conn_id client_monitor_conn_id; do
	[ ! -e "$DEVICE/$name" ] || wrong "$name is there although the offer has no monitor"
done
for name in pending latency monitor_id; do
	[ ! -e "$channel/$name" ] || wrong "channels/$relid/$name is there without a monitor"
done

# Names of the driver's own directory on the bus.
driver=$(driver_of "$DEVICE")
note "bound to $driver"
for name in new_id remove_id bind unbind; do
	[ -e "$BUS/drivers/$driver/$name" ] || wrong "drivers/$driver/$name is missing"
done
