# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# What cases of NICs share beyond synthetic.sh: the driver's files, and a host that misbehaves.

# netvsc_dir [N]: what the driver tells about the N-th NIC; fails when there is none.
netvsc_dir() {
	local dir
	dir=$(synthetic "$NET_CLASS" "${1:-0}") || return 1
	echo "$DEBUG/netvsc/${dir##*/}"
}

# agreed KEY [N]: from the file `nic`.
agreed() { value "$(netvsc_dir "${2:-0}")/nic" "$1"; }
agreed_is() { [ "$(agreed "$1")" = "$2" ]; }

# frames_end: the host has none of the guest's frames any more.
nothing_sent() { [ "$(awk 'NR > 1 { sum += $4 } END { print sum + 0 }' "$(netvsc_dir)/queues")" = 0 ]; }
frames_end() { wait_for 20 nothing_sent || wrong "frames never ended: $(cat "$(netvsc_dir)/queues")"; }

# net_misbehave KIND [ARGUMENTS]: ARGUMENTS are JSON without braces.
net_misbehave() { ask hvctl "{\"command\": \"misbehave\", \"device\": \"net0\", \"kind\": \"$1\"${2:+, $2}}"; }

# net_misdeeds KIND: how often that happened; left in ANSWER.
net_misdeeds() { host_stat "misbehaviour/done/$1" net0; }
net_misdeeds_reach() { net_misdeeds "$1" && [ "$ANSWER" -ge "$2" ]; }

# net_wrong KIND COUNT LEAST [ARGUMENTS]: the host does so COUNT times while the guest pings it; the driver
# counts LEAST breaches of the protocol at least, and the NIC goes on.
net_wrong() {
	local before done_before flood
	before=$(agreed protocol_errors)
	net_misdeeds "$1"
	done_before=$ANSWER
	ping -q -f -w 90 192.168.77.1 >/dev/null 2>&1 &
	flood=$!
	net_misbehave "$1" "\"count\": $2${4:+, $4}"
	wait_for 80 net_misdeeds_reach "$1" $((done_before + $2)) ||
		fail "$1${4:+ ($4)}: only $((ANSWER - done_before)) of $2 happened"
	wait_for 60 pings 192.168.77.1 || fail "$1${4:+ ($4)}: the host does not answer any more"
	kill $flood 2>/dev/null
	wait $flood
	note "$1${4:+ ($4)}: $2 times, $(($(agreed protocol_errors) - before)) breaches counted"
	more "$1${4:+ ($4)}: breaches counted" $(($(agreed protocol_errors) - before)) $(($3 - 1))
}
