// SPDX-License-Identifier: GPL-2.0 OR MIT

//! World wide names of a Fibre Channel adapter.

use zerocopy::big_endian::U64;
use zerocopy_derive::*;

/// Body of FCHBA_DATA (`struct hv_fc_wwn_packet`).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawNames {
    primary_active: u8,
    reserved: [u8; 3],
    primary: RawPair,
    secondary: RawPair,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawPair {
    pub(crate) port: U64,
    pub(crate) node: U64,
}

const _: () = assert!(size_of::<RawNames>() == 36);

/// The names of one of an adapter's two sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorldWideNames {
    /// Of the port.
    pub port: u64,
    /// Of the node.
    pub node: u64,
}

/// An adapter's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FibreNames {
    /// The primary set is in use, else the secondary.
    pub primary_active: bool,
    /// Primary set.
    pub primary: WorldWideNames,
    /// Secondary set, used after a live migration.
    pub secondary: WorldWideNames,
}

impl FibreNames {
    /// The set in use.
    pub const fn active(&self) -> WorldWideNames {
        if self.primary_active {
            self.primary
        } else {
            self.secondary
        }
    }

    pub(crate) fn from_raw(raw: &RawNames) -> Self {
        let pair = |pair: &RawPair| WorldWideNames {
            port: pair.port.get(),
            node: pair.node.get(),
        };
        Self {
            primary_active: raw.primary_active != 0,
            primary: pair(&raw.primary),
            secondary: pair(&raw.secondary),
        }
    }

    pub(crate) fn to_raw(self) -> RawNames {
        let pair = |pair: WorldWideNames| RawPair {
            port: U64::new(pair.port),
            node: U64::new(pair.node),
        };
        RawNames {
            primary_active: self.primary_active.into(),
            reserved: [0; 3],
            primary: pair(self.primary),
            secondary: pair(self.secondary),
        }
    }
}
