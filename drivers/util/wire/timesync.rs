// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Time: the host says what time it is, now and then, and when the guest shall set its clock.

use zerocopy::little_endian::U64;
use zerocopy::IntoBytes;
use zerocopy_derive::*;

use crate::header::fixed;
use crate::{MessageError, MessageKind, Version};

const KIND: MessageKind = MessageKind::TIMESYNC;

/// The version that brought reference times.
pub const V4_0: Version = Version::new(4, 0);
/// Versions, newest first (`ts_versions[]` of `drivers/hv/hv_util.c`).
pub const VERSIONS: [Version; 3] = [V4_0, Version::new(3, 0), Version::new(1, 0)];

/// From the epoch of Windows, 1601, to that of Unix, in 100 ns (`WLTIMEDELTA`).
pub const UNIX_EPOCH: u64 = 116_444_736_000_000_000;

/// `struct ictimesync_data`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Plain {
    parent: U64,
    child: U64,
    round_trip: U64,
    flags: u8,
}

/// `struct ictimesync_ref_data`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Referenced {
    parent: U64,
    reference: U64,
    flags: u8,
    leap: u8,
    stratum: u8,
    reserved: [u8; 3],
}

/// Room for a body of any version.
pub const MAX_BYTES: usize = size_of::<Plain>();

const FLAG_SYNC: u8 = 1;
const FLAG_SAMPLE: u8 = 2;

/// What a guest does with the time it is told (`ICTIMESYNCFLAG_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Looks how far it is off.
    Probe,
    /// Sets its clock.
    Sync,
    /// Knows it, should it want to know.
    Sample,
}

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSample {
    /// Since 1601, in 100 ns.
    pub time: u64,
    /// The guest's reference time at that moment, from 4.0 on.
    pub reference: Option<u64>,
    /// What it is for.
    pub purpose: Purpose,
}

/// A body.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    bytes: [u8; MAX_BYTES],
    length: usize,
}

impl Body {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn new(wire: &(impl IntoBytes + zerocopy::Immutable)) -> Self {
        let mut body = Self {
            bytes: [0; MAX_BYTES],
            length: 0,
        };
        // Both layouts fit: see MAX_BYTES.
        let from = wire.as_bytes();
        if let Some(room) = body.bytes.get_mut(..from.len()) {
            room.copy_from_slice(from);
            body.length = from.len();
        }
        body
    }
}

impl TimeSample {
    /// Reads a body of the version that was settled.
    ///
    /// # Errors
    ///
    /// Too short.
    pub fn parse(version: Version, body: &[u8]) -> Result<Self, MessageError> {
        let purpose = |flags: u8| match (flags & FLAG_SYNC, flags & FLAG_SAMPLE) {
            (0, 0) => Purpose::Probe,
            (0, _) => Purpose::Sample,
            _ => Purpose::Sync,
        };
        if version >= V4_0 {
            let (wire, _) = fixed::<Referenced>(KIND, body)?;
            Ok(Self {
                time: wire.parent.get(),
                reference: Some(wire.reference.get()),
                purpose: purpose(wire.flags),
            })
        } else {
            let (wire, _) = fixed::<Plain>(KIND, body)?;
            Ok(Self {
                time: wire.parent.get(),
                reference: None,
                purpose: purpose(wire.flags),
            })
        }
    }

    /// The body in the version that was settled.
    pub fn encode(&self, version: Version) -> Body {
        let flags = match self.purpose {
            Purpose::Probe => 0,
            Purpose::Sync => FLAG_SYNC,
            Purpose::Sample => FLAG_SAMPLE,
        };
        if version >= V4_0 {
            Body::new(&Referenced {
                parent: U64::new(self.time),
                reference: U64::new(self.reference.unwrap_or(0)),
                flags,
                leap: 0,
                stratum: 0,
                reserved: [0; 3],
            })
        } else {
            Body::new(&Plain {
                parent: U64::new(self.time),
                child: U64::ZERO,
                round_trip: U64::ZERO,
                flags,
            })
        }
    }
}

const _: () = assert!(size_of::<Plain>() >= size_of::<Referenced>());
