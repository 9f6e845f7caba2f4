// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Addresses and which frames a guest wants.

use super::OidError;
use crate::{EthernetAddress, ETHERNET_ADDRESS_BYTES};
use core::fmt;

/// Which frames the guest wants (`NDIS_PACKET_TYPE_*`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PacketFilter(pub u32);

impl PacketFilter {
    /// None.
    pub const NONE: Self = Self(0);
    /// To the NIC's own address.
    pub const DIRECTED: Self = Self(0x01);
    /// To the groups of the list.
    pub const MULTICAST: Self = Self(0x02);
    /// To any group.
    pub const ALL_MULTICAST: Self = Self(0x04);
    /// To all.
    pub const BROADCAST: Self = Self(0x08);
    /// Everything.
    pub const PROMISCUOUS: Self = Self(0x20);

    /// True when all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a frame to `destination` passes, at a NIC with the address `own` that is in
    /// `groups`.
    pub fn passes(
        self,
        destination: &EthernetAddress,
        own: &EthernetAddress,
        mut groups: impl Iterator<Item = EthernetAddress>,
    ) -> bool {
        if self.contains(Self::PROMISCUOUS) {
            return true;
        }
        match destination {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => self.contains(Self::BROADCAST),
            [first, ..] if first & 1 != 0 => {
                self.contains(Self::ALL_MULTICAST)
                    || (self.contains(Self::MULTICAST) && groups.any(|group| group == *destination))
            }
            _ => self.contains(Self::DIRECTED) && destination == own,
        }
    }
}

impl fmt::Debug for PacketFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The groups of a multicast list.
#[derive(Clone, Debug)]
pub struct MulticastList<'a> {
    bytes: &'a [u8],
}

/// Reads a multicast list: addresses, one after the other.
///
/// # Errors
///
/// [`OidError::BadField`] where the length isn't that of whole addresses, or an address isn't a
/// group's.
pub fn multicast_list(info: &[u8]) -> Result<MulticastList<'_>, OidError> {
    if info.len() % ETHERNET_ADDRESS_BYTES != 0 {
        return Err(OidError::BadField {
            field: "multicast list's length",
            value: info.len() as u32,
        });
    }
    let list = MulticastList { bytes: info };
    match list.clone().find(|address| address[0] & 1 == 0) {
        Some(address) => Err(OidError::BadField {
            field: "multicast address's first byte",
            value: address[0].into(),
        }),
        None => Ok(list),
    }
}

impl Iterator for MulticastList<'_> {
    type Item = EthernetAddress;

    fn next(&mut self) -> Option<EthernetAddress> {
        let (address, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*address)
    }
}
