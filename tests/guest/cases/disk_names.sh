# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# What udev makes by-id and by-path names of, and what the upper layers know of a disk: the same
# as with the C driver, so that fstab and multipath go on working.

load_disks
need_disk 0
dir=$(scsi_dir 0)
block=/sys/block/${DISK#/dev/}

# by-path: path_id looks for /VMBUS in the device's path and takes the device_id of the scsi_host's
# parent: vmbus-GUID-lun-N.
path=$(readlink -f "$dir")
matches "path" "$path" "/sys/devices/.*/VMBUS:[0-9a-f]*/$UUID/host[0-9]+/target[0-9]+:0:0/[0-9]+:0:0:0"
controller=${path%%/host*}
instance=$(basename "$controller")
same "device_id" "$(cat "$controller/device_id")" "{$instance}"
same "subsystem of the controller" "$(basename "$(readlink "$controller/subsystem")")" vmbus
ask hvctl/devices/0/instance '{"command": "devices"}'
same "the host's name for the controller" "$ANSWER" "$instance"
note "by-path: vmbus-$instance-lun-0"

# by-id: serial number and names in the pages that the kernel keeps; its own choice among the names.
matches "page 0x80 in sysfs" "$(tail -c +5 "$dir/vpd_pg80")" 'HV0001 *'
must sg_vpd --page=0x83 "$DISK"
echo "$OUTPUT" | grep -q '0x3[0-9a-f]\{15\}' || wrong "there is no NAA name: $OUTPUT"
for page in 80 83 b0 b1 b2; do
	sg_vpd --raw --page=0x$page "$DISK" >/tmp/page 2>/dev/null || fail "page 0x$page can't be read"
	cmp /tmp/page "$dir/vpd_pg$page" || wrong "page 0x$page in sysfs is another one"
done
same "wwid" "$(cat "$dir/wwid")" 't10.Msft    HV0001'

# The rest: what the mid-layer and the disk driver were told.
same "type" "$(cat "$dir/type")" 0
matches "vendor" "$(cat "$dir/vendor")" 'Msft *'
same "seconds for a command" "$(cat "$dir/timeout")" 180
matches "name of the host's driver" "$(cat "/sys/class/scsi_host/$(basename "$(ls -d "$controller"/host*)")/proc_name")" 'storvsc.*'
same "how discard is done" "$(cat "$dir"/scsi_disk/*/provisioning_mode)" unmap
more "bytes of a discard" "$(cat "$block/queue/discard_max_bytes")" 0
more "KiB of a request" "$(cat "$block/queue/max_hw_sectors_kb")" 511
same "write cache" "$(cat "$dir"/scsi_disk/*/cache_type)" 'write back'
same "rotates" "$(cat "$block/queue/rotational")" 0
same "removable" "$(cat "$block/removable")" 0
# One hardware queue for each CPU.
same "hardware queues" "$(how_many "$block"/mq/*)" "$(nproc)"
# sd, sg and sr all have their devices.
load sg sr_mod
wait_for 20 test -e "$dir/scsi_generic" || wrong "sg has no device for the disk"
note "scsi_level $(cat "$dir/scsi_level"), queue_depth $(cat "$dir/queue_depth"), queue_type $(cat "$dir/queue_type" 2>/dev/null), max_hw_sectors_kb $(cat "$block/queue/max_hw_sectors_kb"), can_queue $(cat "/sys/class/scsi_host/host${path##*/host*/*:}/can_queue" 2>/dev/null)"
