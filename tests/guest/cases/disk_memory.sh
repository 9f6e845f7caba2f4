# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Nearly no memory is left, and what is left gets dirty: I/O goes on, nothing fails.

load_disks
need_disk 0
need_disk 1
must mkfs.ext4 -q -F -E nodiscard "$DISK"
mkdir -p /tmp/fs
must mount "$DISK" /tmp/fs
DISK=$(disk 0)
start_verify direct "$DISK" --offset=128M
verify_goes_on direct 60

# The hog: pages of a RAM file system can't be written anywhere.
available=$(mem MemAvailable)
hog=$((available - 40))
more "MiB to take" "$hog" 0 || fail "there are only $available MiB"
mkdir -p /tmp/hog
must mount -t tmpfs -o size=100% tmpfs /tmp/hog
dd if=/dev/zero of=/tmp/hog/pages bs=1M count=$hog 2>/dev/null || note "the hog got less"
note "MemAvailable $available MiB, then $(mem MemAvailable)"
between "MiB available with the hog" "$(mem MemAvailable)" 0 60

# Three writers, together with more than is left.
writers=''
for writer in 1 2 3; do
	dd if=/dev/zero bs=64k count=400 2>/dev/null | tr '\0' "$writer" >/tmp/fs/dirty.$writer &
	writers="$writers $!"
done
least=$(mem MemFree)
for tick in $(seq 1 20); do
	free=$(mem MemFree)
	[ "$free" -ge "$least" ] || least=$free
	sleep 0.5
done
verify_goes_on direct 120
note "MemFree was down to $least MiB"
rm -f /tmp/hog/pages
umount /tmp/hog
for writer in $writers; do
	wait_for 120 process_is_gone "$writer" || fail "a writer never ends"
done
end_verify direct 120
sync
echo 3 >/proc/sys/vm/drop_caches
for writer in 1 2 3; do
	same "bytes of file $writer" "$(stat -c %s /tmp/fs/dirty.$writer)" $((400 * 65536))
	same "other bytes in file $writer" "$(tr -d "$writer" </tmp/fs/dirty.$writer | wc -c)" 0
done
umount /tmp/fs
if dmesg_has 'Out of memory|oom-kill|page allocation failure'; then wrong "$LINE"; fi
settled
no_breach
