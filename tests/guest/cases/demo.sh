# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# make demo: loads the stack, has the host change the guest's memory through the bus, and
# shows what is on the bus. Every line is for a person.

say() { note "$*"; }
t() { printf '%s s' "$(cut -d ' ' -f 1 /proc/uptime)"; }

# watch SECONDS CMD...: as wait_for, but tells every ten seconds where the memory is.
watch() {
	local rounds=$(($1 / 10))
	shift
	while [ $rounds -gt 0 ]; do
		wait_for 10 "$@" && return 0
		say "guest at $(t): MemTotal $(mem MemTotal) MiB"
		rounds=$((rounds - 1))
	done
	return 1
}

say "guest: kernel $(uname -r), $(nproc) CPUs, MemTotal $(mem MemTotal) MiB"
load_bus
if [ "$STACK" = rust ]; then
	dmesg_ever 'vmbus: connected' || fail "vmbus did not say that it connected"
	version=$(value "$DEBUG/vmbus/connection" version)
else
	dmesg_ever 'Vmbus version:' || fail "hv_vmbus did not say that it connected"
	version=${LINE##*:}
fi
say "guest at $(t): $LINE"
load_balloon
say "guest at $(t): $(basename "$DEVICE") bound to $(driver_of "$DEVICE")"

before=$(mem MemTotal)
say "guest at $(t): asking QEMU to leave this guest 256 MiB (it waits 15 s after the driver's start)"
host balloon 256 || fail "the host refused: $ANSWER"
watch 120 mem_total_at_most $((before - 250)) || fail "MemTotal is still $(mem MemTotal) MiB"
wait_for 20 host_balloon_is 256 || wrong "QEMU believes in $ANSWER MiB"
small=$(mem MemTotal)
say "guest at $(t): MemTotal $small MiB; asking QEMU to give it back"
host balloon 512 || fail "the host refused: $ANSWER"
watch 120 mem_total_at_least $((before - 2)) || fail "MemTotal is still $(mem MemTotal) MiB"
wait_for 20 host_balloon_is 512 || wrong "QEMU believes in $ANSWER MiB"
after=$(mem MemTotal)
say "guest at $(t): MemTotal $after MiB"

row() { note "$(printf '%-16s %s' "$1" "$2")"; }
say ""
host 'acceleration?'
row acceleration "$ANSWER"
row "kernel release" "$(uname -r)"
row "VMBus version" "$version"
say ""
for dir in "$BUS"/devices/*; do
	relid=$(relid_of "$dir")
	row instance "$(basename "$dir")"
	file=$(debugfs_of "$dir")
	row "  class" "$(tr -d '{}' <"$dir/class_id") $(value "$file" class)"
	driver=$(driver_of "$dir")
	row "  driver" "${driver:-none}"
	if [ -r "$file" ]; then
		row "  channel" "$relid, $(value "$file" state), on CPU $(value "$file" target_cpu)"
		row "  rings" "out $(($(value "$file" out_ring_bytes) / 1024)) KiB, in $(($(value "$file" in_ring_bytes) / 1024)) KiB"
		row "  packets" "out $(value "$file" packets_out), in $(value "$file" packets_in)"
		row "  bytes" "out $(value "$file" bytes_out), in $(value "$file" bytes_in)"
	else
		row "  channel" "$relid, state $(cat "$dir/state"), on CPU $(channel_value "$dir" cpu)"
		row "  rings" "out $((($(cat "$dir/out_read_bytes_avail") + $(cat "$dir/out_write_bytes_avail")) / 1024)) KiB, in $((($(cat "$dir/in_read_bytes_avail") + $(cat "$dir/in_write_bytes_avail")) / 1024)) KiB"
	fi
	row "  signals" "to the host $(channel_value "$dir" events), from it $(channel_value "$dir" interrupts)"
done
say ""
row "MemTotal before" "$before MiB"
row "  target 256" "$small MiB"
row "  target 512" "$after MiB"
