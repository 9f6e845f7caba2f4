// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The hash that spreads flows over queues: Toeplitz.
//!
//! The function and its test vectors are those of Microsoft's "Verifying the RSS Hash
//! Calculation" (Windows driver documentation): the input is source and destination address,
//! then source and destination port, all in network order; each set bit of it selects the 32
//! bits of the key that start at its position.

use core::fmt;

/// Bytes of the key (`NETVSC_HASH_KEYLEN`, `NDIS_RSS_HASH_SECRET_KEY_MAX_SIZE_REVISION_2`).
pub const KEY_BYTES: usize = 40;
/// Bytes of the longest input: two IPv6 addresses and two ports. The key has four more.
pub const MAX_INPUT_BYTES: usize = KEY_BYTES - 4;

/// The key that Microsoft's documentation verifies with and that Linux starts with
/// (`netvsc_hash_key`).
pub const DEFAULT_KEY: Key = Key([
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
]);

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub [u8; KEY_BYTES]);

impl Key {
    /// The hash of `input`, of which at most [`MAX_INPUT_BYTES`] count.
    pub fn hash(&self, input: &[u8]) -> u32 {
        let mut hash = 0;
        // The 32 bits of the key at the current bit of the input, and the byte that is shifted in.
        let (start, rest) = match self.0.split_first_chunk::<4>() {
            Some((start, rest)) => (u32::from_be_bytes(*start), rest),
            None => return 0, // KEY_BYTES is 40
        };
        let mut window = start;
        for (&byte, &next) in input.iter().zip(rest) {
            for bit in (0..8).rev() {
                if byte >> bit & 1 != 0 {
                    hash ^= window;
                }
                window = window << 1 | u32::from(next >> bit & 1);
            }
        }
        hash
    }

    /// The hash of a flow; what [`Flow::input`] takes in.
    pub fn hash_flow(&self, flow: &Flow) -> u32 {
        let mut input = [0; MAX_INPUT_BYTES];
        let length = flow.input(&mut input);
        self.hash(input.get(..length).unwrap_or(&input))
    }
}

/// Which hash function and what it may be fed (`NDIS_HASH_*`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct HashTypes(pub u32);

impl HashTypes {
    /// No hash.
    pub const NONE: Self = Self(0);
    /// The Toeplitz function; the only one there is.
    pub const TOEPLITZ: Self = Self(0x1);
    /// IPv4 addresses.
    pub const IPV4: Self = Self(0x100);
    /// IPv4 addresses and TCP ports.
    pub const TCP_IPV4: Self = Self(0x200);
    /// IPv6 addresses.
    pub const IPV6: Self = Self(0x400);
    /// IPv6 addresses, those of a routing or destination header where there are.
    pub const IPV6_EX: Self = Self(0x800);
    /// IPv6 addresses and TCP ports.
    pub const TCP_IPV6: Self = Self(0x1000);
    /// As IPV6_EX, and TCP ports.
    pub const TCP_IPV6_EX: Self = Self(0x2000);
    /// What Linux asks for (`rndis_set_rss_param_msg`).
    pub const LINUX: Self = Self(0x1701);

    /// True when all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits that `other` doesn't have.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Debug for HashTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// What tells a flow from others. Ports only where the hash shall take them in: TCP, and not
/// a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// IPv4.
    V4 {
        /// Source address.
        source: [u8; 4],
        /// Destination address.
        destination: [u8; 4],
        /// Source and destination port.
        ports: Option<(u16, u16)>,
    },
    /// IPv6.
    V6 {
        /// Source address.
        source: [u8; 16],
        /// Destination address.
        destination: [u8; 16],
        /// Source and destination port.
        ports: Option<(u16, u16)>,
    },
}

impl Flow {
    const TCP: u8 = 6;

    /// The flow of a frame that starts at its Ethernet header, without a VLAN tag: IPv4 or IPv6
    /// of TCP with ports, of anything else and of fragments without; `None` for other frames. As
    /// much of the frame as [`Flow::FRAME_BYTES`] is enough.
    pub fn of_frame(frame: &[u8]) -> Option<Self> {
        let ethernet = frame.get(12..14)?;
        let ip = frame.get(14..)?;
        match ethernet {
            [0x08, 0x00] => Self::of_ipv4(ip),
            [0x86, 0xdd] => Self::of_ipv6(ip),
            _ => None,
        }
    }

    /// Bytes from the start of a frame that are enough for [`Flow::of_frame`]: the headers of
    /// Ethernet, IPv4 with all options, and the ports.
    pub const FRAME_BYTES: usize = 14 + 60 + 4;

    fn of_ipv4(ip: &[u8]) -> Option<Self> {
        let (head, _) = ip.split_first_chunk::<20>()?;
        let (version, words) = (head[0] >> 4, usize::from(head[0] & 0xf));
        if version != 4 || words < 5 {
            return None;
        }
        // More fragments, or not the first.
        let fragment = (u16::from_be_bytes([head[6], head[7]]) & 0x3fff) != 0;
        let ports = (head[9] == Self::TCP && !fragment)
            .then(|| ports(ip.get(words * 4..)?))
            .flatten();
        Some(Self::V4 {
            source: [head[12], head[13], head[14], head[15]],
            destination: [head[16], head[17], head[18], head[19]],
            ports,
        })
    }

    fn of_ipv6(ip: &[u8]) -> Option<Self> {
        let (head, rest) = ip.split_first_chunk::<40>()?;
        if head[0] >> 4 != 6 {
            return None;
        }
        let ports = (head[6] == Self::TCP).then(|| ports(rest)).flatten();
        Some(Self::V6 {
            source: head.get(8..24)?.try_into().ok()?,
            destination: head.get(24..40)?.try_into().ok()?,
            ports,
        })
    }

    /// The type of the hash over this.
    pub const fn hash_type(&self) -> HashTypes {
        match self {
            Self::V4 { ports: None, .. } => HashTypes::IPV4,
            Self::V4 { .. } => HashTypes::TCP_IPV4,
            Self::V6 { ports: None, .. } => HashTypes::IPV6,
            Self::V6 { .. } => HashTypes::TCP_IPV6,
        }
    }

    /// What of the flow `types` lets the hash take in: with ports, addresses alone, or nothing.
    pub fn restricted(mut self, types: HashTypes) -> Option<Self> {
        if !types.contains(self.hash_type()) {
            match &mut self {
                Self::V4 { ports, .. } | Self::V6 { ports, .. } => *ports = None,
            }
        }
        types.contains(self.hash_type()).then_some(self)
    }

    /// Writes what goes into the hash and returns its length.
    pub fn input(&self, out: &mut [u8; MAX_INPUT_BYTES]) -> usize {
        let mut length = 0;
        let mut add = |bytes: &[u8]| {
            for (to, from) in out.iter_mut().skip(length).zip(bytes) {
                *to = *from;
            }
            length += bytes.len();
        };
        let ports = match self {
            Self::V4 {
                source,
                destination,
                ports,
            } => {
                add(source);
                add(destination);
                ports
            }
            Self::V6 {
                source,
                destination,
                ports,
            } => {
                add(source);
                add(destination);
                ports
            }
        };
        if let Some((source, destination)) = ports {
            add(&source.to_be_bytes());
            add(&destination.to_be_bytes());
        }
        length
    }
}

fn ports(transport: &[u8]) -> Option<(u16, u16)> {
    let (bytes, _) = transport.split_first_chunk::<4>()?;
    Some((
        u16::from_be_bytes([bytes[0], bytes[1]]),
        u16::from_be_bytes([bytes[2], bytes[3]]),
    ))
}

/// Entry of an indirection table of `entries` entries for a hash; 0 where there is none.
///
/// The table's size is a power of two with NDIS, so the remainder is the lower bits of the hash.
pub const fn table_index(hash: u32, entries: usize) -> usize {
    match (hash as usize).checked_rem(entries) {
        Some(index) => index,
        None => 0,
    }
}
