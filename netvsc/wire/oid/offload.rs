// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a NIC can do to frames by itself: `struct ndis_offload`,
//! `drivers/net/hyperv/hyperv_net.h`.

use super::{read, ObjectHeader, OidError, WireObjectHeader};
use crate::layout::{put, wire};
use crate::version::Version;
use core::fmt;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromZeros, IntoBytes};
use zerocopy_derive::*;

wire! {
    /// `struct ndis_csum_offload`.
    struct WireChecksum {
        ip4_send_encap: U32,
        ip4_send: U32,
        ip4_receive_encap: U32,
        ip4_receive: U32,
        ip6_send_encap: U32,
        ip6_send: U32,
        ip6_receive_encap: U32,
        ip6_receive: U32,
    } = 32;

    /// `struct ndis_lsov1_offload`.
    struct WireLargeSendV1 { encap: U32, max: U32, min_segments: U32, options: U32, } = 16;

    /// `struct ndis_ipsecv1_offload`; always zero.
    struct WireIpsecV1 { words: [U32; 7], } = 28;

    /// `struct ndis_lsov2_offload`.
    struct WireLargeSendV2 {
        ip4_encap: U32,
        ip4_max: U32,
        ip4_min_segments: U32,
        ip6_encap: U32,
        ip6_max: U32,
        ip6_min_segments: U32,
        ip6_options: U32,
    } = 28;

    /// `struct ndis_ipsecv2_offload`; always zero.
    struct WireIpsecV2 { bytes: [u8; 32], } = 32;

    /// `struct ndis_offload`.
    struct WireOffload {
        header: WireObjectHeader,
        checksum: WireChecksum,
        large_send_v1: WireLargeSendV1,
        ipsec_v1: WireIpsecV1,
        large_send_v2: WireLargeSendV2,
        flags: U32,
        // From revision 2 on.
        ipsec_v2: WireIpsecV2,
        // From revision 3 on.
        rsc_ip4: u8,
        rsc_ip6: u8,
        padding: U16,
        encapsulation_flags: U32,
        encapsulation_max_header: U32,
    } = 156;
}

/// Bytes of the longest revision of the record.
pub const MAX_OFFLOAD_BYTES: usize = size_of::<WireOffload>();

/// How far the record has grown. A guest asks for the revision that goes with its NVSP version
/// (`rndis_filter_query_device`), with an [`ObjectHeader`] in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OffloadRevision {
    /// NDIS 6.0: 112 bytes.
    Rev1 = 1,
    /// NDIS 6.1: 144 bytes, with IPsec version 2.
    Rev2 = 2,
    /// NDIS 6.30: 156 bytes, with receive segment coalescing.
    Rev3 = 3,
}

impl OffloadRevision {
    /// The revision of a number; newer ones are read as the newest that is known.
    pub const fn from_wire(revision: u8) -> Option<Self> {
        match revision {
            0 => None,
            1 => Some(Self::Rev1),
            2 => Some(Self::Rev2),
            _ => Some(Self::Rev3),
        }
    }

    /// The revision that a guest of an NVSP version asks for.
    pub const fn of_version(version: Version) -> Self {
        match version {
            Version::V1 | Version::V2 => Self::Rev1,
            Version::V4 => Self::Rev2,
            Version::V5 | Version::V6 | Version::V6_1 => Self::Rev3,
        }
    }

    /// Bytes of the record.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rev1 => 112,
            Self::Rev2 => 144,
            Self::Rev3 => MAX_OFFLOAD_BYTES,
        }
    }

    /// The header of a record of this revision.
    pub const fn header(self) -> ObjectHeader {
        ObjectHeader {
            object_type: ObjectHeader::OFFLOAD,
            revision: self as u8,
            size: self.bytes() as u16, // at most 156
        }
    }
}

/// Kinds of framing that an offload works with (`NDIS_OFFLOAD_ENCAP_*`).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Encapsulation(pub u32);

impl Encapsulation {
    /// The offload isn't there.
    pub const NONE: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(0x2);
    /// Ethernet with a tag in the frame.
    pub const ETHERNET_TAGGED: Self = Self(0x4);
    /// Ethernet with a tag in per-packet info.
    pub const ETHERNET_TAGGED_OOB: Self = Self(0x8);

    /// True when all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Which checksums the NIC computes or checks. The bits are the same both ways and for both IP
/// versions (`NDIS_TXCSUM_CAP_*`, `NDIS_RXCSUM_CAP_*`): IP options or IPv6 extensions 0x1, TCP
/// options 0x4, TCP 0x10, UDP 0x40, the IPv4 header 0x100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChecksumOffload {
    /// Framing for IPv4 frames that are sent.
    pub ip4_send_encap: Encapsulation,
    /// Checksums of IPv4 frames that are sent.
    pub ip4_send: u32,
    /// Framing for received IPv4 frames.
    pub ip4_receive_encap: Encapsulation,
    /// Checksums of received IPv4 frames.
    pub ip4_receive: u32,
    /// Framing for IPv6 frames that are sent.
    pub ip6_send_encap: Encapsulation,
    /// Checksums of IPv6 frames that are sent.
    pub ip6_send: u32,
    /// Framing for received IPv6 frames.
    pub ip6_receive_encap: Encapsulation,
    /// Checksums of received IPv6 frames.
    pub ip6_receive: u32,
}

/// IP options or IPv6 extensions.
const CHECKSUM_IP_OPTIONS: u32 = 0x1;
const CHECKSUM_TCP_OPTIONS: u32 = 0x4;
const CHECKSUM_TCP: u32 = 0x10;
const CHECKSUM_UDP: u32 = 0x40;
const CHECKSUM_IP4_HEADER: u32 = 0x100;

/// What Linux wants to see before it leaves any checksum over IPv4 to the NIC
/// (`NDIS_TXCSUM_ALL_TCP4`).
pub const SEND_CHECKSUM_ALL_TCP4: u32 = CHECKSUM_TCP | CHECKSUM_TCP_OPTIONS;
/// The same for IPv6 (`NDIS_TXCSUM_ALL_TCP6`).
pub const SEND_CHECKSUM_ALL_TCP6: u32 = CHECKSUM_TCP | CHECKSUM_TCP_OPTIONS | CHECKSUM_IP_OPTIONS;
/// All checksums that there are bits for.
pub const RECEIVE_CHECKSUM_ALL: u32 =
    CHECKSUM_IP_OPTIONS | CHECKSUM_TCP_OPTIONS | CHECKSUM_TCP | CHECKSUM_UDP | CHECKSUM_IP4_HEADER;

impl ChecksumOffload {
    /// Everything there is, over Ethernet.
    pub const ALL: Self = Self {
        ip4_send_encap: Encapsulation::ETHERNET,
        ip4_send: RECEIVE_CHECKSUM_ALL,
        ip4_receive_encap: Encapsulation::ETHERNET,
        ip4_receive: RECEIVE_CHECKSUM_ALL,
        ip6_send_encap: Encapsulation::ETHERNET,
        ip6_send: RECEIVE_CHECKSUM_ALL & !CHECKSUM_IP4_HEADER,
        ip6_receive_encap: Encapsulation::ETHERNET,
        ip6_receive: RECEIVE_CHECKSUM_ALL & !CHECKSUM_IP4_HEADER,
    };

    /// The TCP checksum of IPv4 frames can be left to the NIC.
    pub const fn sends_tcp4(&self) -> bool {
        self.ip4_send & SEND_CHECKSUM_ALL_TCP4 == SEND_CHECKSUM_ALL_TCP4
    }

    /// The TCP checksum of IPv6 frames can be left to the NIC.
    pub const fn sends_tcp6(&self) -> bool {
        self.ip6_send & SEND_CHECKSUM_ALL_TCP6 == SEND_CHECKSUM_ALL_TCP6
    }

    /// The UDP checksum of IPv4 frames can be left to the NIC.
    pub const fn sends_udp4(&self) -> bool {
        self.ip4_send & CHECKSUM_UDP != 0
    }

    /// The UDP checksum of IPv6 frames can be left to the NIC.
    pub const fn sends_udp6(&self) -> bool {
        self.ip6_send & CHECKSUM_UDP != 0
    }
}

/// Cutting of TCP segments, version 1: IPv4 only (`struct ndis_lsov1_offload`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LargeSendV1 {
    /// Framing it works with.
    pub encap: Encapsulation,
    /// Bytes of the longest segment.
    pub max_bytes: u32,
    /// Fewest pieces that a segment has to make.
    pub min_segments: u32,
    /// TCP options (bits 0 and 1) and IP options (bits 2 and 3).
    pub options: u32,
}

/// Cutting of TCP segments (`struct ndis_lsov2_offload`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LargeSendV2 {
    /// Framing of IPv4 frames it works with.
    pub ip4_encap: Encapsulation,
    /// Bytes of the longest segment over IPv4.
    pub ip4_max_bytes: u32,
    /// Fewest pieces that a segment over IPv4 has to make.
    pub ip4_min_segments: u32,
    /// Framing of IPv6 frames it works with.
    pub ip6_encap: Encapsulation,
    /// Bytes of the longest segment over IPv6.
    pub ip6_max_bytes: u32,
    /// Fewest pieces that a segment over IPv6 has to make.
    pub ip6_min_segments: u32,
    /// IPv6 extensions 0x1, TCP options 0x4; Linux wants both (`NDIS_LSOV2_CAP_IP6`).
    pub ip6_options: u32,
}

impl LargeSendV2 {
    /// What [`LargeSendV2::ip6_options`] has to hold for Linux.
    pub const IP6_OPTIONS: u32 = CHECKSUM_IP_OPTIONS | CHECKSUM_TCP_OPTIONS;

    /// Segments of up to `max_bytes` bytes over both IP versions.
    pub const fn up_to(max_bytes: u32) -> Self {
        Self {
            ip4_encap: Encapsulation::ETHERNET,
            ip4_max_bytes: max_bytes,
            ip4_min_segments: 2,
            ip6_encap: Encapsulation::ETHERNET,
            ip6_max_bytes: max_bytes,
            ip6_min_segments: 2,
            ip6_options: Self::IP6_OPTIONS,
        }
    }
}

/// Receive segment coalescing (`struct ndis_rsc_offload`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RscOffload {
    /// Over IPv4.
    pub ip4: bool,
    /// Over IPv6.
    pub ip6: bool,
}

/// What a NIC can do, or does (`struct ndis_offload`); IPsec and tunnels left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Checksums.
    pub checksum: ChecksumOffload,
    /// Cutting of segments, version 1.
    pub large_send_v1: LargeSendV1,
    /// Cutting of segments.
    pub large_send_v2: LargeSendV2,
    /// Coalescing; from revision 3 on.
    pub rsc: RscOffload,
}

impl Offload {
    /// Reads the record of any revision.
    ///
    /// # Errors
    ///
    /// [`OidError`] says what was wrong: type or revision, or a size that is less than revision
    /// 1's or more than there is.
    pub fn parse(info: &[u8]) -> Result<Self, OidError> {
        let header = ObjectHeader::parse(info)?;
        if header.object_type != ObjectHeader::OFFLOAD {
            return Err(OidError::BadField {
                field: "object type",
                value: header.object_type.into(),
            });
        }
        if header.revision == 0 {
            return Err(OidError::BadField {
                field: "revision",
                value: 0,
            });
        }
        let want = OffloadRevision::Rev1.bytes();
        let size = usize::from(header.size);
        let record = info.get(..size).ok_or(OidError::BadField {
            field: "size",
            value: header.size.into(),
        })?;
        if size < want {
            return Err(OidError::TooShort { got: size, want });
        }
        // What an older revision doesn't have is zero.
        let mut bytes = [0; MAX_OFFLOAD_BYTES];
        for (to, from) in bytes.iter_mut().zip(record) {
            *to = *from;
        }
        let wire: WireOffload = read(&bytes)?;
        let (sums, v1, v2) = (wire.checksum, wire.large_send_v1, wire.large_send_v2);
        Ok(Self {
            checksum: ChecksumOffload {
                ip4_send_encap: Encapsulation(sums.ip4_send_encap.get()),
                ip4_send: sums.ip4_send.get(),
                ip4_receive_encap: Encapsulation(sums.ip4_receive_encap.get()),
                ip4_receive: sums.ip4_receive.get(),
                ip6_send_encap: Encapsulation(sums.ip6_send_encap.get()),
                ip6_send: sums.ip6_send.get(),
                ip6_receive_encap: Encapsulation(sums.ip6_receive_encap.get()),
                ip6_receive: sums.ip6_receive.get(),
            },
            large_send_v1: LargeSendV1 {
                encap: Encapsulation(v1.encap.get()),
                max_bytes: v1.max.get(),
                min_segments: v1.min_segments.get(),
                options: v1.options.get(),
            },
            large_send_v2: LargeSendV2 {
                ip4_encap: Encapsulation(v2.ip4_encap.get()),
                ip4_max_bytes: v2.ip4_max.get(),
                ip4_min_segments: v2.ip4_min_segments.get(),
                ip6_encap: Encapsulation(v2.ip6_encap.get()),
                ip6_max_bytes: v2.ip6_max.get(),
                ip6_min_segments: v2.ip6_min_segments.get(),
                ip6_options: v2.ip6_options.get(),
            },
            rsc: RscOffload {
                ip4: wire.rsc_ip4 != 0,
                ip6: wire.rsc_ip6 != 0,
            },
        })
    }

    /// Writes the record to the start of `out` and returns its length,
    /// [`OffloadRevision::bytes`].
    ///
    /// # Errors
    ///
    /// [`OidError::NoRoom`].
    pub fn encode(&self, revision: OffloadRevision, out: &mut [u8]) -> Result<usize, OidError> {
        let mut wire = WireOffload::new_zeroed();
        let (sums, v1, v2) = (&self.checksum, &self.large_send_v1, &self.large_send_v2);
        wire.header = revision.header().to_wire();
        wire.checksum = WireChecksum {
            ip4_send_encap: U32::new(sums.ip4_send_encap.0),
            ip4_send: U32::new(sums.ip4_send),
            ip4_receive_encap: U32::new(sums.ip4_receive_encap.0),
            ip4_receive: U32::new(sums.ip4_receive),
            ip6_send_encap: U32::new(sums.ip6_send_encap.0),
            ip6_send: U32::new(sums.ip6_send),
            ip6_receive_encap: U32::new(sums.ip6_receive_encap.0),
            ip6_receive: U32::new(sums.ip6_receive),
        };
        wire.large_send_v1 = WireLargeSendV1 {
            encap: U32::new(v1.encap.0),
            max: U32::new(v1.max_bytes),
            min_segments: U32::new(v1.min_segments),
            options: U32::new(v1.options),
        };
        wire.large_send_v2 = WireLargeSendV2 {
            ip4_encap: U32::new(v2.ip4_encap.0),
            ip4_max: U32::new(v2.ip4_max_bytes),
            ip4_min_segments: U32::new(v2.ip4_min_segments),
            ip6_encap: U32::new(v2.ip6_encap.0),
            ip6_max: U32::new(v2.ip6_max_bytes),
            ip6_min_segments: U32::new(v2.ip6_min_segments),
            ip6_options: U32::new(v2.ip6_options),
        };
        wire.rsc_ip4 = self.rsc.ip4.into();
        wire.rsc_ip6 = self.rsc.ip6.into();
        let need = revision.bytes();
        let bytes = wire.as_bytes().get(..need).unwrap_or_default();
        put(out, bytes).ok_or(OidError::NoRoom { need })?;
        Ok(need)
    }
}
