// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A guest's driver for a controller, as small as it can be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hvhost::device::Device;
use hvhost::storage::{Controller, ControllerOptions, DiskSpec, ProtocolVersion};
use hvhost::testing::{FakeGuest, GuestChannel, GuestConfig, OpenOptions, Received, LIMIT};
use storvsc_wire::scsi::cdb::Extent;
use storvsc_wire::scsi::{Command, Sense, Width};
use storvsc_wire::{
    Address, ChannelProperties, DataDirection, GuestPacket, HostPacket, Layout, NtStatus,
    Operation, Srb, SrbCompletion, SrbStatus,
};
use vmbus_wire::message::guest::relid_released;
use vmbus_wire::packet::{OutPacket, PacketType};
use vmbus_wire::ring::RingError;
use vmbus_wire::Offer;
use zerocopy::little_endian::U64;

pub(crate) const PAGE: usize = 4096;

/// A file of this size that isn't in memory, as far as the build directory isn't.
pub(crate) fn image(name: &str, bytes: u64) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("storage-{name}-{}.img", std::process::id()));
    // A new one each time: a hole reads as zeroes.
    let _ = std::fs::remove_file(&path);
    std::fs::File::create(&path)
        .unwrap()
        .set_len(bytes)
        .unwrap();
    path
}

/// What goes with a command.
pub(crate) enum Data<'a> {
    None,
    In(usize),
    Out(&'a [u8]),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: NtStatus,
    pub(crate) srb: SrbCompletion,
    pub(crate) data: Vec<u8>,
}

impl Answer {
    /// The data, of a command that worked.
    #[track_caller]
    pub(crate) fn good(self) -> Vec<u8> {
        assert_eq!(self.srb.srb_status, SrbStatus::SUCCESS, "{:?}", self.srb);
        assert_eq!(self.status, NtStatus::SUCCESS);
        self.data
    }

    /// The sense of a command that failed.
    #[track_caller]
    pub(crate) fn sense(&self) -> Sense {
        assert_eq!(self.srb.srb_status, SrbStatus::ERROR.with_autosense());
        assert_eq!(self.srb.scsi_status.0, 2);
        assert!(!self.status.is_success());
        self.srb.sense.parse().expect("sense data")
    }
}

/// A request that hasn't been waited for.
pub(crate) struct Pending {
    pub(crate) channel: usize,
    pub(crate) id: u64,
    pfns: Vec<u64>,
    offset: u32,
    bytes: usize,
    direction: DataDirection,
}

pub(crate) struct Driver {
    pub(crate) guest: FakeGuest,
    pub(crate) controller: Arc<Controller>,
    pub(crate) offer: Offer,
    pub(crate) channels: Vec<GuestChannel>,
    pub(crate) layout: Layout,
    /// Where units are looked for.
    pub(crate) target: u8,
    /// Packets that nobody asked for.
    pub(crate) news: Vec<Operation>,
    answers: BTreeMap<(usize, u64), Received>,
    next: u64,
}

impl Driver {
    /// A guest with these disks, connected, its primary channel open and nothing said.
    pub(crate) fn new(options: ControllerOptions, processors: u32, disks: &[&str]) -> Self {
        Self::on(Controller::new(0, options), processors, disks)
    }

    /// The same with a controller of any kind.
    pub(crate) fn on(controller: Controller, processors: u32, disks: &[&str]) -> Self {
        let guest = FakeGuest::with(GuestConfig {
            processors,
            ..GuestConfig::default()
        });
        let controller = Arc::new(controller);
        for disk in disks {
            controller.add(&disk.parse().unwrap()).unwrap();
        }
        guest.bus().add(controller.clone()).unwrap();
        let offer = FakeGuest::find(&guest.connect(), controller.identity().class);
        let primary = guest.open(&offer);
        Self {
            guest,
            controller,
            offer,
            channels: vec![primary],
            layout: Layout::Long,
            target: 0,
            news: Vec::new(),
            answers: BTreeMap::new(),
            next: 1,
        }
    }

    /// The same, ready for requests, with one channel.
    pub(crate) fn ready(disks: &[&str]) -> Self {
        let mut driver = Self::new(ControllerOptions::default(), 1, disks);
        driver.set_up();
        driver
    }

    /// Says what Linux says.
    pub(crate) fn set_up(&mut self) -> (ProtocolVersion, ChannelProperties) {
        assert!(self.ask(GuestPacket::BeginInitialization).is_success());
        let version = ProtocolVersion::KNOWN
            .into_iter()
            .find(|version| {
                self.ask(GuestPacket::QueryProtocolVersion(*version))
                    .is_success()
            })
            .expect("a version");
        let properties = self.properties().expect("properties");
        assert!(self.ask(GuestPacket::EndInitialization).is_success());
        self.layout = version.layout();
        (version, properties)
    }

    /// Has sub-channels offered, and opens them.
    pub(crate) fn open_subchannels(&mut self, count: u16) {
        let status = self.ask(GuestPacket::CreateSubChannels { count });
        assert_eq!(status, NtStatus::SUCCESS);
        for _ in 0..count {
            let offer = self.guest.offer();
            assert!(!offer.is_primary());
            self.channels.push(self.guest.open(&offer));
        }
    }

    pub(crate) fn spec(text: &str) -> DiskSpec {
        text.parse().unwrap()
    }

    /// Asks for something that is answered with a status.
    pub(crate) fn ask(&mut self, packet: GuestPacket) -> NtStatus {
        self.ask_on(0, packet)
    }

    pub(crate) fn ask_on(&mut self, channel: usize, packet: GuestPacket) -> NtStatus {
        let out = packet.encode(self.layout);
        let bytes = self.transact(channel, out.as_bytes());
        match HostPacket::parse(&bytes, self.layout).unwrap() {
            HostPacket::Completion(completion) => completion.status,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn properties(&mut self) -> Result<ChannelProperties, NtStatus> {
        let out = GuestPacket::QueryProperties.encode(self.layout);
        let bytes = self.transact(0, out.as_bytes());
        match HostPacket::parse(&bytes, self.layout).unwrap() {
            HostPacket::Completion(completion) if completion.status.is_success() => {
                Ok(completion.properties().unwrap())
            }
            HostPacket::Completion(completion) => Err(completion.status),
            other => panic!("{other:?}"),
        }
    }

    /// Sends an in-band packet and waits for its completion.
    pub(crate) fn transact(&mut self, channel: usize, payload: &[u8]) -> Vec<u8> {
        let id = self.next_id();
        let parts = [payload];
        let packet = OutPacket::in_band(id, &parts).requesting_completion();
        self.channels[channel].send_all(&packet);
        self.received(channel, id, LIMIT)
            .expect("a completion")
            .payload
    }

    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The completion with this id; keeps others for who asks for them.
    fn received(&mut self, channel: usize, id: u64, limit: Duration) -> Option<Received> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(received) = self.answers.remove(&(channel, id)) {
                return Some(received);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let received = self.channels[channel].receive(left)?;
            self.sort(channel, received);
        }
    }

    fn sort(&mut self, channel: usize, received: Received) {
        if received.packet_type == PacketType::COMPLETION {
            self.answers
                .insert((channel, received.transaction_id), received);
            return;
        }
        assert_eq!(received.transaction_id, 0);
        let operation = match HostPacket::parse(&received.payload, self.layout).unwrap() {
            HostPacket::EnumerateBus => Operation::ENUMERATE_BUS,
            HostPacket::RemoveDevice => Operation::REMOVE_DEVICE,
            other => panic!("{other:?}"),
        };
        self.news.push(operation);
    }

    /// Waits for news; none when the time is over.
    pub(crate) fn news(&mut self, limit: Duration) -> Option<Operation> {
        let deadline = Instant::now() + limit;
        while self.news.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let received = self.channels[0].receive(left)?;
            self.sort(0, received);
        }
        Some(self.news.remove(0))
    }

    /// A request for unit `lun` with its data in scattered pages from `offset` in the first on.
    pub(crate) fn submit(
        &mut self,
        channel: usize,
        lun: u8,
        cdb: &[u8],
        data: Data<'_>,
        offset: u32,
    ) -> Pending {
        let (direction, bytes) = match &data {
            Data::None => (DataDirection::None, 0),
            Data::In(bytes) => (DataDirection::In, *bytes),
            Data::Out(bytes) => (DataDirection::Out, bytes.len()),
        };
        let count = (offset as usize + bytes).div_ceil(PAGE);
        let pfns = if bytes > 0 {
            self.guest.alloc_scattered(count as u32)
        } else {
            Vec::new()
        };
        if let Data::Out(bytes) = data {
            self.guest.pages(&pfns).write(offset.into(), bytes).unwrap();
        }
        let mut srb = srb(lun, cdb, direction, bytes as u32);
        srb.address.target = self.target;
        let id = self.next_id();
        self.send_srb(channel, id, &srb, &pfns, offset, bytes as u32);
        Pending {
            channel,
            id,
            pfns,
            offset,
            bytes,
            direction,
        }
    }

    /// Sends a command and waits for room in the ring; for who has few answers to come, which nobody takes meanwhile.
    pub(crate) fn send_srb(
        &mut self,
        channel: usize,
        id: u64,
        srb: &Srb,
        pfns: &[u64],
        offset: u32,
        bytes: u32,
    ) {
        self.with_srb(id, srb, pfns, offset, bytes, |driver, packet| {
            driver.channels[channel].send_all(packet);
        });
    }

    /// Sends a command on the primary channel; false when the ring has no room.
    pub(crate) fn try_send_srb(&mut self, id: u64, srb: &Srb, pfns: &[u64], bytes: u32) -> bool {
        self.with_srb(id, srb, pfns, 0, bytes, |driver, packet| {
            match driver.channels[0].send(packet) {
                Ok(()) => true,
                Err(RingError::Full { .. }) => false,
                Err(error) => panic!("{error}"),
            }
        })
    }

    fn with_srb<R>(
        &mut self,
        id: u64,
        srb: &Srb,
        pfns: &[u64],
        offset: u32,
        bytes: u32,
        with: impl FnOnce(&mut Self, &OutPacket<'_>) -> R,
    ) -> R {
        let out = GuestPacket::ExecuteSrb(*srb).encode(self.layout);
        let payload = [out.as_bytes()];
        let list: Vec<U64> = pfns.iter().map(|pfn| U64::new(*pfn)).collect();
        let packet = if list.is_empty() {
            OutPacket::in_band(id, &payload).requesting_completion()
        } else {
            OutPacket::page_list(id, offset, bytes, &list, &payload)
        };
        with(self, &packet)
    }

    pub(crate) fn wait_within(&mut self, pending: &Pending, limit: Duration) -> Option<Answer> {
        let received = self.received(pending.channel, pending.id, limit)?;
        assert_eq!(received.payload.len(), self.layout.packet_bytes());
        let HostPacket::Completion(completion) =
            HostPacket::parse(&received.payload, self.layout).unwrap()
        else {
            panic!("not a completion");
        };
        let srb = completion.srb().unwrap();
        let mut data = Vec::new();
        if pending.direction == DataDirection::In && pending.bytes > 0 {
            data = vec![0; pending.bytes.min(srb.transferred as usize)];
            let pages = self.guest.pages(&pending.pfns);
            pages.read(pending.offset.into(), &mut data).unwrap();
        }
        self.guest.free(&pending.pfns);
        Some(Answer {
            status: completion.status,
            srb,
            data,
        })
    }

    /// Takes the pages of a request back that nobody will answer.
    pub(crate) fn forget(&mut self, pending: &Pending) {
        self.guest.free(&pending.pfns);
    }

    pub(crate) fn wait(&mut self, pending: &Pending) -> Answer {
        self.wait_within(pending, LIMIT).expect("a completion")
    }

    /// A command on a channel, waited for.
    pub(crate) fn execute_on(
        &mut self,
        channel: usize,
        lun: u8,
        command: Command,
        data: Data<'_>,
    ) -> Answer {
        let cdb = command.encode().expect("a command that can be written");
        let pending = self.submit(channel, lun, cdb.as_bytes(), data, 0);
        self.wait(&pending)
    }

    pub(crate) fn execute(&mut self, lun: u8, command: Command, data: Data<'_>) -> Answer {
        self.execute_on(0, lun, command, data)
    }

    pub(crate) fn test_unit_ready(&mut self, lun: u8) -> Answer {
        self.execute(lun, Command::TestUnitReady, Data::None)
    }

    pub(crate) fn read(&mut self, lun: u8, lba: u64, blocks: u32, block: usize) -> Answer {
        self.execute(lun, read(lba, blocks), Data::In(blocks as usize * block))
    }

    pub(crate) fn write(&mut self, lun: u8, lba: u64, data: &[u8], block: usize) -> Answer {
        let blocks = (data.len() / block) as u32;
        self.execute(lun, write(lba, blocks, false), Data::Out(data))
    }

    /// What REPORT LUNS says.
    pub(crate) fn units(&mut self) -> Vec<u16> {
        let command = Command::ReportLuns {
            select: 0,
            allocation: 4096,
        };
        let data = self.execute(0, command, Data::In(4096)).good();
        storvsc_wire::scsi::luns::parse(&data).unwrap().collect()
    }

    /// A number out of the controller's statistics.
    pub(crate) fn count(&self, pointer: &str) -> u64 {
        let stats = self.controller.stats();
        stats
            .pointer(pointer)
            .and_then(|value| value.as_u64())
            .unwrap_or_else(|| panic!("{pointer} in {stats}"))
    }

    /// The channel that `bus` knows as the primary, opened once more.
    pub(crate) fn reopen(&mut self) {
        let subchannels = self.channels.len().saturating_sub(1);
        for channel in self.channels.drain(..).rev() {
            channel.close();
        }
        // Sub-channels go with the primary, and their ids are given back.
        for _ in 0..subchannels {
            let relid = self.guest.rescinded();
            self.guest.post(&relid_released(relid));
        }
        self.answers.clear();
        self.layout = Layout::Long;
        let offer = self.offer;
        let options = OpenOptions::default();
        self.channels
            .push(self.guest.open_with(&offer, &options).expect("opens again"));
    }
}

pub(crate) fn srb(lun: u8, cdb: &[u8], direction: DataDirection, transfer_length: u32) -> Srb {
    let mut room = [0; 16];
    room[..cdb.len()].copy_from_slice(cdb);
    Srb {
        address: Address {
            lun,
            ..Address::default()
        },
        cdb: room,
        cdb_length: cdb.len() as u8,
        sense_length: 20,
        direction,
        transfer_length,
        extension: Default::default(),
    }
}

pub(crate) fn read(lba: u64, blocks: u32) -> Command {
    Command::Read {
        width: Width::Sixteen,
        extent: Extent { lba, blocks },
        fua: false,
    }
}

pub(crate) fn write(lba: u64, blocks: u32, fua: bool) -> Command {
    Command::Write {
        width: Width::Sixteen,
        extent: Extent { lba, blocks },
        fua,
    }
}

/// Bytes that differ from block to block.
pub(crate) fn pattern(bytes: usize, seed: u32) -> Vec<u8> {
    (0..bytes as u32)
        .map(|n| (n.wrapping_mul(31).wrapping_add(n >> 9).wrapping_add(seed)) as u8)
        .collect()
}
