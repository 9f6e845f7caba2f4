# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Eight LUNs are added to a running guest, one grows, and all are removed while they work.

DMESG_ALLOW='I/O error|Buffer I/O|sd [0-9:]+|device offline|Synchronize Cache|lost (async|sync) page write'
load_disks
need_disk 0
for lun in 10 11 12 13 14 15 16 17; do
	ask hvctl "{\"command\": \"add-disk\", \"spec\": \"ram:${lun}M,lun=$lun\"}"
done
for lun in 10 11 12 13 14 15 16 17; do
	need_disk $lun
	same "size of LUN $lun" "$(disk_bytes "$DISK")" $((lun << 20))
	echo "LUN $lun" | dd of="$DISK" bs=512 conv=sync,fsync 2>/dev/null || wrong "LUN $lun can't be written"
done
echo 3 >/proc/sys/vm/drop_caches
for lun in 10 11 12 13 14 15 16 17; do
	same "content of LUN $lun" "$(head -c 6 "$(disk $lun)")" "LUN $lun"
done

# All of them busy from here on.
for lun in 10 11 12 13 14 15 16 17; do
	(cd /tmp && fio --name=busy-$lun --filename="$(disk $lun)" --direct=1 --ioengine=libaio --iodepth=4 \
		--rw=randrw --bs=4k --time_based --runtime=120 >/dev/null 2>&1) &
done
sleep 2

# One grows: the disk says so with sense data, for which the driver looks at it again.
need_disk 12
ask hvctl "{\"command\": \"resize-disk\", \"device\": \"scsi0\", \"lun\": 12, \"bytes\": $((20 << 20))}"
wait_for 20 disk_has_bytes "$DISK" $((20 << 20)) || wrong "LUN 12 has $(disk_bytes "$DISK") bytes"

for lun in 10 11 12 13 14 15 16 17; do
	ask hvctl "{\"command\": \"remove-disk\", \"device\": \"scsi0\", \"lun\": $lun}"
done
for lun in 10 11 12 13 14 15 16 17; do
	wait_for 60 lacks_disk $lun || wrong "LUN $lun is still there"
done
no_fio() { ! pidof fio >/dev/null; }
wait_for 60 no_fio || wrong "I/O to a removed disk never ended"
# The one that stayed was not disturbed.
fio_job after --filename="$(disk 0)" --direct=1 --ioengine=libaio --iodepth=4 --rw=randrw --bs=4k \
	--size=1M --verify=crc32c
