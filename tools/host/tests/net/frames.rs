// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Frames for tests.

use hvhost::net::backend::{Gso, Offload, Partial};
use hvhost::net::checksum::{self, Sum};
use hvhost::net::frame::{Ip, Layout, Mac, TCP, TYPE_IPV4, UDP};
use hvhost::net::peer::PEER_MAC;

use super::GUEST;

/// A frame of any type.
pub(crate) fn ethernet(destination: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = destination.0.to_vec();
    frame.extend_from_slice(&[2, 7, 7, 7, 7, 7]);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn ipv4(source: Mac, destination: Mac, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut frame = destination.0.to_vec();
    frame.extend_from_slice(&source.0);
    frame.extend_from_slice(&TYPE_IPV4.to_be_bytes());
    frame.extend_from_slice(&[0x45, 0]);
    frame.extend_from_slice(&((20 + transport.len()) as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend_from_slice(transport);
    checksum::fill(&mut frame);
    frame
}

/// A datagram over IPv4 with every checksum right.
pub(crate) fn udp(source: Mac, destination: Mac, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut transport = from.to_be_bytes().to_vec();
    transport.extend_from_slice(&to.to_be_bytes());
    transport.extend_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
    transport.extend_from_slice(&[0, 0]);
    transport.extend_from_slice(payload);
    ipv4(source, destination, UDP, &transport)
}

/// A TCP segment with ACK, over IPv4, with every checksum right.
pub(crate) fn tcp(
    source: Mac,
    destination: Mac,
    from: u16,
    to: u16,
    sequence: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut transport = from.to_be_bytes().to_vec();
    transport.extend_from_slice(&to.to_be_bytes());
    transport.extend_from_slice(&sequence.to_be_bytes());
    transport.extend_from_slice(&[0, 0, 0, 9, 5 << 4, 0x10, 1, 0, 0, 0, 0, 0]);
    transport.extend_from_slice(payload);
    ipv4(source, destination, TCP, &transport)
}

/// An echo request.
pub(crate) fn ping(source: Mac, destination: Mac, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0, 1, 0, 1];
    message.extend_from_slice(payload);
    let mut sum = Sum::default();
    sum.add(&message);
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    ipv4(source, destination, 1, &message)
}

/// Who has `target`?
pub(crate) fn arp_request(source: Mac, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut frame = Mac::BROADCAST.0.to_vec();
    frame.extend_from_slice(&source.0);
    frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend_from_slice(&source.0);
    frame.extend_from_slice(&sender);
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&target);
    frame
}

/// The frame with a tag in it.
pub(crate) fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend_from_slice(&[0x81, 0]);
    tagged.extend_from_slice(&tag.to_be_bytes());
    tagged.extend_from_slice(&frame[12..]);
    tagged
}

/// Replaces the transport checksum by the pseudo header's sum, as a stack leaves it.
pub(crate) fn make_partial(frame: &mut [u8]) {
    let network = Layout::parse(frame).unwrap().network.unwrap();
    let bytes = checksum::transport_bytes(frame, &network).unwrap();
    let pseudo = checksum::pseudo_header(frame, &network, bytes).unwrap();
    let at = network.transport + checksum::field_offset(network.protocol).unwrap();
    frame[at..at + 2].copy_from_slice(&pseudo.fold().to_be_bytes());
}

/// Whether all checksums of a frame are right.
pub(crate) fn checksums_are_right(frame: &[u8]) -> bool {
    checksum::verify(frame)
}

/// Bytes that differ from their neighbours.
pub(crate) fn data(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n % 251) as u8).collect()
}

/// A segment of TCP from the peer, as back ends bring it that leave its checksum to others.
pub(crate) fn segment(payload: &[u8]) -> Vec<u8> {
    let mut frame = tcp(PEER_MAC, GUEST, 80, 9, 77, payload);
    make_partial(&mut frame);
    frame
}

/// What a back end says of a large segment of TCP over IPv4 without options.
pub(crate) fn gso(size: u16) -> Offload {
    Offload {
        partial: Some(Partial {
            start: 34,
            offset: 16,
        }),
        gso: Some(Gso {
            ip: Ip::V4,
            size,
            header: 54,
        }),
        valid: false,
    }
}
