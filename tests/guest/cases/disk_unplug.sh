# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A disk is pulled while a file system on it is written; back in, fsck finds all that was safe.

# What the kernel says of a disk that went.
DMESG_ALLOW='EXT4-fs|JBD2|I/O error|Buffer I/O|sd [0-9:]+|device offline|Synchronize Cache|lost (async|sync) page write|Aborting journal'
load_disks
need_disk 0
must mkfs.ext4 -q -F -E nodiscard "$DISK" 96M
mkdir -p /tmp/fs
must mount "$DISK" /tmp/fs
seq 1 100000 >/tmp/fs/safe
sync
(
	while dd if=/dev/zero of=/tmp/fs/busy bs=64k count=64 conv=fsync 2>/dev/null; do :; done
) &
writer=$!
sleep 1
ask hvctl '{"command": "remove-disk", "device": "scsi0", "lun": 0}'
wait_for 30 lacks_disk 0 || wrong "the disk is still there"
wait_for 30 process_is_gone $writer || wrong "the writer did not end"
umount /tmp/fs || umount -l /tmp/fs

ask hvctl '{"command": "add-disk", "spec": "data.img,lun=0"}'
need_disk 0
e2fsck -f -y "$DISK" >/tmp/fsck 2>&1
# 0 nothing to do, 1 corrected: the journal was replayed.
between "exit code of e2fsck" $? 0 1
note "e2fsck: $(tail -n 1 /tmp/fsck)"
must e2fsck -f -n "$DISK"
must mount "$DISK" /tmp/fs
seq 1 100000 | cmp - /tmp/fs/safe || wrong "what was safe is lost"
umount /tmp/fs
