# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A file system's life: made, filled by several, checked, grown on line, checked again.

load_disks
need_disk 0
must mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$DISK" 64M
mkdir -p /tmp/fs
must mount "$DISK" /tmp/fs

# fill DIR: a tree of files, each with its checksum beside it.
fill() {
	local i
	mkdir -p "/tmp/fs/$1"
	for i in $(seq 1 12); do
		head -c $((i * 37 * 1024)) /dev/urandom >"/tmp/fs/$1/$i"
		sync "/tmp/fs/$1/$i"
	done
	(cd "/tmp/fs/$1" && md5sum [0-9]* >sums)
}
for dir in a b c d; do fill $dir & done
wait
# Half of it goes again, so that the check has something to find.
rm -rf /tmp/fs/b /tmp/fs/d
sync

check_tree() {
	local dir
	echo 3 >/proc/sys/vm/drop_caches
	for dir in a c; do
		(cd "/tmp/fs/$dir" && md5sum -c sums >/tmp/sums 2>&1) ||
			wrong "$1: $dir: $(grep -v ': OK' /tmp/sums | head -n 3 | tr '\n' ' ')"
	done
}
check_tree "mounted"
must umount /tmp/fs
must e2fsck -f -n "$DISK"
note "e2fsck: $(echo "$OUTPUT" | tail -n 1)"
must mount "$DISK" /tmp/fs
check_tree "mounted again"

# It grows while it is mounted.
before=$(df -k /tmp/fs | awk 'END { print $2 }')
must resize2fs "$DISK" 128M
more "KiB after resize2fs" "$(df -k /tmp/fs | awk 'END { print $2 }')" $((before + 40 * 1024))
fill d
check_tree "grown"
must umount /tmp/fs
must e2fsck -f -n "$DISK"
no_breach
