// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How guest and host come to terms before the first request.
//!
//! On the primary channel: BEGIN_INITIALIZATION, QUERY_PROTOCOL_VERSION from the newest version down
//! until the host agrees, QUERY_PROPERTIES, END_INITIALIZATION (`storvsc_channel_init()`). The guest
//! has one packet under way at a time; [`Conversation`] says which, and what to make of its answer.

use crate::host::Completion;
use crate::{ChannelProperties, GuestPacket, NtStatus, Operation, PacketError, ProtocolVersion};
use core::fmt;

/// Bytes of a page as hosts count them.
const PAGE_BYTES: u32 = 4096;

/// Most bytes of a request, whatever the host takes: its page list has to fit in a ring several
/// times. 4 MiB are 1025 pages, about 8 KiB in the ring.
pub const MOST_TRANSFER_BYTES: u32 = 4 << 20;

/// Most sub-channels that are asked for, whatever the host has.
pub const MOST_SUBCHANNELS: u16 = 64;

/// What guest and host agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The version spoken.
    pub version: ProtocolVersion,
    /// Most bytes of a request: whole pages, at least one, at most [`MOST_TRANSFER_BYTES`].
    pub max_transfer_bytes: u32,
    /// Sub-channels that the host can offer, at most [`MOST_SUBCHANNELS`]; 0 without multi-channel.
    pub max_subchannels: u16,
}

/// Why there is no agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The host refused a step.
    Step {
        /// Which.
        operation: Operation,
        /// What it said.
        status: NtStatus,
    },
    /// The host speaks no version that this side does.
    NoVersion,
    /// The host takes no requests worth the name.
    NoTransfer {
        /// Bytes that it takes.
        bytes: u32,
    },
    /// The answer makes no sense.
    Packet(PacketError),
    /// An answer to nothing.
    Unasked,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { operation, status } => {
                write!(f, "the host refused {operation}: status {status}")
            }
            Self::NoVersion => f.write_str("the host speaks no version of the protocol known here"),
            Self::NoTransfer { bytes } => {
                write!(
                    f,
                    "the host takes {bytes} bytes a request, less than a page"
                )
            }
            Self::Packet(error) => write!(f, "{error}"),
            Self::Unasked => f.write_str("an answer to nothing"),
        }
    }
}

impl core::error::Error for Refusal {}

impl From<PacketError> for Refusal {
    fn from(error: PacketError) -> Self {
        Self::Packet(error)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Begin,
    /// The version at this place of [`ProtocolVersion::OFFERED`] is being asked for.
    Version(usize),
    Properties(ProtocolVersion),
    End(Agreement),
    Ready(Agreement),
    Refused,
}

/// The conversation, as far as it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    state: State,
}

impl Conversation {
    /// Nothing was said yet.
    pub const fn new() -> Self {
        Self {
            state: State::Begin,
        }
    }

    /// What to send now; `None` when there is an agreement, or never will be.
    pub fn next(&self) -> Option<GuestPacket> {
        Some(match self.state {
            State::Begin => GuestPacket::BeginInitialization,
            State::Version(at) => {
                GuestPacket::QueryProtocolVersion(*ProtocolVersion::OFFERED.get(at)?)
            }
            State::Properties(_) => GuestPacket::QueryProperties,
            State::End(_) => GuestPacket::EndInitialization,
            State::Ready(_) | State::Refused => return None,
        })
    }

    /// What was agreed on, once everything was said.
    pub const fn agreement(&self) -> Option<Agreement> {
        match self.state {
            State::Ready(agreement) => Some(agreement),
            _ => None,
        }
    }

    /// The host answered what [`Conversation::next`] told to send.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing more is to be sent.
    pub fn answered(&mut self, answer: &Completion<'_>) -> Result<(), Refusal> {
        let next = self.advance(answer);
        self.state = *next.as_ref().unwrap_or(&State::Refused);
        next.map(|_| ())
    }

    fn advance(&self, answer: &Completion<'_>) -> Result<State, Refusal> {
        let asked = self.next().ok_or(Refusal::Unasked)?.operation();
        let step = || {
            if answer.status.is_success() {
                return Ok(());
            }
            Err(Refusal::Step {
                operation: asked,
                status: answer.status,
            })
        };
        Ok(match self.state {
            State::Begin => {
                step()?;
                State::Version(0)
            }
            State::Version(at) => {
                let version = ProtocolVersion::OFFERED.get(at);
                match version.filter(|_| answer.status.is_success()) {
                    Some(version) => State::Properties(*version),
                    None if at.saturating_add(1) < ProtocolVersion::OFFERED.len() => {
                        State::Version(at.saturating_add(1))
                    }
                    None => return Err(Refusal::NoVersion),
                }
            }
            State::Properties(version) => {
                step()?;
                State::End(agree(version, &answer.properties()?)?)
            }
            State::End(agreement) => {
                step()?;
                State::Ready(agreement)
            }
            State::Ready(_) | State::Refused => return Err(Refusal::Unasked),
        })
    }
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}

/// What of the host's properties is used.
fn agree(version: ProtocolVersion, host: &ChannelProperties) -> Result<Agreement, Refusal> {
    let bytes = host.max_transfer_bytes.min(MOST_TRANSFER_BYTES);
    let pages = bytes.checked_div(PAGE_BYTES).unwrap_or(0);
    if pages == 0 {
        return Err(Refusal::NoTransfer { bytes });
    }
    let multi = host.multi_channel && version.has_multi_channel();
    Ok(Agreement {
        version,
        max_transfer_bytes: pages.saturating_mul(PAGE_BYTES),
        max_subchannels: if multi {
            host.max_subchannels.min(MOST_SUBCHANNELS)
        } else {
            0
        },
    })
}
