// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Shutdown: the host asks the guest to end, to start again or to hibernate.

use zerocopy::little_endian::U32;
use zerocopy::IntoBytes;
use zerocopy_derive::*;

use crate::header::fixed;
use crate::text::{self, Text};
use crate::{MessageError, MessageKind, Version};

const KIND: MessageKind = MessageKind::SHUTDOWN;

/// Versions, newest first (`sd_versions[]` of `drivers/hv/hv_util.c`).
pub const VERSIONS: [Version; 4] = [
    Version::new(3, 2),
    Version::new(3, 1),
    Version::new(3, 0),
    Version::new(1, 0),
];

/// Bytes of the words for the guest's users, in UTF-16.
pub const TEXT_BYTES: usize = 2048;

/// `struct shutdown_msg_data`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Wire {
    reason: U32,
    timeout: U32,
    flags: U32,
    text: [u8; TEXT_BYTES],
}

/// Bytes of a body.
pub const BYTES: usize = size_of::<Wire>();

const FLAG_FORCE: u32 = 1;
const FLAG_RESTART: u32 = 2;
const FLAG_HIBERNATE: u32 = 4;

/// Planned (`SHTDN_REASON_FLAG_PLANNED` of Windows).
pub const REASON_PLANNED: u32 = 0x8000_0000;

/// What the guest shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Power off.
    PowerOff,
    /// Start again.
    Restart,
    /// Hibernate (3.2).
    Hibernate,
}

impl Action {
    /// The oldest version of the service that knows it (`restart` came with 3.1, `hibernate` with
    /// 3.2).
    pub const fn since(self) -> Version {
        match self {
            Self::PowerOff => Version::new(1, 0),
            Self::Restart => Version::new(3, 1),
            Self::Hibernate => Version::new(3, 2),
        }
    }
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown<'m> {
    /// What the guest shall do.
    pub action: Action,
    /// Without asking applications.
    pub force: bool,
    /// Why, as Windows counts reasons.
    pub reason: u32,
    /// Seconds the guest has for it; nobody counts them.
    pub timeout: u32,
    /// Words for the guest's users.
    pub text: Text<'m>,
}

impl<'m> Shutdown<'m> {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// Too short, or flags that mean nothing.
    pub fn parse(body: &'m [u8]) -> Result<Self, MessageError> {
        let (wire, _) = fixed::<Wire>(KIND, body)?;
        let flags = wire.flags.get();
        let action = match flags & !FLAG_FORCE {
            0 => Action::PowerOff,
            FLAG_RESTART => Action::Restart,
            FLAG_HIBERNATE => Action::Hibernate,
            _ => {
                return Err(MessageError::BadField {
                    kind: KIND,
                    field: "flags",
                    value: flags,
                })
            }
        };
        Ok(Self {
            action,
            force: flags & FLAG_FORCE != 0,
            reason: wire.reason.get(),
            timeout: wire.timeout.get(),
            text: Text::from_wire(&wire.text),
        })
    }

    /// Writes the body; `None` when the words are too long.
    pub fn encode(&self, out: &mut [u8; BYTES]) -> Option<()> {
        let action = match self.action {
            Action::PowerOff => 0,
            Action::Restart => FLAG_RESTART,
            Action::Hibernate => FLAG_HIBERNATE,
        };
        let mut wire = Wire {
            reason: U32::new(self.reason),
            timeout: U32::new(self.timeout),
            flags: U32::new(action | if self.force { FLAG_FORCE } else { 0 }),
            text: [0; TEXT_BYTES],
        };
        text::write(&mut wire.text, self.text)?;
        out.copy_from_slice(wire.as_bytes());
        Some(())
    }
}
