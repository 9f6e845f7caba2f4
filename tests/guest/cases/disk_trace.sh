# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Tracepoints: each command shows when it is sent and when it is answered.

TRACE=/sys/kernel/tracing
[ -d $TRACE/events ] || must mount -t tracefs tracefs $TRACE
load_disks
need_disk 0
for event in storvsc_submit storvsc_complete; do
	[ -d $TRACE/events/storvsc/$event ] || fail "there is no tracepoint storvsc:$event"
	note "$event: $(sed -n 's/^print fmt: //p' $TRACE/events/storvsc/$event/format)"
done
settled
echo 0 >$TRACE/tracing_on
echo >$TRACE/trace
echo 1 >$TRACE/events/storvsc/enable
echo 1 >$TRACE/tracing_on
fio_job traced --filename="$DISK" --direct=1 --ioengine=libaio --iodepth=4 --rw=randread --bs=4k --size=4M --number_ios=100
settled
echo 0 >$TRACE/tracing_on
echo 0 >$TRACE/events/storvsc/enable
cp $TRACE/trace /tmp/trace
echo >$TRACE/trace
submitted=$(grep -c ' storvsc_submit: ' /tmp/trace)
note "$(grep -m 1 ' storvsc_submit: ' /tmp/trace)"
note "$(grep -m 1 ' storvsc_complete: ' /tmp/trace)"
more "commands that were traced" "$submitted" 99
same "answers" "$(grep -c ' storvsc_complete: ' /tmp/trace)" "$submitted"
# Off is off.
fio_job untraced --filename="$DISK" --direct=1 --ioengine=psync --rw=read --bs=4k --size=64k
echo 1 >$TRACE/tracing_on
same "lines after the end" "$(grep -c ' storvsc_' $TRACE/trace)" 0
