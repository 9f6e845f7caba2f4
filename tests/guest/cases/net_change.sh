# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Channels, rings, MTU and key change while frames go both ways: each change takes effect, the traffic goes on
# after it, and what is sent arrives unharmed.

load_net
net_up
ask serve-echo 5300
head -c 400000 /dev/urandom >/tmp/data
(while [ ! -e /tmp/enough ]; do ping -q -f -w 5 -s 1200 192.168.77.1 >/dev/null 2>&1; done) &
flood=$!

# unharmed WHAT: a stream there and back.
unharmed() {
	wait_for 20 pings 192.168.77.1 || fail "$1: the host does not answer"
	there_and_back "$1"
}
channels() { ethtool -l "$NIC" | awk '/^Combined:/ { n = $2 } END { print n }'; }
sections() { ethtool -g "$NIC" | awk '/^RX:/ { n = $2 } END { print n }'; }

key=5a:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4:77:cb:2d:a3:80:30:f2:0c:6a:42:b7:3b:be:ac:01:fa
for round in 1 2 3; do
	must ethtool -L "$NIC" combined $round
	same "channels" "$(channels)" $round
	unharmed "$round channels"
	must ethtool -G "$NIC" rx $((round * 500)) tx $((round * 40))
	between "receive sections" "$(sections)" $((round * 500)) $((round * 500 + 5))
	unharmed "$((round * 500)) sections"
	must ip link set "$NIC" mtu $((1500 - round * 100))
	unharmed "MTU $((1500 - round * 100))"
	must ip link set "$NIC" mtu 1500
done
must ethtool -L "$NIC" combined 4
must ethtool -X "$NIC" hkey $key
must ethtool -X "$NIC" weight 1 2 0 1
must ip link set "$NIC" mtu 1450
# What was chosen outlives all of that; the C driver forgets it.
[ "$STACK" = c ] || matches "hash key" "$(ethtool -x "$NIC" | awk '/RSS hash key/ { getline; print $1 }')" '5a:5a:.*'
[ "$STACK" = c ] || same "rings of the table" "$(ethtool -x "$NIC" |
	awk '/^ *[0-9]+: / { for (i = 2; i <= NF; i++) print $i }' | sort -n | uniq | tr '\n' ' ')" "0 1 3 "
unharmed "a table of its own"
touch /tmp/enough
wait $flood
rm -f /tmp/enough
