// SPDX-License-Identifier: GPL-2.0

//! How flows are spread over channels. Those received: a hash key, and a table that says which channel a
//! hash means. Both are the NIC's and outlive sessions, whatever changes. Those sent: a table that the host
//! gives ([`SendSpread`]).

use kernel::prelude::*;
use kernel_ext::atomic::{Acquire, Atomic, Relaxed, Release};
use net::{Above, FlowKind, HashFields};
use netvsc_wire::{
    nvsp::{SendTable, SEND_TABLE_ENTRIES},
    oid::{
        Oid, ScaleCapabilities, ScaleFlags, ScaleParameters, MAX_SCALE_PARAMETERS_BYTES,
        MAX_TABLE_ENTRIES,
    },
    rss::{HashTypes, Key, DEFAULT_KEY, KEY_BYTES},
};

use crate::session::Session;

/// Entries of the table, where the host doesn't say.
const TABLE_ENTRIES: usize = 128;

/// Key and table.
#[derive(Clone)]
pub(crate) struct Spread {
    key: Key,
    table: [u16; MAX_TABLE_ENTRIES],
    /// Entries that count; 0: the host spreads nothing.
    entries: usize,
    /// What hashes are made of.
    types: HashTypes,
}

impl Spread {
    pub(crate) const fn new() -> Self {
        Self {
            key: DEFAULT_KEY,
            table: [0; MAX_TABLE_ENTRIES],
            entries: 0,
            types: HashTypes::LINUX,
        }
    }

    /// What the hash of such packets is made of. The host has none over UDP ports.
    pub(crate) fn fields(&self, kind: FlowKind) -> HashFields {
        let (addresses, ports) = of_kind(kind);
        if ports.is_some_and(|ports| self.types.contains(ports)) {
            HashFields::AddressesAndPorts
        } else if self.types.contains(addresses) {
            HashFields::Addresses
        } else {
            HashFields::Nothing
        }
    }

    /// The same with hashes made of something else.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for what the host has no hash for.
    pub(crate) fn with_fields(&self, kind: FlowKind, fields: HashFields) -> Result<Self> {
        let mut changed = self.clone();
        changed.types = match (of_kind(kind), fields) {
            ((_, Some(ports)), HashFields::AddressesAndPorts) => self.types.with(ports),
            ((_, Some(ports)), HashFields::Addresses) => self.types.without(ports),
            _ if self.fields(kind) == fields => self.types,
            _ => return Err(EOPNOTSUPP),
        };
        Ok(changed)
    }

    /// The entries that count.
    pub(crate) fn table(&self) -> &[u16] {
        self.table.get(..self.entries).unwrap_or(&self.table)
    }

    /// The key.
    pub(crate) fn key(&self) -> &[u8; KEY_BYTES] {
        &self.key.0
    }

    /// Makes it one for so many channels and entries. A table that somebody has `chosen` stays, if it can.
    pub(crate) fn fit(&mut self, entries: usize, channels: u32, chosen: bool) {
        let entries = entries.min(MAX_TABLE_ENTRIES);
        let fits = |entry: &u16| u32::from(*entry) < channels;
        if chosen && entries == self.entries && self.table().iter().all(fits) {
            return;
        }
        self.entries = entries;
        for (entry, number) in self.table.iter_mut().zip(0u32..) {
            // As `ethtool_rxfh_indir_default()` does it; channels are at most 64.
            *entry = number.checked_rem(channels).unwrap_or(0) as u16;
        }
    }

    /// The same with another table, key or both.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an entry that means no channel, and for a table or key of another size.
    pub(crate) fn with(
        &self,
        table: Option<&[u32]>,
        key: Option<&[u8]>,
        channels: u32,
    ) -> Result<Self> {
        let mut changed = self.clone();
        if let Some(table) = table {
            if table.len() != self.entries {
                return Err(EINVAL);
            }
            for (to, from) in changed.table.iter_mut().zip(table) {
                if *from >= channels {
                    return Err(EINVAL);
                }
                *to = u16::try_from(*from)?;
            }
        }
        if let Some(key) = key {
            changed.key = Key(*key.first_chunk().ok_or(EINVAL)?);
        }
        Ok(changed)
    }
}

/// The hash of such packets over addresses, and the one over ports, too, if there is one.
fn of_kind(kind: FlowKind) -> (HashTypes, Option<HashTypes>) {
    let (addresses, ports) = match kind.v6 {
        false => (HashTypes::IPV4, HashTypes::TCP_IPV4),
        true => (HashTypes::IPV6, HashTypes::TCP_IPV6),
    };
    (addresses, (kind.above == Above::Tcp).then_some(ports))
}

impl Session {
    /// How many channels flows can be spread over, and over how many entries of a table.
    pub(crate) fn ask_spread(&self) -> (u32, usize) {
        let header = ScaleCapabilities::header().to_bytes();
        let parse = |info: &[u8]| ScaleCapabilities::parse(info).map_err(|_| EINVAL);
        match self.query(Oid::GEN_RECEIVE_SCALE_CAPABILITIES, &header, parse) {
            Ok(can) => {
                let entries = match usize::from(can.table_entries) {
                    0 => TABLE_ENTRIES,
                    some => some.min(MAX_TABLE_ENTRIES),
                };
                (can.queues.max(1), entries)
            }
            Err(_) => (1, 0),
        }
    }

    /// Has the host spread flows so.
    ///
    /// # Errors
    ///
    /// Those of a question.
    pub(crate) fn tell_spread(&self, spread: &Spread) -> Result {
        let mut table = KVec::with_capacity(spread.entries, GFP_KERNEL)?;
        for entry in spread.table() {
            let _ = table.push_within_capacity(u32::from(*entry));
        }
        let mut record = KVec::from_elem(0, MAX_SCALE_PARAMETERS_BYTES, GFP_KERNEL)?;
        let (flags, types) = (ScaleFlags::NONE, spread.types);
        let length = ScaleParameters::encode(flags, types, &table, &spread.key, &mut record)
            .map_err(|_| EINVAL)?;
        let record = record.get(..length).unwrap_or_default();
        self.set(Oid::GEN_RECEIVE_SCALE_PARAMETERS, record)
    }
}

/// Which channels the host wants flows to be sent on.
pub(crate) struct SendSpread {
    entries: [Atomic<u32>; SEND_TABLE_ENTRIES],
    /// 1 once the host of this session has said so.
    given: Atomic<u32>,
}

impl SendSpread {
    pub(crate) fn new() -> Self {
        Self {
            entries: [const { Atomic::new(0) }; SEND_TABLE_ENTRIES],
            given: Atomic::new(0),
        }
    }

    /// What the host wants from now on. Any context; who sends meanwhile may see some of both.
    pub(crate) fn follow(&self, table: &SendTable) {
        for (entry, channel) in self.entries.iter().zip(table.channels) {
            entry.store(channel, Relaxed);
        }
        self.given.store(1, Release);
    }

    /// It hasn't said anything yet.
    pub(crate) fn forget(&self) {
        self.given.store(0, Relaxed);
    }

    /// The channel for a flow with this hash, of so many.
    #[inline]
    pub(crate) fn channel(&self, hash: u32, channels: u32) -> Option<u32> {
        if self.given.load(Acquire) == 0 {
            return None;
        }
        let entry = self.entries.get(SendTable::index(hash))?;
        Some(SendTable::within(entry.load(Relaxed), channels))
    }
}
