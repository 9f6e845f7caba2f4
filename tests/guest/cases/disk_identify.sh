# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# What a disk says about itself: INQUIRY, vital product data, capacity, LUNs.

load_disks
need_disk 0
dir=$(scsi_dir 0)
matches "vendor" "$(cat "$dir/vendor")" 'Msft *'
matches "model" "$(cat "$dir/model")" 'Virtual Disk *'
same "size" "$(disk_bytes "$DISK")" $((256 << 20))
same "logical block" "$(cat "/sys/block/${DISK#/dev/}/queue/logical_block_size")" 512
# Vital product data: serial number, names, limits, provisioning.
must sg_vpd --page=0x80 "$DISK"
must sg_vpd --page=0x83 "$DISK"
echo "$OUTPUT" | grep -qi 'naa\|t10' || wrong "the disk has no name: $OUTPUT"
must sg_vpd --page=0xb0 "$DISK"
must sg_vpd --page=0xb2 "$DISK"
must sg_readcap --16 "$DISK"
echo "$OUTPUT" | grep -q 'lbpme=1' || wrong "the disk says that it can't discard"
must sg_luns "$DISK"
same "LUNs" "$(echo "$OUTPUT" | grep -c '^ *[0-9a-f]\{16\}')" 5
# A command that no disk has is refused with sense data, and the disk goes on.
if sg_raw "$DISK" ff 00 00 00 00 00 >/tmp/raw 2>&1; then wrong "opcode 0xff was carried out"; fi
grep -qi 'Illegal Request' /tmp/raw || wrong "opcode 0xff: $(tr '\n' ' ' </tmp/raw)"
must sg_inq "$DISK"
# A disk with sectors of 4096 bytes, and one on another controller.
need_disk 1
same "logical block of LUN 1" "$(cat "/sys/block/${DISK#/dev/}/queue/logical_block_size")" 4096
need_disk 0 1
same "size on controller 1" "$(disk_bytes "$DISK")" $((32 << 20))
