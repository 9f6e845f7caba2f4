# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The kernel's own tests of network drivers (tools/testing/selftests/drivers/net), those that need
# nothing but a NIC: what they skip, they say.

load_net
must ethtool -L "$NIC" combined 4
net_up

# Debian 13's ethtool says in JSON whatever these tests want but for the channels.
mkdir -p /tmp/bin
cat >/tmp/bin/ethtool <<'END'
#!/bin/sh
[ "$1 $2" = "--json -l" ] || exec /usr/sbin/ethtool "$@"
/usr/sbin/ethtool -l "$3" | awk '/^Combined:/ { now = $2 } END { printf "[{\"combined\": %d}]\n", now }'
END
chmod +x /tmp/bin/ethtool

# selftest PROGRAM LEAST: all of it passes or is skipped, and LEAST of its cases pass at least.
selftest() {
	local passed
	(cd /usr/src/linux/tools/testing/selftests/drivers/net &&
		PATH=/tmp/bin:$PATH NETIF=$NIC PYTHONPATH=/usr/lib/python3/dist-packages PYTHONDONTWRITEBYTECODE=1 \
			python3 "$1") >/tmp/selftest 2>&1
	passed=$(grep '^ok ' /tmp/selftest | grep -vc '# SKIP')
	grep '^ok .*# SKIP' /tmp/selftest | while read -r line; do note "$1: $line"; done
	note "$1: $passed passed"
	if grep -q '^not ok ' /tmp/selftest || ! grep -q '^# Totals:' /tmp/selftest; then
		tail -n 40 /tmp/selftest | while read -r line; do note "$line"; done
		wrong "$1: $(grep -m 1 '^not ok ' /tmp/selftest || tail -n 1 /tmp/selftest)"
	fi
	more "cases of $1 that passed" "$passed" $(($2 - 1))
}

selftest stats.py 3
selftest queues.py 3
selftest napi_threaded.py 3
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer in the end"
