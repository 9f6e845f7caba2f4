# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# The host says which channels flows are to be sent on, and changes its mind: new flows follow.

load_net
must ethtool -L "$NIC" combined 4
net_up
ask serve-echo 5300
head -c 60000 /dev/urandom >/tmp/data

# send_table CHANNELS: as JSON.
send_table() { ask hvctl "{\"command\": \"send-table\", \"device\": \"net0\", \"channels\": [$1]}"; }

# counts: packets sent on the four queues.
counts() { for q in 0 1 2 3; do nic_stat "$NIC" "tx_queue_${q}_packets"; done | tr '\n' ' '; }

# Sixteen times the same number, as our driver shows them.
sixteen() { for _ in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do echo "$1"; done | tr '\n' ' ' | sed 's/ $//'; }

for wanted in 2 1 3 0; do
	send_table $wanted
	if [ "$STACK" = rust ]; then
		wait_for 20 agreed_is send_table "$(sixteen $wanted)" || fail "the table is $(agreed send_table)"
	else
		# It doesn't tell.
		sleep 1
	fi
	before=$(counts)
	for _ in 1 2 3 4; do there_and_back "table of $wanted"; done
	after=$(counts)
	# shellcheck disable=SC2086 # words
	set -- $before $after
	note "table of $wanted: sent before $before, after $after"
	for queue in 0 1 2 3; do
		eval "sent=\$((\${$((queue + 5))} - \${$((queue + 1))}))"
		if [ $queue = $wanted ]; then
			more "packets on queue $queue" "$sent" 40
		else
			same "packets on queue $queue" "$sent" 0
		fi
	done
done

# Channels that there aren't. The C driver doesn't tell what it makes of them.
if [ "$STACK" = rust ]; then
	send_table '4294967295, 9'
	wait_for 20 agreed_is send_table "3 1 3 1 3 1 3 1 3 1 3 1 3 1 3 1" || fail "the table is $(agreed send_table)"
	for _ in 1 2 3 4; do there_and_back "channels that there are not"; done
	must ethtool -L "$NIC" combined 1
	wait_for 20 pings 192.168.77.1 || wrong "the host does not answer with one channel"
	same "a table that nobody has given" "$(agreed send_table)" none
	frames_end
fi
