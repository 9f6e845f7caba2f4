// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A small driver for a synthetic NIC, as Linux's behaves, for a guest that is no machine.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hvhost::memory::Pages;
use hvhost::testing::{FakeGuest, GuestChannel, Received, LIMIT};
use netvsc_wire::nvsp::{
    self, Capabilities, ChannelType, NdisConfig, RndisPacket, Section, SectionUse, SharedBuffer,
    Status, SubchannelOperation, SEND_SECTION_BYTES,
};
use netvsc_wire::oid::{
    ChecksumSetting, OffloadParameters, Oid, PacketFilter, ScaleFlags, ScaleParameters, Setting,
    MAX_SCALE_PARAMETERS_BYTES,
};
use netvsc_wire::ppi::{ReceiveInfo, SendInfo};
use netvsc_wire::rndis::{self, GuestControl, HostControl, Initialize, Query, Set};
use netvsc_wire::rss::{HashTypes, DEFAULT_KEY};
use netvsc_wire::{GuestMessage, HostMessage, Version};
use vmbus_wire::guid::class;
use vmbus_wire::packet::{OutPacket, PacketType};
use zerocopy::little_endian::U64;

/// A frame as the guest's stack gets it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The channel it came on.
    pub(crate) queue: usize,
    /// All of it.
    pub(crate) bytes: Vec<u8>,
    /// What went with it.
    pub(crate) info: ReceiveInfo,
    /// RNDIS messages it came in.
    pub(crate) parts: usize,
}

/// How a driver sets its NIC up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) version: Version,
    pub(crate) mtu: u32,
    pub(crate) capabilities: Capabilities,
    pub(crate) receive_pages: u32,
    pub(crate) send_pages: u32,
    pub(crate) offloads: bool,
    pub(crate) filter: PacketFilter,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            version: Version::V6_1,
            mtu: 1500,
            capabilities: Capabilities::IEEE8021Q
                .with(Capabilities::TEAMING)
                .with(Capabilities::RSC),
            receive_pages: 512,
            send_pages: 64,
            offloads: true,
            filter: PacketFilter::DIRECTED
                .with(PacketFilter::BROADCAST)
                .with(PacketFilter::ALL_MULTICAST),
        }
    }
}

/// See the module.
pub(crate) struct Driver {
    pub(crate) guest: FakeGuest,
    /// The primary one first.
    pub(crate) channels: Vec<GuestChannel>,
    pub(crate) version: Version,
    pub(crate) section: Section,
    pub(crate) receive: Pages,
    pub(crate) send: Pages,
    pub(crate) receive_gpadl: u32,
    pub(crate) send_gpadl: u32,
    pub(crate) frames: VecDeque<Frame>,
    /// Control messages nobody has looked at.
    pub(crate) control: VecDeque<Vec<u8>>,
    /// NVSP messages that are no packets and no completions.
    pub(crate) messages: Vec<HostMessage>,
    /// NVSP messages that want a completion and are no RNDIS packets, by transaction.
    pub(crate) asked: Vec<(u64, HostMessage)>,
    /// Packets that are not completed while this is set, by channel and transaction.
    pub(crate) hold: Option<Vec<(usize, u64)>>,
    /// Status of completed sends, by transaction.
    pub(crate) sent: Vec<(u64, Status)>,
    /// A segment in the making, by channel.
    parts: Vec<Option<Frame>>,
    next: u64,
    request: u32,
}

fn parse(version: Version, payload: &[u8]) -> HostMessage {
    HostMessage::parse(version, payload).expect("a message as hosts send them")
}

impl Driver {
    /// Opens the first NIC's channel and agrees on everything.
    pub(crate) fn start(guest: &FakeGuest, setup: &Setup) -> Self {
        let offers = guest.connect();
        let mut driver = Self::open(guest, &FakeGuest::find(&offers, class::NETWORK), setup);
        driver.initialize(setup);
        driver
    }

    /// Opens a channel and agrees on NVSP and buffers.
    pub(crate) fn open(guest: &FakeGuest, offer: &vmbus_wire::Offer, setup: &Setup) -> Self {
        let mut channel = guest.open(offer);
        let version = Self::negotiate(&mut channel, setup.version);
        if version.has_ndis_config() {
            let config = GuestMessage::NdisConfig(NdisConfig {
                frame_bytes: setup.mtu + 14,
                capabilities: setup.capabilities,
            });
            let config = config.encode(version);
            channel.send_all(&OutPacket::in_band(0, &[config.as_bytes()]));
        }
        let ndis = GuestMessage::NdisVersion(version.ndis_version()).encode(version);
        channel.send_all(&OutPacket::in_band(0, &[ndis.as_bytes()]));

        let receive = guest.alloc_scattered(setup.receive_pages);
        let receive_gpadl = guest.create_gpadl(channel.relid(), &receive).unwrap();
        let buffer = GuestMessage::ReceiveBuffer(SharedBuffer {
            gpadl: receive_gpadl,
            id: nvsp::RECEIVE_BUFFER_ID,
        });
        let answer = transact(&mut channel, version, &buffer);
        let HostMessage::ReceiveBufferComplete { status, sections } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(status, Status::SUCCESS);
        let section = *sections.only().expect("one section");
        assert!(section.fits(u64::from(setup.receive_pages) * 4096));

        let send = guest.alloc(setup.send_pages);
        let send_gpadl = guest.create_gpadl(channel.relid(), &send).unwrap();
        let buffer = GuestMessage::SendBuffer(SharedBuffer {
            gpadl: send_gpadl,
            id: nvsp::SEND_BUFFER_ID,
        });
        let answer = transact(&mut channel, version, &buffer);
        assert_eq!(
            answer,
            HostMessage::SendBufferComplete {
                status: Status::SUCCESS,
                section_bytes: SEND_SECTION_BYTES,
            }
        );
        Self {
            guest: guest.clone(),
            channels: vec![channel],
            version,
            section,
            receive: guest.pages(&receive),
            send: guest.pages(&send),
            receive_gpadl,
            send_gpadl,
            frames: VecDeque::new(),
            control: VecDeque::new(),
            messages: Vec::new(),
            asked: Vec::new(),
            hold: None,
            sent: Vec::new(),
            parts: vec![None],
            next: 1000,
            request: 1,
        }
    }

    /// Goes down the list from `newest`; the version that the host agrees to.
    pub(crate) fn negotiate(channel: &mut GuestChannel, newest: Version) -> Version {
        for version in Version::OFFERED {
            if version > newest {
                continue;
            }
            let init = GuestMessage::Init {
                version: version.to_wire(),
                version2: version.to_wire(),
            };
            if let HostMessage::InitComplete(init) = transact(channel, version, &init) {
                if init.status.is_success() {
                    return version;
                }
            }
        }
        panic!("no version agreed");
    }

    /// Starts RNDIS, offloads and the filter.
    pub(crate) fn initialize(&mut self, setup: &Setup) {
        let request_id = self.request_id();
        let message = self.ask(&GuestControl::Initialize(Initialize {
            request_id,
            version: rndis::VERSION,
            max_transfer_bytes: 0x4000,
        }));
        match HostControl::parse(&message).unwrap() {
            HostControl::InitializeComplete(done) => {
                assert_eq!(
                    (done.request_id, done.status),
                    (request_id, rndis::Status::SUCCESS)
                );
                assert_eq!(done.alignment(), Some(8));
            }
            other => panic!("{other:?}"),
        }
        if setup.offloads {
            let mut info = [0; OffloadParameters::MAX_BYTES];
            let rsc = if self.version.has_rsc() && setup.capabilities.contains(Capabilities::RSC) {
                Setting::On
            } else {
                Setting::NoChange
            };
            let udp = if self.version.has_udp_checksum() {
                ChecksumSetting::ON
            } else {
                ChecksumSetting::NoChange
            };
            let length = OffloadParameters {
                tcp4: ChecksumSetting::ON,
                tcp6: ChecksumSetting::ON,
                udp4: udp,
                udp6: udp,
                large_send_v2_ip4: Setting::On,
                large_send_v2_ip6: Setting::On,
                rsc_ip4: rsc,
                rsc_ip6: rsc,
                ..OffloadParameters::default()
            }
            .encode(self.version, &mut info)
            .unwrap();
            self.set(Oid::TCP_OFFLOAD_PARAMETERS, &info[..length]);
        }
        self.set_filter(setup.filter);
    }

    pub(crate) fn set_filter(&mut self, filter: PacketFilter) {
        self.set(Oid::GEN_CURRENT_PACKET_FILTER, &filter.0.to_le_bytes());
    }

    /// Has frames spread over all channels: entry n of the table is channel n modulo `over`.
    pub(crate) fn spread(&mut self, over: u32) {
        let table: Vec<u32> = (0..128).map(|entry| entry % over).collect();
        let mut info = [0; MAX_SCALE_PARAMETERS_BYTES];
        let length = ScaleParameters::encode(
            ScaleFlags::NONE,
            HashTypes::LINUX,
            &table,
            &DEFAULT_KEY,
            &mut info,
        )
        .unwrap();
        self.set(Oid::GEN_RECEIVE_SCALE_PARAMETERS, &info[..length]);
    }

    fn request_id(&mut self) -> u32 {
        self.request += 1;
        self.request
    }

    pub(crate) fn transaction(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Sends a control message in a page of its own; waits for the answer.
    pub(crate) fn ask(&mut self, message: &GuestControl<'_>) -> Vec<u8> {
        self.tell(message);
        self.answer()
    }

    /// The next control message that is no indication.
    pub(crate) fn answer(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let at = self.control.iter().position(|message| {
                !matches!(HostControl::parse(message), Ok(HostControl::Indicate(_)))
            });
            if let Some(at) = at {
                return self.control.remove(at).unwrap();
            }
            assert!(Instant::now() < deadline, "no answer");
            self.pump(0, Duration::from_millis(100));
        }
    }

    /// Sends a control message in a page of its own.
    pub(crate) fn tell(&mut self, message: &GuestControl<'_>) {
        let mut bytes = vec![0; 4096];
        let length = message.encode(&mut bytes).unwrap();
        bytes.truncate(length);
        self.tell_bytes(&bytes);
    }

    pub(crate) fn tell_bytes(&mut self, bytes: &[u8]) {
        let pfn = self.guest.alloc(1)[0];
        self.guest.memory().write(pfn * 4096 + 64, bytes).unwrap();
        let nvsp = GuestMessage::RndisPacket(RndisPacket {
            channel_type: ChannelType::Control,
            section: None,
        })
        .encode(self.version);
        let id = self.transaction();
        let pfns = [U64::new(pfn)];
        let payload = [nvsp.as_bytes()];
        let packet = OutPacket::page_list(id, 64, bytes.len() as u32, &pfns, &payload);
        self.channels[0].send_all(&packet);
    }

    /// Asks for an object.
    pub(crate) fn query(&mut self, oid: Oid, info: &[u8]) -> (rndis::Status, Vec<u8>) {
        let request_id = self.request_id();
        let message = self.ask(&GuestControl::Query(Query {
            request_id,
            oid,
            info,
        }));
        match HostControl::parse(&message).unwrap() {
            HostControl::QueryComplete(done) => {
                assert_eq!(done.request_id, request_id);
                (done.status, done.info.to_vec())
            }
            other => panic!("{other:?}"),
        }
    }

    /// Changes an object, which has to work.
    pub(crate) fn set(&mut self, oid: Oid, info: &[u8]) {
        let request_id = self.request_id();
        let message = self.ask(&GuestControl::Set(Set {
            request_id,
            oid,
            info,
        }));
        match HostControl::parse(&message).unwrap() {
            HostControl::SetComplete(done) => {
                assert_eq!(
                    (done.request_id, done.status),
                    (request_id, rndis::Status::SUCCESS)
                );
            }
            other => panic!("{other:?}"),
        }
    }

    /// Asks for sub-channels and opens them.
    pub(crate) fn open_subchannels(&mut self, count: u32) {
        let ask = GuestMessage::Subchannels {
            operation: SubchannelOperation::ALLOCATE,
            count,
        };
        let version = self.version;
        let answer = transact(&mut self.channels[0], version, &ask);
        assert_eq!(
            answer,
            HostMessage::SubchannelsComplete {
                status: Status::SUCCESS,
                count,
            }
        );
        for _ in 0..count {
            let offer = self.guest.offer();
            let channel = self.guest.open(&offer);
            assert_eq!(usize::from(offer.subchannel), self.channels.len());
            self.channels.push(channel);
            self.parts.push(None);
        }
    }

    // Sending.

    /// An RNDIS message with a frame.
    pub(crate) fn message(frame: &[u8], info: &SendInfo, align: bool) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        let whole = info.head_bytes() + frame.len();
        let padding = if align {
            whole.next_multiple_of(8) - whole
        } else {
            0
        };
        let head = info
            .encode(frame.len() as u32, padding as u32, &mut bytes)
            .unwrap();
        bytes.truncate(head);
        bytes.extend_from_slice(frame);
        bytes.extend(std::iter::repeat_n(0, padding));
        bytes
    }

    /// Sends frames in one section of the send buffer, one RNDIS message each.
    pub(crate) fn send_in_section(
        &mut self,
        queue: usize,
        section: u32,
        frames: &[(&[u8], SendInfo)],
    ) -> u64 {
        let mut bytes = Vec::new();
        for (number, (frame, info)) in frames.iter().enumerate() {
            bytes.extend(Self::message(frame, info, number + 1 < frames.len()));
        }
        assert!(bytes.len() <= SEND_SECTION_BYTES as usize);
        self.send
            .write(u64::from(section * SEND_SECTION_BYTES), &bytes)
            .unwrap();
        let nvsp = GuestMessage::RndisPacket(RndisPacket {
            channel_type: ChannelType::Data,
            section: Some(SectionUse {
                index: section,
                bytes: bytes.len() as u32,
            }),
        })
        .encode(self.version);
        let id = self.transaction();
        let payload = [nvsp.as_bytes()];
        let packet = OutPacket::in_band(id, &payload);
        self.channels[queue].send_all(&packet.requesting_completion());
        id
    }

    /// Sends a frame in guest pages: its head in a page of its own, the rest as pages come.
    pub(crate) fn send_in_pages(&mut self, queue: usize, frame: &[u8], info: &SendInfo) -> u64 {
        let head = Self::message(frame, info, false);
        let head_bytes = head.len() - frame.len();
        let first = self.guest.alloc(1);
        self.guest
            .memory()
            .write(first[0] * 4096 + 100, &head[..head_bytes])
            .unwrap();
        let pages = ((frame.len() + 40).div_ceil(4096)) as u32;
        let rest = self.guest.alloc_scattered(pages);
        self.guest.pages(&rest).write(40, frame).unwrap();
        // Each page of the frame is a range of its own, as most skb fragments are.
        let mut buffers =
            vec![vmbus_wire::packet::PageBuffer::new(first[0], 100, head_bytes as u32).unwrap()];
        let mut left = frame.len();
        for (number, pfn) in rest.iter().enumerate() {
            let offset = if number == 0 { 40 } else { 0 };
            let here = left.min(4096 - offset);
            buffers.push(
                vmbus_wire::packet::PageBuffer::new(*pfn, offset as u32, here as u32).unwrap(),
            );
            left -= here;
        }
        let nvsp = GuestMessage::RndisPacket(RndisPacket {
            channel_type: ChannelType::Data,
            section: None,
        })
        .encode(self.version);
        let id = self.transaction();
        let payload = [nvsp.as_bytes()];
        let packet = OutPacket::page_buffers(id, &buffers, &payload);
        self.channels[queue].send_all(&packet);
        id
    }

    /// Waits until a send is completed.
    pub(crate) fn completed(&mut self, queue: usize, id: u64) -> Status {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.sent.iter().position(|(sent, _)| *sent == id) {
                return self.sent.remove(at).1;
            }
            assert!(Instant::now() < deadline, "send {id} isn't completed");
            self.pump(queue, Duration::from_millis(100));
        }
    }

    // Receiving.

    /// The next frame on any channel.
    pub(crate) fn frame(&mut self, limit: Duration) -> Option<Frame> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            if Instant::now() >= deadline {
                return None;
            }
            for queue in 0..self.channels.len() {
                self.pump(queue, Duration::from_millis(2));
            }
        }
    }

    /// Takes packets of a channel until there are none; waits for the first.
    pub(crate) fn pump(&mut self, queue: usize, limit: Duration) {
        let mut limit = limit;
        while let Some(received) = self.channels[queue].receive(limit) {
            limit = Duration::ZERO;
            self.take(queue, received);
        }
    }

    fn take(&mut self, queue: usize, received: Received) {
        let message = parse(self.version, &received.payload);
        match received.packet_type {
            PacketType::COMPLETION => match message {
                HostMessage::RndisComplete(status) => {
                    self.sent.push((received.transaction_id, status));
                }
                other => panic!("{other:?}"),
            },
            PacketType::XFER_PAGES => {
                let HostMessage::RndisPacket(packet) = message else {
                    panic!("{message:?}");
                };
                let (set, ranges) = received.ranges.clone().unwrap();
                assert_eq!(set, nvsp::RECEIVE_BUFFER_ID);
                assert!(!ranges.is_empty() && ranges.len() <= 562);
                for (number, (offset, length)) in ranges.iter().enumerate() {
                    let mut bytes = vec![0; *length as usize];
                    self.receive.read(u64::from(*offset), &mut bytes).unwrap();
                    assert!(*length <= self.section.piece_bytes);
                    let piece = offset / self.section.piece_bytes;
                    assert!(offset + length <= (piece + 1) * self.section.piece_bytes);
                    match packet.channel_type {
                        ChannelType::Control => {
                            assert_eq!(queue, 0);
                            self.control.push_back(bytes);
                        }
                        ChannelType::Data => self.data(queue, &bytes, number + 1 == ranges.len()),
                    }
                }
                match &mut self.hold {
                    Some(held) => held.push((queue, received.transaction_id)),
                    None => self.complete(queue, received.transaction_id),
                }
            }
            _ if received.completion_requested => {
                self.asked.push((received.transaction_id, message));
            }
            _ => self.messages.push(message),
        }
    }

    /// Gives a packet's sections back.
    pub(crate) fn complete(&mut self, queue: usize, id: u64) {
        let done = GuestMessage::RndisComplete(Status::SUCCESS).encode(self.version);
        // Linux sends eight bytes, not a whole message.
        self.channels[queue].send_all(&OutPacket::completion(id, &[&done.as_bytes()[..8]]));
    }

    /// Gives back what was held.
    pub(crate) fn release(&mut self) {
        for (queue, id) in self.hold.take().unwrap_or_default() {
            self.complete(queue, id);
        }
    }

    /// As `rndis_filter_receive_data` and `rsc_add_data` do.
    pub(crate) fn data(&mut self, queue: usize, bytes: &[u8], last_range: bool) {
        let packet = rndis::Packet::parse(bytes).unwrap();
        let info = ReceiveInfo::collect(packet.ppis).unwrap();
        let id = info.packet_id.filter(|id| id.sub_allocated);
        match (id, &mut self.parts[queue]) {
            (None, part) => {
                *part = None;
                self.frames.push_back(Frame {
                    queue,
                    bytes: packet.frame.to_vec(),
                    info,
                    parts: 1,
                });
            }
            (Some(id), part) if id.first => {
                assert!(!id.last && !last_range);
                *part = Some(Frame {
                    queue,
                    bytes: packet.frame.to_vec(),
                    info,
                    parts: 1,
                });
            }
            (Some(id), part) => {
                let frame = part.as_mut().expect("a first part");
                assert_eq!(frame.info.packet_id.unwrap().id, id.id);
                frame.bytes.extend_from_slice(packet.frame);
                frame.parts += 1;
                assert!(id.last || !last_range);
                if id.last {
                    self.frames.extend(part.take());
                }
            }
        }
    }

    /// Ends everything as Linux does.
    pub(crate) fn stop(mut self) {
        let request_id = self.request_id();
        self.tell(&GuestControl::Halt { request_id });
        let id = self.next;
        assert_eq!(self.completed(0, id), Status::SUCCESS);
        for message in [
            GuestMessage::RevokeReceiveBuffer {
                id: nvsp::RECEIVE_BUFFER_ID,
            },
            GuestMessage::RevokeSendBuffer {
                id: nvsp::SEND_BUFFER_ID,
            },
        ] {
            let message = message.encode(self.version);
            self.channels[0].send_all(&OutPacket::in_band(0, &[message.as_bytes()]));
        }
        let relid = self.channels[0].relid();
        for channel in self.channels.drain(..).rev() {
            channel.close();
        }
        self.guest.teardown(relid, self.receive_gpadl);
        self.guest.teardown(relid, self.send_gpadl);
    }
}

/// Sends a message and waits for its answer; nothing else may come.
pub(crate) fn transact(
    channel: &mut GuestChannel,
    version: Version,
    message: &GuestMessage,
) -> HostMessage {
    let bytes = message.encode(version);
    let answer = channel.transact(77, &[bytes.as_bytes()], |other| panic!("{other:?}"));
    parse(version, &answer)
}
