// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The first way a queue of its own reached a guest, that of Windows Server 2008 R2: the NIC of
//! the host writes frames straight into buffers of the guest.
//!
//! A guest that set [`Capabilities::VMQ`](crate::nvsp::Capabilities::VMQ) is asked for buffers
//! (message 120), answers with a page list and an id of its own for each (121), and gets frames
//! with a reference to where their first RNDIS header is (123). It completes such a packet (124)
//! when the host may use the place again, and gets a buffer back when the host frees it (122).
//!
//! Facts: FreeBSD's historic `hv_net_vsc.h`, `nvsp_2_msg_alloc_rx_buf` to
//! `nvsp_2_msg_send_vmq_rndis_pkt_complete`.

use core::fmt;
use core::ops::Range;

/// Number of a request for a buffer; the host chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocationId(pub u32);

/// Number of a buffer; the guest chose it. The ordinary receive buffer can be meant as well: then
/// it is the id that [`SharedBuffer`](crate::nvsp::SharedBuffer) gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub u64);

impl fmt::Display for BufferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Where the header of the first RNDIS message of a packet is. The rest is found from the header
/// itself: the message goes on behind it, and the next one follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmqPacket {
    /// The buffer.
    pub buffer: BufferId,
    /// Bytes from its start.
    pub offset: u32,
    /// Bytes of the header.
    pub bytes: u32,
}

impl VmqPacket {
    /// The header as indices into a buffer of `buffer_bytes` bytes; `None` where it doesn't lie
    /// inside.
    pub fn within(&self, buffer_bytes: usize) -> Option<Range<usize>> {
        let start = usize::try_from(self.offset).ok()?;
        let end = start.checked_add(usize::try_from(self.bytes).ok()?)?;
        (end <= buffer_bytes).then_some(start..end)
    }
}
