// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Objects of a NIC: their numbers, and the records that queries return and sets take.
//!
//! Numbers come from `include/linux/rndis.h` (`RNDIS_OID_*`) and
//! `drivers/net/hyperv/hyperv_net.h` (`OID_*`); the receive filters and the connection offload
//! from the Windows SDK's `ntddndis.h`. Values without a record of their own are a `u32` or, for
//! counters, a `u32` or `u64` at the asker's choice.

use crate::layout::{named_numbers, wire};
use core::fmt;
use zerocopy::little_endian::{U16, U32};
use zerocopy::FromBytes;
use zerocopy_derive::*;

mod address;
mod config;
mod connection;
mod link;
mod offload;
mod parameters;
mod receive_filter;
mod scale;

pub use address::{multicast_list, MulticastList, PacketFilter};
pub use config::{mac_parameter, ConfigParameter, Utf16, ValueType, NETWORK_ADDRESS};
pub use connection::ConnectionOffload;
pub use link::LinkState;
pub use offload::{
    ChecksumOffload, Encapsulation, LargeSendV1, LargeSendV2, Offload, OffloadRevision, RscOffload,
    MAX_OFFLOAD_BYTES, RECEIVE_CHECKSUM_ALL, SEND_CHECKSUM_ALL_TCP4, SEND_CHECKSUM_ALL_TCP6,
};
pub use parameters::{ChecksumSetting, OffloadParameters, Setting};
pub use receive_filter::{FilterCapabilities, QueueState, ReceiveFilter, ReceiveQueue};
pub use scale::{
    ScaleCapabilities, ScaleFlags, ScaleParameters, ScaleTable, MAX_SCALE_PARAMETERS_BYTES,
    MAX_TABLE_ENTRIES,
};

named_numbers! {
    /// Number of an object.
    pub struct Oid("{:#010x}");
    /// The numbers of all objects the NIC has.
    GEN_SUPPORTED_LIST = 0x0001_0101;
    /// 0: ready.
    GEN_HARDWARE_STATUS = 0x0001_0102;
    /// Kinds of network the NIC can be on.
    GEN_MEDIA_SUPPORTED = 0x0001_0103;
    /// Kinds of network the NIC is on.
    GEN_MEDIA_IN_USE = 0x0001_0104;
    /// Bytes of a frame that are shown before all of it.
    GEN_MAXIMUM_LOOKAHEAD = 0x0001_0105;
    /// The MTU, without the Ethernet header.
    GEN_MAXIMUM_FRAME_SIZE = 0x0001_0106;
    /// Speed in units of 100 bit/s.
    GEN_LINK_SPEED = 0x0001_0107;
    /// Bytes of the NIC's memory for frames to send.
    GEN_TRANSMIT_BUFFER_SPACE = 0x0001_0108;
    /// Bytes of the NIC's memory for received frames.
    GEN_RECEIVE_BUFFER_SPACE = 0x0001_0109;
    /// Unit of the memory for frames to send.
    GEN_TRANSMIT_BLOCK_SIZE = 0x0001_010a;
    /// Unit of the memory for received frames.
    GEN_RECEIVE_BLOCK_SIZE = 0x0001_010b;
    /// The maker's number from the IEEE, in the lower three bytes.
    GEN_VENDOR_ID = 0x0001_010c;
    /// The maker's words, ASCII with a zero at the end.
    GEN_VENDOR_DESCRIPTION = 0x0001_010d;
    /// Which frames the guest wants: [`PacketFilter`].
    GEN_CURRENT_PACKET_FILTER = 0x0001_010e;
    /// As GEN_MAXIMUM_LOOKAHEAD, set.
    GEN_CURRENT_LOOKAHEAD = 0x0001_010f;
    /// Version of NDIS, a `u16`.
    GEN_DRIVER_VERSION = 0x0001_0110;
    /// Longest frame, with the Ethernet header.
    GEN_MAXIMUM_TOTAL_SIZE = 0x0001_0111;
    /// Set only, without effect.
    GEN_PROTOCOL_OPTIONS = 0x0001_0112;
    /// What the NIC does beyond the ordinary.
    GEN_MAC_OPTIONS = 0x0001_0113;
    /// 0: the link is up, 1: it is down.
    GEN_MEDIA_CONNECT_STATUS = 0x0001_0114;
    /// How many frames may be sent at once.
    GEN_MAXIMUM_SEND_PACKETS = 0x0001_0115;
    /// The maker's version.
    GEN_VENDOR_DRIVER_VERSION = 0x0001_0116;
    /// GUIDs of further objects.
    GEN_SUPPORTED_GUIDS = 0x0001_0117;
    /// Set only: addresses of the stack above.
    GEN_NETWORK_LAYER_ADDRESSES = 0x0001_0118;
    /// Bytes before a frame's transport header; set only.
    GEN_TRANSPORT_HEADER_OFFSET = 0x0001_0119;
    /// What the network can do.
    GEN_MEDIA_CAPABILITIES = 0x0001_0201;
    /// What the network is made of; 0 for no matter.
    GEN_PHYSICAL_MEDIUM = 0x0001_0202;
    /// [`ScaleCapabilities`].
    GEN_RECEIVE_SCALE_CAPABILITIES = 0x0001_0203;
    /// [`ScaleParameters`].
    GEN_RECEIVE_SCALE_PARAMETERS = 0x0001_0204;
    /// Highest speed both ways, two `u64` in bit/s.
    GEN_MAX_LINK_SPEED = 0x0001_0206;
    /// [`LinkState`].
    GEN_LINK_STATE = 0x0001_0207;
    /// Sets speed and duplex.
    GEN_LINK_PARAMETERS = 0x0001_0208;
    /// How interrupts are put together.
    GEN_INTERRUPT_MODERATION = 0x0001_0209;
    /// Set only: the guest's name in UTF-16.
    GEN_MACHINE_NAME = 0x0001_021a;
    /// Set only: [`ConfigParameter`].
    GEN_RNDIS_CONFIG_PARAMETER = 0x0001_021b;
    /// The VLAN that the NIC itself is in.
    GEN_VLAN_ID = 0x0001_021c;
    /// What queues and filters the hardware has.
    RECEIVE_FILTER_HARDWARE_CAPABILITIES = 0x0001_0221;
    /// Which queues and filters are in force.
    RECEIVE_FILTER_GLOBAL_PARAMETERS = 0x0001_0222;
    /// Method: a receive queue.
    RECEIVE_FILTER_ALLOCATE_QUEUE = 0x0001_0223;
    /// Set: gives a queue back.
    RECEIVE_FILTER_FREE_QUEUE = 0x0001_0224;
    /// All queues.
    RECEIVE_FILTER_ENUM_QUEUES = 0x0001_0225;
    /// What a queue was allocated with.
    RECEIVE_FILTER_QUEUE_PARAMETERS = 0x0001_0226;
    /// Method: sends frames of an address and VLAN to a queue.
    RECEIVE_FILTER_SET_FILTER = 0x0001_0227;
    /// Set: ends that.
    RECEIVE_FILTER_CLEAR_FILTER = 0x0001_0228;
    /// All filters of a queue.
    RECEIVE_FILTER_ENUM_FILTERS = 0x0001_0229;
    /// What a filter was set with.
    RECEIVE_FILTER_PARAMETERS = 0x0001_022a;
    /// Method: all queues of a round were asked for.
    RECEIVE_FILTER_QUEUE_ALLOCATION_COMPLETE = 0x0001_022b;
    /// What queues and filters are enabled.
    RECEIVE_FILTER_CURRENT_CAPABILITIES = 0x0001_022d;
    /// Frames sent.
    GEN_XMIT_OK = 0x0002_0101;
    /// Frames received.
    GEN_RCV_OK = 0x0002_0102;
    /// Frames that couldn't be sent.
    GEN_XMIT_ERROR = 0x0002_0103;
    /// Frames received with errors.
    GEN_RCV_ERROR = 0x0002_0104;
    /// Frames lost for want of a buffer.
    GEN_RCV_NO_BUFFER = 0x0002_0105;
    /// All counters of NDIS 6.
    GEN_STATISTICS = 0x0002_0106;
    /// Bytes sent to one address.
    GEN_DIRECTED_BYTES_XMIT = 0x0002_0201;
    /// Frames sent to one address.
    GEN_DIRECTED_FRAMES_XMIT = 0x0002_0202;
    /// Bytes sent to groups.
    GEN_MULTICAST_BYTES_XMIT = 0x0002_0203;
    /// Frames sent to groups.
    GEN_MULTICAST_FRAMES_XMIT = 0x0002_0204;
    /// Bytes sent to all.
    GEN_BROADCAST_BYTES_XMIT = 0x0002_0205;
    /// Frames sent to all.
    GEN_BROADCAST_FRAMES_XMIT = 0x0002_0206;
    /// Bytes received for this address.
    GEN_DIRECTED_BYTES_RCV = 0x0002_0207;
    /// Frames received for this address.
    GEN_DIRECTED_FRAMES_RCV = 0x0002_0208;
    /// Bytes received for groups.
    GEN_MULTICAST_BYTES_RCV = 0x0002_0209;
    /// Frames received for groups.
    GEN_MULTICAST_FRAMES_RCV = 0x0002_020a;
    /// Bytes received for all.
    GEN_BROADCAST_BYTES_RCV = 0x0002_020b;
    /// Frames received for all.
    GEN_BROADCAST_FRAMES_RCV = 0x0002_020c;
    /// Frames received with a bad checksum of Ethernet.
    GEN_RCV_CRC_ERROR = 0x0002_020d;
    /// Frames waiting to be sent.
    GEN_TRANSMIT_QUEUE_LENGTH = 0x0002_020e;
    /// Name of the NIC in UTF-16, zero at the end.
    GEN_FRIENDLY_NAME = 0x0002_0216;
    /// What the driver of the NIC does.
    GEN_MINIPORT_INFO = 0x0002_0217;
    /// Of use to testers only.
    GEN_RESET_VERIFY_PARAMETERS = 0x0002_0218;
    /// Bytes received.
    GEN_BYTES_RCV = 0x0002_0219;
    /// Bytes sent.
    GEN_BYTES_XMIT = 0x0002_021a;
    /// Frames received and thrown away.
    GEN_RCV_DISCARDS = 0x0002_021b;
    /// Frames to send that were thrown away.
    GEN_XMIT_DISCARDS = 0x0002_021c;
    /// The NIC's own address (`OID_802_3_PERMANENT_ADDRESS`).
    ETHERNET_PERMANENT_ADDRESS = 0x0101_0101;
    /// The address in force.
    ETHERNET_CURRENT_ADDRESS = 0x0101_0102;
    /// The groups the guest is in: [`multicast_list`].
    ETHERNET_MULTICAST_LIST = 0x0101_0103;
    /// How many groups the NIC takes.
    ETHERNET_MAXIMUM_LIST_SIZE = 0x0101_0104;
    /// Priorities of 802.1p and the like.
    ETHERNET_MAC_OPTIONS = 0x0101_0105;
    /// How frames that offloads apply to are framed.
    OFFLOAD_ENCAPSULATION = 0x0101_010a;
    /// Frames received out of step.
    ETHERNET_RCV_ERROR_ALIGNMENT = 0x0102_0101;
    /// Frames sent after one collision.
    ETHERNET_XMIT_ONE_COLLISION = 0x0102_0102;
    /// Frames sent after several.
    ETHERNET_XMIT_MORE_COLLISIONS = 0x0102_0103;
    /// The offloads in force: [`Offload`].
    TCP_OFFLOAD_CURRENT_CONFIG = 0xfc01_020b;
    /// Set only: [`OffloadParameters`].
    TCP_OFFLOAD_PARAMETERS = 0xfc01_020c;
    /// The offloads there could be: [`Offload`].
    TCP_OFFLOAD_HARDWARE_CAPABILITIES = 0xfc01_020d;
    /// Connection offload in force: [`ConnectionOffload`].
    TCP_CONNECTION_OFFLOAD_CURRENT_CONFIG = 0xfc01_020e;
    /// Connection offload there could be: [`ConnectionOffload`].
    TCP_CONNECTION_OFFLOAD_HARDWARE_CAPABILITIES = 0xfc01_020f;
    /// Set only: timers of offloaded connections.
    TCP_CONNECTION_OFFLOAD_PARAMETERS = 0xfc03_0201;
    /// What the NIC can be woken by.
    PNP_CAPABILITIES = 0xfd01_0100;
    /// Sets the power state.
    PNP_SET_POWER = 0xfd01_0101;
    /// Asks whether a power state is possible.
    PNP_QUERY_POWER = 0xfd01_0102;
}

wire! {
    /// `struct ndis_object_header`.
    struct WireObjectHeader { object_type: u8, revision: u8, size: U16, } = 4;
}

/// What NDIS 6 records start with (`struct ndis_object_header`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectHeader {
    /// Kind of record.
    pub object_type: u8,
    /// How far the record has grown.
    pub revision: u8,
    /// Bytes of the record, this included.
    pub size: u16,
}

impl ObjectHeader {
    /// Kind of [`OffloadParameters`] and [`ConnectionOffload`] (`NDIS_OBJECT_TYPE_DEFAULT`).
    pub const DEFAULT: u8 = 0x80;
    /// Kind of [`ScaleCapabilities`] (`NDIS_OBJECT_TYPE_RSS_CAPABILITIES`).
    pub const RSS_CAPABILITIES: u8 = 0x88;
    /// Kind of [`ScaleParameters`] (`NDIS_OBJECT_TYPE_RSS_PARAMETERS`).
    pub const RSS_PARAMETERS: u8 = 0x89;
    /// Kind of [`Offload`] (`NDIS_OBJECT_TYPE_OFFLOAD`).
    pub const OFFLOAD: u8 = 0xa7;

    /// Reads the header at the start of a record.
    ///
    /// # Errors
    ///
    /// [`OidError::TooShort`].
    pub fn parse(info: &[u8]) -> Result<Self, OidError> {
        read::<WireObjectHeader>(info).map(Self::from_wire)
    }

    pub(crate) const fn from_wire(wire: WireObjectHeader) -> Self {
        Self {
            object_type: wire.object_type,
            revision: wire.revision,
            size: wire.size.get(),
        }
    }

    pub(crate) const fn to_wire(self) -> WireObjectHeader {
        WireObjectHeader {
            object_type: self.object_type,
            revision: self.revision,
            size: U16::new(self.size),
        }
    }

    /// The header as it has to be sent in a query that expects a record.
    pub fn to_bytes(self) -> [u8; 4] {
        zerocopy::transmute!(self.to_wire())
    }
}

/// Why a record was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OidError {
    /// Shorter than it has to be.
    TooShort {
        /// Bytes received, or named in the header where those are fewer.
        got: usize,
        /// Bytes it has to have at least.
        want: usize,
    },
    /// A field holds what it never may.
    BadField {
        /// Name of the field.
        field: &'static str,
        /// What it held.
        value: u32,
    },
    /// A part of the record isn't inside of it.
    OutOfBounds {
        /// Which part.
        part: &'static str,
        /// Where it starts.
        offset: u32,
        /// Bytes it has.
        length: u32,
    },
    /// The place to write to is too short.
    NoRoom {
        /// Bytes needed.
        need: usize,
    },
}

impl fmt::Display for OidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { got, want } => write!(f, "record of {got} bytes, not {want}"),
            Self::BadField { field, value } => write!(f, "record has {field} {value:#x}"),
            Self::OutOfBounds {
                part,
                offset,
                length,
            } => write!(
                f,
                "record has its {part} of {length} bytes at {offset}, not inside"
            ),
            Self::NoRoom { need } => write!(f, "record of {need} bytes doesn't fit"),
        }
    }
}

impl core::error::Error for OidError {}

/// Reads the fixed start of a record.
pub(crate) fn read<T: FromBytes>(info: &[u8]) -> Result<T, OidError> {
    match T::read_from_prefix(info) {
        Ok((value, _)) => Ok(value),
        Err(_) => Err(OidError::TooShort {
            got: info.len(),
            want: size_of::<T>(),
        }),
    }
}

/// The characters of a name in UTF-16, up to a zero or the end. What isn't one is U+FFFD, which control
/// characters become as well.
pub fn name(info: &[u8]) -> impl Iterator<Item = char> + '_ {
    let units = info.chunks_exact(2).map(|unit| {
        unit.iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u16::from(*byte))
    });
    char::decode_utf16(units.take_while(|unit| *unit != 0)).map(|unit| match unit {
        Ok(character) if !character.is_control() => character,
        _ => char::REPLACEMENT_CHARACTER,
    })
}

/// Reads a value that is a `u32`.
///
/// # Errors
///
/// [`OidError::TooShort`].
pub fn word(info: &[u8]) -> Result<u32, OidError> {
    read::<U32>(info).map(U32::get)
}
