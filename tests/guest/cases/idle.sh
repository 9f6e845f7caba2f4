# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# A channel without traffic is silent: no interrupts and no signals by themselves, beyond
# one pressure report a second.

load_balloon
sleep 2
interrupts=$(channel_value "$DEVICE" interrupts)
events=$(channel_value "$DEVICE" events)
sleep 10
between "interrupts in ten idle seconds" $(($(channel_value "$DEVICE" interrupts) - interrupts)) 0 5
between "signals in ten idle seconds" $(($(channel_value "$DEVICE" events) - events)) 0 40
