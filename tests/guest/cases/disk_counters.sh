# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# What the driver says it did is what fio had it do and what the host saw (debugfs of our driver;
# Documentation/ABI/debugfs-storvsc).

DMESG_ALLOW='critical target error, dev sd|sd [0-9:]+: \[sd[a-z]+\] tag#'
load_disks
need_disk 0
need_disk 1
DISK=$(disk 0)
settled
dir=$(storvsc_dir)
[ -d "$dir" ] || fail "there is no $dir"
unit=0:0:0

# The files and their forms.
host_stat version
same "protocol" "$(counter protocol)" "$ANSWER"
same "class" "$(counter class)" scsi
matches "state" "$(counter state)" '[a-z]+'
between "channels" "$(counter channels)" 1 "$(nproc)"
same "rows of the table of channels" "$(($(wc -l <"$dir/channels") - 1))" "$(counter channels)"
same "header of channels" "$(head -n 1 "$dir/channels" | tr -s ' \t' ' ' | sed 's/ $//')" \
	"channel relid cpu submitted completed in_flight busy"
same "header of luns" "$(head -n 1 "$dir/luns" | tr -s ' \t' ' ' | sed 's/ $//')" \
	"lun commands reads writes read_bytes write_bytes errors in_flight max_us"
matches "header of latency" "$(head -n 1 "$dir/latency" | tr -s ' \t' ' ' | sed 's/ $//')" \
	'lun kind( le_[0-9]+us)+( le_[0-9]+ms)+( le_[0-9]+s)* more'
for key in queues queue_depth max_transfer_bytes in_flight rescans removals resets timeouts unsolicited protocol_errors; do
	matches "$key" "$(counter $key)" '[0-9]+'
done
same "most bytes of a transfer" "$(counter max_transfer_bytes)" $((4 << 20))
for key in in_flight resets timeouts protocol_errors; do same "$key" "$(counter $key)" 0; done

# snapshot: what driver and host say now.
snapshot() {
	settled
	local name
	for name in commands reads writes read_bytes write_bytes errors; do
		eval "$name=$(cell luns $unit $name)"
	done
	latencies=$(row_sum latency $unit)
	submitted=$(column_sum channels submitted)
	host_stat luns/0
	for name in commands reads writes; do
		eval "host_$name=$(echo "$ANSWER" | sed "s/.*\"$name\":\([0-9]*\).*/\1/")"
	done
}
# grown: the differences since the snapshot that is in before_*.
names='commands reads writes read_bytes write_bytes errors latencies submitted host_commands host_reads host_writes'
keep() { for name in $names; do eval "before_$name=\$$name"; done; }
grown() { snapshot; for name in $names; do eval "$name=\$((${name} - before_${name}))"; done; }

# 500 reads of 4 KiB and 300 writes of 8 KiB, counted by everybody in the same way.
snapshot
keep
fio_job reads --filename="$DISK" --direct=1 --ioengine=libaio --iodepth=8 --rw=randread --bs=4k --size=8M --number_ios=500
grown
same "reads" "$reads" 500
same "bytes read" "$read_bytes" $((500 * 4096))
same "reads that the host saw" "$host_reads" 500
same "writes" "$writes" 0
same "errors" "$errors" 0
same "commands, for driver and host" "$commands" "$host_commands"
same "latencies" "$latencies" "$commands"
same "latencies of reads" "$(row_sum latency "$unit read")" "$(cell luns $unit reads)"
same "commands on all channels" "$submitted" "$commands"

snapshot
keep
fio_job writes --filename="$DISK" --direct=1 --ioengine=libaio --iodepth=8 --numjobs=3 --rw=randwrite --bs=8k --size=8M \
	--number_ios=100 --group_reporting
grown
same "writes" "$writes" 300
same "bytes written" "$write_bytes" $((300 * 8192))
same "writes that the host saw" "$host_writes" 300
same "reads" "$reads" 0
same "commands, for driver and host" "$commands" "$host_commands"
same "latencies" "$latencies" "$commands"

# An error and a late answer.
snapshot
keep
scsi inject '"lun": 0, "kind": "sense", "key": 5, "asc": "0x21"'
refused "a read" dd if="$DISK" of=/dev/null bs=4k count=1 iflag=direct
grown
same "errors" "$errors" 1
scsi inject '"lun": 0, "kind": "delay", "ms": 300'
must dd if="$DISK" of=/dev/null bs=4k count=1 iflag=direct
between "longest time in us" "$(cell luns $unit max_us)" 300000 60000000
more "commands in the long buckets" "$(awk -v row=$unit '
	NR == 1 { for (i = 1; i <= NF; i++) if ($i ~ /^le_(524|512|262|256|1)[0-9]*ms$|^le_.*s$|^more$/ && $i !~ /us$/) long[i] }
	$1 == row { for (i in long) sum += $i }
	END { print sum + 0 }' "$dir/latency")" 0

# What the host tells by itself.
unsolicited=$(counter unsolicited)
rescans=$(counter rescans)
removals=$(counter removals)
scsi add-disk '"spec": "ram:8M,lun=33"'
need_disk 33
check_disk "$DISK"
[ -n "$(cell luns 0:0:33 commands)" ] || wrong "there is no row for LUN 33"
scsi remove-disk '"lun": 33'
wait_for 30 lacks_disk 33 || wrong "LUN 33 is still there"
more "unsolicited packets" "$(counter unsolicited)" "$unsolicited"
more "rescans" "$(counter rescans)" "$rescans"
same "removals" "$(counter removals)" $((removals + 1))
wait_for 20 sh -c "! grep -q '^ *0:0:33 ' '$dir/luns'" || wrong "the row of LUN 33 is still there"
settled
no_breach
