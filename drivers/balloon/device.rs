// SPDX-License-Identifier: GPL-2.0

//! The device: bound, talking, gone.

use balloon_wire::{
    guest::{Capabilities, IntoBytes},
    message::{HotAddRequest, Information},
    session::{Session, State, Step},
    HostMessage,
};
use kernel::{
    device::Core,
    new_delayed_work, new_mutex, new_work,
    prelude::*,
    sync::{Arc, Mutex},
    workqueue::{DelayedWork, Work},
};
use kernel_ext::{
    atomic::{Acquire, Atomic, Relaxed, Release},
    bus::Driver,
    compat, mm,
    notifier::MemoryNotifier,
    wait::Completion,
    workqueue::{cancel_delayed_sync, cancel_sync, Flags, Queue},
};
use vmbus::{device_id::IdTable, Channel, Handler, Open, OpenConfig, SendError, Vmbus};
use vmbus_wire::packet::{OutPacket, Packet, PacketBody};

use crate::{
    debug,
    hot_add::{Added, Watch},
    module_parameters, report,
    stats::Stats,
};

/// Bytes of each ring, its control page included (that of the C driver: 16 KiB for packets).
const RING_BYTES: usize = 20 << 10;
/// Bytes of the longest packet: a message and what the ring adds to it, generously.
const PACKET_BYTES: usize = 2 * balloon_wire::MAX_MESSAGE_BYTES;
/// Milliseconds for the host to agree on version and capabilities.
const READY_WAIT_MS: u32 = 10_000;
/// How often, and each time for how many milliseconds, an answer waits for room in the ring.
const ROOM_WAITS: u32 = 100;
const ROOM_WAIT_MS: u32 = 100;

/// What the channel, the workers and debugfs share.
#[pin_data]
pub(crate) struct Shared {
    #[pin]
    pub(crate) session: Mutex<Session>,
    /// The pages that the host has.
    #[pin]
    pub(crate) pages: Mutex<mm::Balloon>,
    #[pin]
    pub(crate) added: Added,
    pub(crate) stats: Stats,
    /// Pages of the balloon request that is being served.
    pub(crate) wanted: Atomic<u32>,
    /// The hot-add request that is being served.
    #[pin]
    pub(crate) hot_add_request: Mutex<Option<HotAddRequest>>,
    /// The channel while it is open.
    #[pin]
    channel: Mutex<Option<Arc<Channel>>>,
    /// Most pages the guest will ever have; 0 if the host didn't say.
    max_pages: Atomic<u64>,
    stopping: Atomic<u32>,
    /// Version and capabilities are settled, for better or worse.
    #[pin]
    settled: Completion,
    /// There is room in the ring.
    #[pin]
    room: Completion,
    /// Where the work below runs. All of it is over before the last reference goes, so that none of
    /// it ever drops its own queue.
    pub(crate) queue: Queue,
    #[pin]
    pub(crate) inflate: Work<Shared, { Shared::INFLATE }>,
    #[pin]
    pub(crate) hot_add: Work<Shared, { Shared::HOT_ADD }>,
    #[pin]
    pub(crate) report: DelayedWork<Shared, { Shared::REPORT }>,
}

impl Shared {
    pub(crate) const INFLATE: u64 = 0;
    pub(crate) const HOT_ADD: u64 = 1;
    pub(crate) const REPORT: u64 = 2;

    fn new() -> Result<Arc<Self>> {
        let capabilities = Capabilities::new(mm::hot_add_unit());
        let queue = Queue::new(c"vmbus_balloon", Flags::UNBOUND, 0)?;
        Arc::pin_init(
            pin_init!(Self {
                session <- new_mutex!(Session::new(capabilities), "vmbus_balloon_session"),
                pages <- new_mutex!(mm::Balloon::new(), "vmbus_balloon_pages"),
                added <- Added::new(),
                stats: Stats::new(),
                wanted: Atomic::new(0),
                hot_add_request <- new_mutex!(None, "vmbus_balloon_hot_add_request"),
                channel <- new_mutex!(None, "vmbus_balloon_channel"),
                max_pages: Atomic::new(0),
                stopping: Atomic::new(0),
                settled <- Completion::new(),
                room <- Completion::new(),
                queue,
                inflate <- new_work!("vmbus_balloon_inflate"),
                hot_add <- new_work!("vmbus_balloon_hot_add"),
                report <- new_delayed_work!("vmbus_balloon_report"),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether the device is going: long work ends early.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire) != 0
    }

    /// Most pages the guest will ever have; 0 if the host didn't say.
    pub(crate) fn max_pages(&self) -> u64 {
        self.max_pages.load(Relaxed)
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    pub(crate) fn send(&self, message: &[u8]) -> core::result::Result<(), SendError> {
        let channel = self.channel.lock().clone().ok_or(SendError::Gone)?;
        channel.send(&OutPacket::in_band(0, &[message]))
    }

    /// Sends a message that the host waits for; waits for room, up to ten seconds. May sleep.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    pub(crate) fn send_patiently(&self, message: &[u8]) -> core::result::Result<(), SendError> {
        let mut waits = 0;
        loop {
            match self.send(message) {
                Err(SendError::Full) if waits < ROOM_WAITS && !self.is_stopping() => {
                    waits += 1;
                    // Without a word of the host the ring is looked at all the same.
                    let _ = self.room.wait_timeout_ms(ROOM_WAIT_MS);
                }
                result => return result,
            }
        }
    }

    /// Does what a message of the host asks for.
    fn take_step(self: &Arc<Self>, channel: &Channel, step: Step<'_>) {
        let sent = match step {
            Step::AskVersion(request) => self.send(request.as_bytes()),
            Step::ReportCapabilities(report) => self.send(report.as_bytes()),
            Step::Ready | Step::Fail(_) => {
                self.settled.complete_all();
                Ok(())
            }
            Step::Inflate { pages } => {
                self.start_giving(pages);
                Ok(())
            }
            Step::Deflate { ranges, answer } => {
                self.take_back(channel, ranges, answer);
                Ok(())
            }
            Step::HotAdd(request) => {
                self.start_hot_add(request);
                Ok(())
            }
            Step::Note(Information::MaxPages(pages)) => {
                self.max_pages.store(pages, Relaxed);
                Ok(())
            }
            // Hosts may tell more than is known today.
            Step::Note(Information::Other(_)) => Ok(()),
        };
        if sent.is_err() {
            self.stats.errors.inc();
            self.settled.complete_all();
        }
    }
}

/// What the channel calls.
struct Port(Arc<Shared>);

impl Handler for Port {
    fn packet(&self, channel: &Channel, packet: Packet<'_>) {
        let shared = &self.0;
        let bad = |what: kernel::fmt::Arguments<'_>| {
            shared.stats.errors.inc();
            channel.bad_packet(what);
        };
        if !matches!(packet.body, PacketBody::InBand) {
            return bad(format_args!("not an in-band packet"));
        }
        let message = match HostMessage::parse(packet.payload) {
            Ok(message) => message,
            Err(error) => return bad(format_args!("{error}")),
        };
        let step = shared.session.lock().receive(message);
        match step {
            Ok(step) => shared.take_step(channel, step),
            Err(error) => bad(format_args!("{error}")),
        }
    }

    fn writable(&self, _channel: &Channel) {
        self.0.room.complete();
    }

    fn failed(&self, _channel: &Channel) {
        self.0.settled.complete_all();
        self.0.room.complete();
    }
}

/// A bound device. Dropping it ends what is going on, closes the channel and gives the guest its
/// pages back, in this order.
pub(crate) struct Balloon {
    shared: Arc<Shared>,
    /// Taken when dropping.
    open: Option<Open>,
    /// Gone before everything else: they look at the rest.
    file: Option<debug::File>,
    watch: Option<MemoryNotifier<Watch>>,
}

impl Balloon {
    fn bind(dev: &vmbus::Device<Core<'_>>) -> Result<Self> {
        let offered = dev.payload().claim()?;
        let shared = Shared::new()?;
        let config = OpenConfig::new(RING_BYTES, PACKET_BYTES);
        let open = offered.open(&config, Arc::new(Port(shared.clone()), GFP_KERNEL)?)?;
        *shared.channel.lock() = Some(open.channel().clone());
        // From here on dropping undoes it all.
        let mut this = Self {
            shared,
            open: Some(open),
            file: None,
            watch: None,
        };
        this.negotiate()?;
        this.file = Some(debug::file(dev.name(), this.shared.clone())?);
        this.watch = Some(Watch::start(this.shared.clone())?);
        report::start(
            &this.shared,
            compat::param(module_parameters::pressure_report_delay.value()),
        );
        Ok(this)
    }

    /// Comes to terms with the host.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the host doesn't answer, `EPROTO` if there is no agreement.
    fn negotiate(&self) -> Result {
        let shared = &self.shared;
        let open = self.open.as_ref().ok_or(ENODEV)?;
        let step = shared.session.lock().start();
        shared.take_step(open, step);
        shared.settled.wait_timeout_ms(READY_WAIT_MS)?;
        let session = shared.session.lock();
        match (session.state(), session.version()) {
            (State::Failed(refusal), _) => {
                pr_err!("{}\n", format_args!("{refusal}"));
                Err(compat::protocol_error())
            }
            (_, Some(version)) if session.is_ready() => {
                pr_info!("protocol {}\n", format_args!("{version}"));
                Ok(())
            }
            _ => Err(compat::protocol_error()),
        }
    }

    /// No more reports, and what takes long ends soon.
    fn quiesce(&self) {
        self.shared.stopping.store(1, Release);
        cancel_delayed_sync::<_, { Shared::REPORT }>(&self.shared);
    }
}

impl Driver<Vmbus> for Balloon {
    const INFO: &'static IdTable = &crate::IDS;

    fn probe(dev: &vmbus::Device<Core<'_>>) -> impl PinInit<Self, Error> {
        Self::bind(dev)
    }

    fn shutdown(_dev: &vmbus::Device<Core<'_>>, this: Pin<&Self>) {
        this.quiesce();
    }
}

impl Drop for Balloon {
    fn drop(&mut self) {
        let shared = self.shared.clone();
        drop(self.file.take());
        drop(self.watch.take());
        self.quiesce();
        // The channel's handler holds the shared part, which holds the channel.
        drop(shared.channel.lock().take());
        drop(self.open.take());
        // Nothing is queued any more, for no message comes in.
        cancel_sync::<_, { Shared::INFLATE }>(&shared);
        cancel_sync::<_, { Shared::HOT_ADD }>(&shared);
        let mut pages = shared.pages.lock();
        let count = pages.count();
        if count != 0 && compat::param::<u8, _>(module_parameters::keep_ballooned.value()) != 0 {
            pages.leak();
            pr_warn!("{count} pages that the host has are not used again\n");
        } else if count != 0 {
            pr_info!("{count} pages are taken back from the host\n");
            *pages = mm::Balloon::new();
        }
    }
}
