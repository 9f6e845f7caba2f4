# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# A kernel that panics tells the hypervisor why; hvhost ends with the status for it.

load_disks
need_disk 0
dmesg_check
[ -z "$FAILURE" ] || fail "$FAILURE"
ask end panic
echo c >/proc/sysrq-trigger
sleep 30
fail "the machine survived a crash"
