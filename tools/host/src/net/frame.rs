// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Headers of Ethernet frames, as far as a switch and its offloads look at them.

use std::fmt;
use std::str::FromStr;

/// Bytes of an Ethernet header.
pub const ETHERNET_BYTES: usize = 14;
/// Bytes of an 802.1Q tag.
pub const VLAN_BYTES: usize = 4;
/// EtherType of an 802.1Q tag.
pub const TYPE_VLAN: u16 = 0x8100;
/// EtherType of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// IP protocol TCP.
pub const TCP: u8 = 6;
/// IP protocol UDP.
pub const UDP: u8 = 17;
/// Bytes that always suffice for the headers up to the end of TCP's options, tag included, unless
/// IPv6 extension headers are many.
pub const HEAD_BYTES: usize = 256;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// No address.
    pub const ZERO: Self = Self([0; 6]);
    /// Everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// A multicast address or that of everybody.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not six bytes in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ethernet address")]
pub struct BadMac;

impl FromStr for Mac {
    type Err = BadMac;
    fn from_str(text: &str) -> Result<Self, BadMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().ok_or(BadMac)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(BadMac);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| BadMac)?;
        }
        if parts.next().is_some() {
            return Err(BadMac);
        }
        Ok(Self(bytes))
    }
}

/// A big-endian 16-bit field.
pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(field.try_into().ok()?))
}

/// A big-endian 32-bit field.
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(field.try_into().ok()?))
}

/// Sets a field of the bytes' length; false when it isn't there.
#[must_use]
pub fn set(bytes: &mut [u8], at: usize, value: &[u8]) -> bool {
    let field = at
        .checked_add(value.len())
        .and_then(|end| bytes.get_mut(at..end));
    match field {
        Some(field) => {
            field.copy_from_slice(value);
            true
        }
        None => false,
    }
}

/// Which IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What lies where in a frame. All offsets are inside of the bytes that were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Who it is for.
    pub destination: Mac,
    /// Who it is from.
    pub source: Mac,
    /// The 802.1Q tag's control information, if there is a tag in the frame.
    pub tag: Option<u16>,
    /// EtherType behind the tag.
    pub ethertype: u16,
    /// IP, if it is that and its header is whole.
    pub network: Option<Network>,
}

/// Where an IP header is and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Which IP.
    pub ip: Ip,
    /// Where its header begins.
    pub at: usize,
    /// Protocol behind it (and behind IPv6's extension headers).
    pub protocol: u8,
    /// A fragment: there may be no transport header, and no ports count.
    pub fragment: bool,
    /// Where what follows begins; perhaps beyond the bytes that were looked at.
    pub transport: usize,
    /// Ports of TCP and UDP that are no fragments and whose header is there.
    pub ports: Option<(u16, u16)>,
}

impl Layout {
    /// Looks at a frame's first bytes; none when there isn't even an Ethernet header.
    pub fn parse(head: &[u8]) -> Option<Self> {
        let destination = Mac(head.get(..6)?.try_into().ok()?);
        let source = Mac(head.get(6..12)?.try_into().ok()?);
        let mut ethertype = be16(head, 12)?;
        let mut at = ETHERNET_BYTES;
        let mut tag = None;
        if ethertype == TYPE_VLAN {
            tag = Some(be16(head, 14)?);
            ethertype = be16(head, 16)?;
            at += VLAN_BYTES;
        }
        let network = match ethertype {
            TYPE_IPV4 => ipv4(head, at),
            TYPE_IPV6 => ipv6(head, at),
            _ => None,
        };
        Some(Self {
            destination,
            source,
            tag,
            ethertype,
            network,
        })
    }

    /// Where the Ethernet header ends, tag included.
    pub fn payload(&self) -> usize {
        if self.tag.is_some() {
            ETHERNET_BYTES + VLAN_BYTES
        } else {
            ETHERNET_BYTES
        }
    }
}

impl Network {
    /// Where a TCP segment's data begins; none if it isn't TCP or its header isn't whole.
    pub fn tcp_payload(&self, head: &[u8]) -> Option<usize> {
        if self.protocol != TCP || self.fragment {
            return None;
        }
        let words = head.get(self.transport.checked_add(12)?)? >> 4;
        let bytes = usize::from(words) * 4;
        let end = self.transport.checked_add(bytes)?;
        (bytes >= 20 && end <= head.len()).then_some(end)
    }

    /// Source and destination, 4 or 16 bytes each.
    pub fn addresses<'h>(&self, head: &'h [u8]) -> Option<(&'h [u8], &'h [u8])> {
        match self.ip {
            Ip::V4 => Some((
                head.get(self.at + 12..self.at + 16)?,
                head.get(self.at + 16..self.at + 20)?,
            )),
            Ip::V6 => Some((
                head.get(self.at + 8..self.at + 24)?,
                head.get(self.at + 24..self.at + 40)?,
            )),
        }
    }
}

fn ports(head: &[u8], protocol: u8, transport: usize) -> Option<(u16, u16)> {
    if protocol != TCP && protocol != UDP {
        return None;
    }
    Some((be16(head, transport)?, be16(head, transport + 2)?))
}

fn ipv4(head: &[u8], at: usize) -> Option<Network> {
    let header = head.get(at..at + 20)?;
    let bytes = usize::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || bytes < 20 || head.len() < at + bytes {
        return None;
    }
    let protocol = header[9];
    // More fragments, or not the first.
    let fragment = be16(header, 6)? & 0x3fff != 0;
    let transport = at + bytes;
    Some(Network {
        ip: Ip::V4,
        at,
        protocol,
        fragment,
        transport,
        ports: if fragment {
            None
        } else {
            ports(head, protocol, transport)
        },
    })
}

fn ipv6(head: &[u8], at: usize) -> Option<Network> {
    let header = head.get(at..at + 40)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let mut protocol = header[6];
    let mut transport = at + 40;
    let mut fragment = false;
    // Hop-by-hop, routing, fragment, destination options: each turn moves on by at least 8 bytes,
    // and no more than the bytes at hand.
    while matches!(protocol, 0 | 43 | 44 | 60) {
        let Some(extension) = head.get(transport..transport + 8) else {
            break;
        };
        if protocol == 44 {
            fragment = true;
            transport += 8;
        } else {
            transport += (usize::from(extension[1]) + 1) * 8;
        }
        protocol = extension[0];
    }
    Some(Network {
        ip: Ip::V6,
        at,
        protocol,
        fragment,
        transport,
        ports: if fragment {
            None
        } else {
            ports(head, protocol, transport)
        },
    })
}

/// Frames for tests.
#[cfg(test)]
pub(crate) mod build {
    use super::*;
    use crate::net::checksum;

    /// A TCP or UDP frame over IPv4 with every checksum right.
    pub(crate) fn ipv4(
        protocol: u8,
        source: ([u8; 4], u16),
        destination: ([u8; 4], u16),
        payload: &[u8],
    ) -> Vec<u8> {
        let transport_bytes = if protocol == TCP { 20 } else { 8 };
        let mut frame = vec![0; ETHERNET_BYTES + 20 + transport_bytes];
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
        frame[12..14].copy_from_slice(&TYPE_IPV4.to_be_bytes());
        frame[14] = 0x45;
        frame[16..18]
            .copy_from_slice(&((20 + transport_bytes + payload.len()) as u16).to_be_bytes());
        frame[22] = 64;
        frame[23] = protocol;
        frame[26..30].copy_from_slice(&source.0);
        frame[30..34].copy_from_slice(&destination.0);
        frame[34..36].copy_from_slice(&source.1.to_be_bytes());
        frame[36..38].copy_from_slice(&destination.1.to_be_bytes());
        if protocol == TCP {
            frame[46] = 5 << 4;
            frame[47] = 0x10;
            frame[48..50].copy_from_slice(&1000u16.to_be_bytes());
        } else {
            frame[38..40].copy_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
        }
        frame.extend_from_slice(payload);
        checksum::fill(&mut frame);
        frame
    }

    /// A TCP or UDP frame over IPv6 with every checksum right.
    pub(crate) fn ipv6(
        protocol: u8,
        source: ([u8; 16], u16),
        destination: ([u8; 16], u16),
        payload: &[u8],
    ) -> Vec<u8> {
        let v4 = ipv4(
            protocol,
            ([0; 4], source.1),
            ([0; 4], destination.1),
            payload,
        );
        let mut frame = v4[..ETHERNET_BYTES].to_vec();
        frame[12..14].copy_from_slice(&TYPE_IPV6.to_be_bytes());
        frame.extend_from_slice(&[0x60, 0, 0, 0]);
        frame.extend_from_slice(&((v4.len() - 34) as u16).to_be_bytes());
        frame.extend_from_slice(&[protocol, 64]);
        frame.extend_from_slice(&source.0);
        frame.extend_from_slice(&destination.0);
        frame.extend_from_slice(&v4[34..]);
        checksum::fill(&mut frame);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read_and_written() {
        let mac: Mac = "02:0a:FF:00:10:fe".parse().unwrap();
        assert_eq!(mac, Mac([2, 10, 255, 0, 16, 254]));
        assert_eq!(mac.to_string(), "02:0a:ff:00:10:fe");
        assert_eq!("02-0a-ff-00-10-fe".parse(), Ok(mac));
        for bad in [
            "",
            "02:0a:ff:00:10",
            "02:0a:ff:00:10:fe:00",
            "2:0a:ff:00:10:fe",
            "+2:0a:ff:00:10:fe",
        ] {
            assert_eq!(bad.parse::<Mac>(), Err(BadMac), "{bad}");
        }
    }

    #[test]
    fn headers_are_found() {
        let frame = build::ipv4(TCP, ([10, 0, 0, 1], 1000), ([10, 0, 0, 2], 80), b"hello");
        let layout = Layout::parse(&frame).unwrap();
        let network = layout.network.unwrap();
        assert_eq!(network.ports, Some((1000, 80)));
        assert_eq!(network.transport, 34);
        assert_eq!(network.tcp_payload(&frame), Some(54));
        assert_eq!(
            network.addresses(&frame),
            Some((&[10, 0, 0, 1][..], &[10, 0, 0, 2][..]))
        );

        let mut tagged = frame[..12].to_vec();
        tagged.extend_from_slice(&[0x81, 0, 0x60, 5]);
        tagged.extend_from_slice(&frame[12..]);
        let layout = Layout::parse(&tagged).unwrap();
        assert_eq!(layout.tag, Some(0x6005));
        assert_eq!(layout.payload(), 18);
        assert_eq!(layout.network.unwrap().transport, 38);

        // Not the first fragment: no ports.
        let mut fragment = frame;
        fragment[21] = 1;
        let network = Layout::parse(&fragment).unwrap().network.unwrap();
        assert!(network.fragment && network.ports.is_none());
    }

    #[test]
    fn extension_headers_are_passed() {
        let frame = build::ipv6(UDP, ([1; 16], 5), ([2; 16], 6), b"x");
        let network = Layout::parse(&frame).unwrap().network.unwrap();
        assert_eq!((network.transport, network.ports), (54, Some((5, 6))));
        let mut extended = frame[..54].to_vec();
        extended[20] = 60;
        extended.extend_from_slice(&[UDP, 1]);
        extended.extend_from_slice(&[0; 14]);
        extended.extend_from_slice(&frame[54..]);
        let network = Layout::parse(&extended).unwrap().network.unwrap();
        assert_eq!((network.transport, network.ports), (70, Some((5, 6))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), ethertype in prop_oneof![Just(TYPE_IPV4), Just(TYPE_IPV6), Just(TYPE_VLAN), any::<u16>()], version in prop_oneof![Just(0x45u8), Just(0x60u8), any::<u8>()]) {
            let mut bytes = bytes;
            set(&mut bytes, 12, &ethertype.to_be_bytes()).then_some(());
            set(&mut bytes, 14, &[version]).then_some(());
            if let Some(layout) = Layout::parse(&bytes) {
                if let Some(network) = layout.network {
                    prop_assert!(network.at < bytes.len());
                    network.addresses(&bytes).unwrap();
                    if let Some(end) = network.tcp_payload(&bytes) {
                        prop_assert!(end <= bytes.len());
                    }
                }
            }
        }
    }
}
