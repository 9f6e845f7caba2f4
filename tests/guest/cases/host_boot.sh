# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The stock kernel is up on hvhost, takes it for Hyper-V and has the newest bus version.

ask 'boot?'
note "init was up $ANSWER s after the start of hvhost"
# The aim is 10 s on a machine that has nothing else to do, in the nested lab, too. A time is no
# measure where others work as well: what fails here is a boot that waited for something, seen as a
# silence in the kernel's log that the machine's slowness doesn't account for.
total=${ANSWER%.*}
between "seconds to init" "$total" 0 120
silence=$(dmesg | awk -F '[][]' '
	$2 + 0 > 0 && !init { if ($2 - last > most) { most = $2 - last; before = $0 } last = $2 }
	/Run .* as init process/ { init = 1 }
	END { printf "%d %s", most, before }')
note "longest silence in the log: ${silence%% *} s, before: ${silence#* }"
between "seconds of silence in the log" "${silence%% *}" 0 $((5 + total / 4))
same "VMBus version" "$(vmbus_version)" 6.0
same "clock" "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)" \
	hyperv_clocksource_tsc_page
dmesg_ever 'Hyper-V: privilege flags' || wrong "the kernel did not see Hyper-V"
note "$LINE"
same "CPUs" "$(nproc)" 4
# Every CPU can take the bus's interrupt.
grep -q 'Hypervisor callback interrupts' /proc/interrupts || wrong "no interrupt of the hypervisor"
ask hvctl/hvhost '{"command": "version"}'
note "hvhost $ANSWER"
