# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Disks are added, grown and removed over and over while they and another one work.

rounds=${ROUNDS:-10}
DMESG_ALLOW=$DISK_GONE
load_disks
need_disk 0
before=$(how_many /sys/block/sd*)
start_verify steady "$DISK"

round=1
while [ "$round" -le "$rounds" ]; do
	# Two LUNs a round, other ones the next time, both ways of telling of a removal.
	lun=$((20 + round % 7 * 2))
	scsi add-disk "\"spec\": \"ram:8M,lun=$lun\""
	scsi add-disk "\"spec\": \"ram:16M,lun=$((lun + 1))\""
	need_disk $((lun + 1))
	second=$DISK
	need_disk $lun
	same "size in round $round" "$(disk_bytes "$DISK")" $((8 << 20))
	start_fio churn --filename="$DISK:$second" --direct=1 --ioengine=libaio --iodepth=4 --rw=randrw --bs=4k \
		--time_based --runtime=600
	scsi resize-disk "\"lun\": $lun, \"bytes\": \"$((9 + round % 5))M\""
	wait_for 30 disk_has_bytes "$DISK" $(((9 + round % 5) << 20)) ||
		wrong "round $round: LUN $lun has $(disk_bytes "$DISK") bytes"
	notify=enumerate
	[ $((round % 2)) = 0 ] || notify=remove
	scsi remove-disk "\"lun\": $lun, \"notify\": \"$notify\""
	scsi remove-disk "\"lun\": $((lun + 1)), \"notify\": \"$notify\""
	wait_for 60 lacks_disk $lun || fail "round $round: LUN $lun is still there"
	wait_for 60 lacks_disk $((lun + 1)) || fail "round $round: LUN $((lun + 1)) is still there"
	fio_end churn 60
	[ "$FIO_RC" != 0 ] || wrong "round $round: fio did not notice that its disks went"
	round=$((round + 1))
done
note "$rounds rounds of two disks"
end_verify steady 120
same "disks that are left" "$(how_many /sys/block/sd*)" "$before"
nothing_hangs 30
settled
no_breach
if [ "$STACK" = rust ]; then
	more "removals" "$(counter removals)" $((2 * rounds - 1))
	more "rescans" "$(counter rescans)" 0
fi
