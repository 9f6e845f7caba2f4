// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The control plane of a NIC: what a guest asks over RNDIS, and what it is answered.
//!
//! [`Adapter`] is state and nothing else: it has no channel and no back end. Whoever carries the
//! messages hands each to [`Adapter::handle`], sends the answer, and looks at the [`Outcome`] for
//! whether the data path has to take notice.

use bitflags::bitflags;
use netvsc_wire::oid::{
    ConnectionOffload, LinkState, Offload, OffloadRevision, PacketFilter, MAX_OFFLOAD_BYTES,
};
use netvsc_wire::rndis::{
    self, GuestControl, HostControl, Indication, Initialize, InitializeComplete, QueryComplete,
    RndisError, SetComplete, SetExComplete, Status,
};
use netvsc_wire::rss::{HashTypes, Key};
use netvsc_wire::{EthernetAddress, Version};

mod offloads;
mod query;
mod set;
#[cfg(test)]
mod tests;

pub use offloads::{ChecksumSwitch, Offloads};

/// Most groups that a guest may be in.
pub const MAX_GROUPS: usize = 128;
/// Entries of the indirection table that guests are told of.
pub const TABLE_ENTRIES: u16 = 128;
/// Bytes of the longest answer that every guest can take: a piece of Linux's receive buffer is
/// longer, and so is the largest message of a guest that follows the protocol.
pub const DEFAULT_MAX_ANSWER: usize = 1536;

/// What a NIC is to a guest, for as long as one conversation over NVSP lasts.
#[derive(Clone, Debug)]
pub struct AdapterConfig {
    /// The version agreed.
    pub version: Version,
    /// The NIC's own address.
    pub mac: EthernetAddress,
    /// The longest packet, without the Ethernet header.
    pub mtu: u32,
    /// The link is up.
    pub link_up: bool,
    /// Its speed in Mbit/s.
    pub megabits: u32,
    /// Most channels, the primary one included.
    pub queues: u16,
    /// The name that the guest shows; empty for none.
    pub name: String,
    /// What the NIC can do to frames.
    pub offload: Offload,
    /// Which connections can be handed over; none: nobody knows of such a thing.
    pub connections: Option<ConnectionOffload>,
    /// The VLAN that the NIC is in.
    pub access_vlan: Option<u16>,
    /// How many messages a packet of the guest may carry.
    pub max_packets: u32,
    /// Bytes of the longest message to the guest: a piece of its receive buffer.
    pub max_answer: usize,
}

/// What the NIC counted, seen from the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames that the guest sent.
    pub sent_frames: u64,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Frames that couldn't be sent.
    pub send_errors: u64,
    /// Frames to send that were thrown away, for the link was down.
    pub send_discards: u64,
    /// Frames that the guest got.
    pub received_frames: u64,
    /// Bytes of them.
    pub received_bytes: u64,
    /// Frames for the guest that were wrong.
    pub receive_errors: u64,
    /// Frames for the guest that nobody wanted.
    pub receive_discards: u64,
    /// Frames that were lost because the guest had no room.
    pub no_buffer: u64,
}

bitflags! {
    /// What of an adapter a message changed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Changes: u8 {
        /// Which frames the guest wants.
        const FILTER = 1;
        /// The groups it is in.
        const GROUPS = 1 << 1;
        /// Its address.
        const ADDRESS = 1 << 2;
        /// The offloads in force. A guest that follows NDIS expects
        /// [`Adapter::indicate_offload`] after it.
        const OFFLOAD = 1 << 3;
        /// How flows are spread.
        const SPREADING = 1 << 4;
    }
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that matters to frames.
    Unchanged,
    /// The conversation began, or began again: everything is as at first, frames may pass.
    Started,
    /// Something that frames depend on is different now.
    Changed(Changes),
    /// Filter and groups are gone, as at first.
    Reset,
    /// The conversation is over: no frame may pass.
    Halted,
}

/// How received flows are spread over channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spreading {
    /// What goes into the hash.
    pub hash: HashTypes,
    /// The key.
    pub key: Key,
    /// Numbers of channels, all less than [`AdapterConfig::queues`].
    pub table: Vec<u32>,
}

/// The state of a NIC's control plane.
#[derive(Clone, Debug)]
pub struct Adapter {
    config: AdapterConfig,
    initialized: bool,
    mac: EthernetAddress,
    filter: PacketFilter,
    groups: Vec<EthernetAddress>,
    lookahead: u32,
    offloads: Offloads,
    spreading: Option<Spreading>,
    /// Nothing is spread; what was last set is kept, for the guest may refer to it.
    spreading_off: bool,
}

impl Adapter {
    /// A NIC that no guest has spoken to.
    pub fn new(config: AdapterConfig) -> Self {
        Self {
            initialized: false,
            mac: config.mac,
            filter: PacketFilter::NONE,
            groups: Vec::new(),
            lookahead: config.mtu,
            offloads: Offloads::default(),
            spreading: None,
            spreading_off: true,
            config,
        }
    }

    /// The guest has initialised it: frames may pass.
    pub fn running(&self) -> bool {
        self.initialized
    }

    /// Which frames the guest wants.
    pub fn filter(&self) -> PacketFilter {
        self.filter
    }

    /// The groups that the guest is in.
    pub fn groups(&self) -> &[EthernetAddress] {
        &self.groups
    }

    /// The address in force.
    pub fn mac(&self) -> EthernetAddress {
        self.mac
    }

    /// The offloads in force.
    pub fn offloads(&self) -> &Offloads {
        &self.offloads
    }

    /// How received flows are spread; none: all go to the primary channel.
    pub fn spreading(&self) -> Option<&Spreading> {
        self.spreading.as_ref().filter(|_| !self.spreading_off)
    }

    /// What it was made with; link and speed as they are now.
    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// Takes a message of the guest. `answer` is emptied and then holds one message to send, or
    /// nothing: HALT isn't answered.
    ///
    /// A request that makes no sense is answered with a status. An error is a message that can't
    /// be answered because it isn't one.
    ///
    /// # Errors
    ///
    /// What is wrong with the message.
    pub fn handle(
        &mut self,
        message: &[u8],
        statistics: &Statistics,
        answer: &mut Vec<u8>,
    ) -> Result<Outcome, RndisError> {
        answer.clear();
        match GuestControl::parse(message)? {
            GuestControl::Initialize(initialize) => {
                let (complete, outcome) = self.initialize(&initialize);
                let complete = HostControl::InitializeComplete(complete);
                self.write(&complete, answer)?;
                Ok(outcome)
            }
            GuestControl::Halt { .. } => {
                self.forget();
                Ok(Outcome::Halted)
            }
            GuestControl::Query(query) => {
                let (status, info) = self.ready(|adapter| {
                    let mut info = Vec::new();
                    adapter.query(query.oid, query.info, statistics, &mut info)?;
                    Ok(info)
                });
                let complete = |status, info| {
                    HostControl::QueryComplete(QueryComplete {
                        request_id: query.request_id,
                        status,
                        info,
                    })
                };
                self.write_info(complete, status, &info.unwrap_or_default(), answer)?;
                Ok(Outcome::Unchanged)
            }
            GuestControl::Set(set) => {
                let (status, changes) = self.ready(|adapter| adapter.set(set.oid, set.info));
                let complete = HostControl::SetComplete(SetComplete {
                    request_id: set.request_id,
                    status,
                });
                self.write(&complete, answer)?;
                Ok(match changes.filter(|changes| !changes.is_empty()) {
                    Some(changes) => Outcome::Changed(changes),
                    None => Outcome::Unchanged,
                })
            }
            GuestControl::SetEx(call) => {
                let (status, info) = self.ready(|adapter| {
                    let mut info = Vec::new();
                    adapter.call(call.oid, call.info, &mut info)?;
                    Ok(info)
                });
                let complete = |status, info| {
                    HostControl::SetExComplete(SetExComplete {
                        request_id: call.request_id,
                        status,
                        info,
                    })
                };
                self.write_info(complete, status, &info.unwrap_or_default(), answer)?;
                Ok(Outcome::Unchanged)
            }
            GuestControl::Reset => {
                let (status, _) = self.ready(|adapter| {
                    adapter.filter = PacketFilter::NONE;
                    adapter.groups.clear();
                    Ok(())
                });
                let complete = HostControl::ResetComplete {
                    status,
                    addressing_reset: status.is_success(),
                };
                self.write(&complete, answer)?;
                Ok(if status.is_success() {
                    Outcome::Reset
                } else {
                    Outcome::Unchanged
                })
            }
            GuestControl::Keepalive { request_id } => {
                let (status, _) = self.ready(|_| Ok(()));
                let complete = HostControl::KeepaliveComplete { request_id, status };
                self.write(&complete, answer)?;
                Ok(Outcome::Unchanged)
            }
        }
    }

    /// Sets the link up or down. True when the guest has to be told: `message` then holds what.
    pub fn set_link(&mut self, up: bool, message: &mut Vec<u8>) -> bool {
        message.clear();
        if std::mem::replace(&mut self.config.link_up, up) == up {
            return false;
        }
        self.indicate(&Indication::link(up), message)
    }

    /// Sets the speed of the link, in Mbit/s; otherwise as [`Self::set_link`]. Guests before
    /// NVSP 5.0 aren't told.
    pub fn set_speed(&mut self, megabits: u32, message: &mut Vec<u8>) -> bool {
        message.clear();
        if std::mem::replace(&mut self.config.megabits, megabits) == megabits
            || self.config.version < Version::V5
        {
            return false;
        }
        let info = Indication::speed_info(megabits);
        self.indicate(&Indication::speed(&info), message)
    }

    /// Has the guest believe that it is on another network: it asks for its addresses again.
    pub fn change_network(&self, message: &mut Vec<u8>) -> bool {
        message.clear();
        let changed = Indication {
            status: Status::NETWORK_CHANGE,
            info: &[],
        };
        self.indicate(&changed, message)
    }

    /// Tells the guest which offloads are in force.
    pub fn indicate_offload(&self, message: &mut Vec<u8>) -> bool {
        message.clear();
        let mut record = [0; MAX_OFFLOAD_BYTES];
        let revision = OffloadRevision::of_version(self.config.version);
        let in_force = self.offloads.record(&self.config.offload);
        let Ok(length) = in_force.encode(revision, &mut record) else {
            return false;
        };
        let changed = Indication {
            status: Status::TASK_OFFLOAD_CURRENT_CONFIG,
            info: record.get(..length).unwrap_or_default(),
        };
        self.indicate(&changed, message)
    }

    fn indicate(&self, indication: &Indication<'_>, message: &mut Vec<u8>) -> bool {
        self.initialized
            && self
                .write(&HostControl::Indicate(*indication), message)
                .is_ok()
    }

    fn link(&self) -> LinkState {
        LinkState {
            up: self.config.link_up,
            bits_per_second: u64::from(self.config.megabits).saturating_mul(1_000_000),
        }
    }

    fn initialize(&mut self, initialize: &Initialize) -> (InitializeComplete, Outcome) {
        let spoken = initialize.version == rndis::VERSION;
        let outcome = if spoken {
            self.forget();
            self.initialized = true;
            Outcome::Started
        } else {
            Outcome::Unchanged
        };
        let complete = InitializeComplete {
            request_id: initialize.request_id,
            status: if spoken {
                Status::SUCCESS
            } else {
                Status::BAD_VERSION
            },
            version: rndis::VERSION,
            device_flags: InitializeComplete::CONNECTIONLESS,
            medium: InitializeComplete::MEDIUM_802_3,
            max_packets: self.config.max_packets,
            // What Hyper-V says: packets aren't bounded by this.
            max_transfer_bytes: u32::MAX,
            alignment_shift: 3,
        };
        (complete, outcome)
    }

    /// Back to what a guest finds at first; the link stays as it is.
    fn forget(&mut self) {
        let config = self.config.clone();
        *self = Self::new(config);
    }

    /// Does something that an initialised NIC only does.
    fn ready<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, Status>,
    ) -> (Status, Option<T>) {
        if !self.initialized {
            return (Status::ADAPTER_NOT_READY, None);
        }
        match act(self) {
            Ok(value) => (Status::SUCCESS, Some(value)),
            Err(status) => (status, None),
        }
    }

    /// Writes a completion with an information buffer, or one that says it is too long.
    fn write_info<'a>(
        &self,
        complete: impl Fn(Status, &'a [u8]) -> HostControl<'a>,
        status: Status,
        info: &'a [u8],
        answer: &mut Vec<u8>,
    ) -> Result<(), RndisError> {
        match self.write(&complete(status, info), answer) {
            Err(RndisError::NoRoom { .. }) => {
                self.write(&complete(Status::BUFFER_TOO_SHORT, &[]), answer)
            }
            other => other,
        }
    }

    fn write(&self, message: &HostControl<'_>, to: &mut Vec<u8>) -> Result<(), RndisError> {
        // Completions without data always fit.
        to.resize(self.config.max_answer.max(64), 0);
        match message.encode(to) {
            Ok(length) => {
                to.truncate(length);
                Ok(())
            }
            Err(error) => {
                to.clear();
                Err(error)
            }
        }
    }
}
