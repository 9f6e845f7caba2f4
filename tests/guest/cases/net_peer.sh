# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
#
# A NIC on hvhost's internal peer, which takes frames as on a wire and checks every checksum:
# pings and a TCP stream that comes back, also with the guest computing all by itself.

load_net
wait_for 20 nic_is_there 1 || fail "there is no second NIC"
PEER=$(nic 1)
nic_up "$PEER" 10.7.0.2/24
wait_for 20 pings 10.7.0.1 || fail "the peer does not answer"
ping -q -c 5 -i 0.2 -W 5 -s 1472 10.7.0.1 >/dev/null || wrong "large packets are lost"
head -c 300000 /dev/urandom >/tmp/data
for words in "tx on rx on" "tx off rx off tso off gso off"; do
	# shellcheck disable=SC2086 # words
	must ethtool -K "$PEER" $words
	nc 10.7.0.1 7 </tmp/data >/tmp/back || wrong "$words: the connection broke"
	cmp /tmp/data /tmp/back || wrong "$words: what came back differs"
done
ask hvctl '{"command": "stats", "device": "net1"}'
note "$(echo "$ANSWER" | grep -o '"bad_checksums":[0-9]*')"
echo "$ANSWER" | grep -q '"bad_checksums":0[,}]' || wrong "the peer saw wrong checksums"
