// SPDX-License-Identifier: GPL-2.0 OR MIT

//! OID_TCP_CONNECTION_OFFLOAD_*: whether whole connections can be handed over
//! (`NDIS_TCP_CONNECTION_OFFLOAD` of the Windows SDK's `ntddndis.h`).

use super::{read, Encapsulation, ObjectHeader, OidError, WireObjectHeader};
use crate::layout::wire;
use zerocopy::little_endian::U32;
use zerocopy::IntoBytes;
use zerocopy_derive::*;

wire! {
    /// `NDIS_TCP_CONNECTION_OFFLOAD`.
    struct WireConnection {
        header: WireObjectHeader,
        encapsulation: U32,
        supports: U32,
        capacity: U32,
        flags: U32,
    } = 20;
}

/// What can be handed over. Each of `ipv4`, `ipv6`, `ipv6_extensions` and `sack` is 0 not
/// supported, 1 supported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOffload {
    /// How frames are framed.
    pub encapsulation: Encapsulation,
    /// Over IPv4.
    pub ipv4: bool,
    /// Over IPv6.
    pub ipv6: bool,
    /// With extension headers of IPv6.
    pub ipv6_extensions: bool,
    /// With selective acknowledgement.
    pub sack: bool,
    /// How many connections.
    pub capacity: u32,
}

impl ConnectionOffload {
    /// Bytes of the record.
    pub const BYTES: usize = size_of::<WireConnection>();

    /// Reads the record.
    ///
    /// # Errors
    ///
    /// [`OidError`] says what was wrong.
    pub fn parse(info: &[u8]) -> Result<Self, OidError> {
        let wire: WireConnection = read(info)?;
        if wire.header.object_type != ObjectHeader::DEFAULT {
            return Err(OidError::BadField {
                field: "object type",
                value: wire.header.object_type.into(),
            });
        }
        // Pairs of bits, as in all NDIS offload records of that time.
        let pair = |at: u32| wire.supports.get() >> at & 3 == 1;
        Ok(Self {
            encapsulation: Encapsulation(wire.encapsulation.get()),
            ipv4: pair(0),
            ipv6: pair(2),
            ipv6_extensions: pair(4),
            sack: pair(6),
            capacity: wire.capacity.get(),
        })
    }

    /// The record.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let supports = u32::from(self.ipv4)
            | u32::from(self.ipv6) << 2
            | u32::from(self.ipv6_extensions) << 4
            | u32::from(self.sack) << 6;
        let wire = WireConnection {
            header: ObjectHeader {
                object_type: ObjectHeader::DEFAULT,
                revision: 1,
                size: Self::BYTES as u16,
            }
            .to_wire(),
            encapsulation: U32::new(self.encapsulation.0),
            supports: U32::new(supports),
            capacity: U32::new(self.capacity),
            flags: U32::ZERO,
        };
        let mut out = [0; Self::BYTES];
        let _ = crate::layout::put(&mut out, wire.as_bytes());
        out
    }
}
