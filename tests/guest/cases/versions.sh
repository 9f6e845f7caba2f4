# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# One protocol version after the other: bus, disk and NIC work with what was agreed.

same "VMBus version" "$(vmbus_version)" "$(wanted vmbus)"

load_disks
need_disk 0
seq 1 20000 >/tmp/pattern
must dd if=/tmp/pattern of="$DISK" bs=4k conv=fsync
echo 3 >/proc/sys/vm/drop_caches
head -c "$(stat -c %s /tmp/pattern)" "$DISK" | cmp - /tmp/pattern || wrong "the disk gave back something else"
ask hvctl/version '{"command": "stats", "device": "scsi0"}'
same "storvsp version" "$ANSWER" "$(wanted storvsp)"

load_net
nic_up "$NIC" 192.168.77.2/24
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer"
ping -q -c 3 -W 5 -s 1400 192.168.77.1 >/dev/null || wrong "larger packets are lost"
ask hvctl/nvsp '{"command": "stats", "device": "net0"}'
same "NVSP version" "$ANSWER" "$(wanted nvsp)"
serve_iperf 5201
iperf 192.168.77.1 -n 512K
more "kbit/s to the host" "$KBITS" 0
iperf 192.168.77.1 -n 512K -R
more "kbit/s from the host" "$KBITS" 0
