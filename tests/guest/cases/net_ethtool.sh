# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# What ethtool shows and sets: -i -l -L -x -X -S -g -k, and the speed.

load_net
nic_up "$NIC" 192.168.77.2/24

# field NAME: from the `name: value` lines that ethtool printed last.
field() { echo "$OUTPUT" | sed -n "s/^ *$1: *\([^ ]*\).*/\1/p"; }

must ethtool -i "$NIC"
same "driver" "$(field driver)" "$NETVSC"

same "what the host calls it" "$(cat "/sys/class/net/$NIC/ifalias")" "Lab LAN 1"

combined() { ethtool -l "$NIC" | awk '/^Combined:/ { n = $2 } END { print n }'; }
must ethtool -l "$NIC"
more "most channels" "$(echo "$OUTPUT" | awk '/^Combined:/ { print $2; exit }')" 3
for count in 4 1 3 4; do
	must ethtool -L "$NIC" combined $count
	same "channels" "$(combined)" $count
	wait_for 20 has_carrier "$NIC" || wrong "no carrier with $count channels"
	wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with $count channels"
done

# The rings that the indirection table points to.
targets() {
	ethtool -x "$NIC" | awk '/^ *[0-9]+: / { for (i = 2; i <= NF; i++) print $i }' | sort -n | uniq | tr '\n' ' '
}
same "rings of the table" "$(targets)" "0 1 2 3 "
must ethtool -X "$NIC" equal 2
same "rings of the table, two of them" "$(targets)" "0 1 "
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with two rings"
must ethtool -X "$NIC" weight 1 0 0 3
same "rings of the table, weighted" "$(targets)" "0 3 "
must ethtool -X "$NIC" equal 4
same "rings of the table, all again" "$(targets)" "0 1 2 3 "
key=$(ethtool -x "$NIC" | awk '/RSS hash key/ { getline; print $1 }')
matches "hash key" "$key" '([0-9a-f]{2}:){39}[0-9a-f]{2}'
must ethtool -X "$NIC" hkey "$(echo "$key" | sed 's/^../5a/')"
matches "hash key as set" "$(ethtool -x "$NIC" | awk '/RSS hash key/ { getline; print $1 }')" '5a:.*'

# What hashes are made of. The C driver tells its own hash for what it sends, not the host's.
if [ "$STACK" = rust ]; then
	made_of() { ethtool -n "$NIC" rx-flow-hash "$1" | grep -cE 'IP (SA|DA)|L4 bytes'; }
	same "fields of TCP" "$(made_of tcp4) $(made_of tcp6)" "4 4"
	same "fields of UDP" "$(made_of udp4) $(made_of udp6)" "2 2"
	must ethtool -N "$NIC" rx-flow-hash tcp4 sd
	same "fields of TCP without ports" "$(made_of tcp4) $(made_of tcp6)" "2 4"
	wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with another hash"
	refused "a hash over UDP ports" ethtool -N "$NIC" rx-flow-hash udp4 sdfn
	must ethtool -L "$NIC" combined 2
	same "fields in another session" "$(made_of tcp4)" 2
	must ethtool -L "$NIC" combined 4
	must ethtool -N "$NIC" rx-flow-hash tcp4 sdfn
	same "fields of TCP with ports again" "$(made_of tcp4)" 4
fi

must ethtool -g "$NIC"
more "receive sections" "$(echo "$OUTPUT" | awk '/^RX:/ { n = $2 } END { print n }')" 0
more "send sections" "$(echo "$OUTPUT" | awk '/^TX:/ { n = $2 } END { print n }')" 0
must ethtool -G "$NIC" rx 1024 tx 128
# The buffer is whole pages, so that there may be a section or two more.
between "receive sections as set" "$(ethtool -g "$NIC" | awk '/^RX:/ { n = $2 } END { print n }')" 1024 1030
wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with smaller buffers"

for queue in 0 1 2 3; do
	for name in tx_queue_${queue}_packets rx_queue_${queue}_packets; do
		matches "$name" "$(nic_stat "$NIC" "$name")" '[0-9]+'
	done
done
must ethtool "$NIC"
echo "$OUTPUT" | grep -q 'Link detected: yes' || wrong "ethtool sees no link"
note "$(echo "$OUTPUT" | grep Speed)"
must ethtool -k "$NIC"
for feature in tcp-segmentation-offload tx-checksumming rx-checksumming; do
	same "$feature" "$(field "$feature")" on
done
