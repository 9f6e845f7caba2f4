# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Sub-channels that are promised and never offered, or offered and not to be opened: the driver is
# there in bounded time and works with those it has.

DMESG_ALLOW='storvsc: .*(channel|open)|vmbus: .*open'
load_disks
need_disk 0
all=$(counter channels)
more "channels" "$all" 1 || fail "this needs several channels"
# again WHAT LEAST MOST: the driver comes anew, with so many channels.
again() {
	local began
	wait_for 20 rmmod "$STORVSC" 2>/dev/null || fail "$STORVSC can't be unloaded"
	began=$(uptime_seconds)
	load_disks
	need_disk 0
	note "$1: there after $(($(uptime_seconds) - began)) s with $(counter channels) channels"
	between "$1: channels" "$(counter channels)" "$2" "$3"
	start_verify again "$DISK"
	verify_goes_on again 60
	end_verify again 60
	settled
}
misbehave missing-subchannels '"count": 1'
again "one is missing" $((all - 1)) $((all - 1))
misbehave missing-subchannels
again "all are missing" 1 1
misbehave none
misbehave refused-subchannels '"count": 1'
again "one can't be opened" $((all - 1)) "$all"
misbehave refused-subchannels
again "none can be opened" 1 1
misbehave none
again "all are well" "$all" "$all"
