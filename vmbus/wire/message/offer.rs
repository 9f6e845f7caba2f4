// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The offer of a channel.

use super::{layout, relid, MessageError, MessageType, Relid, USER_DATA_BYTES};
use crate::monitor::MonitorId;
use crate::Guid;

/// A channel the host offers, validated (`struct vmbus_channel_offer_channel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What kind of device; see [`crate::guid::class`].
    pub class: Guid,
    /// Which device; the primary channel and its sub-channels share it.
    pub instance: Guid,
    /// The channel's id as long as it is offered.
    pub relid: Relid,
    /// 0 for a device's primary channel, else which sub-channel it is.
    pub subchannel: u16,
    /// Properties of the channel.
    pub flags: OfferFlags,
    /// MMIO space the device wants, in MiB.
    pub mmio_megabytes: u16,
    /// The monitor trigger to signal the host with; `None` where the offer allocates none.
    pub monitor: Option<MonitorId>,
    /// The monitor id as it was sent, allocated or not (sysfs shows it).
    pub raw_monitor_id: u8,
    /// The channel has an event connection of its own, so that no interrupt page bit is set.
    pub dedicated_interrupt: bool,
    /// Event connection to signal the host on.
    pub connection_id: u32,
    /// What the offering side wants its driver to know; for pipes the first four bytes are the
    /// pipe's mode, see [`Offer::pipe_mode`].
    pub user_data: [u8; USER_DATA_BYTES],
}

impl Offer {
    /// Reads an OFFER_CHANNEL message.
    ///
    /// # Errors
    ///
    /// Too short, a channel id out of range, or an allocated monitor id that doesn't exist.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        const KIND: MessageType = MessageType::OFFER_CHANNEL;
        let (wire, _) = super::read::<layout::OfferChannel>(KIND, payload)?;
        let monitor = if wire.monitor_allocated & 1 != 0 {
            Some(
                MonitorId::new(wire.monitor_id).ok_or(MessageError::BadField {
                    message_type: KIND,
                    field: "monitorid",
                    value: wire.monitor_id.into(),
                })?,
            )
        } else {
            None
        };
        Ok(Self {
            class: wire.class,
            instance: wire.instance,
            relid: relid(KIND, wire.relid.get())?,
            subchannel: wire.subchannel.get(),
            flags: OfferFlags(wire.flags.get()),
            mmio_megabytes: wire.mmio_megabytes.get(),
            monitor,
            raw_monitor_id: wire.monitor_id,
            dedicated_interrupt: wire.dedicated_interrupt.get() & 1 != 0,
            connection_id: wire.connection_id.get(),
            user_data: wire.user_data,
        })
    }

    /// True for a device's first channel.
    pub const fn is_primary(&self) -> bool {
        self.subchannel == 0
    }

    /// The pipe mode: 0 for a stream of bytes, 4 for messages (`VMBUS_PIPE_TYPE_*`). `None` where
    /// the channel isn't a pipe.
    pub fn pipe_mode(&self) -> Option<u32> {
        let mode = self.user_data.first_chunk::<4>()?;
        self.flags.is_pipe().then(|| u32::from_le_bytes(*mode))
    }
}

/// Properties of an offered channel (`chn_flags`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfferFlags(pub u16);

impl OfferFlags {
    /// The class is to be enumerated as a device interface.
    pub const ENUMERATE_DEVICE_INTERFACE: u16 = 0x0001;
    /// The paravisor offers it and its ring is in encrypted memory.
    pub const CONFIDENTIAL_RING: u16 = 0x0002;
    /// The paravisor offers it; GPA-direct memory and further GPADLs are encrypted.
    pub const CONFIDENTIAL_EXTERNAL_MEMORY: u16 = 0x0004;
    /// Pipe framing.
    pub const NAMED_PIPE: u16 = 0x0010;
    /// Offered by this very partition.
    pub const LOOPBACK: u16 = 0x0100;
    /// Offered by the parent partition.
    pub const PARENT: u16 = 0x0200;
    /// Monitored notification is wanted.
    pub const MONITORED: u16 = 0x0400;
    /// A Hyper-V socket (`VMBUS_CHANNEL_TLNPI_PROVIDER_OFFER`).
    pub const SOCKET: u16 = 0x2000;

    const fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    /// The channel is one connection of a Hyper-V socket, not a device.
    pub const fn is_socket(self) -> bool {
        self.has(Self::SOCKET)
    }

    /// The channel speaks the pipe protocol.
    pub const fn is_pipe(self) -> bool {
        self.has(Self::NAMED_PIPE)
    }

    /// The ring must be in memory that only guest and paravisor can read (`is_co_ring_buffer`).
    pub const fn has_confidential_ring(self) -> bool {
        self.has(Self::CONFIDENTIAL_RING)
    }

    /// Buffers outside the ring must be so too (`is_co_external_memory`). Without
    /// [`OfferFlags::has_confidential_ring`] the offer makes no sense and is to be ignored.
    pub const fn has_confidential_external_memory(self) -> bool {
        self.has(Self::CONFIDENTIAL_EXTERNAL_MEMORY)
    }
}
