// SPDX-License-Identifier: GPL-2.0 OR MIT

//! State and speed of the link as NDIS 6 has them: `LinkState` and `LinkSpeed` of OpenVMM's
//! `netvsp/src/rndisprot.rs`, `NDIS_LINK_STATE` and `NDIS_LINK_SPEED` of the Windows SDK.

use super::{read, ObjectHeader, OidError, WireObjectHeader};
use crate::layout::{put, wire};
use zerocopy::little_endian::{U32, U64};
use zerocopy::IntoBytes;
use zerocopy_derive::*;

wire! {
    /// `NDIS_LINK_STATE`.
    struct WireLinkState {
        header: WireObjectHeader,
        connected: U32,
        duplex: U32,
        padding: U32,
        send_speed: U64,
        receive_speed: U64,
        pause: U32,
        negotiation: U32,
    } = 40;
}

/// `MediaConnectStateConnected`, `MediaConnectStateDisconnected`.
const CONNECTED: u32 = 1;
const DISCONNECTED: u32 = 2;
/// `MediaDuplexStateFull`.
const FULL_DUPLEX: u32 = 2;

/// The link: OID_GEN_LINK_STATE and OID_GEN_MAX_LINK_SPEED, the same speed both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// It is up.
    pub up: bool,
    /// Its speed in bit/s; `u64::MAX` for unknown.
    pub bits_per_second: u64,
}

impl LinkState {
    /// Bytes of the record.
    pub const BYTES: usize = size_of::<WireLinkState>();

    /// Reads OID_GEN_LINK_STATE.
    ///
    /// # Errors
    ///
    /// [`OidError`] says what was wrong.
    pub fn parse(info: &[u8]) -> Result<Self, OidError> {
        let wire: WireLinkState = read(info)?;
        Ok(Self {
            up: match wire.connected.get() {
                CONNECTED => true,
                DISCONNECTED => false,
                value => {
                    return Err(OidError::BadField {
                        field: "MediaConnectState",
                        value,
                    })
                }
            },
            bits_per_second: wire.receive_speed.get(),
        })
    }

    /// OID_GEN_LINK_STATE.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let wire = WireLinkState {
            header: ObjectHeader {
                object_type: ObjectHeader::DEFAULT,
                revision: 1,
                size: Self::BYTES as u16,
            }
            .to_wire(),
            connected: U32::new(if self.up { CONNECTED } else { DISCONNECTED }),
            duplex: U32::new(FULL_DUPLEX),
            padding: U32::ZERO,
            send_speed: U64::new(self.bits_per_second),
            receive_speed: U64::new(self.bits_per_second),
            pause: U32::ZERO,
            negotiation: U32::ZERO,
        };
        let mut out = [0; Self::BYTES];
        let _ = put(&mut out, wire.as_bytes());
        out
    }

    /// OID_GEN_MAX_LINK_SPEED: both directions.
    pub fn speed_bytes(&self) -> [u8; 16] {
        zerocopy::transmute!([U64::new(self.bits_per_second); 2])
    }
}
