// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the queues of a NIC share: the agreed state that frames depend on, and their mailboxes.
//!
//! A queue's thread holds the plane for reading while it moves frames; whoever changes something
//! that the guest may rely on at once (a buffer is revoked, the NIC is halted) holds it for
//! writing and therefore knows that no thread still works with what was.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::Arc;

use netvsc_wire::nvsp::{HostMessage, RndisPacket, SendTable};
use netvsc_wire::oid::PacketFilter;
use netvsc_wire::{nvsp, EthernetAddress, Version};
use parking_lot::{Mutex, RwLock};

use super::backend::Capabilities;
use super::frame::Mac;
use super::sections::{Batch, ReceiveBuffer};
use super::spec::{ChecksumPolicy, NicSpec};
use super::steering::Steering;
use crate::counters;
use crate::vmbus::gpadl::Gpadl;

counters! {
    /// What one queue moved and met.
    pub(super) struct QueueCounters {
        /// Frames from the guest.
        tx_frames,
        /// Bytes of them.
        tx_bytes,
        /// Packets that carried them.
        tx_packets,
        /// Large segments among them.
        tx_large,
        /// Frames whose checksum the guest left to the host.
        tx_checksum,
        /// Large segments cut here because the back end can't.
        tx_cut,
        /// Frames lost because the link is down.
        tx_link_down,
        /// Frames that are too long or too short, or whose tag isn't allowed.
        tx_refused,
        /// Frames that the back end didn't take.
        tx_errors,
        /// Packets refused because RNDIS headers weren't in one range.
        tx_bad_headers,
        /// Frames to the guest.
        rx_frames,
        /// Bytes of them.
        rx_bytes,
        /// Packets that carried them.
        rx_packets,
        /// Frames that took more than one piece: coalesced segments.
        rx_coalesced,
        /// Segments that were appended to one before.
        rx_merged,
        /// Large segments cut here because the guest doesn't take them.
        rx_cut,
        /// Checksums computed for the guest.
        rx_checksum,
        /// Frames not for this NIC, or nobody listens.
        rx_filtered,
        /// Frames that are too long or too short, or that the back end described badly.
        rx_refused,
        /// Frames handed to another queue's thread.
        rx_passed_on,
        /// Times that no piece of the receive buffer was free.
        no_section,
        /// Times that the ring to the guest was full.
        ring_full,
        /// Packets that the guest completed with an error.
        rx_failed,
        /// Frames placed into buffers that the guest allocated for the queue.
        rx_vmq,
        /// Control messages from the guest.
        control,
        /// Messages of the NVSP from the guest.
        nvsp,
    }
}

/// The send buffer as it was agreed.
#[derive(Clone, Debug)]
pub(super) struct SendBuffer {
    /// Its pages.
    pub(super) gpadl: Arc<Gpadl>,
    /// The number that the guest gave it.
    pub(super) id: u16,
}

/// What frames depend on.
#[derive(Debug)]
pub(super) struct Plane {
    /// The version agreed.
    pub(super) version: Version,
    /// The receive buffer.
    pub(super) receive: Option<Arc<ReceiveBuffer>>,
    /// A buffer that the guest allocated for frames of its queues.
    pub(super) allocated: Option<Arc<ReceiveBuffer>>,
    /// The send buffer.
    pub(super) send: Option<SendBuffer>,
    /// The guest speaks RNDIS: frames pass.
    pub(super) running: bool,
    /// The link is up.
    pub(super) link: bool,
    /// Which frames the guest wants.
    pub(super) filter: PacketFilter,
    /// Groups it is in.
    pub(super) groups: Vec<EthernetAddress>,
    /// Its address.
    pub(super) mac: Mac,
    /// The longest frame without a tag.
    pub(super) frame_bytes: u32,
    /// Tags travel beside frames, not in them.
    pub(super) tags_beside: bool,
    /// Access VLAN.
    pub(super) vlan: Option<u16>,
    /// What of received frames the guest takes as it is.
    pub(super) accepts: Capabilities,
    /// What is done about checksums that are missing.
    pub(super) policy: ChecksumPolicy,
    /// How frames are spread.
    pub(super) steering: Option<Steering>,
}

impl Plane {
    /// Before any guest.
    pub(super) fn new(spec: &NicSpec, mac: Mac) -> Self {
        Self {
            version: Version::V1,
            receive: None,
            allocated: None,
            send: None,
            running: false,
            link: true,
            filter: PacketFilter::NONE,
            groups: Vec::new(),
            mac,
            frame_bytes: nvsp::NdisConfig::DEFAULT_FRAME_BYTES,
            tags_beside: false,
            vlan: spec.vlan,
            accepts: Capabilities::NONE,
            policy: spec.checksum,
            steering: None,
        }
    }

    /// Forgets what a guest agreed to.
    pub(super) fn reset(&mut self) {
        self.version = Version::V1;
        self.receive = None;
        self.allocated = None;
        self.send = None;
        self.halt();
        self.frame_bytes = nvsp::NdisConfig::DEFAULT_FRAME_BYTES;
        self.tags_beside = false;
    }

    /// Ends the conversation over RNDIS.
    pub(super) fn halt(&mut self) {
        self.running = false;
        self.filter = PacketFilter::NONE;
        self.groups.clear();
        self.accepts = Capabilities::NONE;
        self.steering = None;
    }

    /// Where frames go: buffers that the guest allocated for its queues, else the receive buffer.
    pub(super) fn frames(&self) -> Option<&Arc<ReceiveBuffer>> {
        self.allocated.as_ref().or(self.receive.as_ref())
    }

    /// Whether the guest wants a frame to this address.
    pub(super) fn wants(&self, destination: &Mac) -> bool {
        self.filter
            .passes(&destination.0, &self.mac.0, self.groups.iter().copied())
    }
}

/// The NVSP message of packets with frames or control messages to the guest.
pub(super) fn rndis_message(version: Version, channel_type: nvsp::ChannelType) -> nvsp::OutMessage {
    HostMessage::RndisPacket(RndisPacket {
        channel_type,
        section: None,
    })
    .encode(version)
}

/// One queue as the others see it.
#[derive(Debug, Default)]
pub(super) struct QueueShared {
    /// What it moved.
    pub(super) counters: QueueCounters,
    /// Its channel is open.
    pub(super) open: AtomicBool,
    /// Frames that other queues read for it.
    pub(super) inbox: Mutex<VecDeque<Batch>>,
    /// There is something in the inbox.
    pub(super) mail: AtomicBool,
}

/// What all threads of a NIC share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The agreed state.
    pub(super) plane: RwLock<Plane>,
    /// The queues, as many as the NIC may have.
    pub(super) queues: Vec<QueueShared>,
    /// How many of them are open.
    pub(super) open: AtomicU16,
    /// RNDIS messages for the guest, sent by the primary channel's thread.
    pub(super) control: Mutex<VecDeque<Vec<u8>>>,
    /// How many receive buffers there were.
    pub(super) generation: AtomicU64,
    /// Sub-channels that the guest asked for; the send table is due when they are open.
    pub(super) wanted: AtomicU16,
    /// A send table that the guest shall have, sent by the primary channel's thread.
    pub(super) send_table: Mutex<Option<SendTable>>,
    /// The buffer that the guest allocated is to be freed, and another to be asked for.
    pub(super) renew_buffer: AtomicBool,
}

impl Shared {
    /// Before any guest.
    pub(super) fn new(plane: Plane, queues: u16) -> Self {
        Self {
            plane: RwLock::new(plane),
            queues: (0..queues).map(|_| QueueShared::default()).collect(),
            open: AtomicU16::new(0),
            control: Mutex::new(VecDeque::new()),
            generation: AtomicU64::new(0),
            wanted: AtomicU16::new(0),
            send_table: Mutex::new(None),
            renew_buffer: AtomicBool::new(false),
        }
    }

    /// A queue that is open, or the first.
    pub(super) fn queue_or_first(&self, queue: u16) -> u16 {
        match self.queues.get(usize::from(queue)) {
            Some(shared) if shared.open.load(Ordering::Acquire) => queue,
            _ => 0,
        }
    }

    /// Whether a queue's channel is open.
    pub(super) fn is_open(&self, queue: u16) -> bool {
        let shared = self.queues.get(usize::from(queue));
        shared.is_some_and(|shared| shared.open.load(Ordering::Acquire))
    }

    /// Puts frames into a queue's inbox.
    ///
    /// # Errors
    ///
    /// Gives them back when the queue isn't open any more.
    pub(super) fn pass_on(&self, queue: u16, batch: Batch) -> Result<(), Batch> {
        let Some(shared) = self.queues.get(usize::from(queue)) else {
            return Err(batch);
        };
        let mut inbox = shared.inbox.lock();
        // Under the lock, so that nothing gets in after the queue has emptied it and left.
        if !shared.open.load(Ordering::Acquire) {
            return Err(batch);
        }
        inbox.push_back(batch);
        shared.mail.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes what is in a queue's inbox.
    pub(super) fn take_inbox(&self, queue: u16, mut each: impl FnMut(Batch)) {
        let Some(shared) = self.queues.get(usize::from(queue)) else {
            return;
        };
        if shared.mail.swap(false, Ordering::Acquire) {
            shared.inbox.lock().drain(..).for_each(&mut each);
        }
    }

    /// A queue's channel is open.
    pub(super) fn open_queue(&self, queue: u16) {
        if let Some(shared) = self.queues.get(usize::from(queue)) {
            shared.inbox.lock().clear();
            shared.open.store(true, Ordering::Release);
            self.open.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// A queue's channel is about to be closed: nothing gets into its inbox any more. Answers
    /// what was in it.
    pub(super) fn close_queue(&self, queue: u16) -> VecDeque<Batch> {
        let Some(shared) = self.queues.get(usize::from(queue)) else {
            return VecDeque::new();
        };
        let mut inbox = shared.inbox.lock();
        if shared.open.swap(false, Ordering::AcqRel) {
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
        std::mem::take(&mut *inbox)
    }
}
