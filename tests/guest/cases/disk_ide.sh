# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Disks of the IDE class: each on a controller of its own, at the target that its instance names.

IDE_CLASS=32412632-86cb-44a2-9b5c-50d1417354f5
# ide_disk N: device node of the disk on the N-th controller of the class, from 0; its address is
# left in ADDRESS.
ide_disk() {
	local controller dir
	controller=$(synthetic "$IDE_CLASS" "$1") || return 1
	for dir in "$controller"/host*/target*/*:0; do
		ADDRESS=${dir##*/}
		[ -d "$dir/block" ] && DISK=/dev/$(ls "$dir/block") && [ -b "$DISK" ] && return 0
	done
	return 1
}

load_disks
wait_for 30 ide_disk 0 || fail "there is no disk on ide0"
matches "address of ide0" "$ADDRESS" '[0-9]+:0:0:0'
same "size of ide0" "$(disk_bytes "$DISK")" $((32 << 20))
first=$DISK
wait_for 30 ide_disk 1 || fail "there is no disk on ide3"
matches "address of ide3" "$ADDRESS" '[0-9]+:0:3:0'
same "size of ide3" "$(disk_bytes "$DISK")" $((16 << 20))
set -- "$(synthetic "$IDE_CLASS" 1)"/channels/*
same "channels of ide3" $# 1
must dd if=/dev/urandom of=/tmp/noise bs=64k count=16
must dd if=/tmp/noise of="$first" bs=64k oflag=direct
must dd if="$first" of=/tmp/back bs=64k count=16 iflag=direct
cmp /tmp/noise /tmp/back || wrong "ide0 has other content"
fio_job ide --filename="$DISK" --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k \
	--size=4M --verify=crc32c --verify_fatal=1
# One more while the guest runs.
ask hvctl/device '{"command": "add-disk", "spec": "ram:8M,ide"}'
same "the device" "$ANSWER" ide1
wait_for 30 ide_disk 2 || fail "there is no disk on ide1"
matches "address of ide1" "$ADDRESS" '[0-9]+:0:1:0'
if [ "$STACK" = rust ]; then
	file=$DEBUG/storvsc/$(basename "$(synthetic "$IDE_CLASS" 1)")/controller
	same "class" "$(value "$file" class)" ide
	same "channels" "$(value "$file" channels)" 1
	same "protocol errors" "$(value "$file" protocol_errors)" 0
fi
