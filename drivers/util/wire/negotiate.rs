// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How versions are settled (`struct icmsg_negotiate`).
//!
//! The host lists what it speaks, first of the framework, then of the service. The guest takes
//! the newest of each that it speaks too and answers with these two, or with none.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::*;

use crate::header::fixed;
use crate::version::WireVersion;
use crate::{MessageError, MessageKind, Version};

const KIND: MessageKind = MessageKind::NEGOTIATE;

/// Most versions of either kind (`IC_VERSION_NEGOTIATION_MAX_VER_COUNT`).
pub const MAX_VERSIONS: usize = 100;

/// `struct icmsg_negotiate` without its versions.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Counts {
    framework: U16,
    service: U16,
    reserved: U32,
}

const COUNTS_BYTES: usize = size_of::<Counts>();
const VERSION_BYTES: usize = size_of::<WireVersion>();

/// Most versions, of both kinds together, that [`Offer`] has room for.
pub const MAX_OFFERED: usize = 16;

/// What the host speaks, as the body of a message.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    bytes: [u8; COUNTS_BYTES + MAX_OFFERED * VERSION_BYTES],
    length: usize,
}

impl Offer {
    /// Lists versions in any order; `None` for more than [`MAX_OFFERED`].
    pub fn new(framework: &[Version], service: &[Version]) -> Option<Self> {
        let count = framework.len().checked_add(service.len())?;
        if count > MAX_OFFERED {
            return None;
        }
        let mut offer = Self {
            bytes: [0; COUNTS_BYTES + MAX_OFFERED * VERSION_BYTES],
            // At most MAX_OFFERED versions.
            length: COUNTS_BYTES + count * VERSION_BYTES,
        };
        let counts = Counts {
            framework: U16::new(u16::try_from(framework.len()).ok()?),
            service: U16::new(u16::try_from(service.len()).ok()?),
            reserved: U32::ZERO,
        };
        let (head, versions) = offer.bytes.split_at_mut(COUNTS_BYTES);
        head.copy_from_slice(counts.as_bytes());
        let slots = versions.chunks_exact_mut(VERSION_BYTES);
        for (slot, version) in slots.zip(framework.iter().chain(service)) {
            slot.copy_from_slice(WireVersion::from(*version).as_bytes());
        }
        Some(offer)
    }

    /// The body.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// A list of versions in a message.
#[derive(Clone, Copy)]
struct Lists<'m> {
    framework: &'m [WireVersion],
    service: &'m [WireVersion],
}

impl<'m> Lists<'m> {
    fn parse(body: &'m [u8]) -> Result<Self, MessageError> {
        let (counts, rest) = fixed::<Counts>(KIND, body)?;
        let (framework, service) = (counts.framework.get(), counts.service.get());
        let too_many = MessageError::TooManyVersions {
            count: u32::from(framework).saturating_add(service.into()),
        };
        if usize::from(framework.max(service)) > MAX_VERSIONS {
            return Err(too_many);
        }
        let (framework, rest) = <[WireVersion]>::ref_from_prefix_with_elems(rest, framework.into())
            .map_err(|_| too_many)?;
        let (service, _) = <[WireVersion]>::ref_from_prefix_with_elems(rest, service.into())
            .map_err(|_| too_many)?;
        Ok(Self { framework, service })
    }
}

/// What was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Version of the framework.
    pub framework: Version,
    /// Version of the service.
    pub service: Version,
}

/// Reads the guest's answer; `None`: it speaks none of what was offered.
///
/// # Errors
///
/// Too short, or other than one version of each.
pub fn parse_answer(body: &[u8]) -> Result<Option<Agreed>, MessageError> {
    let lists = Lists::parse(body)?;
    match (lists.framework, lists.service) {
        ([], []) => Ok(None),
        ([framework], [service]) => Ok(Some(Agreed {
            framework: (*framework).into(),
            service: (*service).into(),
        })),
        (framework, service) => Err(MessageError::TooManyVersions {
            // At most MAX_VERSIONS each.
            count: (framework.len() + service.len()) as u32,
        }),
    }
}

/// The guest's choice: of each kind the first of its own, newest first, that the host listed.
///
/// # Errors
///
/// Too short, or more versions than there can be.
pub fn choose(
    body: &[u8],
    framework: &[Version],
    service: &[Version],
) -> Result<Option<Agreed>, MessageError> {
    let lists = Lists::parse(body)?;
    let first = |own: &[Version], offered: &[WireVersion]| {
        let offered = |version: &&Version| offered.contains(&WireVersion::from(**version));
        own.iter().find(offered).copied()
    };
    let framework = first(framework, lists.framework);
    let service = first(service, lists.service);
    Ok(framework
        .zip(service)
        .map(|(framework, service)| Agreed { framework, service }))
}

/// The body of a guest's answer; one without versions says that there is nothing in common.
pub fn answer(agreed: Option<Agreed>) -> Offer {
    let (framework, service) = match &agreed {
        Some(agreed) => (
            core::slice::from_ref(&agreed.framework),
            core::slice::from_ref(&agreed.service),
        ),
        None => (&[][..], &[][..]),
    };
    // Two versions have room.
    Offer::new(framework, service).unwrap_or(Offer {
        bytes: [0; COUNTS_BYTES + MAX_OFFERED * VERSION_BYTES],
        length: COUNTS_BYTES,
    })
}
