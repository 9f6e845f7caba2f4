// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A guest for tests that is no machine: it has memory, speaks to a real bus through a pretended
//! hypervisor, and behaves as a Linux guest does, or as badly as a test wants.
//!
//! ```
//! use hvhost::testing::{Echo, FakeGuest, LIMIT};
//! use vmbus_wire::packet::OutPacket;
//!
//! let guest = FakeGuest::new();
//! guest.bus().add(Echo::new("echo0")).unwrap();
//! let offers = guest.connect();
//! let mut channel = guest.open(&offers[0]);
//! channel.send(&OutPacket::in_band(7, &[b"question"])).unwrap();
//! let answer = channel.receive(LIMIT).unwrap();
//! assert_eq!(answer.payload, b"question");
//! channel.close();
//! ```
//!
//! Everything here panics when the host doesn't do what it has to, as tests do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vm_memory::{GuestAddress, GuestMemoryMmap};
use vmbus_wire::gpadl::{self, GpaRange};
use vmbus_wire::message::{
    guest, InitiateContact, MonitorPages, OpenChannel, OutMessage, VersionResponse, USER_DATA_BYTES,
};
use vmbus_wire::slot::HVMSG_CHANNEL;
use vmbus_wire::version::{FeatureFlags, MESSAGE_CONNECTION_ID};
use vmbus_wire::{Guid, HostMessage, Offer, ProtocolVersion, Relid, Status, HV_PAGE_SIZE};

use crate::hypervisor::MessageSink;
use crate::memory::{GuestMemory, Pages};
use crate::vmbus::bus::{Bus, BusConfig};

mod allocator;
mod channel;
mod echo;
mod hypervisor;

pub use allocator::Allocator;
pub use channel::{GuestChannel, Received};
pub use echo::{Echo, Got, Hook};
pub use hypervisor::FakeHypervisor;

/// How long a test waits for what has to happen.
pub const LIMIT: Duration = Duration::from_secs(10);
/// How long a test waits for what must not happen.
pub const SHORT: Duration = Duration::from_millis(50);

const PAGE: u64 = HV_PAGE_SIZE as u64;

/// What a guest is made of.
#[derive(Clone, Debug)]
pub struct GuestConfig {
    /// How its bus behaves.
    pub bus: BusConfig,
    /// Its processors.
    pub processors: u32,
    /// Its memory, two regions of half the size each.
    pub memory_bytes: u64,
    /// Gives the bus monitor pages, and signals through them where an offer says so.
    pub monitor: bool,
}

impl Default for GuestConfig {
    fn default() -> Self {
        Self {
            bus: BusConfig::default(),
            processors: 4,
            memory_bytes: 64 << 20,
            monitor: false,
        }
    }
}

/// How a channel is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Pages of the ring to the host, its control page included.
    pub out_pages: u32,
    /// Pages of the ring to the guest.
    pub in_pages: u32,
    /// The processor to interrupt.
    pub target_vp: u32,
    /// The rings' pages are in one piece.
    pub contiguous: bool,
    /// For the device.
    pub user_data: [u8; USER_DATA_BYTES],
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            out_pages: 17,
            in_pages: 17,
            target_vp: 0,
            contiguous: true,
            user_data: [0; USER_DATA_BYTES],
        }
    }
}

/// What changes in a guest.
#[derive(Debug)]
struct State {
    allocator: Allocator,
    version: ProtocolVersion,
    connection_id: u32,
    next_gpadl: u32,
    /// Messages that nobody has waited for yet.
    inbox: VecDeque<HostMessage>,
}

struct Inner {
    bus: Arc<Bus>,
    hypervisor: Arc<FakeHypervisor>,
    memory: GuestMemory,
    monitor_pages: Option<MonitorPages>,
    state: Mutex<State>,
}

/// See the module. Cloning it gives the same guest.
#[derive(Clone)]
pub struct FakeGuest {
    inner: Arc<Inner>,
}

impl Default for FakeGuest {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeGuest {
    /// A guest with a bus of its own, not connected.
    pub fn new() -> Self {
        Self::with(GuestConfig::default())
    }

    /// A guest that differs from the usual one.
    pub fn with(config: GuestConfig) -> Self {
        let half = (config.memory_bytes / 2).next_multiple_of(PAGE);
        let size = usize::try_from(half).expect("memory of a size");
        let ranges = [(GuestAddress(0), size), (GuestAddress(half), size)];
        let map = GuestMemoryMmap::from_ranges(&ranges).expect("memory");
        let memory = GuestMemory::new(map);
        // Page 0 is no page to give away.
        let mut allocator = Allocator::new(1, 2 * half / PAGE);
        let monitor_pages = config.monitor.then(|| MonitorPages {
            to_guest: allocator.contiguous(1)[0] * PAGE,
            to_host: allocator.contiguous(1)[0] * PAGE,
        });
        let hypervisor = FakeHypervisor::new(config.processors);
        let bus = Bus::new(hypervisor.clone(), memory.clone(), config.bus);
        Self {
            inner: Arc::new(Inner {
                bus,
                hypervisor,
                memory,
                monitor_pages,
                state: Mutex::new(State {
                    allocator,
                    version: ProtocolVersion::V6_0,
                    connection_id: MESSAGE_CONNECTION_ID,
                    next_gpadl: 0xe1e10,
                    inbox: VecDeque::new(),
                }),
            }),
        }
    }

    /// The bus under test.
    pub fn bus(&self) -> &Arc<Bus> {
        &self.inner.bus
    }

    /// The pretended hypervisor.
    pub fn hypervisor(&self) -> &Arc<FakeHypervisor> {
        &self.inner.hypervisor
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.inner.memory
    }

    /// The monitor pages, where the guest has some.
    pub fn monitor_pages(&self) -> Option<MonitorPages> {
        self.inner.monitor_pages
    }

    /// Page frame numbers of `count` pages in one piece.
    pub fn alloc(&self, count: u32) -> Vec<u64> {
        self.inner.state.lock().allocator.contiguous(count)
    }

    /// Page frame numbers of `count` pages, no two of them neighbours in this order.
    pub fn alloc_scattered(&self, count: u32) -> Vec<u64> {
        self.inner.state.lock().allocator.scattered(count)
    }

    /// Gives pages back.
    pub fn free(&self, pfns: &[u64]) {
        self.inner.state.lock().allocator.free(pfns);
    }

    /// Pages as one list of bytes, to read and write them.
    pub fn pages(&self, pfns: &[u64]) -> Pages {
        let bytes = u32::try_from(pfns.len() as u64 * PAGE).expect("fewer than 4 GiB");
        Pages::new(self.memory(), 0, bytes, pfns.iter().copied()).expect("pages of the guest")
    }

    // Messages.

    /// Posts bytes as they are; what the hypercall says.
    pub fn post_bytes(&self, connection: u32, message_type: u32, bytes: &[u8]) -> bool {
        self.bus().posted(connection, message_type, bytes)
    }

    /// Posts a message on the connection that was agreed on; waits while the bus has too many.
    pub fn post(&self, message: &OutMessage) {
        let connection = self.inner.state.lock().connection_id;
        let deadline = Instant::now() + LIMIT;
        while !self.post_bytes(connection, HVMSG_CHANNEL, message.as_bytes()) {
            assert!(
                Instant::now() < deadline,
                "no connection {connection} for {message:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The next message, in the order they came; none when the time is over.
    pub fn message(&self, limit: Duration) -> Option<HostMessage> {
        if let Some(message) = self.inner.state.lock().inbox.pop_front() {
            return Some(message);
        }
        self.fetch(limit)
    }

    fn fetch(&self, limit: Duration) -> Option<HostMessage> {
        let (_, bytes) = self.hypervisor().take_message(limit)?;
        Some(HostMessage::parse(&bytes).expect("a message as hosts send them"))
    }

    /// The first message that `pick` wants; others wait for who wants them.
    pub fn wait_for<T>(
        &self,
        limit: Duration,
        mut pick: impl FnMut(&HostMessage) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + limit;
        {
            let mut state = self.inner.state.lock();
            let found = state
                .inbox
                .iter()
                .enumerate()
                .find_map(|(at, message)| pick(message).map(|picked| (at, picked)));
            if let Some((at, picked)) = found {
                state.inbox.remove(at);
                return Some(picked);
            }
        }
        loop {
            let message = self.fetch(deadline.saturating_duration_since(Instant::now()))?;
            match pick(&message) {
                Some(picked) => return Some(picked),
                None => self.inner.state.lock().inbox.push_back(message),
            }
        }
    }

    /// As [`Self::wait_for`], for a message that has to come.
    pub fn expect<T>(&self, what: &str, pick: impl FnMut(&HostMessage) -> Option<T>) -> T {
        match self.wait_for(LIMIT, pick) {
            Some(picked) => picked,
            None => panic!("no {what}; waiting: {:?}", self.inner.state.lock().inbox),
        }
    }

    // Connection.

    /// Asks for a version; what the host says.
    pub fn contact(&self, version: ProtocolVersion) -> Option<VersionResponse> {
        self.contact_on(version.contact_connection_id(), version, 0)
    }

    /// Asks for a version on a connection, for messages to a processor. None: there is no such
    /// connection.
    pub fn contact_on(
        &self,
        connection: u32,
        version: ProtocolVersion,
        target_vp: u32,
    ) -> Option<VersionResponse> {
        let contact = InitiateContact {
            version,
            target_vp,
            interrupt_page: 0,
            trust_level: 0,
            features: FeatureFlags::CONFIDENTIAL_CHANNELS,
            monitor_pages: self.inner.monitor_pages,
        };
        let message = contact.message();
        if !self.post_bytes(connection, HVMSG_CHANNEL, message.as_bytes()) {
            return None;
        }
        let response = self.expect("VERSION_RESPONSE", |message| match message {
            HostMessage::VersionResponse(response) => Some(*response),
            _ => None,
        });
        if response.supported {
            let mut state = self.inner.state.lock();
            state.version = version;
            state.connection_id = match response.connection_id {
                Some(id) if version.has_connection_id() => id,
                _ => MESSAGE_CONNECTION_ID,
            };
        }
        Some(response)
    }

    /// Goes down the list of versions as Linux does, and asks for offers.
    pub fn connect(&self) -> Vec<Offer> {
        let agreed = ProtocolVersion::OFFERED
            .into_iter()
            .find(|version| self.contact(*version).is_some_and(|r| r.supported));
        assert!(agreed.is_some(), "no version agreed on");
        self.request_offers()
    }

    /// Asks for offers and collects them.
    pub fn request_offers(&self) -> Vec<Offer> {
        self.post(&guest::request_offers());
        let mut offers = Vec::new();
        self.expect("ALL_OFFERS_DELIVERED", |message| match message {
            HostMessage::AllOffersDelivered => Some(()),
            _ => None,
        });
        while let Some(offer) = self.wait_for(Duration::ZERO, offer_of) {
            offers.push(offer);
        }
        offers
    }

    /// The version agreed on.
    pub fn version(&self) -> ProtocolVersion {
        self.inner.state.lock().version
    }

    /// Leaves the bus and waits for the answer.
    pub fn unload(&self) {
        self.post(&guest::unload());
        self.expect("UNLOAD_RESPONSE", |message| {
            matches!(message, HostMessage::UnloadComplete).then_some(())
        });
    }

    /// An offer that is to come.
    pub fn offer(&self) -> Offer {
        self.expect("OFFER_CHANNEL", offer_of)
    }

    /// The offer of the primary channel of a class among offers.
    pub fn find(offers: &[Offer], class: Guid) -> Offer {
        *offers
            .iter()
            .find(|offer| offer.class == class && offer.is_primary())
            .expect("an offer of the class")
    }

    /// A rescind that is to come.
    pub fn rescinded(&self) -> Relid {
        self.expect("RESCIND_OFFER", |message| match message {
            HostMessage::Rescind { relid } => Some(*relid),
            _ => None,
        })
    }

    // Page lists.

    /// An id for a page list.
    pub fn next_gpadl(&self) -> u32 {
        let mut state = self.inner.state.lock();
        state.next_gpadl += 1;
        state.next_gpadl
    }

    /// Shares whole pages.
    ///
    /// # Errors
    ///
    /// The host's status.
    pub fn create_gpadl(&self, relid: Relid, pfns: &[u64]) -> Result<u32, Status> {
        let bytes = u32::try_from(pfns.len() as u64 * PAGE).expect("fewer than 4 GiB");
        self.create_gpadl_ranges(
            relid,
            &[GpaRange {
                byte_offset: 0,
                byte_count: bytes,
                pfns,
            }],
        )
    }

    /// Shares ranges of pages.
    ///
    /// # Errors
    ///
    /// The host's status.
    pub fn create_gpadl_ranges(
        &self,
        relid: Relid,
        ranges: &[GpaRange<'_>],
    ) -> Result<u32, Status> {
        let id = self.next_gpadl();
        for message in gpadl::ranges(relid, id, ranges).expect("a list that can be sent") {
            self.post(&message.expect("pages for all of it"));
        }
        let status = self.gpadl_created(id);
        if status.is_success() {
            Ok(id)
        } else {
            Err(status)
        }
    }

    /// Waits for the verdict on a page list.
    pub fn gpadl_created(&self, id: u32) -> Status {
        self.expect("GPADL_CREATED", |message| match message {
            HostMessage::GpadlCreated(created) if created.gpadl == id => Some(created.status),
            _ => None,
        })
    }

    /// Wants a page list back and waits for the answer.
    pub fn teardown(&self, relid: Relid, id: u32) {
        assert!(
            self.teardown_within(relid, id, LIMIT),
            "no GPADL_TORNDOWN for {id:#x}"
        );
    }

    /// Wants a page list back; whether the answer came in time.
    pub fn teardown_within(&self, relid: Relid, id: u32, limit: Duration) -> bool {
        self.post(&guest::gpadl_teardown(relid, id));
        self.torn_down(id, limit)
    }

    /// Whether the answer to a teardown comes in time.
    pub fn torn_down(&self, id: u32, limit: Duration) -> bool {
        self.wait_for(limit, |message| match message {
            HostMessage::GpadlTorndown { gpadl } if *gpadl == id => Some(()),
            _ => None,
        })
        .is_some()
    }

    // Channels.

    /// Opens a channel as usual.
    pub fn open(&self, offer: &Offer) -> GuestChannel {
        self.open_with(offer, &OpenOptions::default())
            .expect("the channel opens")
    }

    /// Opens a channel.
    ///
    /// # Errors
    ///
    /// The host's status.
    pub fn open_with(&self, offer: &Offer, options: &OpenOptions) -> Result<GuestChannel, Status> {
        let count = options.out_pages + options.in_pages;
        let pfns = if options.contiguous {
            self.alloc(count)
        } else {
            self.alloc_scattered(count)
        };
        let pages = self.pages(&pfns);
        let gpadl = self.create_gpadl(offer.relid, &pfns)?;
        let channel = GuestChannel::new(self.clone(), *offer, options, pfns, &pages, gpadl);
        let open = OpenChannel {
            relid: offer.relid,
            open_id: offer.relid.get(),
            ring_gpadl: gpadl,
            target_vp: options.target_vp,
            downstream_page_offset: options.out_pages,
            user_data: options.user_data,
        };
        let status = self.open_raw(&open);
        if status.is_success() {
            Ok(channel)
        } else {
            self.teardown(offer.relid, gpadl);
            Err(status)
        }
    }

    /// Asks for a channel to be opened; what the host says.
    pub fn open_raw(&self, open: &OpenChannel) -> Status {
        self.post(&open.message());
        self.expect("OPEN_RESULT", |message| match message {
            HostMessage::OpenResult(result) if result.relid == open.relid => Some(result.status),
            _ => None,
        })
    }
}

fn offer_of(message: &HostMessage) -> Option<Offer> {
    match message {
        HostMessage::Offer(offer) => Some(*offer),
        _ => None,
    }
}
