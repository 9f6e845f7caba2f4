// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Everything the bus knows, and the thread that works on it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use vmbus_wire::host::{encode, GuestMessage};
use vmbus_wire::message::{InitiateContact, OpenChannel};
use vmbus_wire::monitor::MonitorId;
use vmbus_wire::version::MESSAGE_SINT;
use vmbus_wire::{HostMessage, Relid};

use super::bus::BusConfig;
use super::complaint::{complain, Complaints};
use super::connection::Connection;
use super::control::ChannelControl;
use super::counters::{BusCounters, MessageCounters};
use super::gpadl::{Gpadl, GpadlTable};
use super::monitor::Monitor;
use crate::device::{Device, Identity};
use crate::events::Events;
use crate::hypervisor::Hypervisor;
use crate::memory::GuestMemory;

/// How long a device may take to let go of a channel before the bus goes on without it.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// How long UNLOAD and another INITIATE_CONTACT wait for the devices. Linux waits for 100 s when
/// it crashes, for its host may have to write back what a disk cached.
pub(super) const RESET_LIMIT: Duration = Duration::from_secs(60);
/// Messages of the guest that may wait for the bus thread.
const MOST_MESSAGES: usize = 16 * 1024;
/// How often time limits are looked at while there are any.
const TICK: Duration = Duration::from_millis(100);

/// What the bus thread works on.
pub(super) enum Event {
    /// The guest posted a message.
    Message(Box<GuestMessage>),
    /// A channel's thread has returned.
    Served {
        /// Which channel.
        relid: Relid,
        /// Which of its openings.
        serial: u64,
        /// What went wrong.
        error: Option<String>,
    },
    /// Nobody holds a page list any more.
    GpadlReleased {
        /// The list.
        id: u32,
        /// Which of the lists with this id.
        serial: u64,
    },
    /// The machine is reset: close everything, then answer.
    Reset(Sender<()>),
    /// Somebody else changed the state: look at the time limits.
    Look,
    /// The bus is dropped.
    Quit,
}

/// A device on the bus, as far as its channels and handles need to know.
pub(super) struct DeviceEntry {
    pub(super) identity: Identity,
    pub(super) device: Arc<dyn Device>,
    /// The lists the guest made on any of its channels.
    pub(super) gpadls: RwLock<HashMap<u32, Arc<Gpadl>>>,
    /// Its channels that are being served, by their sub-channel index.
    pub(super) live: Mutex<HashMap<u16, Arc<ChannelControl>>>,
    pub(super) paused: AtomicBool,
}

/// What is to be with a device's offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// `attached` hasn't returned yet.
    New,
    /// To be offered.
    Offered,
    /// Not to be offered.
    Rescinded,
}

/// A device in the bus's table.
pub(super) struct DeviceSlot {
    pub(super) entry: Arc<DeviceEntry>,
    pub(super) presence: Presence,
    /// A channel outlived the connection; `reset` is to be called before the next offer.
    pub(super) needs_reset: bool,
}

/// How far the withdrawal of an offer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rescind {
    /// Not withdrawn.
    No,
    /// Its thread is to return first, so that answers to the guest's requests are out.
    Wanted,
    /// The guest was told; it has to release the id.
    Posted,
}

/// The thread that serves a channel.
pub(super) struct Serving {
    pub(super) serial: u64,
    pub(super) control: Arc<ChannelControl>,
    /// Since when it is to return.
    pub(super) stopping: Option<Instant>,
    pub(super) ring_gpadl: u32,
    pub(super) ring_bytes: (u32, u32),
}

/// A channel that has an id.
pub(super) struct ChannelEntry {
    pub(super) device: Arc<DeviceEntry>,
    pub(super) subchannel: u16,
    pub(super) connection_id: u32,
    pub(super) monitor: Option<MonitorId>,
    /// The guest opened it and hasn't closed it.
    pub(super) open: bool,
    pub(super) serving: Option<Serving>,
    /// An OPEN that came before the thread of the last had returned.
    pub(super) reopen: Option<OpenChannel>,
    pub(super) rescind: Rescind,
    /// The guest has no use for the id any more, but its thread hasn't returned.
    pub(super) released: bool,
    /// What ended its thread while the channel was open.
    pub(super) died: Option<String>,
}

/// What never changes, and what counts.
pub(super) struct Shared {
    pub(super) hypervisor: Arc<dyn Hypervisor>,
    pub(super) memory: GuestMemory,
    pub(super) config: BusConfig,
    pub(super) queue: Sender<Event>,
    /// Messages of the guest in the queue.
    waiting: AtomicUsize,
    pub(super) counters: BusCounters,
    pub(super) messages_in: MessageCounters,
    pub(super) messages_out: MessageCounters,
    pub(super) monitor: Arc<Monitor>,
    /// Told what happens.
    pub(super) events: Events,
}

impl Shared {
    /// Queues a message of the guest; false where too many wait.
    pub(super) fn enqueue(&self, message: GuestMessage) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_MESSAGES {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.queue.send(Event::Message(Box::new(message))).is_ok()
    }
}

/// The bus without its public face.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) state: Mutex<State>,
    /// Told whenever channels come or go.
    pub(super) changed: Condvar,
}

/// What changes. Methods are in the modules of what they are about.
pub(super) struct State {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Connection,
    pub(super) devices: Vec<DeviceSlot>,
    pub(super) channels: BTreeMap<Relid, ChannelEntry>,
    pub(super) gpadls: GpadlTable,
    /// Where the search for a free id begins: an id isn't used again at once.
    pub(super) next_relid: u32,
    /// Monitor triggers in use.
    pub(super) monitors: u128,
    pub(super) serial: u64,
    /// Devices whose `reset` is to be called, without the lock.
    pub(super) resets: VecDeque<Arc<DeviceEntry>>,
    pub(super) complaints: Complaints,
}

impl Core {
    pub(super) fn new(
        hypervisor: Arc<dyn Hypervisor>,
        memory: GuestMemory,
        config: BusConfig,
    ) -> (Arc<Self>, Receiver<Event>) {
        let (queue, events) = mpsc::channel();
        let shared = Arc::new(Shared {
            monitor: Monitor::new(memory.clone()),
            hypervisor,
            memory,
            config,
            queue,
            waiting: AtomicUsize::new(0),
            counters: BusCounters::default(),
            messages_in: MessageCounters::default(),
            messages_out: MessageCounters::default(),
            events: Events::default(),
        });
        let core = Arc::new(Self {
            state: Mutex::new(State {
                shared: shared.clone(),
                connection: Connection::Disconnected,
                devices: Vec::new(),
                channels: BTreeMap::new(),
                gpadls: GpadlTable::default(),
                next_relid: 1,
                monitors: 0,
                serial: 0,
                resets: VecDeque::new(),
                complaints: Complaints::new(),
            }),
            shared,
            changed: Condvar::new(),
        });
        (core, events)
    }

    /// The bus thread.
    pub(super) fn run(&self, events: &Receiver<Event>) {
        let mut ticking = false;
        loop {
            let event = if ticking {
                match events.recv_timeout(TICK) {
                    Ok(event) => Some(event),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else {
                match events.recv() {
                    Ok(event) => Some(event),
                    Err(_) => return,
                }
            };
            let quit = matches!(event, Some(Event::Quit));
            let mut state = self.state.lock();
            if let Some(event) = event {
                state.handle(event);
            }
            ticking = state.tick(Instant::now());
            // Devices may call the bus from `reset`.
            while let Some(entry) = state.next_reset() {
                parking_lot::MutexGuard::unlocked(&mut state, || entry.device.reset());
                state.was_reset(&entry);
            }
            state.finish_reset();
            // What was answered may have begun something that has a time limit.
            ticking |= state.tick(Instant::now());
            drop(state);
            self.changed.notify_all();
            if quit {
                return;
            }
        }
    }
}

impl State {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Message(message) => {
                self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
                self.message(*message);
            }
            Event::Served {
                relid,
                serial,
                error,
            } => self.served(relid, serial, error),
            Event::GpadlReleased { id, serial } => {
                if self.gpadls.released(id, serial) {
                    self.post(&HostMessage::GpadlTorndown { gpadl: id });
                }
            }
            Event::Reset(done) => self.machine_reset(done),
            Event::Look => {}
            Event::Quit => self.stop_all(),
        }
    }

    fn message(&mut self, message: GuestMessage) {
        if let GuestMessage::InitiateContact(contact) = message {
            self.contact(contact);
            return;
        }
        if !self.connection.is_connected() {
            self.refuse(format_args!(
                "message without a connection: {}",
                kind(&message)
            ));
            return;
        }
        match message {
            GuestMessage::InitiateContact(InitiateContact { .. }) => {}
            GuestMessage::RequestOffers => self.request_offers(),
            GuestMessage::Open(open) => self.open(&open),
            GuestMessage::Close { relid } => self.close(relid),
            GuestMessage::GpadlHeader(header) => self.gpadl_header(&header),
            GuestMessage::GpadlBody(body) => self.gpadl_body(&body),
            GuestMessage::GpadlTeardown { relid, gpadl } => self.gpadl_teardown(relid, gpadl),
            GuestMessage::RelidReleased { relid } => self.relid_released(relid),
            GuestMessage::Unload => self.unload(),
            GuestMessage::ModifyChannel(modify) => self.modify(&modify),
            GuestMessage::SocketConnect(connect) => self.socket_connect(&connect),
        }
    }

    /// Looks at the time limits; true while there are any.
    fn tick(&mut self, now: Instant) -> bool {
        let mut late = Vec::new();
        let mut any = self.connection.is_resetting();
        for (relid, channel) in &self.channels {
            let Some(serving) = &channel.serving else {
                continue;
            };
            let Some(since) = serving.stopping else {
                continue;
            };
            if serving.control.is_abandoned() {
                continue;
            }
            any = true;
            if now.duration_since(since) >= CLOSE_LIMIT {
                late.push(*relid);
            }
        }
        for relid in late {
            self.abandon(relid);
        }
        any
    }

    /// Sends a message to the guest.
    pub(super) fn post(&mut self, message: &HostMessage) {
        let vp = self.connection.message_vp();
        self.post_to(vp, message);
    }

    /// Sends a message to a processor of the guest.
    pub(super) fn post_to(&mut self, vp: u32, message: &HostMessage) {
        let kind = message.message_type();
        tracing::debug!("to guest: {message:?}");
        self.shared.messages_out.count(kind);
        let bytes = encode(message);
        if let Err(error) = self
            .shared
            .hypervisor
            .post_message(vp, MESSAGE_SINT, bytes.as_bytes())
        {
            self.shared.counters.undelivered.inc();
            complain!(self, "{kind} can't be delivered to processor {vp}: {error}");
        }
    }

    /// Counts and logs what the guest should not have asked for.
    pub(super) fn refuse(&mut self, what: std::fmt::Arguments<'_>) {
        self.shared.counters.refused.inc();
        self.complaints.say(what);
    }

    /// A channel that the guest may name.
    pub(super) fn channel(&mut self, relid: Relid) -> Option<&mut ChannelEntry> {
        self.channels
            .get_mut(&relid)
            .filter(|channel| !channel.released)
    }

    /// True while a channel of the device is being served.
    pub(super) fn is_served(&self, device: &Arc<DeviceEntry>) -> bool {
        self.channels
            .values()
            .any(|channel| Arc::ptr_eq(&channel.device, device) && channel.serving.is_some())
    }
}

/// The kind of a message, for log lines.
pub(super) fn kind(message: &GuestMessage) -> vmbus_wire::message::MessageType {
    use vmbus_wire::message::MessageType as Type;
    match message {
        GuestMessage::InitiateContact(_) => Type::INITIATE_CONTACT,
        GuestMessage::RequestOffers => Type::REQUEST_OFFERS,
        GuestMessage::Open(_) => Type::OPEN_CHANNEL,
        GuestMessage::Close { .. } => Type::CLOSE_CHANNEL,
        GuestMessage::GpadlHeader(_) => Type::GPADL_HEADER,
        GuestMessage::GpadlBody(_) => Type::GPADL_BODY,
        GuestMessage::GpadlTeardown { .. } => Type::GPADL_TEARDOWN,
        GuestMessage::RelidReleased { .. } => Type::RELID_RELEASED,
        GuestMessage::Unload => Type::UNLOAD,
        GuestMessage::ModifyChannel(_) => Type::MODIFY_CHANNEL,
        GuestMessage::SocketConnect(_) => Type::TL_CONNECT_REQUEST,
    }
}
