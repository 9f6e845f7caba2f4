# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# One storvsp version over one VMBus version: I/O, sense data and a disk's removal work in it.

DMESG_ALLOW=$DISK_GONE
load_disks
same "VMBus version" "$(vmbus_version)" "$(wanted vmbus)"
need_disk 0
host_stat version
same "what the host agreed to" "$ANSWER" "$(wanted storvsp)"
[ "$STACK" = c ] || same "what the driver says" "$(counter protocol)" "$(wanted storvsp)"
fio_job version --filename="$DISK" --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite \
	--bssplit=4k/50:64k/50 --size=4M --verify=crc32c --verify_fatal=1 --do_verify=1
# Sense data are where they belong.
if sg_raw "$DISK" ff 00 00 00 00 00 >/tmp/raw 2>&1; then wrong "opcode 0xff was carried out"; fi
grep -qi 'Illegal Request' /tmp/raw || wrong "opcode 0xff: $(tr '\n' ' ' </tmp/raw)"
# Packets of the host's own accord are understood.
scsi add-disk '"spec": "ram:8M,lun=5"'
need_disk 5
scsi remove-disk '"lun": 5'
wait_for 30 lacks_disk 5 || wrong "LUN 5 is still there"
settled
no_breach
