# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A read-only disk is read-only for the guest, whatever it tries.

load_disks
need_disk 2
same "ro" "$(cat "/sys/block/${DISK#/dev/}/ro")" 1
before=$(md5sum <"$DISK")
refused "a write" dd if=/dev/zero of="$DISK" bs=4k count=1 conv=fsync
# Past the kernel's own check.
load sg
generic=/dev/$(basename "$(scsi_dir 2)"/scsi_generic/sg*)
wait_for 10 test -c "$generic" || fail "there is no $generic"
if sg_raw -s 512 -i /dev/zero "$generic" 2a 00 00 00 00 00 00 00 01 00 >/tmp/raw 2>&1; then
	wrong "WRITE(10) was carried out"
fi
grep -qi 'protect' /tmp/raw || wrong "the sense data is not about write protection: $(tr '\n' ' ' </tmp/raw)"
echo 3 >/proc/sys/vm/drop_caches
same "what is on the disk" "$(md5sum <"$DISK")" "$before"
# The file system is the one the image came with.
mkdir -p /tmp/ro
must mount -t iso9660 -o ro "$DISK" /tmp/ro
same "first line" "$(head -n 1 /tmp/ro/numbers.txt)" 1
umount /tmp/ro
