// SPDX-License-Identifier: GPL-2.0

//! The connection to the host: version negotiation, messages in both directions, leaving the bus.
//!
//! There is one connection at a time. It is made when the ACPI device is probed and taken down
//! when that device is unbound, on kexec or in a crash.

use kernel::{
    debugfs, device, impl_has_work, new_work,
    prelude::*,
    sync::{aref::ARef, Arc},
    time::{delay::fsleep, Delta},
    workqueue::Work,
};
use kernel_ext::{
    atomic::{Acquire, Atomic, Full, Relaxed, Release},
    cpuhp::PerCpu,
    hyperv::{HvError, Hypervisor},
    pages::{PageList, SharedBuffer},
    workqueue::{Flags, Queue},
};
use vmbus_wire::{
    message::{guest, InitiateContact, MonitorPages, VersionResponse},
    monitor::MonitorId,
    slot::HVMSG_CHANNEL,
    version::FeatureFlags,
    waiting::{self, Answer, Key},
    HostMessage, OutMessage, ProtocolVersion, Relid, HV_PAGE_SIZE,
};

use crate::{
    control::{Outcome, Table},
    interrupt::Cpu,
    offers::Offers,
    relids::Relids,
    stats::Counter,
};

/// Milliseconds to wait for the host's verdict on a version. A host that is
/// alive answers within milliseconds.
const VERSION_WAIT_MS: u32 = 10_000;

/// Milliseconds to wait for all offers after asking for them. Modules that depend on this one give up
/// after 30 s (`kernel/module/main.c`); later offers are welcome all the same.
const OFFERS_WAIT_MS: u32 = 20_000;

/// Milliseconds to wait for the host to let go of the guest. Hosts write back disk caches before
/// they answer: 50 s were observed on Azure (`drivers/hv/channel_mgmt.c`), so allow twice that.
const UNLOAD_WAIT_MS: u32 = 100_000;

/// The same for hosts that may not answer at all.
const OLD_UNLOAD_WAIT_MS: u32 = 5_000;

/// Tries to post a message before the host counts as gone; with the pauses below about 3 s.
const POST_TRIES: u32 = 60;

/// The CPU that receives messages for the whole connection. The host can't be told of another one
/// later, so it stays on line.
pub(crate) const CONNECT_CPU: u32 = 0;

/// Pages that the host is told of at first contact.
pub(crate) mod page {
    /// Monitor triggers of the host.
    pub(crate) const TO_GUEST: usize = 0;
    /// Monitor triggers of the guest.
    pub(crate) const TO_HOST: usize = 1;
    /// A bit a channel in each direction.
    pub(crate) const INTERRUPT: usize = 2;
    /// How many there are.
    pub(crate) const COUNT: usize = 3;
}

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum State {
    /// Negotiating a version.
    Connecting = 0,
    /// Offers and channels are welcome.
    Connected = 1,
    /// Devices are being removed.
    Closing = 2,
    /// The host has been told to forget the guest.
    Disconnected = 3,
}

impl State {
    fn from_number(number: u32) -> Self {
        match number {
            0 => State::Connecting,
            1 => State::Connected,
            2 => State::Closing,
            _ => State::Disconnected,
        }
    }

    /// The word for it in debugfs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Connected => "connected",
            State::Closing => "closing",
            State::Disconnected => "disconnected",
        }
    }
}

/// Counters of the connection as a whole.
pub(crate) struct Stats {
    /// Messages taken from the message pages.
    pub(crate) messages_in: Counter,
    /// Messages posted.
    pub(crate) messages_out: Counter,
    /// Times that messages were looked for because an answer was late.
    pub(crate) looks: Counter,
    /// Posts that had to be repeated because the host was short of buffers.
    pub(crate) post_retries: Counter,
    /// Messages and packets that broke the protocol.
    pub(crate) protocol_errors: Counter,
    /// Offers accepted.
    pub(crate) offers: Counter,
    /// Rescinds carried out.
    pub(crate) rescinds: Counter,
    /// Shared buffers given up because the host didn't confirm that it let go of them.
    pub(crate) gpadls_leaked: Counter,
    /// Event flags of channels that nobody has open.
    pub(crate) stray_events: Counter,
}

impl Stats {
    const fn new() -> Self {
        Self {
            messages_in: Counter::new(),
            messages_out: Counter::new(),
            looks: Counter::new(),
            post_retries: Counter::new(),
            protocol_errors: Counter::new(),
            offers: Counter::new(),
            rescinds: Counter::new(),
            gpadls_leaked: Counter::new(),
            stray_events: Counter::new(),
        }
    }
}

/// The guest's end of the bus.
#[pin_data]
pub(crate) struct Connection {
    pub(crate) hypervisor: Hypervisor,
    version: Atomic<u32>,
    connection_id: Atomic<u32>,
    state: Atomic<u32>,
    /// What the host is told of at first contact, see [`page`].
    pub(crate) shared: SharedBuffer,
    /// 1 once the host has confirmed UNLOAD.
    unloaded: Atomic<u32>,
    #[pin]
    pub(crate) control: Table,
    pub(crate) relids: Relids,
    pub(crate) cpus: PerCpu<Arc<Cpu>>,
    /// Runs the message path, on the CPU whose page holds the message.
    pub(crate) messages: Queue,
    /// Runs the handlers of channels, on their target CPU.
    pub(crate) packets: Queue,
    /// `/sys/kernel/debug/vmbus`.
    pub(crate) debug: debugfs::Dir,
    #[pin]
    pub(crate) offers: Offers,
    /// Runs [`Offers`]' tasks.
    #[pin]
    work: Work<Connection>,
    next_gpadl: Atomic<u32>,
    next_open: Atomic<u32>,
    pub(crate) stats: Stats,
}

impl Connection {
    /// A connection that hasn't spoken to the host yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(hypervisor: Hypervisor, parent: ARef<device::Device>) -> Result<Arc<Self>> {
        // Disks hang on both, so neither may wait for memory.
        let flags = Flags::PER_CPU | Flags::HIGHPRI | Flags::MEM_RECLAIM;
        let messages = Queue::new(c"vmbus_messages", flags, 0)?;
        let packets = Queue::new(c"vmbus_packets", flags, 0)?;
        let shared = SharedBuffer::new(PageList::new(page::COUNT)?)?;
        let cpus = PerCpu::new(|cpu| Cpu::new(hypervisor, cpu))?;
        let relids = Relids::new()?;
        Arc::pin_init(
            try_pin_init!(Self {
                hypervisor,
                version: Atomic::new(0),
                connection_id: Atomic::new(0),
                state: Atomic::new(State::Connecting as u32),
                shared,
                unloaded: Atomic::new(0),
                control <- Table::new(),
                relids,
                cpus,
                messages,
                packets,
                debug: debugfs::Dir::new(c"vmbus"),
                offers <- Offers::new(parent),
                work <- new_work!("vmbus_offers"),
                // The C driver starts here too, which makes ids easy to spot in a host's log.
                next_gpadl: Atomic::new(0xe1e10),
                next_open: Atomic::new(1),
                stats: Stats::new(),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// The version in force; meaningful once connected.
    pub(crate) fn version(&self) -> ProtocolVersion {
        ProtocolVersion::from_wire(self.version.load(Relaxed))
    }

    /// The hypervisor connection that messages go to.
    pub(crate) fn connection_id(&self) -> u32 {
        self.connection_id.load(Relaxed)
    }

    /// Where the connection stands.
    pub(crate) fn state(&self) -> State {
        State::from_number(self.state.load(Acquire))
    }

    /// Changes the state and returns the one before.
    pub(crate) fn swap_state(&self, state: State) -> State {
        State::from_number(self.state.xchg(state as u32, Full))
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state as u32, Release);
    }

    /// CPUs whose SynIC is on.
    pub(crate) fn enabled_cpus(&self) -> usize {
        self.cpus
            .iter()
            .filter(|(_, cpu)| cpu.synic.is_enabled())
            .count()
    }

    /// Where the host finds a shared page.
    fn shared_address(&self, page: usize) -> Result<u64> {
        let page = self.shared.pages().page(page).ok_or(EINVAL)?;
        Ok(page.pfn() * u64::from(HV_PAGE_SIZE))
    }

    /// A word of shared page `page`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an offset outside of the page.
    pub(crate) fn monitor_u32(&self, page: usize, offset: usize) -> Result<u32> {
        let at = page * HV_PAGE_SIZE as usize + offset;
        let word = self.shared.window().word32(at).map_err(|_| EINVAL)?;
        Ok(word.load(Relaxed))
    }

    /// Sets a trigger in the page that the hypervisor looks at. Any context.
    pub(crate) fn trigger_monitor(&self, id: MonitorId) {
        let at = page::TO_HOST * HV_PAGE_SIZE as usize + id.pending_offset();
        // Inside of the page for every `MonitorId`.
        let _ = self
            .shared
            .window()
            .set_bit(at * 8 + id.mask().trailing_zeros() as usize);
    }

    /// Says in the interrupt page which channel a signal is for, where the signal itself doesn't. Any
    /// context.
    pub(crate) fn set_interrupt_bit(&self, relid: Relid) {
        // The second half of the page is the guest's.
        let at = page::INTERRUPT * HV_PAGE_SIZE as usize + HV_PAGE_SIZE as usize / 2;
        // Inside of the page for every `Relid`.
        let _ = self.shared.window().set_bit(at * 8 + relid.index());
    }

    /// A page-list id that no other list of this connection has.
    pub(crate) fn new_gpadl_id(&self) -> u32 {
        match self.next_gpadl.fetch_add(1, Relaxed) {
            // 0 means "none" to hosts.
            0 => self.next_gpadl.fetch_add(1, Relaxed),
            id => id,
        }
    }

    /// An id for an open request, so that a late answer to an earlier one isn't taken for its own.
    pub(crate) fn new_open_id(&self) -> u32 {
        self.next_open.fetch_add(1, Relaxed)
    }

    /// Posts a message, with pauses while the host has no room. Process context.
    ///
    /// # Errors
    ///
    /// `ENXIO` when the host has no such connection, `EAGAIN` when it had no room for three
    /// seconds, `EIO` for everything else.
    pub(crate) fn post(&self, message: &OutMessage) -> Result {
        self.post_to(self.connection_id(), message, |try_number| {
            // Most hosts have room at the next try; later tries wait longer.
            let pause = if try_number < 10 { 1 } else { 50 };
            fsleep(Delta::from_millis(pause));
        })
    }

    /// [`Connection::post`] for a crashing kernel: no sleeping, `pause` spins.
    pub(crate) fn post_to(
        &self,
        connection_id: u32,
        message: &OutMessage,
        mut pause: impl FnMut(u32),
    ) -> Result {
        let contact = message.message_type() == vmbus_wire::message::MessageType::INITIATE_CONTACT;
        for try_number in 0..POST_TRIES {
            match self
                .hypervisor
                .post_message(connection_id, HVMSG_CHANNEL, message.as_bytes())
            {
                Ok(()) => {
                    self.stats.messages_out.inc();
                    return Ok(());
                }
                // Hosts before protocol 5.0 have no connection 4: ask for less, don't try again.
                Err(HvError::InvalidConnectionId) if contact => return Err(ENXIO),
                // Hyper-V also says so when messages come too fast.
                Err(
                    HvError::InvalidConnectionId
                    | HvError::InsufficientBuffers
                    | HvError::InsufficientMemory,
                ) => {
                    self.stats.post_retries.inc();
                    pause(try_number);
                }
                Err(error) => {
                    kernel_ext::log_warn_limited!(
                        "host refused {}: {error:?}\n",
                        message.message_type()
                    );
                    return Err(EIO);
                }
            }
        }
        Err(EAGAIN)
    }

    /// Agrees on the newest version that both sides know, `newest` at most.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` when the host doesn't answer, `EPROTONOSUPPORT` when it knows no version that
    /// this driver offers, and those of [`Connection::post`].
    pub(crate) fn negotiate(&self, newest: ProtocolVersion) -> Result {
        // `EPERM`: nothing went wrong yet.
        let mut last = EPERM;
        for version in ProtocolVersion::OFFERED {
            if version > newest {
                continue;
            }
            match self.contact(version) {
                Ok(Some(response)) => {
                    let id = response
                        .connection_id
                        .filter(|_| version.has_connection_id())
                        .unwrap_or(version.contact_connection_id());
                    self.version.store(version.to_wire(), Relaxed);
                    self.connection_id.store(id, Relaxed);
                    self.set_state(State::Connected);
                    kernel_ext::log_info!(
                        "connected, protocol {}, connection id {}, {} CPUs\n",
                        version,
                        id,
                        self.enabled_cpus()
                    );
                    return Ok(());
                }
                // Refused.
                Ok(None) => {}
                // Asking again would only take as long again.
                Err(error) if error == ETIMEDOUT => return Err(error),
                // A host too old for this version's connection, perhaps.
                Err(error) if error == ENXIO => {}
                Err(error) => last = error,
            }
        }
        if last != EPERM {
            return Err(last);
        }
        // `EPROTONOSUPPORT`, which the kernel crate doesn't name.
        Err(Error::from_errno(
            -(kernel::bindings::EPROTONOSUPPORT as i32),
        ))
    }

    /// Asks for one version; `None` when the host refuses it.
    fn contact(&self, version: ProtocolVersion) -> Result<Option<VersionResponse>> {
        let request = self.control.expect(Key::Version)?;
        let target_vp = self.hypervisor.vp_index(CONNECT_CPU).ok_or(ENODEV)?;
        let message = InitiateContact {
            version,
            target_vp,
            interrupt_page: self.shared_address(page::INTERRUPT)?,
            trust_level: 0,
            features: FeatureFlags::NONE,
            monitor_pages: Some(MonitorPages {
                to_guest: self.shared_address(page::TO_GUEST)?,
                to_host: self.shared_address(page::TO_HOST)?,
            }),
        };
        self.post_to(version.contact_connection_id(), &message.message(), |_| {
            fsleep(Delta::from_millis(5))
        })?;
        match request.wait(VERSION_WAIT_MS) {
            Outcome::Answered(Answer::Version(response)) if response.state != 0 => {
                // It knows the version, but has no resources or another trouble.
                kernel_ext::log_err!(
                    "the host refused the connection, state {}\n",
                    response.state
                );
                Err(EIO)
            }
            Outcome::Answered(Answer::Version(response)) => {
                Ok(response.supported.then_some(response))
            }
            Outcome::Answered(_) | Outcome::Rescinded => Err(EIO),
            Outcome::TimedOut => {
                kernel_ext::log_err!("the host didn't answer the request for protocol {version}\n");
                // It may do so later, and write to the pages that it was told of.
                self.shared.pages().leak();
                Err(ETIMEDOUT)
            }
        }
    }

    /// Asks for the offers and waits until the host says that these were all.
    ///
    /// # Errors
    ///
    /// Those of [`Connection::post`]. A host that never says "all" costs a warning, not the bus.
    pub(crate) fn request_offers(&self) -> Result {
        let request = self.control.expect(Key::Offers)?;
        self.post(&guest::request_offers())?;
        if request.wait(OFFERS_WAIT_MS) == Outcome::TimedOut {
            kernel_ext::log_warn!("the host didn't finish its offers; going on with what came\n");
        }
        self.offers.flush();
        Ok(())
    }

    /// Takes one message from the host. Process context.
    pub(crate) fn receive(self: &Arc<Self>, payload: &[u8]) {
        self.stats.messages_in.inc();
        let message = match HostMessage::parse(payload) {
            Ok(message) => message,
            Err(error) => return self.protocol_error(format_args!("{error}")),
        };
        match message {
            HostMessage::Offer(offer) => return self.offers.offered(self, offer),
            HostMessage::Rescind { relid } => return self.rescinded(relid),
            // In a crash nobody waits in the table.
            HostMessage::UnloadComplete => self.unloaded.store(1, Release),
            _ => {}
        }
        let expected = match waiting::answer(&message) {
            Some((key, answer)) => self.control.answer(&key, answer),
            None => false,
        };
        if !expected && self.state() != State::Disconnected {
            self.protocol_error(format_args!(
                "{} that nobody waits for",
                message.message_type()
            ));
        }
    }

    /// The host withdraws a channel.
    fn rescinded(self: &Arc<Self>, relid: Relid) {
        let Some(core) = self.relids.get(relid) else {
            return self.protocol_error(format_args!(
                "rescind of channel {relid}, which isn't offered"
            ));
        };
        if !core.mark_rescinded() {
            return self.protocol_error(format_args!("channel {relid} rescinded twice"));
        }
        // At once, so that nobody waits for an answer that won't come; the rest is queued.
        self.control.rescind(relid);
        self.offers.rescinded(self, core);
    }

    /// Counts a breach of the protocol and says so, now and then.
    pub(crate) fn protocol_error(&self, what: kernel::fmt::Arguments<'_>) {
        self.stats.protocol_errors.inc();
        kernel_ext::log_warn_limited!("protocol error: {}\n", what);
    }

    /// Forgets a confirmation that came before it was asked for.
    pub(crate) fn expect_unload(&self) {
        self.unloaded.store(0, Release);
    }

    /// Whether the host has confirmed UNLOAD.
    pub(crate) fn is_unloaded(&self) -> bool {
        self.unloaded.load(Acquire) != 0
    }

    /// Tells the host that the guest leaves and waits until it has let go. Process context.
    ///
    /// Whatever the host still maps after a time-out is its to write to, so the caller must not
    /// free it.
    pub(crate) fn unload(&self) -> Outcome<()> {
        if !self.begin_unload() {
            return Outcome::Answered(());
        }
        let request = match self.control.expect(Key::Unload) {
            Ok(request) => request,
            Err(_) => return Outcome::TimedOut,
        };
        if self.post(&guest::unload()).is_err() {
            return Outcome::TimedOut;
        }
        // Hosts before 8.1 don't take a guest back either way (`drivers/hv/channel_mgmt.c`).
        let patience = if self.version().has_message_target() {
            UNLOAD_WAIT_MS
        } else {
            OLD_UNLOAD_WAIT_MS
        };
        match request.wait(patience) {
            Outcome::Answered(_) | Outcome::Rescinded => Outcome::Answered(()),
            Outcome::TimedOut => {
                kernel_ext::log_err!("the host didn't confirm UNLOAD\n");
                Outcome::TimedOut
            }
        }
    }
}

impl_has_work! {
    impl HasWork<Self> for Connection { self.work }
}
