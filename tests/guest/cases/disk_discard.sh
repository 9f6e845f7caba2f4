# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Discarded blocks leave the image file, and read as zeros.

load_disks
need_disk 0
image_is_at_most() { ask allocated? data.img && [ "$ANSWER" -le "$1" ]; }

fio_job fill --filename="$DISK" --direct=1 --rw=write --bs=1M --size=64M --ioengine=libaio --iodepth=4
ask allocated? data.img
full=$ANSWER
more "bytes of the image in use" "$full" $(((64 << 20) - 1))

must blkdiscard -o $((8 << 20)) -l $((32 << 20)) "$DISK"
wait_for 10 image_is_at_most $((full - (32 << 20))) || wrong "after the discard the image still has $ANSWER bytes, of $full"
note "image: $full bytes, after 32 MiB of discard $ANSWER"
echo 3 >/proc/sys/vm/drop_caches
same "bytes other than 0 in what was discarded" \
	"$(dd if="$DISK" bs=1M skip=8 count=32 2>/dev/null | tr -d '\0' | wc -c)" 0
more "bytes other than 0 after it" \
	"$(dd if="$DISK" bs=1M skip=40 count=1 2>/dev/null | tr -d '\0' | wc -c)" 0

# WRITE SAME and UNMAP as a program sends them.
must sg_write_same --lba=$((50 << 11)) --num=2048 --16 --in=/dev/zero --xferlen=512 "$DISK"
echo 3 >/proc/sys/vm/drop_caches
same "bytes other than 0 after WRITE SAME" \
	"$(dd if="$DISK" bs=1M skip=50 count=1 2>/dev/null | tr -d '\0' | wc -c)" 0
must sg_unmap --lba=$((52 << 11)) --num=2048 "$DISK"

# A file system does it, too.
must mkfs.ext4 -q -F -E nodiscard "$DISK" 128M
mkdir -p /tmp/fs
must mount "$DISK" /tmp/fs
must dd if=/dev/urandom of=/tmp/fs/file bs=1M count=24 conv=fsync
ask allocated? data.img
full=$ANSWER
rm /tmp/fs/file
sync
must fstrim /tmp/fs
wait_for 10 image_is_at_most $((full - (20 << 20))) || wrong "after fstrim the image still has $ANSWER bytes, of $full"
umount /tmp/fs
