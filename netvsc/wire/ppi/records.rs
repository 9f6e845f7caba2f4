// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The values of per-packet info.

/// Bits `at..at + width` of a word.
const fn bits(word: u32, at: u32, width: u32) -> u32 {
    (word >> at) & ((1 << width) - 1)
}

const fn bit(word: u32, at: u32) -> bool {
    bits(word, at, 1) != 0
}

/// What a guest leaves to the host (`struct ndis_tcp_ip_checksum_info`, `transmit`). The frame
/// holds the sum over the pseudo-header where the checksum will be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendChecksum {
    /// The frame is IPv4.
    pub ipv4: bool,
    /// The frame is IPv6.
    pub ipv6: bool,
    /// Compute the TCP checksum.
    pub tcp: bool,
    /// Compute the UDP checksum.
    pub udp: bool,
    /// Compute the checksum of the IPv4 header.
    pub ip_header: bool,
    /// Where the TCP or UDP header starts, in bytes from the start of the frame; 10 bits.
    pub transport_offset: u16,
}

impl SendChecksum {
    /// From the word on the wire.
    pub const fn from_wire(word: u32) -> Self {
        Self {
            ipv4: bit(word, 0),
            ipv6: bit(word, 1),
            tcp: bit(word, 2),
            udp: bit(word, 3),
            ip_header: bit(word, 4),
            transport_offset: bits(word, 16, 10) as u16,
        }
    }

    /// The word on the wire.
    pub const fn to_wire(self) -> u32 {
        self.ipv4 as u32
            | (self.ipv6 as u32) << 1
            | (self.tcp as u32) << 2
            | (self.udp as u32) << 3
            | (self.ip_header as u32) << 4
            | bits(self.transport_offset as u32, 0, 10) << 16
    }
}

/// What is known of a checksum of a received frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: nobody looked.
    #[default]
    Unknown,
    /// It is right.
    Good,
    /// It is wrong.
    Bad,
}

impl Verdict {
    /// From the two bits; wrong wins where both are set.
    const fn from_bits(word: u32, failed: u32, succeeded: u32) -> Self {
        if bit(word, failed) {
            Self::Bad
        } else if bit(word, succeeded) {
            Self::Good
        } else {
            Self::Unknown
        }
    }

    const fn to_bits(self, failed: u32, succeeded: u32) -> u32 {
        match self {
            Self::Unknown => 0,
            Self::Good => 1 << succeeded,
            Self::Bad => 1 << failed,
        }
    }
}

/// What the host knows of a frame's checksums (`struct ndis_tcp_ip_checksum_info`, `receive`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveChecksum {
    /// That of TCP.
    pub tcp: Verdict,
    /// That of UDP.
    pub udp: Verdict,
    /// That of the IPv4 header.
    pub ip_header: Verdict,
    /// The frame comes from the same NIC.
    pub loopback: bool,
    /// The TCP checksum was verified and isn't that of the bytes any more: segments were
    /// coalesced.
    pub tcp_value_invalid: bool,
    /// The same of the IPv4 header: it has to be computed again before the frame is forwarded.
    pub ip_value_invalid: bool,
}

impl ReceiveChecksum {
    /// From the word on the wire.
    pub const fn from_wire(word: u32) -> Self {
        Self {
            tcp: Verdict::from_bits(word, 0, 3),
            udp: Verdict::from_bits(word, 1, 4),
            ip_header: Verdict::from_bits(word, 2, 5),
            loopback: bit(word, 6),
            tcp_value_invalid: bit(word, 7),
            ip_value_invalid: bit(word, 8),
        }
    }

    /// The word on the wire.
    pub const fn to_wire(self) -> u32 {
        self.tcp.to_bits(0, 3)
            | self.udp.to_bits(1, 4)
            | self.ip_header.to_bits(2, 5)
            | (self.loopback as u32) << 6
            | (self.tcp_value_invalid as u32) << 7
            | (self.ip_value_invalid as u32) << 8
    }
}

/// A TCP segment that the host shall cut (`struct ndis_tcp_lso_info`, `lso_v2_transmit`). All
/// checksums are left to the host with it; the IP length may be 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeSend {
    /// Payload bytes of each piece; 20 bits.
    pub mss: u32,
    /// Where the TCP header starts, in bytes from the start of the frame; 10 bits.
    pub tcp_offset: u16,
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// Version 2 of the record. Version 1 has no place for the IP version, says IPv4, and its
    /// completion reports bytes.
    pub v2: bool,
}

impl LargeSend {
    /// From the word on the wire.
    pub const fn from_wire(word: u32) -> Self {
        Self {
            mss: bits(word, 0, 20),
            tcp_offset: bits(word, 20, 10) as u16,
            v2: bit(word, 30),
            ipv6: bit(word, 31),
        }
    }

    /// The word on the wire.
    pub const fn to_wire(self) -> u32 {
        bits(self.mss, 0, 20)
            | bits(self.tcp_offset as u32, 0, 10) << 20
            | (self.v2 as u32) << 30
            | (self.ipv6 as u32) << 31
    }
}

/// An 802.1Q tag that isn't in the frame itself (`struct ndis_pkt_8021q_info`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vlan {
    /// Number of the VLAN, 0 for none: the tag then carries the priority only; 12 bits.
    pub id: u16,
    /// Priority; 3 bits.
    pub priority: u8,
    /// Drop eligible, of old canonical format.
    pub dei: bool,
}

impl Vlan {
    /// From the word on the wire.
    pub const fn from_wire(word: u32) -> Self {
        Self {
            priority: bits(word, 0, 3) as u8,
            dei: bit(word, 3),
            id: bits(word, 4, 12) as u16,
        }
    }

    /// The word on the wire.
    pub const fn to_wire(self) -> u32 {
        bits(self.priority as u32, 0, 3) | (self.dei as u32) << 3 | bits(self.id as u32, 0, 12) << 4
    }

    /// From the tag of a frame: priority in the upper three bits, then the drop-eligible bit.
    pub const fn from_tci(tci: u16) -> Self {
        Self {
            id: tci & 0xfff,
            priority: (tci >> 13) as u8,
            dei: tci & 0x1000 != 0,
        }
    }

    /// The tag of a frame.
    pub const fn to_tci(self) -> u16 {
        (self.id & 0xfff) | (self.dei as u16) << 12 | ((self.priority & 7) as u16) << 13
    }
}

/// What the hash that goes with a frame was made of: function and type as in
/// [`HashTypes`](crate::rss::HashTypes), one type only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashInfo(pub u32);

/// One of several packets that make up one coalesced segment (`struct rndis_pktinfo_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketId {
    /// Version of the record; [`PacketId::V1`].
    pub version: u8,
    /// The packet is part of several; the other two flags count only then.
    pub sub_allocated: bool,
    /// It is the first.
    pub first: bool,
    /// It is the last.
    pub last: bool,
    /// The same in all of them.
    pub id: u16,
}

impl PacketId {
    /// The only version of the record (`RNDIS_PKTINFO_ID_V1`).
    pub const V1: u8 = 1;

    /// From the word on the wire.
    pub const fn from_wire(word: u32) -> Self {
        Self {
            version: bits(word, 0, 8) as u8,
            sub_allocated: bit(word, 8),
            first: bit(word, 9),
            last: bit(word, 10),
            id: bits(word, 16, 16) as u16,
        }
    }

    /// The word on the wire.
    pub const fn to_wire(self) -> u32 {
        self.version as u32
            | (self.sub_allocated as u32) << 8
            | (self.first as u32) << 9
            | (self.last as u32) << 10
            | (self.id as u32) << 16
    }
}
