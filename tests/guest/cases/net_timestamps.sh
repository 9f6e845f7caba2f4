# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# When frames left: whoever asks for the time gets one for each, whether the frame was copied for the host or is read
# from where it is.

load_net
net_up
ask serve-echo 5300
must ethtool -T "$NIC"
matches "what ethtool says" "$(echo "$OUTPUT" | tr -d '\t ' | tr '\n' ' ')" '.*software-transmit.*'

cat >/tmp/timestamps.py <<'END'
import socket
import struct
import sys
import time

SO_TIMESTAMPING = 37
# SOF_TIMESTAMPING_TX_SOFTWARE, _SOFTWARE, _OPT_ID and _OPT_TSONLY
WANTED = 1 << 1 | 1 << 4 | 1 << 7 | 1 << 11
LIMIT = 10


def stamped(sock, count):
    """So many times of departure, in the order of the frames."""
    found = []
    deadline = time.monotonic() + LIMIT
    while len(found) < count and time.monotonic() < deadline:
        try:
            control = sock.recvmsg(0, 1024, socket.MSG_ERRQUEUE)[1]
        except BlockingIOError:
            time.sleep(0.01)
            continue
        for level, kind, data in control:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING):
                seconds, nanoseconds = struct.unpack_from("qq", data)
                found.append(seconds + nanoseconds / 1e9)
    return found


def check(what, begun, times, count):
    late = [t for t in times if not begun - 0.1 <= t <= time.time() + 0.1]
    right = len(times) == count and not late and times == sorted(times)
    print("ok" if right else "wrong", what, len(times), "of", count, "times")


host = sys.argv[1].encode()
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, WANTED)
begun = time.time()
for _ in range(5):
    sock.sendto(b"short", (host, 9))
check("datagrams:", begun, stamped(sock, 5), 5)

sock = socket.create_connection((host, 5300), LIMIT)
# Sent at once, a segment for the device to cut.
time.sleep(0.5)
sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, WANTED)
sock.setblocking(False)
begun = time.time()
sent = sock.send(bytes(12000))
check("a segment of %d bytes:" % sent, begun, stamped(sock, 1), 1)
END
python3 /tmp/timestamps.py 192.168.77.1 >/tmp/timestamps 2>&1 || fail "$(tail -n 1 /tmp/timestamps)"
while read -r line; do note "$line"; done </tmp/timestamps
same "answers" "$(grep -c '^ok ' /tmp/timestamps)" 2
