# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A host with nothing newer than storvsp 2.0: the C driver refuses it (it takes 5.1 to 6.2), the
# disk stays away, and host and guest go on. 2.0 and 4.2 themselves are tested without a machine
# (tools/host/tests/storage).

DMESG_ALLOW='Obsolete Hyper-V version|probe failed|probe with driver hv_storvsc failed'
load "$STORVSC" sd_mod
wait_for 20 dmesg_has 'Obsolete Hyper-V version' || wrong "the driver did not refuse the host"
if scsi_dir 0 >/dev/null; then wrong "there is a disk all the same"; fi
ask hvctl/version '{"command": "stats", "device": "scsi0"}'
note "the host answered storvsp $ANSWER"
ask hvctl/hvhost '{"command": "version"}'
