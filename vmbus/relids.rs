// SPDX-License-Identifier: GPL-2.0

//! Which channel a number means, looked up by the interrupt handler without a lock.

use kernel::{
    prelude::*,
    sync::{rcu, Arc},
};
use kernel_ext::rcu::RcuSlot;
use vmbus_wire::Relid;

use crate::channel_core::ChannelCore;

/// A table from channel id to channel. The message path inserts, the offers worker removes.
pub(crate) struct Relids {
    slots: KVVec<RcuSlot<ChannelCore>>,
}

impl Relids {
    /// An empty table.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let count = Relid::LIMIT as usize;
        let mut slots = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            slots.push(RcuSlot::empty(), GFP_KERNEL)?;
        }
        Ok(Self { slots })
    }

    /// Adds a channel.
    ///
    /// # Errors
    ///
    /// `EEXIST` when the id is taken: the host offered it twice.
    pub(crate) fn insert(&self, core: Arc<ChannelCore>) -> Result {
        let slot = self.slots.get(core.offer.relid.index()).ok_or(EINVAL)?;
        slot.fill(core).map_err(|_| EEXIST)
    }

    /// The channel with this id.
    pub(crate) fn get(&self, relid: Relid) -> Option<Arc<ChannelCore>> {
        self.slots.get(relid.index())?.get()
    }

    /// Removes a channel and waits until no interrupt handler looks at it. Process context.
    pub(crate) fn remove(&self, relid: Relid) {
        if let Some(slot) = self.slots.get(relid.index()) {
            drop(slot.replace(None));
        }
    }

    /// Removes all channels. Process context.
    pub(crate) fn clear(&self) {
        kernel_ext::rcu::clear(self.slots.iter());
    }

    /// Calls `f` on every channel.
    pub(crate) fn for_each(&self, mut f: impl FnMut(&Arc<ChannelCore>)) {
        for slot in self.slots.iter() {
            if let Some(core) = slot.get() {
                f(&core);
            }
        }
    }

    /// The host signalled a channel. Hard interrupt context. False when nobody listens.
    #[inline]
    pub(crate) fn signalled(&self, relid: Relid, guard: &rcu::Guard) -> bool {
        match self
            .slots
            .get(relid.index())
            .and_then(|slot| slot.read(guard))
        {
            Some(core) => core.signalled(guard),
            None => false,
        }
    }
}
