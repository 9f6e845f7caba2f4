// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages 109 to 119, 126 and 127: connections that the host takes over.
//!
//! Layouts and meanings are those of FreeBSD's historic `hv_net_vsc.h`. What starts an offload
//! and what lies in the delegated buffer were never public.

use crate::layout::named_numbers;
use crate::rndis;

/// The revision of the messages here, that of Windows 7 RC and later
/// (`NVSP_CHIMNEY_REVISION_2`).
pub const CHIMNEY_REVISION: u16 = 2;

/// The buffer that the state of offloaded objects travels in (109).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelegatedBuffer {
    /// Bytes of the largest object; an index into the buffer counts in these.
    pub object_bytes: u16,
    /// See [`CHIMNEY_REVISION`].
    pub revision: u16,
    /// The page list it consists of.
    pub gpadl: u32,
}

/// How much a guest may have under way (110). The host enforces both by channel: who posts more
/// blocks its own frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Whether the buffer was taken.
    pub status: rndis::Status,
    /// Sends that aren't completed.
    pub sends: u32,
    /// Receive requests that aren't completed.
    pub receives: u32,
}

named_numbers! {
    /// What can be offloaded (`NVSP_CHIMNEY_OBJECT_TYPE_*`).
    pub struct ObjectType("{}");
    /// A neighbour: an address on the link.
    NEIGHBOR = 0;
    /// A path over IPv4.
    PATH4 = 1;
    /// A path over IPv6.
    PATH6 = 2;
    /// A TCP connection.
    TCP = 3;
}

/// Asks for the host's handle of an object (126).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocHandle {
    /// How the guest knows the object; comes back in events and answers. Not 0, which means all.
    pub context: u64,
    /// What it is.
    pub object_type: ObjectType,
}

/// How far an offload shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bit 0 set: no more indications; settles which of those under way were taken.
    First {
        /// Sequence number of the last indication of received data that the guest took.
        last_accepted: u64,
    },
    /// Bit 0 clear: end it at the NIC.
    Final {
        /// Where in the delegated buffer the host shall write the state, in objects.
        index: u32,
    },
}

/// Ends the offload of an object (113).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminate {
    /// The host's handle.
    pub handle: u32,
    /// How far.
    pub stage: Stage,
}

impl Terminate {
    /// Bit of the flags that says first stage.
    pub(super) const FIRST_STAGE: u32 = 1;
}

/// Answer to [`Terminate`] (114).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminated {
    /// How the guest knows the object.
    pub context: u64,
    /// Bit 0: data was lost, the connection can't go on.
    pub data_corrupted: bool,
}

/// Something happened (115).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChimneyEvent {
    /// What: an NDIS status where it is for all, else the number of a TCP event.
    pub event: u32,
    /// More about it, such as the reason why the host wants a connection to be taken back.
    pub info: u32,
    /// How the guest knows the connection; 0 for all of them.
    pub context: u64,
}

named_numbers! {
    /// Whether a send also ends the connection.
    pub struct Disconnect("{}");
    /// It doesn't.
    NO = 0;
    /// A FIN follows the data.
    GRACEFUL = 1;
    /// A RST is sent.
    ABORTIVE = 2;
}

/// Index that stands for no section of the send buffer in [`SendData`].
pub const NO_CHIMNEY_SECTION: u16 = u16::MAX;

/// Index that stands for no out-of-band data; there never is any.
pub(super) const NO_OOB: u16 = u16::MAX;

/// Data of a connection (116).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendData {
    /// The host's handle of the connection.
    pub handle: u32,
    /// Section of the send buffer that the data starts in, or [`NO_CHIMNEY_SECTION`].
    pub section: u16,
    /// Bytes in that section.
    pub section_bytes: u16,
    /// Whether the connection ends with it.
    pub disconnect: Disconnect,
    /// Counts the sends of the connection.
    pub sequence: u32,
}

/// Room for data of a connection (118).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostReceive {
    /// The host's handle of the connection.
    pub handle: u32,
    /// Complete only when full, not when the peer pushes.
    pub no_push: bool,
    /// Counts the requests of the connection from 0; for diagnostics.
    pub sequence: u32,
}

impl PostReceive {
    /// Bit of the flags (`NVSP_1_CHIMNEY_RECV_FLAG_NO_PUSH`).
    pub(super) const NO_PUSH: u16 = 1;
}

/// Answer to [`SendData`] (117) or [`PostReceive`] (119).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChimneyCompletion {
    /// How it went.
    pub status: rndis::Status,
    /// Bytes that the peer has acknowledged, or that were received.
    pub bytes: u32,
}
