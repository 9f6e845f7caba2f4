// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The conversation with the guest's driver on the primary channel: NVSP, and RNDIS control
//! messages inside of it.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use netvsc_wire::nvsp::{
    Capabilities as GuestCapabilities, DataPath, InitComplete, NdisConfig, OutMessage, Sections,
    SendTable, SharedBuffer, Status, SubchannelOperation, SEND_SECTION_BYTES,
};
use netvsc_wire::rndis;
use netvsc_wire::vmq::{AllocationId, BufferId};
use netvsc_wire::{GuestMessage, HostMessage, Version};
use vmbus_wire::packet::OutPacket;

use super::misbehave::Misdeed;
use super::nic::Nic;
use super::plane::SendBuffer;
use super::receive::{pieces_for_largest, Receiver};
use super::sections::{BufferName, ReceiveBuffer, DATA};
use crate::vmbus::channel::{Channel, ChannelError};

/// Control messages that wait for the guest at most.
const MAX_WAITING: usize = 256;
/// Bytes of the buffer that a guest is asked for when it can allocate some.
const ALLOCATION_BYTES: u32 = 16 << 20;
/// Bytes of its pieces where all of a large segment is to have one place: whole pages, so that no page has parts of two.
const LARGE_PIECE_BYTES: u32 = 17 * 4096;
/// Such pieces for each queue at least; with fewer, large segments are cut.
const LARGE_PIECES: u64 = 16;
/// Lower half of the transaction ids of such requests: no packet with frames has it.
const ALLOCATION_MARK: u64 = 0xffff_fff0;
/// Largest receive buffer that is looked at; newer guests may ask for 31 MiB.
const MAX_BUFFER_BYTES: u64 = 256 << 20;

const _: () = assert!(pieces_for_largest(LARGE_PIECE_BYTES as usize - DATA) == 1);

/// Payload of a completion.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// A message.
    Message(OutMessage),
    /// None at all.
    Empty,
}

impl Answer {
    /// The payload's bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Message(message) => message.as_bytes(),
            Self::Empty => &[],
        }
    }
}

/// A conversation.
pub(super) struct Session {
    version: Option<Version>,
    config: NdisConfig,
    /// Sub-channels were asked for and the table isn't sent.
    table_due: bool,
    allocation: Allocation,
}

/// A buffer for frames that the guest allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allocation {
    /// Neither wanted nor there.
    None,
    /// To be asked for.
    Due,
    /// Asked for.
    Asked,
    /// The guest refused, or it is there.
    Settled,
}

impl Session {
    /// Before the guest's first message.
    pub(super) fn new(nic: &Nic) -> Self {
        nic.end_session();
        Self {
            version: None,
            config: NdisConfig {
                frame_bytes: NdisConfig::DEFAULT_FRAME_BYTES,
                capabilities: GuestCapabilities::NONE,
            },
            table_due: false,
            allocation: Allocation::None,
        }
    }

    /// The version agreed on.
    pub(super) fn version(&self) -> Option<Version> {
        self.version
    }

    /// Takes a message; answers what completes its packet.
    ///
    /// # Errors
    ///
    /// When it makes no sense at this point.
    pub(super) fn message(
        &mut self,
        nic: &Nic,
        channel: &mut Channel,
        transaction: u64,
        message: &GuestMessage,
    ) -> anyhow::Result<Option<Answer>> {
        if let GuestMessage::Init { version, .. } = message {
            return Ok(Some(self.init(nic, *version)?));
        }
        let Some(version) = self.version else {
            anyhow::bail!("{} before INIT", message.message_type());
        };
        let answer = match *message {
            GuestMessage::NdisVersion(ndis) => {
                tracing::debug!("{}: NDIS {}.{}", nic.name(), ndis.major, ndis.minor);
                return Ok(None);
            }
            GuestMessage::NdisConfig(config) => {
                self.configure(nic, config)?;
                return Ok(None);
            }
            GuestMessage::ReceiveBuffer(buffer) => receive_buffer(nic, channel, buffer),
            GuestMessage::RevokeReceiveBuffer { id } => {
                revoke_receive(nic, id);
                return Ok(None);
            }
            GuestMessage::SendBuffer(buffer) => send_buffer(nic, channel, buffer),
            GuestMessage::RevokeSendBuffer { id } => {
                revoke_send(nic, id);
                return Ok(None);
            }
            GuestMessage::Subchannels { operation, count } => {
                self.subchannels(nic, operation, count)
            }
            GuestMessage::SwitchDataPath(path) => {
                // There is no virtual function to switch to; going back is always done.
                if path != DataPath::SYNTHETIC {
                    tracing::warn!("{}: data path {path} that there isn't", nic.name());
                }
                return Ok(Some(Answer::Empty));
            }
            GuestMessage::OidQueryEx(_) => HostMessage::OidQueryExComplete {
                status: rndis::Status::NOT_SUPPORTED,
                bytes: 0,
            },
            GuestMessage::ReceiveBufferAllocated {
                status,
                allocation,
                gpadl,
                buffer,
            } => {
                self.allocated(
                    nic,
                    channel,
                    transaction,
                    (status, allocation),
                    gpadl,
                    buffer,
                )?;
                return Ok(None);
            }
            other => anyhow::bail!("{} was never offered", other.message_type()),
        };
        Ok(Some(Answer::Message(answer.encode(version))))
    }

    fn init(&mut self, nic: &Nic, asked: u32) -> anyhow::Result<Answer> {
        anyhow::ensure!(self.version.is_none(), "a second INIT");
        let version = Version::from_wire(asked).filter(|version| *version <= nic.max_version());
        let status = if version.is_some() {
            Status::SUCCESS
        } else {
            Status::PROTOCOL_UNSUPPORTED
        };
        let shape = version.or(Version::from_wire(asked)).unwrap_or(Version::V1);
        if let Some(version) = version {
            tracing::info!("{}: NVSP {version}", nic.name());
            self.version = Some(version);
            nic.shared.plane.write().version = version;
        }
        Ok(Answer::Message(
            HostMessage::InitComplete(InitComplete::new(version, status)).encode(shape),
        ))
    }

    fn configure(&mut self, nic: &Nic, config: NdisConfig) -> anyhow::Result<()> {
        anyhow::ensure!(
            nic.shared.plane.read().receive.is_none(),
            "NDIS configuration after the receive buffer"
        );
        let allowed = NdisConfig::DEFAULT_FRAME_BYTES..=nic.spec().max_frame();
        let frame_bytes = if allowed.contains(&config.frame_bytes) {
            config.frame_bytes
        } else {
            // As vmswitch does, without a word; the guest finds out from its object.
            NdisConfig::DEFAULT_FRAME_BYTES
        };
        self.config = NdisConfig {
            frame_bytes,
            ..config
        };
        {
            let mut plane = nic.shared.plane.write();
            plane.frame_bytes = frame_bytes;
            plane.tags_beside = config.capabilities.contains(GuestCapabilities::IEEE8021Q);
        }
        if nic.spec().vmq && config.capabilities.contains(GuestCapabilities::VMQ) {
            self.allocation = Allocation::Due;
        }
        Ok(())
    }

    fn subchannels(
        &mut self,
        nic: &Nic,
        operation: SubchannelOperation,
        count: u32,
    ) -> HostMessage {
        let most = u32::from(nic.queues()).saturating_sub(1);
        let refused = HostMessage::SubchannelsComplete {
            status: Status::FAILURE,
            count: 0,
        };
        if operation != SubchannelOperation::ALLOCATE
            || count == 0
            || count > most
            || nic.shared.wanted.load(Ordering::Relaxed) != 0
        {
            return refused;
        }
        match nic.offer_subchannels(count as u16) {
            Ok(offered) => {
                nic.shared.wanted.store(offered, Ordering::Release);
                self.table_due = true;
                HostMessage::SubchannelsComplete {
                    status: Status::SUCCESS,
                    count: offered.into(),
                }
            }
            Err(error) => {
                tracing::warn!("{}: sub-channels: {error}", nic.name());
                refused
            }
        }
    }

    /// Takes a control message.
    ///
    /// # Errors
    ///
    /// When it makes no sense.
    pub(super) fn control(&mut self, nic: &Nic, message: &[u8]) -> anyhow::Result<()> {
        anyhow::ensure!(
            nic.shared.control.lock().len() < MAX_WAITING,
            "{MAX_WAITING} control messages wait for the guest"
        );
        let Some(version) = self.version else {
            anyhow::bail!("a control message before INIT");
        };
        anyhow::ensure!(
            nic.shared.plane.read().receive.is_some(),
            "a control message before there is a place for an answer"
        );
        nic.control_message(version, &self.config, message)
    }

    /// Says what there is to be said: control messages, the send table, a request for a buffer.
    ///
    /// # Errors
    ///
    /// When the ring is broken.
    pub(super) fn speak(
        &mut self,
        nic: &Nic,
        channel: &mut Channel,
        receiver: &mut Receiver,
    ) -> anyhow::Result<()> {
        let Some(version) = self.version else {
            return Ok(());
        };
        loop {
            let mut waiting = nic.shared.control.lock();
            let Some(message) = waiting.front() else {
                break;
            };
            if nic.misdeeds.take(|what| what == Misdeed::Silent).is_some() {
                waiting.pop_front();
                continue;
            }
            if nic
                .misdeeds
                .take(|what| what == Misdeed::Elsewhere)
                .is_some()
                && receiver.send_elsewhere(nic, message)?
            {
                waiting.pop_front();
                continue;
            }
            if !receiver.send_control(nic, channel, message)? {
                break;
            }
            waiting.pop_front();
        }
        let wanted = nic.shared.wanted.load(Ordering::Acquire);
        let open = nic.shared.open.load(Ordering::Acquire);
        if self.table_due && wanted > 0 && open > wanted {
            let spread = SendTable::spread(open.into());
            nic.shared.send_table.lock().get_or_insert(spread);
            self.table_due = false;
        }
        let table = *nic.shared.send_table.lock();
        if let Some(table) = table.filter(|_| wanted > 0) {
            let message = HostMessage::SendTable(table).encode(version);
            match channel.send(&OutPacket::in_band(0, &[message.as_bytes()])) {
                Ok(()) => {
                    // Unless somebody wants another one by now.
                    nic.shared.send_table.lock().take_if(|now| *now == table);
                }
                Err(ChannelError::Full) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.renew_buffer(nic, channel, version)?;
        if self.allocation == Allocation::Due && nic.shared.plane.read().running {
            let ask = HostMessage::AllocReceiveBuffer {
                allocation: AllocationId(1),
                length: ALLOCATION_BYTES,
            }
            .encode(version);
            let payload = [ask.as_bytes()];
            let packet = OutPacket::in_band(ALLOCATION_MARK, &payload);
            match channel.send(&packet.requesting_completion()) {
                Ok(()) => self.allocation = Allocation::Asked,
                Err(ChannelError::Full) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Frees the guest's buffer for frames if that is wanted; another is due then.
    fn renew_buffer(
        &mut self,
        nic: &Nic,
        channel: &mut Channel,
        version: Version,
    ) -> anyhow::Result<()> {
        if !nic.shared.renew_buffer.load(Ordering::Acquire) {
            return Ok(());
        }
        let name = nic.shared.plane.read().allocated.as_ref().map(|it| it.name);
        if let Some(BufferName::Allocated(buffer)) = name {
            let message = HostMessage::FreeReceiveBuffer { buffer }.encode(version);
            match channel.send(&OutPacket::in_band(0, &[message.as_bytes()])) {
                Ok(()) => {}
                Err(ChannelError::Full) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            nic.shared.plane.write().allocated = None;
            self.allocation = Allocation::Due;
            // Frames go to the receive buffer, and large segments in pieces.
            nic.follow_adapter();
            nic.nudge(u64::MAX);
        }
        nic.shared.renew_buffer.store(false, Ordering::Release);
        Ok(())
    }

    /// The guest has answered the request for a buffer.
    fn allocated(
        &mut self,
        nic: &Nic,
        channel: &Channel,
        transaction: u64,
        (status, allocation): (rndis::Status, AllocationId),
        gpadl: u32,
        buffer: BufferId,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.allocation == Allocation::Asked
                && transaction == ALLOCATION_MARK
                && allocation == AllocationId(1),
            "a buffer that nobody asked for"
        );
        self.allocation = Allocation::Settled;
        if !status.is_success() {
            tracing::info!("{}: the guest allocates no buffer: {status}", nic.name());
            return Ok(());
        }
        let Some(gpadl) = channel.gpadl(gpadl) else {
            anyhow::bail!("a buffer without a page list");
        };
        let generation = nic.shared.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let frame = self.config.frame_bytes;
        let name = BufferName::Allocated(buffer);
        let coalesces = self.config.capabilities.contains(GuestCapabilities::RSC);
        let plenty = LARGE_PIECES * u64::from(nic.queues()) * u64::from(LARGE_PIECE_BYTES);
        let least = if coalesces && gpadl.bytes() >= plenty {
            LARGE_PIECE_BYTES
        } else {
            0
        };
        let buffer = ReceiveBuffer::new(gpadl, name, generation, frame, least, nic.queues());
        anyhow::ensure!(buffer.is_some(), "a buffer too small for a frame");
        nic.shared.plane.write().allocated = buffer.map(Arc::new);
        // Large segments travel this way where each has one place.
        nic.follow_adapter();
        nic.nudge(u64::MAX);
        Ok(())
    }
}

fn receive_buffer(nic: &Nic, channel: &Channel, asked: SharedBuffer) -> HostMessage {
    let refused = HostMessage::ReceiveBufferComplete {
        status: Status::FAILURE,
        sections: Sections::NONE,
    };
    let generation = nic.shared.generation.fetch_add(1, Ordering::Relaxed) + 1;
    let mut plane = nic.shared.plane.write();
    let Some(gpadl) = channel.gpadl(asked.gpadl) else {
        tracing::warn!("{}: receive buffer without a page list", nic.name());
        return refused;
    };
    let bytes = gpadl.bytes();
    if plane.receive.is_some() || gpadl.ranges.len() != 1 || bytes > MAX_BUFFER_BYTES {
        tracing::warn!("{}: receive buffer of {bytes} bytes refused", nic.name());
        return refused;
    }
    let name = BufferName::Transfer(asked.id);
    let (frame, least) = (plane.frame_bytes, nic.spec().section.unwrap_or(0));
    let buffer = ReceiveBuffer::new(gpadl, name, generation, frame, least, nic.queues());
    let Some(buffer) = buffer else {
        return refused;
    };
    let section = buffer.section();
    plane.receive = Some(Arc::new(buffer));
    HostMessage::ReceiveBufferComplete {
        status: Status::SUCCESS,
        sections: Sections::one(section),
    }
}

fn revoke_receive(nic: &Nic, id: u16) {
    let mut plane = nic.shared.plane.write();
    match &plane.receive {
        Some(buffer) if buffer.name == BufferName::Transfer(id) => {
            plane.receive = None;
            plane.allocated = None;
        }
        _ => tracing::warn!("{}: receive buffer {id:#x} revoked twice", nic.name()),
    }
    drop(plane);
    // Threads that sleep still know the pages, which the guest may want back now.
    nic.nudge(u64::MAX);
}

fn send_buffer(nic: &Nic, channel: &Channel, asked: SharedBuffer) -> HostMessage {
    let mut plane = nic.shared.plane.write();
    let gpadl = channel.gpadl(asked.gpadl).filter(|gpadl| {
        gpadl.ranges.len() == 1
            && (u64::from(SEND_SECTION_BYTES)..=MAX_BUFFER_BYTES).contains(&gpadl.bytes())
    });
    let status = match (gpadl, &plane.send) {
        (Some(gpadl), None) => {
            plane.send = Some(SendBuffer {
                gpadl,
                id: asked.id,
            });
            Status::SUCCESS
        }
        _ => {
            tracing::warn!("{}: send buffer refused", nic.name());
            Status::FAILURE
        }
    };
    HostMessage::SendBufferComplete {
        status,
        section_bytes: SEND_SECTION_BYTES,
    }
}

fn revoke_send(nic: &Nic, id: u16) {
    let mut plane = nic.shared.plane.write();
    match &plane.send {
        Some(buffer) if buffer.id == id => plane.send = None,
        _ => tracing::warn!("{}: send buffer {id:#x} revoked twice", nic.name()),
    }
}
