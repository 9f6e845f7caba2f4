// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Heartbeat: the host counts, the guest counts one further.

use zerocopy::little_endian::{U32, U64};
use zerocopy::IntoBytes;
use zerocopy_derive::*;

use crate::header::fixed;
use crate::{MessageError, MessageKind, Version};

/// Versions, newest first (`hb_versions[]` of `drivers/hv/hv_util.c`).
pub const VERSIONS: [Version; 2] = [Version::new(3, 0), Version::new(1, 0)];

/// `struct heartbeat_msg_data`; the first of its reserved words is the state of the guest's
/// applications in Windows.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Wire {
    sequence: U64,
    application_state: U32,
    reserved: [U32; 7],
}

/// What of it must be there.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Least {
    sequence: U64,
}

/// Bytes of a body.
pub const BYTES: usize = size_of::<Wire>();

/// A heartbeat of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Number; the guest's is one more than the host's.
    pub sequence: u64,
    /// How the guest's applications are: 0 unknown, 1 healthy, 2 critical, 3 stopped.
    pub application_state: u32,
}

impl Heartbeat {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// Too short for a number.
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let (least, rest) = fixed::<Least>(MessageKind::HEARTBEAT, body)?;
        let state = rest.first_chunk::<4>().copied().unwrap_or_default();
        Ok(Self {
            sequence: least.sequence.get(),
            application_state: u32::from_le_bytes(state),
        })
    }

    /// The body.
    pub fn encode(&self) -> [u8; BYTES] {
        let wire = Wire {
            sequence: U64::new(self.sequence),
            application_state: U32::new(self.application_state),
            reserved: [U32::ZERO; 7],
        };
        let mut out = [0; BYTES];
        out.copy_from_slice(wire.as_bytes());
        out
    }

    /// The guest's answer.
    pub const fn answer(mut self, application_state: u32) -> Self {
        self.sequence = self.sequence.wrapping_add(1);
        self.application_state = application_state;
        self
    }
}
