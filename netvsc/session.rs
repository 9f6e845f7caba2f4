// SPDX-License-Identifier: GPL-2.0

//! A session with the host: from the channel's opening to its close. Changing the MTU takes a new one.

use kernel::{
    prelude::*,
    sync::{Arc, Mutex},
};
use kernel_ext::{
    atomic::{Atomic, Relaxed},
    compat::{self, protocol_error},
    cpuhp,
    pages::{PageList, SharedBuffer},
    rcu,
    wait::Completion,
};
use net::{Dev, Napi};
use netvsc_wire::{
    nvsp::{
        Capabilities, NdisConfig, Section, SharedBuffer as Buffer, RECEIVE_BUFFER_ID,
        SEND_BUFFER_ID,
    },
    oid::{word, Oid},
    rndis::{self, GuestControl, HostControl, Initialize},
    GuestMessage, HostMessage, Version, ETHERNET_HEADER_BYTES,
};
use vmbus::{
    gpadl::{Gpadl, Teardown},
    Channel, Offered, Open, OpenConfig,
};
use vmbus_wire::packet::OutPacket;

use crate::{
    batch::SendSections,
    control::Control,
    module_parameters,
    nic::Nic,
    offload::Agreed,
    queue::{Listener, Queue},
    receive::ReceiveBuffer,
};

/// Bytes of the longest packet of a host: one with 562 ranges, in which a segment comes in parts.
const PACKET_BYTES: usize = 8192;

/// KiB of a ring, from and to.
const RING_KIB: (u32, u32) = (64, 8192);

/// Most channels of a NIC (`VRSS_CHANNEL_MAX`).
pub(crate) const MAX_CHANNELS: u16 = 64;

/// Channels unless somebody asks for more (`VRSS_CHANNEL_DEFAULT`).
const CHANNELS: u32 = 16;

/// Most frames of a packet, whatever the host takes.
const MOST_IN_PACKET: u32 = 64;

/// What a session begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Bytes of the longest frame, without the Ethernet header.
    pub(crate) mtu: u32,
    /// Channels, at most as many as the device has queues.
    pub(crate) channels: u32,
    /// Bytes of the receive buffer.
    pub(crate) receive_bytes: usize,
    /// Bytes of the send buffer.
    pub(crate) send_bytes: usize,
}

impl Settings {
    /// Most bytes of the send buffer (`NETVSC_SEND_BUFFER_SIZE_MAX`).
    pub(crate) const MOST_SEND_BYTES: usize = 15 << 20;

    /// Those to begin with: 16 MiB and 1 MiB, as `NETVSC_RECEIVE_BUFFER_DEFAULT` and
    /// `NETVSC_SEND_BUFFER_DEFAULT`.
    pub(crate) const fn new(mtu: u32, channels: u32) -> Self {
        Self {
            mtu,
            channels,
            receive_bytes: 16 << 20,
            send_bytes: 1 << 20,
        }
    }
}

/// How a buffer is divided.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Division {
    /// Bytes of a section.
    pub(crate) section_bytes: u32,
    /// Sections; 0: the host doesn't use the buffer.
    pub(crate) sections: u32,
}

impl Division {
    /// Bytes of whole pages that have room for so many sections; `now` if that is what there is.
    pub(crate) fn bytes_for(&self, sections: u32, now: usize) -> usize {
        if sections == self.sections {
            return now;
        }
        // A few at least, or nothing moves (`NETVSC_MIN_RX_SECTIONS`).
        let bytes = sections.max(10).saturating_mul(self.section_bytes) as usize;
        bytes.next_multiple_of(4096)
    }
}

/// Memory that the host uses, too.
pub(crate) struct Shared {
    pub(crate) buffer: Arc<SharedBuffer>,
    pub(crate) gpadl: Gpadl,
}

/// What has to be given back.
struct Links {
    primary: Option<Open>,
    subs: KVec<Open>,
    receive: Option<Shared>,
    send: Option<Shared>,
    /// What the host has asked for, for frames of queues.
    lent: Option<Shared>,
    receive_division: Division,
    send_division: Division,
}

mod channels;

/// A session.
#[pin_data]
pub(crate) struct Session {
    pub(crate) nic: Arc<Nic>,
    pub(crate) version: Version,
    pub(crate) settings: Settings,
    pub(crate) channel: Arc<Channel>,
    /// One for each channel that is wanted; that of the primary channel first.
    pub(crate) queues: KVec<Arc<Napi<Queue>>>,
    /// Bytes of the longest frame without Ethernet header, as the host says; 0: it doesn't.
    pub(crate) largest_frame: Atomic<u32>,
    /// Channels that flows are spread over.
    pub(crate) channels: Atomic<u32>,
    /// Channels that the host has granted, and entries of the table that spreads flows over them.
    granted: Atomic<u32>,
    entries: Atomic<u32>,
    /// All channels are in use that ever will.
    #[pin]
    settled: Completion,
    #[pin]
    links: Mutex<Links>,
}

/// How many channels a NIC may have.
pub(crate) fn most_channels() -> u16 {
    let asked: u32 = compat::param(module_parameters::channels.value());
    let cpus = cpuhp::online().count() as u32;
    let most = if asked == 0 { CHANNELS } else { asked };
    cpus.min(most).clamp(1, MAX_CHANNELS.into()) as u16
}

impl Session {
    /// Begins a session. Process context; takes a bounded time.
    ///
    /// # Errors
    ///
    /// Those of opening a channel, `ETIMEDOUT` when the host doesn't answer, `EPROTO` when there is no
    /// agreement, `EMSGSIZE` when the host takes no frames of that size.
    pub(crate) fn begin(nic: &Arc<Nic>, settings: &Settings) -> Result<(Arc<Self>, Agreed)> {
        for version in Version::OFFERED {
            let control = Arc::pin_init(Control::new(), GFP_KERNEL)?;
            drop(nic.control.replace(Some(control.clone())));
            let session = Self::open(nic, version, settings)?;
            let agreed = session.talk(&control);
            match agreed {
                Ok(Some(agreed)) => return Ok((session, agreed)),
                Ok(None) => session.end(),
                Err(error) => {
                    session.end();
                    return Err(error);
                }
            }
        }
        kernel_ext::log_err!("{}: the host speaks no version known here\n", nic.name());
        Err(protocol_error())
    }

    /// Opens the primary channel, for polling.
    fn open(nic: &Arc<Nic>, version: Version, settings: &Settings) -> Result<Arc<Self>> {
        let most = settings.channels.min(nic.device.queues().into()) as u16;
        let mut queues = KVec::with_capacity(most.into(), GFP_KERNEL)?;
        for number in 0..most {
            let queue = Queue::new(nic.clone(), number, version)?;
            let _ = queues.push_within_capacity(Napi::new(&nic.device, number, queue)?);
        }
        let first = queues.first().ok_or(EINVAL)?;
        let open = open(nic.dev.payload().claim()?, first)?;
        let channel = open.channel().clone();
        drop(first.channel.replace(Some(channel.clone())));
        first.enable();
        // What was signalled before polling was allowed.
        first.kick();
        Arc::pin_init(
            pin_init!(Self {
                nic: nic.clone(),
                version,
                settings: *settings,
                channel,
                queues,
                largest_frame: Atomic::new(0),
                channels: Atomic::new(1),
                granted: Atomic::new(1),
                entries: Atomic::new(0),
                settled <- Completion::new(),
                links <- kernel::new_mutex!(
                    Links {
                        primary: Some(open),
                        subs: KVec::new(),
                        receive: None,
                        send: None,
                        lent: None,
                        receive_division: Division::default(),
                        send_division: Division::default(),
                    },
                    "netvsc_links"
                ),
            }),
            GFP_KERNEL,
        )
    }

    /// Says what is said before the first frame; `None`: the host doesn't speak the version.
    fn talk(self: &Arc<Self>, control: &Control) -> Result<Option<Agreed>> {
        let version = self.version;
        let number = version.to_wire();
        let init = GuestMessage::Init {
            version: number,
            version2: number,
        };
        match self.ask(&init)? {
            HostMessage::InitComplete(complete) if complete.status.is_success() => {}
            HostMessage::InitComplete(_) => return Ok(None),
            _ => return Err(protocol_error()),
        }
        if version.has_ndis_config() {
            let mut capabilities = Capabilities::IEEE8021Q;
            if version.has_subchannels() {
                capabilities = capabilities.with(Capabilities::TEAMING);
            }
            let vmq: u32 = compat::param(module_parameters::vmq.value());
            if version.has_vmq() && vmq != 0 {
                capabilities = capabilities.with(Capabilities::VMQ);
            }
            if version.has_rsc() {
                capabilities = capabilities.with(Capabilities::RSC);
            }
            self.tell(&GuestMessage::NdisConfig(NdisConfig {
                frame_bytes: self.settings.mtu.saturating_add(ETHERNET_HEADER_BYTES),
                capabilities,
            }))?;
        }
        self.tell(&GuestMessage::NdisVersion(version.ndis_version()))?;
        self.share_receive_buffer()?;
        self.share_send_buffer()?;

        let initialize = |request_id| {
            GuestControl::Initialize(Initialize {
                request_id,
                version: rndis::VERSION,
                max_transfer_bytes: rndis::MAX_TRANSFER_BYTES,
            })
        };
        let with = |answer: &HostControl<'_>| match answer {
            HostControl::InitializeComplete(complete) if complete.status.is_success() => {
                Ok(*complete)
            }
            _ => Err(protocol_error()),
        };
        let complete = control.ask_rndis(&self.channel, version, initialize, with)?;
        let alignment = complete.alignment().ok_or_else(protocol_error)?;
        for send in self.queues.iter().filter_map(|queue| queue.send.get()) {
            send.most
                .store(complete.max_packets.clamp(1, MOST_IN_PACKET), Relaxed);
            send.alignment.store(alignment, Relaxed);
        }
        self.check_frame_size()?;
        let agreed = self.agree_on_offloads()?;
        if version.has_subchannels() && self.queues.len() > 1 {
            self.ask_for_channels()?;
        }
        if self.granted() == 1 {
            self.settled.complete_all();
        }
        Ok(Some(agreed))
    }

    /// Makes sure that the host takes frames of the size that it was told: one that was told a size it
    /// doesn't like silently keeps another.
    fn check_frame_size(&self) -> Result {
        let number = |info: &[u8]| word(info).map_err(|_| EINVAL);
        // A host that doesn't say can't be checked.
        let Ok(most) = self.query(Oid::GEN_MAXIMUM_FRAME_SIZE, &[], number) else {
            return Ok(());
        };
        self.largest_frame.store(most, Relaxed);
        let mtu = self.settings.mtu;
        if most < mtu {
            kernel_ext::log_err!(
                "{}: the host takes frames of {most} bytes, not of {mtu}\n",
                self.nic.name()
            );
            return Err(EMSGSIZE);
        }
        Ok(())
    }

    fn share_receive_buffer(&self) -> Result {
        let most = self.version.max_receive_buffer_bytes() as usize;
        let bytes = self.settings.receive_bytes.min(most);
        let shared = share(&self.channel, bytes)?;
        let (buffer, gpadl) = (shared.buffer.clone(), shared.gpadl.id());
        self.links.lock().receive = Some(shared);
        let id = RECEIVE_BUFFER_ID;
        // From here on the host may use it, whatever it answers.
        let receive = Arc::new(ReceiveBuffer::new(buffer, id), GFP_KERNEL)?;
        for queue in &self.queues {
            drop(queue.receive.replace(Some(receive.clone())));
        }
        match self.ask(&GuestMessage::ReceiveBuffer(Buffer { gpadl, id }))? {
            HostMessage::ReceiveBufferComplete { status, sections } if status.is_success() => {
                let size = receive.buffer.size() as u64;
                let fits = |section: &&Section| section.fits(size);
                let section = sections.only().filter(fits).ok_or_else(protocol_error)?;
                self.links.lock().receive_division = Division {
                    section_bytes: section.piece_bytes,
                    sections: section.pieces,
                };
                Ok(())
            }
            _ => Err(protocol_error()),
        }
    }

    /// A host that refuses takes all frames from where they are.
    fn share_send_buffer(&self) -> Result {
        let shared = share(&self.channel, self.settings.send_bytes)?;
        let (buffer, gpadl) = (shared.buffer.clone(), shared.gpadl.id());
        self.links.lock().send = Some(shared);
        let id = SEND_BUFFER_ID;
        let section_bytes = match self.ask(&GuestMessage::SendBuffer(Buffer { gpadl, id }))? {
            HostMessage::SendBufferComplete {
                status,
                section_bytes,
            } if status.is_success() && section_bytes != 0 => section_bytes,
            HostMessage::SendBufferComplete { .. } => return Ok(()),
            _ => return Err(protocol_error()),
        };
        let sections = u32::try_from(buffer.size())? / section_bytes;
        self.links.lock().send_division = Division {
            section_bytes,
            sections,
        };
        let count = sections / self.queues.len().max(1) as u32;
        for (queue, number) in self.queues.iter().zip(0u32..) {
            let buffer = buffer.clone();
            let sections = SendSections {
                buffer,
                section_bytes,
                first: number.saturating_mul(count),
                count,
                most: Atomic::new(1),
                alignment: Atomic::new(8),
            };
            drop(queue.send.replace(Some(Arc::new(sections, GFP_KERNEL)?)));
        }
        Ok(())
    }

    /// How the receive buffer and the send buffer are divided.
    pub(crate) fn divisions(&self) -> (Division, Division) {
        let links = self.links.lock();
        (links.receive_division, links.send_division)
    }

    /// Whether the host has a buffer that it has asked for.
    pub(crate) fn has_lent(&self) -> bool {
        self.links.lock().lent.is_some()
    }

    /// Takes it out.
    pub(crate) fn take_lent(&self) -> Option<Shared> {
        self.links.lock().lent.take()
    }

    /// Keeps such a buffer to the end of the session.
    pub(crate) fn keep_lent(&self, shared: Shared) {
        self.links.lock().lent = Some(shared);
    }

    /// Asks with an NVSP message.
    pub(crate) fn ask(&self, message: &GuestMessage) -> Result<HostMessage> {
        let control = self.nic.control.get().ok_or(ENODEV)?;
        control.ask(&self.channel, self.version, message)
    }

    /// Says something that isn't answered.
    fn tell(&self, message: &GuestMessage) -> Result {
        let bytes = message.encode(self.version);
        let payload = [bytes.as_bytes()];
        Ok(self.channel.send(&OutPacket::in_band(0, &payload))?)
    }

    /// Asks for an object.
    pub(crate) fn query<R>(
        &self,
        oid: Oid,
        header: &[u8],
        with: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let control = self.nic.control.get().ok_or(ENODEV)?;
        control.query(&self.channel, self.version, oid, header, with)
    }

    /// Changes an object.
    pub(crate) fn set(&self, oid: Oid, info: &[u8]) -> Result {
        let control = self.nic.control.get().ok_or(ENODEV)?;
        control.set(&self.channel, self.version, oid, info)
    }

    /// So many queues are in use, of which the stack shows what polls them. Process context, under RTNL.
    ///
    /// # Errors
    ///
    /// Those of [`Dev::use_queues`].
    pub(crate) fn use_queues(&self, dev: &Dev, count: u16) -> Result {
        let used = dev.use_queues(count);
        for (number, queue) in self.queues.iter().enumerate() {
            queue.link(number < count.into());
        }
        used
    }

    /// Ends the session: the host is told, the channels are closed, memory comes back. Process
    /// context, under RTNL or while the device isn't registered, while nobody sends; takes a bounded time. The
    /// second time it does nothing.
    pub(crate) fn end(&self) {
        self.nic.dev.payload().watch_subchannels(None);
        self.settled.complete_all();
        if let Some(control) = self.nic.control.get() {
            if !self.channel.is_rescinded() {
                let halt = GuestControl::Halt { request_id: 0 };
                let _ = control.tell_rndis(&self.channel, self.version, &halt);
                let id = RECEIVE_BUFFER_ID;
                let _ = self.tell(&GuestMessage::RevokeReceiveBuffer { id });
                let id = SEND_BUFFER_ID;
                let _ = self.tell(&GuestMessage::RevokeSendBuffer { id });
            }
            control.abandon();
        }
        drop(self.nic.control.replace(None));
        let (primary, subs, buffers) = {
            let mut links = self.links.lock();
            let subs = core::mem::replace(&mut links.subs, KVec::new());
            (
                links.primary.take(),
                subs,
                [links.receive.take(), links.send.take(), links.lent.take()],
            )
        };
        for queue in &self.queues {
            queue.link(false);
            queue.disable();
        }
        rcu::clear(self.queues.iter().map(|queue| &queue.channel));
        rcu::clear(self.queues.iter().map(|queue| &queue.receive));
        rcu::clear(self.queues.iter().map(|queue| &queue.send));
        rcu::clear(self.queues.iter().map(|queue| &queue.lent_buffer));
        drop(subs);
        drop(primary);
        for shared in buffers.into_iter().flatten() {
            match shared.gpadl.teardown() {
                Teardown::Reclaimed(_) | Teardown::Leaked => {}
            }
        }
        for queue in &self.queues {
            queue.forget_frames();
        }
    }
}

/// Opens a channel whose packets the queue polls for.
fn open(offered: Offered, queue: &Arc<Napi<Queue>>) -> Result<Open> {
    let kib: u32 = compat::param(module_parameters::ring_size.value());
    let pages = (kib.clamp(RING_KIB.0, RING_KIB.1) / 4) as usize;
    let config = OpenConfig::new(pages * 4096, PACKET_BYTES).polled();
    let listener = Arc::new(Listener(queue.clone()), GFP_KERNEL)?;
    Ok(offered.open(&config, listener)?)
}

/// Shares so many bytes with the host.
pub(crate) fn share(channel: &Channel, bytes: usize) -> Result<Shared> {
    let pages = Arc::new(PageList::new(bytes / 4096)?, GFP_KERNEL)?;
    let buffer = Arc::new(
        SharedBuffer::map(pages.clone(), 0..bytes / 4096)?,
        GFP_KERNEL,
    )?;
    let gpadl = channel.share(pages)?;
    Ok(Shared { buffer, gpadl })
}
