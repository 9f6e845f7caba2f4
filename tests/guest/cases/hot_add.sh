# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# The host has more memory than the guest was started with: a target above that is reached
# by hot-add, in units of memory blocks, and one below it by ballooning again.

echo online >/sys/devices/system/memory/auto_online_blocks || skip "the kernel can't add memory"
load_balloon
file=$DEBUG/vmbus_balloon/$BALLOON_INSTANCE
before=$(mem MemTotal)
host balloon 768 || fail "the host refused a target of 768 MiB: $ANSWER"
wait_for 60 mem_total_at_least $((before + 240)) ||
	fail "MemTotal is still $(mem MemTotal) MiB, was $before MiB"
note "target 768: MemTotal $(mem MemTotal) MiB, was $before MiB"
# MemTotal has the last block's pages before the driver hears that it is in use.
all_is_added() { [ "$(value "$file" hot_added_online)" = 65536 ] && [ "$(value "$file" hot_added_pages)" = 65536 ]; }
wait_for 20 all_is_added
same "hot_added_pages" "$(value "$file" hot_added_pages)" 65536
same "hot_added_online" "$(value "$file" hot_added_online)" 65536
wait_for 20 host_balloon_is 768 || wrong "QEMU believes the guest has $ANSWER MiB, not 768"

host balloon 512 || fail "the host refused a target of 512 MiB: $ANSWER"
wait_for 90 mem_total_at_most $((before + 10)) ||
	fail "MemTotal is still $(mem MemTotal) MiB after a target of 512 MiB"
more "ballooned_pages" "$(value "$file" ballooned_pages)" 60000
host balloon 768 || fail "the host refused a target of 768 MiB: $ANSWER"
wait_for 90 mem_total_at_least $((before + 240)) ||
	fail "MemTotal is $(mem MemTotal) MiB after a target of 768 MiB"
same "ballooned_pages" "$(value "$file" ballooned_pages)" 0
same "errors" "$(value "$file" errors)" 0
