// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which offloads a guest wants: `struct ndis_offload_params`, `drivers/net/hyperv/hyperv_net.h`.

use super::{read, ObjectHeader, OidError, WireObjectHeader};
use crate::layout::{put, wire};
use crate::version::Version;
use zerocopy::little_endian::U32;
use zerocopy::IntoBytes;
use zerocopy_derive::*;

wire! {
    /// `struct ndis_offload_params`.
    struct WireParameters {
        header: WireObjectHeader,
        ip4_header: u8,
        tcp4: u8,
        udp4: u8,
        tcp6: u8,
        udp6: u8,
        large_send_v1: u8,
        ipsec_v1: u8,
        large_send_v2_ip4: u8,
        large_send_v2_ip6: u8,
        connection_ip4: u8,
        connection_ip6: u8,
        padding: u8,
        flags: U32,
        // From revision 2 on.
        ipsec_v2: u8,
        ipsec_v2_ip4: u8,
        // From revision 3 on.
        rsc_ip4: u8,
        rsc_ip6: u8,
        encapsulated: u8,
        encapsulation_types: u8,
        padding2: [u8; 2],
    } = 28;
}

/// Bytes of revision 1, the least a record has.
const REV1_BYTES: usize = 20;
/// Bytes that Linux sends up to NVSP 4.0 (`VERSION_4_OFFLOAD_SIZE`).
const V4_BYTES: usize = 22;

/// What to do with a checksum (`NDIS_OFFLOAD_PARAMETERS_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumSetting {
    /// Leave it as it is.
    #[default]
    NoChange,
    /// Turn it off or on by direction.
    Set {
        /// Compute it in frames that are sent.
        send: bool,
        /// Check it in received frames.
        receive: bool,
    },
}

impl ChecksumSetting {
    /// On both ways.
    pub const ON: Self = Self::Set {
        send: true,
        receive: true,
    };
    /// Off both ways.
    pub const OFF: Self = Self::Set {
        send: false,
        receive: false,
    };

    fn from_wire(field: &'static str, value: u8) -> Result<Self, OidError> {
        let set = |send, receive| Ok(Self::Set { send, receive });
        match value {
            0 => Ok(Self::NoChange),
            1 => set(false, false),
            2 => set(true, false),
            3 => set(false, true),
            4 => set(true, true),
            _ => Err(OidError::BadField {
                field,
                value: value.into(),
            }),
        }
    }

    const fn to_wire(self) -> u8 {
        match self {
            Self::NoChange => 0,
            Self::Set { send, receive } => 1 + send as u8 + 2 * receive as u8,
        }
    }

    /// Applies it to the two directions, send and receive.
    pub fn apply(self, send: &mut bool, receive: &mut bool) {
        if let Self::Set {
            send: wanted_send,
            receive: wanted_receive,
        } = self
        {
            *send = wanted_send;
            *receive = wanted_receive;
        }
    }
}

/// What to do with an offload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Setting {
    /// Leave it as it is.
    #[default]
    NoChange,
    /// Turn it off.
    Off,
    /// Turn it on.
    On,
}

impl Setting {
    fn from_wire(field: &'static str, value: u8) -> Result<Self, OidError> {
        match value {
            0 => Ok(Self::NoChange),
            1 => Ok(Self::Off),
            2 => Ok(Self::On),
            _ => Err(OidError::BadField {
                field,
                value: value.into(),
            }),
        }
    }

    const fn to_wire(self) -> u8 {
        self as u8
    }

    /// Applies it.
    pub fn apply(self, setting: &mut bool) {
        match self {
            Self::NoChange => {}
            Self::Off => *setting = false,
            Self::On => *setting = true,
        }
    }
}

/// Which offloads a guest wants (`struct ndis_offload_params`); IPsec and tunnels left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffloadParameters {
    /// Checksum of the IPv4 header.
    pub ip4_header: ChecksumSetting,
    /// Checksum of TCP over IPv4.
    pub tcp4: ChecksumSetting,
    /// Checksum of UDP over IPv4.
    pub udp4: ChecksumSetting,
    /// Checksum of TCP over IPv6.
    pub tcp6: ChecksumSetting,
    /// Checksum of UDP over IPv6.
    pub udp6: ChecksumSetting,
    /// Cutting of segments, version 1.
    pub large_send_v1: Setting,
    /// Cutting of segments over IPv4.
    pub large_send_v2_ip4: Setting,
    /// Cutting of segments over IPv6.
    pub large_send_v2_ip6: Setting,
    /// Connections over IPv4 may be handed over.
    pub connection_ip4: Setting,
    /// Connections over IPv6 may be handed over.
    pub connection_ip6: Setting,
    /// Coalescing over IPv4.
    pub rsc_ip4: Setting,
    /// Coalescing over IPv6.
    pub rsc_ip6: Setting,
}

impl OffloadParameters {
    /// Bytes of the longest record.
    pub const MAX_BYTES: usize = size_of::<WireParameters>();

    /// Reads the record of any revision. What the record is too short for is no change; the
    /// revision isn't looked at, for Linux names 3 in a record of 22 bytes.
    ///
    /// # Errors
    ///
    /// [`OidError`] says what was wrong.
    pub fn parse(info: &[u8]) -> Result<Self, OidError> {
        let header = ObjectHeader::parse(info)?;
        if header.object_type != ObjectHeader::DEFAULT {
            return Err(OidError::BadField {
                field: "object type",
                value: header.object_type.into(),
            });
        }
        let record = info
            .get(..usize::from(header.size))
            .ok_or(OidError::BadField {
                field: "size",
                value: header.size.into(),
            })?;
        if record.len() < REV1_BYTES {
            return Err(OidError::TooShort {
                got: record.len(),
                want: REV1_BYTES,
            });
        }
        let mut bytes = [0; Self::MAX_BYTES];
        for (to, from) in bytes.iter_mut().zip(record) {
            *to = *from;
        }
        let wire: WireParameters = read(&bytes)?;
        Ok(Self {
            ip4_header: ChecksumSetting::from_wire("ip_v4_csum", wire.ip4_header)?,
            tcp4: ChecksumSetting::from_wire("tcp_ip_v4_csum", wire.tcp4)?,
            udp4: ChecksumSetting::from_wire("udp_ip_v4_csum", wire.udp4)?,
            tcp6: ChecksumSetting::from_wire("tcp_ip_v6_csum", wire.tcp6)?,
            udp6: ChecksumSetting::from_wire("udp_ip_v6_csum", wire.udp6)?,
            large_send_v1: Setting::from_wire("lso_v1", wire.large_send_v1)?,
            large_send_v2_ip4: Setting::from_wire("lso_v2_ipv4", wire.large_send_v2_ip4)?,
            large_send_v2_ip6: Setting::from_wire("lso_v2_ipv6", wire.large_send_v2_ip6)?,
            connection_ip4: Setting::from_wire("tcp_connection_ip_v4", wire.connection_ip4)?,
            connection_ip6: Setting::from_wire("tcp_connection_ip_v6", wire.connection_ip6)?,
            rsc_ip4: Setting::from_wire("rsc_ip_v4", wire.rsc_ip4)?,
            rsc_ip6: Setting::from_wire("rsc_ip_v6", wire.rsc_ip6)?,
        })
    }

    /// Writes the record that a guest of `version` sends to the start of `out` and returns its
    /// length. Up to NVSP 4.0 it is too short for coalescing and leaves UDP checksums alone
    /// (`rndis_filter_set_offload_params`).
    ///
    /// # Errors
    ///
    /// [`OidError::NoRoom`].
    pub fn encode(&self, version: Version, out: &mut [u8]) -> Result<usize, OidError> {
        let udp = |setting: ChecksumSetting| {
            if version.has_udp_checksum() {
                setting.to_wire()
            } else {
                0
            }
        };
        let need = if version.has_udp_checksum() {
            Self::MAX_BYTES
        } else {
            V4_BYTES
        };
        let wire = WireParameters {
            header: ObjectHeader {
                object_type: ObjectHeader::DEFAULT,
                revision: 3,
                size: need as u16, // at most 28
            }
            .to_wire(),
            ip4_header: self.ip4_header.to_wire(),
            tcp4: self.tcp4.to_wire(),
            udp4: udp(self.udp4),
            tcp6: self.tcp6.to_wire(),
            udp6: udp(self.udp6),
            large_send_v1: self.large_send_v1.to_wire(),
            ipsec_v1: 0,
            large_send_v2_ip4: self.large_send_v2_ip4.to_wire(),
            large_send_v2_ip6: self.large_send_v2_ip6.to_wire(),
            connection_ip4: self.connection_ip4.to_wire(),
            connection_ip6: self.connection_ip6.to_wire(),
            padding: 0,
            flags: U32::ZERO,
            ipsec_v2: 0,
            ipsec_v2_ip4: 0,
            rsc_ip4: self.rsc_ip4.to_wire(),
            rsc_ip6: self.rsc_ip6.to_wire(),
            encapsulated: 0,
            encapsulation_types: 0,
            padding2: [0; 2],
        };
        let bytes = wire.as_bytes().get(..need).unwrap_or_default();
        put(out, bytes).ok_or(OidError::NoRoom { need })?;
        Ok(need)
    }
}
