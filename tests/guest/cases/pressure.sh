# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# A host that wants to know how much memory the guest needs hears of it every second, and
# of figures that can be true.

load_balloon
heard() { host pressure?; }
wait_for 60 heard || fail "the host has heard nothing: $ANSWER"
note "the host knows of $ANSWER MiB needed and available"
total=$(mem MemTotal)
between "MiB needed" "${ANSWER%% *}" 8 $((2 * total))
between "MiB available" "${ANSWER##* }" 8 "$total"

[ "$STACK" = rust ] || return
file=$DEBUG/vmbus_balloon/$BALLOON_INSTANCE
same "pressure_wanted" "$(value "$file" pressure_wanted)" 1
reports=$(value "$file" pressure_reports)
sleep 5
between "reports in five seconds" $(($(value "$file" pressure_reports) - reports)) 3 7
