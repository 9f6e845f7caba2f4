# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# Completions of the guest's frames that come twice, short, of another kind or to nothing: each frame ends
# once.

DMESG_ALLOW='] (netvsc|vmbus): '
load_net
net_up
for kind in twice unknown-id short other-kind; do
	net_wrong "$kind" 200 200
done
frames_end
same "transmit time-outs" "$(agreed tx_timeouts)" 0
