# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The integration services find their driver, and what they are for happens.

load hv_utils
for class in 0e0b6031-5213-4934-818b-38d90ced39db 9527e630-d0ae-497b-adce-e80ab0175caf \
	57164f39-9115-4e78-ab55-382f3bd5422d a9a0f4e7-5a45-4d96-b827-8a841e8c03e6; do
	wait_for 20 service_is_bound $class || wrong "no driver for $class"
done

# Heartbeat: the guest answers, again and again.
beats() { ask hvctl/sequence '{"command": "heartbeat"}' && BEATS=$ANSWER; }
beats
before=$BEATS
more_beats() { beats && [ "$BEATS" -gt $((before + 1)) ]; }
wait_for 20 more_beats || wrong "the guest's heart beat $((BEATS - before)) times in 20 s"

ask hvctl/pulse '{"command": "heartbeat"}'
note "heartbeat: $ANSWER, $BEATS beats"

# Time: a clock that is far off is put right at the host's next sample.
now=$(date +%s)
date -s '2001-02-03 04:05:06' >/dev/null
ask hvctl '{"command": "timesync", "set": true}'
time_is_right() {
	local seconds
	seconds=$(date +%s)
	[ "$seconds" -ge "$now" ] && [ "$seconds" -lt $((now + 120)) ]
}
wait_for 20 time_is_right || wrong "the clock still says $(date)"

# Key-value pairs: the kernel's own daemon answers what the host asks for.
mkdir -p /var/lib/hyperv /etc
echo 'NAME="vmlab guest"' >/etc/os-release
wait_for 20 test -e /dev/vmbus/hv_kvp || fail "there is no /dev/vmbus/hv_kvp"
hv_kvp_daemon -n >/tmp/kvp.log 2>&1 &
daemon=$!
kvp_is_set() { host hvctl '{"command": "kvp-set", "key": "lab", "value": "from the host"}'; }
if wait_for 30 kvp_is_set; then
	# Through the list: the C driver answers a question for one key with an empty value.
	ask hvctl/pairs/lab '{"command": "kvp-list", "pool": "external"}'
	same "the pair that the host set" "$ANSWER" "from the host"
	ask hvctl '{"command": "kvp-list", "pool": "auto"}'
	echo "$ANSWER" | grep -q "$(uname -r)" || wrong "the guest does not tell its kernel: $ANSWER"
	note "$ANSWER"
else
	wrong "no key-value pair can be set: $ANSWER"
fi
kill $daemon
