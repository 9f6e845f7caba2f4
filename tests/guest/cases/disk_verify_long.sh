# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# fio writes and verifies for a minute, four jobs, blocks from 512 bytes to 1 MiB.

load_disks
need_disk 0
start=$(uptime_seconds)
rounds=0
while [ $(($(uptime_seconds) - start)) -lt 60 ]; do
	fio_job minute --filename="$DISK" --direct=1 --ioengine=libaio --iodepth=16 --numjobs=4 \
		--rw=randwrite --bssplit=512/5:1k/5:4k/40:12k/10:16k/10:64k/20:256k/8:1m/2 --blockalign=512 \
		--size=16M --offset_increment=40M --randseed=$((rounds + 7)) \
		--verify=crc32c --verify_fatal=1 --do_verify=1 --group_reporting
	more "KiB verified" "$(fio_field 6)" $((4 * 16 * 1024 - 1))
	rounds=$((rounds + 1))
done
note "$rounds rounds of 64 MiB in $(($(uptime_seconds) - start)) s"
settled
no_breach
