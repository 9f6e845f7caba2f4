# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# A second insmod while the bus is ours is refused in one line and harms nothing.

rust_only "its bus is built in"
load_bus
module=/lib/modules/$(uname -r)/vmbus.ko
refused "insmod of a loaded module" insmod "$module"
note "$REFUSAL"
matches "what insmod said" "$REFUSAL" '.*File exists.*'
has_balloon_device || wrong "the device went away"
load_balloon
