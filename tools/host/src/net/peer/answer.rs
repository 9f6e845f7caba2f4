// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A neighbour with every address: ARP, neighbour discovery, ping, UDP and TCP.

use super::super::checksum;
use super::super::frame::{be16, set, Ip, Layout, Mac, Network, TCP, TYPE_ARP, UDP};
use super::stream::Streams;
use super::{PeerCounters, PEER_MAC};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Answers frames.
pub(super) struct Answerer {
    echo: bool,
    streams: Streams,
    answer: Vec<u8>,
}

impl Answerer {
    /// One that sends UDP and TCP data back (`echo`), or only takes it.
    pub(super) fn new(echo: bool) -> Self {
        Self {
            echo,
            streams: Streams::new(echo),
            answer: Vec::new(),
        }
    }

    /// Looks at a frame and calls `emit` for each answer.
    pub(super) fn answer(
        &mut self,
        frame: &[u8],
        counters: &PeerCounters,
        mut emit: impl FnMut(&[u8]),
    ) {
        let Some(layout) = Layout::parse(frame) else {
            return;
        };
        if !checksum::verify(frame) {
            counters.bad_checksums.inc();
            return;
        }
        if layout.ethertype == TYPE_ARP {
            if self.arp(frame, layout.payload()) {
                counters.neighbours.inc();
                emit(&self.answer);
            }
            return;
        }
        let Some(network) = layout.network.filter(|network| !network.fragment) else {
            return;
        };
        let to_us = layout.destination == PEER_MAC;
        match network.protocol {
            ICMPV6 if self.solicited(frame, &network) => {
                counters.neighbours.inc();
                emit(&self.answer);
            }
            ICMP | ICMPV6 if to_us && self.ping(frame, &network) => {
                counters.pings.inc();
                emit(&self.answer);
            }
            UDP if to_us => {
                counters.datagrams.inc();
                if self.echo && self.turn_around(frame, &network) {
                    emit(&self.answer);
                }
            }
            TCP if to_us => {
                if let Some(header) = network.tcp_payload(frame) {
                    let end = checksum::transport_bytes(frame, &network)
                        .and_then(|bytes| network.transport.checked_add(bytes))
                        .filter(|end| (header..=frame.len()).contains(end));
                    if let Some(segment) = end.and_then(|end| frame.get(..end)) {
                        self.streams
                            .segment(segment, &network, header, counters, emit);
                    }
                }
            }
            _ => {}
        }
    }

    /// Who has any address: this peer. Probes for one's own address (RFC 5227) and
    /// announcements aren't answered.
    fn arp(&mut self, frame: &[u8], at: usize) -> bool {
        let Some(packet) = frame.get(at..at + 28) else {
            return false;
        };
        let (sender, target) = (&packet[14..18], &packet[24..28]);
        if packet[..8] != [0, 1, 8, 0, 6, 4, 0, 1] || sender == [0; 4] || sender == target {
            return false;
        }
        self.begin(frame);
        let fields: [(usize, &[u8]); 5] = [
            (at + 6, &[0, 2]),
            (at + 8, &PEER_MAC.0),
            (at + 14, target),
            (at + 18, &packet[8..14]),
            (at + 24, sender),
        ];
        fields
            .into_iter()
            .all(|(at, value)| set(&mut self.answer, at, value))
    }

    /// A neighbour solicitation (RFC 4861); probes for one's own address have no sender.
    fn solicited(&mut self, frame: &[u8], network: &Network) -> bool {
        let Some((source, _)) = network.addresses(frame) else {
            return false;
        };
        let at = network.transport;
        let Some(target) = frame.get(at + 8..at + 24) else {
            return false;
        };
        if frame.get(at) != Some(&135) || source == [0; 16] {
            return false;
        }
        let (source, target) = (source.to_vec(), target.to_vec());
        self.begin(frame);
        self.answer.truncate(at + 24);
        // Option: target link-layer address.
        self.answer.extend_from_slice(&[2, 1]);
        self.answer.extend_from_slice(&PEER_MAC.0);
        let fields: [(usize, &[u8]); 6] = [
            (network.at + 4, &32u16.to_be_bytes()),
            (network.at + 7, &[255]),
            (network.at + 8, &target),
            (network.at + 24, &source),
            // Advertisement; solicited, override.
            (at, &[136, 0]),
            (at + 4, &[0x60, 0, 0, 0]),
        ];
        fields
            .into_iter()
            .all(|(at, value)| set(&mut self.answer, at, value))
            && self.icmp_checksum(network)
    }

    fn ping(&mut self, frame: &[u8], network: &Network) -> bool {
        let (request, reply) = match network.ip {
            Ip::V4 => (8, 0),
            Ip::V6 => (128, 129),
        };
        if frame.get(network.transport) != Some(&request) {
            return false;
        }
        self.turn_around(frame, network)
            && set(&mut self.answer, network.transport, &[reply])
            && self.icmp_checksum(network)
    }

    /// ICMP's checksum anew.
    fn icmp_checksum(&mut self, network: &Network) -> bool {
        let Some(bytes) = checksum::transport_bytes(&self.answer, network) else {
            return false;
        };
        let end = network.transport.saturating_add(bytes);
        if !set(&mut self.answer, network.transport + 2, &[0, 0]) {
            return false;
        }
        let mut sum = match network.ip {
            Ip::V4 => checksum::Sum::default(),
            Ip::V6 => match checksum::pseudo_header(&self.answer, network, bytes) {
                Some(sum) => sum,
                None => return false,
            },
        };
        let Some(message) = self.answer.get(network.transport..end) else {
            return false;
        };
        sum.add(message);
        set(
            &mut self.answer,
            network.transport + 2,
            &sum.finish().to_be_bytes(),
        )
    }

    /// The same frame back: addresses and ports swapped, which changes no checksum.
    fn turn_around(&mut self, frame: &[u8], network: &Network) -> bool {
        let Some((source, destination)) = network.addresses(frame) else {
            return false;
        };
        self.begin(frame);
        let at = match network.ip {
            Ip::V4 => network.at + 12,
            Ip::V6 => network.at + 8,
        };
        let mut done = set(&mut self.answer, at, destination)
            && set(&mut self.answer, at + destination.len(), source);
        if network.protocol == UDP {
            let (Some(from), Some(to)) = (
                be16(frame, network.transport),
                be16(frame, network.transport + 2),
            ) else {
                return false;
            };
            done = done
                && set(&mut self.answer, network.transport, &to.to_be_bytes())
                && set(&mut self.answer, network.transport + 2, &from.to_be_bytes());
        }
        done
    }

    /// Starts an answer as a copy of the frame, to its sender.
    fn begin(&mut self, frame: &[u8]) {
        self.answer.clear();
        self.answer.extend_from_slice(frame);
        let sender: [u8; 6] = Mac::ZERO.0;
        let source = frame
            .get(6..12)
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or(sender);
        let _ = set(&mut self.answer, 0, &source) && set(&mut self.answer, 6, &PEER_MAC.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::frame::build;
    use super::*;

    fn answers(echo: bool, frame: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        Answerer::new(echo).answer(frame, &PeerCounters::default(), |answer| {
            all.push(answer.to_vec());
        });
        all
    }

    #[test]
    fn arp_is_answered_for_every_address() {
        let mut ask = vec![0xff; 6];
        ask.extend_from_slice(&[2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        ask.extend_from_slice(&[2, 0, 0, 0, 0, 9, 10, 0, 0, 2]);
        ask.extend_from_slice(&[0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
        let all = answers(false, &ask);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0][..6], [2, 0, 0, 0, 0, 9]);
        assert_eq!(all[0][20..22], [0, 2]);
        assert_eq!(all[0][22..28], PEER_MAC.0);
        assert_eq!(all[0][28..32], [10, 0, 0, 1]);
        assert_eq!(all[0][38..42], [10, 0, 0, 2]);
        // A probe and an announcement.
        let mut probe = ask.clone();
        probe[28..32].fill(0);
        assert!(answers(true, &probe).is_empty());
        ask[28..32].copy_from_slice(&[10, 0, 0, 1]);
        assert!(answers(true, &ask).is_empty());
    }

    #[test]
    fn datagrams_and_pings_come_back() {
        for mut frame in [
            build::ipv4(UDP, ([10, 0, 0, 1], 7), ([10, 0, 0, 2], 9), b"hello"),
            build::ipv6(UDP, ([1; 16], 7), ([2; 16], 9), b"hello"),
        ] {
            frame[..6].copy_from_slice(&PEER_MAC.0);
            let all = answers(true, &frame);
            assert_eq!(all.len(), 1);
            assert!(checksum::verify(&all[0]));
            assert!(all[0].ends_with(b"hello"));
            let network = Layout::parse(&all[0]).unwrap().network.unwrap();
            assert_eq!(network.ports, Some((9, 7)));
            assert!(answers(false, &frame).is_empty());
            // Not for the peer, or broken on the way.
            frame[0] ^= 4;
            assert!(answers(true, &frame).is_empty());
            frame[0] ^= 4;
            *frame.last_mut().unwrap() ^= 1;
            assert!(answers(true, &frame).is_empty());
        }
        let mut ping = build::ipv4(UDP, ([10, 0, 0, 1], 7), ([10, 0, 0, 2], 9), b"abcd");
        ping[..6].copy_from_slice(&PEER_MAC.0);
        ping[23] = ICMP;
        ping[34..36].copy_from_slice(&[8, 0]);
        ping[24..26].fill(0);
        let mut sum = checksum::Sum::default();
        sum.add(&ping[14..34]);
        ping[24..26].copy_from_slice(&sum.finish().to_be_bytes());
        let all = answers(false, &ping);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0][34], &all[0][26..30]), (0, &[10, 0, 0, 2][..]));
        let mut sum = checksum::Sum::default();
        sum.add(&all[0][34..]);
        assert_eq!(sum.finish(), 0);
    }

    #[test]
    fn neighbours_are_advertised() {
        let mut ask = build::ipv6(UDP, ([0xfe; 16], 0), ([0xff; 16], 0), &[0; 24]);
        ask[20] = ICMPV6;
        ask[54] = 135;
        ask[62..78].fill(0xab);
        let all = answers(false, &ask);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0][54], 136);
        assert_eq!(all[0][22..38], [0xab; 16]);
        assert_eq!(all[0][80..86], PEER_MAC.0);
        let network = Layout::parse(&all[0]).unwrap().network.unwrap();
        let mut sum = checksum::pseudo_header(&all[0], &network, 32).unwrap();
        sum.add(&all[0][54..]);
        assert_eq!(sum.finish(), 0);
    }
}
