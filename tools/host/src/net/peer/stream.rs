// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The other end of TCP connections: takes data and drops it (RFC 863) or sends it back (RFC 862).
//!
//! Just as much TCP as a link needs on which nothing is lost or reordered but what overruns a
//! queue: one segment is expected at a time, and three duplicate acknowledgements have what is
//! outstanding sent again. There are no timers; the guest has them.

use std::collections::{HashMap, VecDeque};

use super::super::checksum;
use super::super::frame::{
    be16, be32, set, Ip, Network, ETHERNET_BYTES, TCP, TYPE_IPV4, TYPE_IPV6,
};
use super::{PeerCounters, PEER_MAC};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Connections at once; more are refused.
const MAX_CONNECTIONS: usize = 4096;
/// Bytes that wait to be sent back at most; also the window.
const ROOM: usize = 256 * 1024;
/// Shift of the window that is offered (RFC 7323).
const SCALE: u8 = 7;

/// The guest's end and ours: addresses of 4 or 16 bytes, ports.
type Key = ([u8; 16], [u8; 16], u16, u16);

/// All connections of a queue.
pub(super) struct Streams {
    echo: bool,
    table: HashMap<Key, Connection>,
    /// Where the next connection's sequence numbers begin.
    initial: u32,
    segment: Vec<u8>,
}

/// One connection.
struct Connection {
    /// The next byte from the guest.
    expected: u32,
    /// The first byte that isn't acknowledged.
    acknowledged: u32,
    /// The next byte to send.
    next: u32,
    /// Bytes from `acknowledged` on.
    data: VecDeque<u8>,
    /// What the guest takes.
    window: u32,
    scale: u8,
    mss: usize,
    duplicates: u8,
    /// The guest said that there is no more.
    ended: bool,
    /// So did we.
    closed: bool,
}

/// A segment's fields.
struct Fields {
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    window: u16,
}

impl Streams {
    pub(super) fn new(echo: bool) -> Self {
        Self {
            echo,
            table: HashMap::new(),
            initial: 0x1000_0000,
            segment: Vec::new(),
        }
    }

    /// Takes a segment, which ends where `frame` ends and whose data begins at `header`, and
    /// calls `emit` for each answer.
    pub(super) fn segment(
        &mut self,
        frame: &[u8],
        network: &Network,
        header: usize,
        counters: &PeerCounters,
        mut emit: impl FnMut(&[u8]),
    ) {
        let (Some(key), Some(fields)) = (key(frame, network), fields(frame, network)) else {
            return;
        };
        let data = frame.get(header..).unwrap_or_default();
        if fields.flags & RST != 0 {
            self.table.remove(&key);
            return;
        }
        if fields.flags & SYN != 0 {
            if self.table.len() >= MAX_CONNECTIONS && !self.table.contains_key(&key) {
                return;
            }
            let (mss, scale) = options(frame, network, header);
            self.initial = self.initial.wrapping_add(0x0001_0000);
            let connection = Connection {
                expected: fields.sequence.wrapping_add(1),
                acknowledged: self.initial.wrapping_add(1),
                next: self.initial.wrapping_add(1),
                data: VecDeque::new(),
                window: fields.window.into(),
                scale: scale.unwrap_or(0),
                mss: mss.into(),
                duplicates: 0,
                ended: false,
                closed: false,
            };
            counters.connections.inc();
            let mut answer = vec![2, 4];
            answer.extend_from_slice(&mss.to_be_bytes());
            if scale.is_some() {
                answer.extend_from_slice(&[1, 3, 3, SCALE]);
            }
            build(
                &mut self.segment,
                frame,
                network,
                &Fields {
                    sequence: self.initial,
                    acknowledged: connection.expected,
                    flags: SYN | ACK,
                    window: u16::MAX,
                },
                &answer,
                (&[], &[]),
            )
            .then(|| emit(&self.segment));
            self.table.insert(key, connection);
            return;
        }
        let Some(connection) = self.table.get_mut(&key) else {
            let reset = Fields {
                sequence: fields.acknowledged,
                acknowledged: 0,
                flags: RST,
                window: 0,
            };
            build(&mut self.segment, frame, network, &reset, &[], (&[], &[]))
                .then(|| emit(&self.segment));
            return;
        };
        connection.acknowledge(&fields, data.is_empty());
        let taken = connection.take(&fields, data, self.echo);
        counters.stream_bytes.add(taken as u64);
        let answers = !data.is_empty() || fields.flags & FIN != 0;
        let mut sent = false;
        while let Some((fields, bytes)) = connection.send() {
            let from = fields.sequence.wrapping_sub(connection.acknowledged) as usize;
            let parts = slices(&connection.data, from, bytes);
            sent |= build(&mut self.segment, frame, network, &fields, &[], parts);
            emit(&self.segment);
        }
        if answers && !sent {
            let fields = connection.fields(ACK);
            build(&mut self.segment, frame, network, &fields, &[], (&[], &[]))
                .then(|| emit(&self.segment));
        }
        if connection.closed && connection.acknowledged == connection.next {
            self.table.remove(&key);
        }
    }
}

impl Connection {
    /// What a segment says of our data.
    fn acknowledge(&mut self, fields: &Fields, empty: bool) {
        if fields.flags & ACK == 0 {
            return;
        }
        self.window = u32::from(fields.window) << self.scale.min(14);
        let outstanding = self.next.wrapping_sub(self.acknowledged);
        let new = fields.acknowledged.wrapping_sub(self.acknowledged);
        if new == 0 {
            if empty && outstanding > 0 {
                self.duplicates = self.duplicates.saturating_add(1);
                if self.duplicates == 3 {
                    self.next = self.acknowledged;
                    self.closed = false;
                }
            }
        } else if new as usize <= self.data.len() + 1 {
            // One more than data: our FIN.
            let bytes = (new as usize).min(self.data.len());
            self.data.drain(..bytes);
            self.acknowledged = fields.acknowledged;
            if new > outstanding {
                // It came before it was to be sent again.
                self.next = self.acknowledged;
                self.closed |= new as usize > bytes;
            }
            self.duplicates = 0;
        }
    }

    /// Takes a segment's data; answers how many bytes were new.
    fn take(&mut self, fields: &Fields, data: &[u8], echo: bool) -> usize {
        // Bytes that came before are left out; a segment behind a gap isn't taken at all.
        let skip = self.expected.wrapping_sub(fields.sequence) as usize;
        let Some(new) = data.get(skip..) else {
            return 0;
        };
        let room = if echo {
            ROOM.saturating_sub(self.data.len())
        } else {
            usize::MAX
        };
        let taken = new.len().min(room);
        if self.ended {
            return 0;
        }
        if echo {
            self.data.extend(&new[..taken]);
        }
        self.expected = self.expected.wrapping_add(taken as u32);
        if fields.flags & FIN != 0 && taken == new.len() {
            self.expected = self.expected.wrapping_add(1);
            self.ended = true;
        }
        taken
    }

    /// The next segment to send and how many bytes of data it has.
    fn send(&mut self) -> Option<(Fields, usize)> {
        let outstanding = self.next.wrapping_sub(self.acknowledged) as usize;
        if outstanding > self.data.len() {
            return None;
        }
        let left = self.data.len() - outstanding;
        let window = (self.window as usize).saturating_sub(outstanding);
        let bytes = left.min(window).min(self.mss.max(1));
        let last = self.ended && bytes == left && !self.closed;
        if bytes == 0 && !last {
            return None;
        }
        let mut fields = self.fields(ACK | if bytes > 0 { PSH } else { 0 });
        self.next = self.next.wrapping_add(bytes as u32);
        if last {
            fields.flags |= FIN;
            self.next = self.next.wrapping_add(1);
            self.closed = true;
        }
        Some((fields, bytes))
    }

    fn fields(&self, flags: u8) -> Fields {
        let room = ROOM.saturating_sub(self.data.len()) >> SCALE;
        Fields {
            sequence: self.next,
            acknowledged: self.expected,
            flags,
            window: u16::try_from(room).unwrap_or(u16::MAX),
        }
    }
}

fn key(frame: &[u8], network: &Network) -> Option<Key> {
    let (source, destination) = network.addresses(frame)?;
    let (from, to) = network.ports?;
    let mut key: Key = ([0; 16], [0; 16], from, to);
    (set(&mut key.0, 0, source) && set(&mut key.1, 0, destination)).then_some(key)
}

fn fields(frame: &[u8], network: &Network) -> Option<Fields> {
    Some(Fields {
        sequence: be32(frame, network.transport + 4)?,
        acknowledged: be32(frame, network.transport + 8)?,
        flags: *frame.get(network.transport + 13)?,
        window: be16(frame, network.transport + 14)?,
    })
}

/// Segment size and window scale of a SYN.
fn options(frame: &[u8], network: &Network, header: usize) -> (u16, Option<u8>) {
    let mut mss = 536;
    let mut scale = None;
    let mut rest = frame
        .get(network.transport + 20..header)
        .unwrap_or_default();
    // Each turn takes at least one byte.
    while let Some((&kind, after)) = rest.split_first() {
        if kind == 0 {
            break;
        }
        if kind == 1 {
            rest = after;
            continue;
        }
        let length = usize::from(after.first().copied().unwrap_or(0));
        let (Some(option), true) = (rest.get(..length), length >= 2) else {
            break;
        };
        match (kind, option) {
            (2, [_, _, high, low]) => mss = u16::from_be_bytes([*high, *low]).max(64),
            (3, [_, _, shift]) => scale = Some(*shift),
            _ => {}
        }
        rest = &rest[length..];
    }
    (mss, scale)
}

/// `bytes` bytes from `from` on, in up to two pieces.
fn slices(data: &VecDeque<u8>, from: usize, bytes: usize) -> (&[u8], &[u8]) {
    let (first, second) = data.as_slices();
    let end = from.saturating_add(bytes);
    let of_second = |at: usize| at.saturating_sub(first.len()).min(second.len());
    (
        first
            .get(from.min(first.len())..end.min(first.len()))
            .unwrap_or_default(),
        second
            .get(of_second(from)..of_second(end))
            .unwrap_or_default(),
    )
}

/// Makes a segment to where `frame` came from. False when `frame`'s headers aren't whole.
#[must_use]
fn build(
    out: &mut Vec<u8>,
    frame: &[u8],
    network: &Network,
    fields: &Fields,
    options: &[u8],
    data: (&[u8], &[u8]),
) -> bool {
    let (Some((source, destination)), Some((from, to)), Some(sender)) =
        (network.addresses(frame), network.ports, frame.get(6..12))
    else {
        return false;
    };
    let tcp_bytes = 20 + options.len();
    let bytes = tcp_bytes + data.0.len() + data.1.len();
    out.clear();
    out.extend_from_slice(sender);
    out.extend_from_slice(&PEER_MAC.0);
    match network.ip {
        Ip::V4 => {
            out.extend_from_slice(&TYPE_IPV4.to_be_bytes());
            out.extend_from_slice(&[0x45, 0]);
            out.extend_from_slice(&((20 + bytes) as u16).to_be_bytes());
            out.extend_from_slice(&[0, 0, 0x40, 0, 64, TCP, 0, 0]);
        }
        Ip::V6 => {
            out.extend_from_slice(&TYPE_IPV6.to_be_bytes());
            out.extend_from_slice(&[0x60, 0, 0, 0]);
            out.extend_from_slice(&(bytes as u16).to_be_bytes());
            out.extend_from_slice(&[TCP, 64]);
        }
    }
    out.extend_from_slice(destination);
    out.extend_from_slice(source);
    debug_assert!(out.len() >= ETHERNET_BYTES + 20);
    out.extend_from_slice(&to.to_be_bytes());
    out.extend_from_slice(&from.to_be_bytes());
    out.extend_from_slice(&fields.sequence.to_be_bytes());
    out.extend_from_slice(&fields.acknowledged.to_be_bytes());
    out.extend_from_slice(&[((tcp_bytes / 4) as u8) << 4, fields.flags]);
    out.extend_from_slice(&fields.window.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(options);
    out.extend_from_slice(data.0);
    out.extend_from_slice(data.1);
    checksum::fill(out);
    true
}

#[cfg(test)]
mod tests {
    use super::super::super::frame::{build as frames, Layout};
    use super::*;

    struct Guest {
        streams: Streams,
        counters: PeerCounters,
        sequence: u32,
        expected: u32,
    }

    impl Guest {
        fn new(echo: bool) -> Self {
            Self {
                streams: Streams::new(echo),
                counters: PeerCounters::default(),
                sequence: 100,
                expected: 0,
            }
        }

        /// Sends a segment; answers flags and data of what comes back.
        fn send(&mut self, flags: u8, data: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
            let mut frame = frames::ipv4(TCP, ([10, 0, 0, 1], 5), ([10, 0, 0, 2], 7), data);
            frame[38..42].copy_from_slice(&self.sequence.to_be_bytes());
            frame[42..46].copy_from_slice(&self.expected.to_be_bytes());
            frame[47] = flags;
            let network = Layout::parse(&frame).unwrap().network.unwrap();
            let mut all = Vec::new();
            self.streams
                .segment(&frame, &network, 54, &self.counters, |answer| {
                    assert!(checksum::verify(answer));
                    let header = 34 + usize::from(answer[46] >> 4) * 4;
                    all.push((
                        answer[47],
                        be32(answer, 38).unwrap(),
                        answer[header..].to_vec(),
                    ));
                });
            all
        }

        fn connect(&mut self) {
            let answer = self.send(SYN, b"");
            assert_eq!(answer[0].0, SYN | ACK);
            self.sequence += 1;
            self.expected = answer[0].1 + 1;
            assert!(self.send(ACK, b"").is_empty());
        }
    }

    #[test]
    fn data_comes_back_and_the_end_is_answered() {
        let mut guest = Guest::new(true);
        guest.connect();
        let answer = guest.send(ACK | PSH, b"hello");
        assert_eq!(answer.len(), 1);
        assert_eq!(answer[0].2, b"hello");
        assert_eq!(answer[0].1, guest.expected);
        guest.sequence += 5;
        // Lost: three duplicate acknowledgements bring it again.
        assert!(guest.send(ACK, b"").is_empty() && guest.send(ACK, b"").is_empty());
        assert_eq!(guest.send(ACK, b"")[0].2, b"hello");
        guest.expected += 5;
        assert!(guest.send(ACK, b"").is_empty());
        // 600 bytes come back in two segments of at most 536.
        let answer = guest.send(ACK, &[9; 600]);
        let bytes: Vec<usize> = answer.iter().map(|(_, _, data)| data.len()).collect();
        assert_eq!(bytes, [536, 64]);
        guest.sequence += 600;
        guest.expected += 600;
        let answer = guest.send(ACK | FIN, b"");
        assert_eq!(answer[0].0, ACK | FIN);
        guest.sequence += 1;
        guest.expected += 1;
        assert!(guest.send(ACK, b"").is_empty());
        assert!(guest.streams.table.is_empty());
        assert_eq!(guest.counters.stream_bytes.get(), 605);
        // Nobody is there any more.
        assert_eq!(guest.send(ACK, b"x")[0].0, RST);
    }

    #[test]
    fn data_is_dropped_and_gaps_are_told() {
        let mut guest = Guest::new(false);
        guest.connect();
        let answer = guest.send(ACK, &[1; 1000]);
        assert_eq!((answer.len(), answer[0].0), (1, ACK));
        guest.sequence += 2000;
        // Behind a gap, and again what came before: acknowledged as far as it is whole.
        assert_eq!(guest.send(ACK, &[1; 10]).len(), 1);
        guest.sequence -= 1500;
        assert_eq!(guest.send(ACK, &[1; 600]).len(), 1);
        assert_eq!(guest.counters.stream_bytes.get(), 1100);
    }
}
