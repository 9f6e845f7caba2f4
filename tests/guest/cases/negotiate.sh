# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# The bus comes up: version, connection, number of CPUs.

load_bus
if [ "$STACK" = c ]; then
	dmesg_ever 'hv_vmbus: Vmbus version:' || fail "hv_vmbus did not connect"
	note "$LINE"
	matches "the C driver's line" "$LINE" 'hv_vmbus: Vmbus version:[0-9]+\.[0-9]+'
	return
fi
dmesg_ever 'vmbus: connected' || fail "vmbus did not say that it connected"
note "$LINE"
cpus=$(nproc)
matches "the connect line" "$LINE" \
	".*vmbus: connected, protocol [0-9]+\.[0-9]+, connection id [0-9]+, $cpus CPUs?"
# The only version that QEMU's bridge has.
matches "the connect line" "$LINE" '.*protocol 4\.0,.*'

connection=$DEBUG/vmbus/connection
same "debugfs version" "$(value "$connection" version)" 4.0
same "debugfs cpus" "$(value "$connection" cpus)" "$cpus"
same "debugfs protocol_errors" "$(value "$connection" protocol_errors)" 0
