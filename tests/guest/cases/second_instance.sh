# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# The same module under another name: the kernel can't refuse it by name, so we have to. It
# must not disturb the first one's connection.

rust_only "its bus is built in"
load_bus
# Same length, so that the file's layout stays: module name in .gnu.linkonce.this_module.
sed 's/vmbus\x00\x00\x00\x00/vmbuz\x00\x00\x00\x00/' "/lib/modules/$(uname -r)/vmbus.ko" >/tmp/vmbuz.ko
cmp -s "/lib/modules/$(uname -r)/vmbus.ko" /tmp/vmbuz.ko && skip "the module's name was not found in its file"
refused "a second copy of vmbus.ko" insmod /tmp/vmbuz.ko
note "$REFUSAL"
rm -f /tmp/vmbuz.ko
load_balloon
connection=$DEBUG/vmbus/connection
same "state of the first one's connection" "$(value "$connection" state)" connected
