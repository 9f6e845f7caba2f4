# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# A driver that goes while the balloon is full gives the pages back to its own kernel: the
# guest must not lose the memory.

load_balloon
before=$(mem MemTotal)
host 'balloon?' || fail "the host doesn't know what the guest has: $ANSWER"
host balloon $((ANSWER - 128)) || fail "the host refused the target: $ANSWER"
wait_for 90 mem_total_at_most $((before - 100)) || fail "the balloon did not fill"
note "MemTotal $(mem MemTotal) MiB of $before MiB"
DMESG_ALLOW='Ballooned pages:|[Bb]allooned page'
unload_balloon
wait_for 30 mem_total_at_least $((before - 2)) ||
	fail "MemTotal is $(mem MemTotal) MiB after rmmod, was $before MiB"
note "MemTotal $(mem MemTotal) MiB after rmmod"
load_balloon
