// SPDX-License-Identifier: GPL-2.0

//! What can be seen of an open channel's rings.

use super::{Channel, RingSizes};

/// State of the rings, for sysfs and debugfs.
pub(crate) struct RingView {
    pub(crate) sizes: RingSizes,
    pub(crate) out_read: u32,
    pub(crate) out_write: u32,
    pub(crate) out_mask: u32,
    pub(crate) out_used: u32,
    pub(crate) out_free: u32,
    /// `None` while packets are being read.
    pub(crate) input: Option<InView>,
}

/// State of the incoming ring.
pub(crate) struct InView {
    pub(crate) read: u32,
    pub(crate) write: u32,
    pub(crate) mask: u32,
    pub(crate) used: u32,
    pub(crate) free: u32,
}

impl Channel {
    /// The state of the rings, as this side knows it.
    pub(crate) fn rings(&self) -> RingView {
        use vmbus_wire::ring::RingMemory;
        let out = self.out.lock();
        let used = out.ring.used().unwrap_or(0);
        let memory = out.ring.memory();
        let input = self.input.try_take().map(|input| {
            let memory = input.ring.memory();
            let used = input.ring.available().unwrap_or(0);
            InView {
                read: input.ring.read_index(),
                write: memory.load_write_index(),
                mask: memory.load_interrupt_mask(),
                used,
                free: memory.len().saturating_sub(used),
            }
        });
        RingView {
            sizes: self.rings,
            out_read: memory.load_read_index(),
            out_write: out.ring.write_index(),
            out_mask: memory.load_interrupt_mask(),
            out_used: used,
            out_free: memory.len().saturating_sub(used),
            input,
        }
    }
}
