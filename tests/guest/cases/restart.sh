# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# An orderly restart with the bus in use.

case $STAGE in
'')
	load_balloon
	host expect second || fail "the host: $ANSWER"
	reboot -f
	sleep 30
	fail "the machine did not restart"
	;;
second)
	load_balloon
	;;
esac
