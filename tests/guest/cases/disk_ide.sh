# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A controller of the IDE class: one disk, LUN 0 of the target that its instance tells, on one channel.

IDE_CLASS=32412632-86cb-44a2-9b5c-50d1417354f5
load_disks
dir=$(synthetic $IDE_CLASS 0) || fail "there is no controller of the IDE class"
has_block() { [ "$(how_many "$dir"/host*/target*/*/block/sd*)" != 0 ]; }
wait_for 30 has_block || fail "there is no disk"
device=$(ls -d "$dir"/host*/target*/*:*:*:*)
same "disks" "$(echo "$device" | wc -l)" 1
DISK=/dev/$(ls "$device/block")
instance=$(basename "$dir")
# Bytes 4 and 5 of the instance: the second group of the text, bytes swapped.
target=$((0x$(echo "$instance" | cut -d - -f 2)))
matches "address" "$(basename "$device")" "[0-9]+:0:$target:0"
matches "serial number" "$(tail -c +5 "$device/vpd_pg80")" 'HVIDE *'
must mkfs.ext4 -q -F "$DISK"
mkdir -p /tmp/ide
must mount "$DISK" /tmp/ide
seq 1 100000 >/tmp/ide/numbers
must umount /tmp/ide
must e2fsck -f -n "$DISK"
fio_job ide --filename="$DISK" --direct=1 --ioengine=libaio --iodepth=16 --numjobs=4 --rw=randwrite \
	--bssplit=4k/50:16k/30:64k/20 --size=3M --offset_increment=4M --verify=crc32c --verify_fatal=1 --do_verify=1 \
	--group_reporting
if [ "$STACK" = rust ]; then
	file=$DEBUG/storvsc/$instance/controller
	same "class" "$(value "$file" class)" ide
	same "channels" "$(value "$file" channels)" 1
	same "protocol errors" "$(value "$file" protocol_errors)" 0
fi
