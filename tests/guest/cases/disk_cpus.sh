# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# CPUs leave and come back while four jobs write and read back.

load_disks
need_disk 0
cpus=$(nproc)
more "CPUs" "$cpus" 3 || fail "this needs four CPUs"
start_verify busy "$DISK"
verify_goes_on busy 60

# switch CPU 0|1: the bus refuses while an event of the host is on its way, so it may take some tries.
switch() { echo "$2" >"/sys/devices/system/cpu/cpu$1/online"; } 2>/dev/null
went=0
for cpu in $(seq 1 $((cpus - 1))); do
	wait_for 20 switch "$cpu" 0 || wrong "CPU $cpu did not go"
	[ "$(cat "/sys/devices/system/cpu/cpu$cpu/online")" = 1 ] || went=$((went + 1))
	verify_goes_on busy 60
	wait_for 20 switch "$cpu" 1 || wrong "CPU $cpu did not come back"
	verify_goes_on busy 60
done
same "CPUs that went" "$went" $((cpus - 1))
# All but one at once.
for cpu in $(seq 1 $((cpus - 1))); do wait_for 20 switch "$cpu" 0 || wrong "CPU $cpu did not go with the others"; done
note "CPUs left: $(nproc)"
verify_goes_on busy 60
# And the driver comes up with fewer CPUs than there could be.
end_verify busy 60
wait_for 20 rmmod "$STORVSC" 2>/dev/null || fail "$STORVSC can't be unloaded"
load_disks
need_disk 0
check_disk "$DISK"
start_verify again "$DISK"
for cpu in $(seq 1 $((cpus - 1))); do wait_for 20 switch "$cpu" 1 || wrong "CPU $cpu did not come back at the end"; done
verify_goes_on again 60
end_verify again 60
same "CPUs at the end" "$(nproc)" "$cpus"

# Each channel has a CPU of its own to begin with; who moves two of them moves what is sent on them.
if [ "$STACK" = rust ]; then
	wait_for 20 rmmod "$STORVSC" 2>/dev/null || fail "$STORVSC can't be unloaded again"
	load_disks
	need_disk 0
	# shellcheck disable=SC2046 # a word a CPU
	channels_in_use() { printf '%s\n' $(counter routes) | sort -u | wc -l; }
	all_in_use() { [ "$(channels_in_use)" = "$cpus" ]; }
	wait_for 20 all_in_use || wrong "channels in use are $(channels_in_use), not $cpus"
	routes=$(counter routes)
	note "routes: $routes"
	# shellcheck disable=SC2086 # a word a CPU
	set -- $routes
	directory=$(synthetic "$SCSI_CLASS" 0)/channels
	for move in "$2 2" "$3 1"; do
		relid=$(cell channels "${move% *}" relid)
		must sh -c "echo ${move#* } >'$directory/$relid/cpu'"
	done
	same "routes after two channels changed places" "$(counter routes)" "$1 $3 $2 $4"
	check_disk "$DISK"
fi
settled
no_breach
