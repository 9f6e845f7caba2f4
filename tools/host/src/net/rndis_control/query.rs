// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a guest asks for.

use netvsc_wire::oid::{
    FilterCapabilities, ObjectHeader, Offload, OffloadRevision, Oid, OidError, QueueState,
    ReceiveFilter, ReceiveQueue, ScaleCapabilities, ScaleFlags, ScaleParameters, MAX_OFFLOAD_BYTES,
    MAX_SCALE_PARAMETERS_BYTES,
};
use netvsc_wire::rndis::Status;
use netvsc_wire::rss::HashTypes;
use netvsc_wire::ETHERNET_HEADER_BYTES;

use super::set::refused;
use super::{Adapter, Statistics, MAX_GROUPS, TABLE_ENTRIES};

/// Objects of every NIC.
const OBJECTS: [Oid; 66] = [
    Oid::GEN_SUPPORTED_LIST,
    Oid::GEN_HARDWARE_STATUS,
    Oid::GEN_MEDIA_SUPPORTED,
    Oid::GEN_MEDIA_IN_USE,
    Oid::GEN_MAXIMUM_LOOKAHEAD,
    Oid::GEN_MAXIMUM_FRAME_SIZE,
    Oid::GEN_LINK_SPEED,
    Oid::GEN_TRANSMIT_BUFFER_SPACE,
    Oid::GEN_RECEIVE_BUFFER_SPACE,
    Oid::GEN_TRANSMIT_BLOCK_SIZE,
    Oid::GEN_RECEIVE_BLOCK_SIZE,
    Oid::GEN_VENDOR_ID,
    Oid::GEN_VENDOR_DESCRIPTION,
    Oid::GEN_CURRENT_PACKET_FILTER,
    Oid::GEN_CURRENT_LOOKAHEAD,
    Oid::GEN_DRIVER_VERSION,
    Oid::GEN_MAXIMUM_TOTAL_SIZE,
    Oid::GEN_PROTOCOL_OPTIONS,
    Oid::GEN_MAC_OPTIONS,
    Oid::GEN_MEDIA_CONNECT_STATUS,
    Oid::GEN_MAXIMUM_SEND_PACKETS,
    Oid::GEN_VENDOR_DRIVER_VERSION,
    Oid::GEN_NETWORK_LAYER_ADDRESSES,
    Oid::GEN_TRANSPORT_HEADER_OFFSET,
    Oid::GEN_PHYSICAL_MEDIUM,
    Oid::GEN_RECEIVE_SCALE_CAPABILITIES,
    Oid::GEN_RECEIVE_SCALE_PARAMETERS,
    Oid::GEN_MAX_LINK_SPEED,
    Oid::GEN_LINK_STATE,
    Oid::GEN_MACHINE_NAME,
    Oid::GEN_RNDIS_CONFIG_PARAMETER,
    Oid::RECEIVE_FILTER_HARDWARE_CAPABILITIES,
    Oid::RECEIVE_FILTER_GLOBAL_PARAMETERS,
    Oid::RECEIVE_FILTER_ENUM_QUEUES,
    Oid::RECEIVE_FILTER_QUEUE_PARAMETERS,
    Oid::RECEIVE_FILTER_ENUM_FILTERS,
    Oid::RECEIVE_FILTER_PARAMETERS,
    Oid::RECEIVE_FILTER_CURRENT_CAPABILITIES,
    Oid::GEN_XMIT_OK,
    Oid::GEN_RCV_OK,
    Oid::GEN_XMIT_ERROR,
    Oid::GEN_RCV_ERROR,
    Oid::GEN_RCV_NO_BUFFER,
    Oid::GEN_RCV_CRC_ERROR,
    Oid::GEN_TRANSMIT_QUEUE_LENGTH,
    Oid::GEN_FRIENDLY_NAME,
    Oid::GEN_BYTES_RCV,
    Oid::GEN_BYTES_XMIT,
    Oid::GEN_RCV_DISCARDS,
    Oid::GEN_XMIT_DISCARDS,
    Oid::ETHERNET_PERMANENT_ADDRESS,
    Oid::ETHERNET_CURRENT_ADDRESS,
    Oid::ETHERNET_MULTICAST_LIST,
    Oid::ETHERNET_MAXIMUM_LIST_SIZE,
    Oid::ETHERNET_MAC_OPTIONS,
    Oid::OFFLOAD_ENCAPSULATION,
    Oid::ETHERNET_RCV_ERROR_ALIGNMENT,
    Oid::ETHERNET_XMIT_ONE_COLLISION,
    Oid::ETHERNET_XMIT_MORE_COLLISIONS,
    Oid::TCP_OFFLOAD_CURRENT_CONFIG,
    Oid::TCP_OFFLOAD_PARAMETERS,
    Oid::TCP_OFFLOAD_HARDWARE_CAPABILITIES,
    Oid::TCP_CONNECTION_OFFLOAD_CURRENT_CONFIG,
    Oid::TCP_CONNECTION_OFFLOAD_HARDWARE_CAPABILITIES,
    Oid::PNP_SET_POWER,
    Oid::GEN_VLAN_ID,
];

/// Objects that can only be set.
const SET_ONLY: [Oid; 8] = [
    Oid::OFFLOAD_ENCAPSULATION,
    Oid::GEN_PROTOCOL_OPTIONS,
    Oid::GEN_NETWORK_LAYER_ADDRESSES,
    Oid::GEN_TRANSPORT_HEADER_OFFSET,
    Oid::GEN_MACHINE_NAME,
    Oid::GEN_RNDIS_CONFIG_PARAMETER,
    Oid::TCP_OFFLOAD_PARAMETERS,
    Oid::PNP_SET_POWER,
];

/// No maker: all three bytes set (`OID_GEN_VENDOR_ID` of the Windows driver documentation).
const NO_VENDOR: u32 = 0x00ff_ffff;
/// What the NIC is called where the maker's words are asked for, zero at the end.
const DESCRIPTION: &[u8] = b"vmbus-rs synthetic network adapter\0";
/// NDIS 6.30.
const NDIS_VERSION: u16 = 0x061e;
/// `RNDIS_MAC_OPTION_NO_LOOPBACK`, `_FULL_DUPLEX`, `_8021P_PRIORITY`, and NDIS's `_8021Q_VLAN`.
const MAC_OPTIONS: u32 = 0x08 | 0x10 | 0x40 | 0x200;
/// Bytes of a VLAN tag.
const TAG_BYTES: u32 = 4;
/// Longest name of a NIC in bytes, the zero at its end included: what Linux reads.
const NAME_BYTES: usize = 512;
/// Number of the only receive filter.
const FILTER: u32 = 1;

impl Adapter {
    /// Whether the NIC has an object, to query or to set.
    pub(super) fn has(&self, oid: Oid) -> bool {
        OBJECTS.contains(&oid)
            && match oid {
                Oid::TCP_CONNECTION_OFFLOAD_CURRENT_CONFIG
                | Oid::TCP_CONNECTION_OFFLOAD_HARDWARE_CAPABILITIES => {
                    self.config.connections.is_some()
                }
                Oid::GEN_FRIENDLY_NAME => !self.config.name.is_empty(),
                Oid::GEN_VLAN_ID => self.config.access_vlan.is_some(),
                _ => true,
            }
    }

    /// Writes an object.
    pub(super) fn query(
        &self,
        oid: Oid,
        info: &[u8],
        statistics: &Statistics,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        if !self.has(oid) {
            return Err(Status::NOT_SUPPORTED);
        }
        if SET_ONLY.contains(&oid) {
            return Err(Status::INVALID_OID);
        }
        if let Some(count) = self.counter(oid, statistics) {
            // A counter has eight bytes for who makes room for them, else the lower four.
            match info.len() {
                8.. => out.extend(count.to_le_bytes()),
                _ => out.extend((count as u32).to_le_bytes()),
            }
            return Ok(());
        }
        if let Some(value) = self.number(oid) {
            out.extend(value.to_le_bytes());
            return Ok(());
        }
        match oid {
            Oid::GEN_SUPPORTED_LIST => {
                let all = OBJECTS.iter().filter(|&&oid| self.has(oid));
                out.extend(all.flat_map(|oid| oid.0.to_le_bytes()));
            }
            Oid::GEN_VENDOR_DESCRIPTION => out.extend(DESCRIPTION),
            Oid::GEN_DRIVER_VERSION => out.extend(NDIS_VERSION.to_le_bytes()),
            Oid::GEN_FRIENDLY_NAME => self.name(out),
            Oid::GEN_LINK_STATE => out.extend(self.link().to_bytes()),
            Oid::GEN_MAX_LINK_SPEED => out.extend(self.link().speed_bytes()),
            Oid::ETHERNET_PERMANENT_ADDRESS => out.extend(self.config.mac),
            Oid::ETHERNET_CURRENT_ADDRESS => out.extend(self.mac),
            Oid::ETHERNET_MULTICAST_LIST => out.extend(self.groups.iter().flatten()),
            Oid::TCP_OFFLOAD_HARDWARE_CAPABILITIES => {
                self.offload_record(&self.config.offload, info, out)?;
            }
            Oid::TCP_OFFLOAD_CURRENT_CONFIG => {
                let in_force = self.offloads.record(&self.config.offload);
                self.offload_record(&in_force, info, out)?;
            }
            Oid::TCP_CONNECTION_OFFLOAD_HARDWARE_CAPABILITIES => {
                let offload = self.config.connections.unwrap_or_default();
                out.extend(offload.to_bytes());
            }
            Oid::TCP_CONNECTION_OFFLOAD_CURRENT_CONFIG => {
                let mut offload = self.config.connections.unwrap_or_default();
                offload.ipv4 &= self.offloads.connection_ip4;
                offload.ipv6 &= self.offloads.connection_ip6;
                out.extend(offload.to_bytes());
            }
            Oid::GEN_RECEIVE_SCALE_CAPABILITIES => {
                let queues = self.config.queues.into();
                let capabilities = ScaleCapabilities {
                    flags: ScaleCapabilities::FLAGS,
                    interrupts: queues,
                    queues,
                    table_entries: TABLE_ENTRIES,
                };
                out.extend(capabilities.to_bytes());
            }
            Oid::GEN_RECEIVE_SCALE_PARAMETERS => self.scale_parameters(out)?,
            _ => self.call(oid, info, out)?,
        }
        Ok(())
    }

    /// Objects that name what is asked for in a record: queries to some guests, methods to NDIS.
    pub(super) fn call(&self, oid: Oid, info: &[u8], out: &mut Vec<u8>) -> Result<(), Status> {
        let capabilities = FilterCapabilities {
            queues: self.config.queues.into(),
            filters: 1,
        };
        match oid {
            Oid::RECEIVE_FILTER_HARDWARE_CAPABILITIES
            | Oid::RECEIVE_FILTER_CURRENT_CAPABILITIES => out.extend(capabilities.to_bytes()),
            Oid::RECEIVE_FILTER_GLOBAL_PARAMETERS => {
                out.extend(FilterCapabilities::global_bytes(true));
            }
            Oid::RECEIVE_FILTER_ENUM_QUEUES => {
                let queues: Vec<_> = (0..self.config.queues)
                    .filter_map(|number| self.queue(number.into()))
                    .collect();
                let length = ReceiveQueue::list_bytes(queues.len());
                filled(out, length, |place| {
                    ReceiveQueue::encode_list(&queues, place)
                })?;
            }
            Oid::RECEIVE_FILTER_QUEUE_PARAMETERS => {
                let number = ReceiveQueue::parse_request(info).map_err(refused)?;
                let queue = self.queue(number).ok_or(Status::INVALID_DATA)?;
                filled(out, ReceiveQueue::BYTES, |place| queue.encode(place))?;
            }
            Oid::RECEIVE_FILTER_ENUM_FILTERS => {
                let queue = ReceiveFilter::parse_list_request(info).map_err(refused)?;
                let filter = self.receive_filter();
                let filters = if queue == filter.queue {
                    std::slice::from_ref(&filter)
                } else {
                    &[]
                };
                let length = ReceiveFilter::list_bytes(filters.len());
                filled(out, length, |place| {
                    ReceiveFilter::encode_list(queue, filters, place)
                })?;
            }
            Oid::RECEIVE_FILTER_PARAMETERS => {
                if ReceiveFilter::parse_request(info).map_err(refused)? != FILTER {
                    return Err(Status::INVALID_DATA);
                }
                out.extend(self.receive_filter().to_bytes());
            }
            other if self.has(other) => return Err(Status::INVALID_OID),
            _ => return Err(Status::NOT_SUPPORTED),
        }
        Ok(())
    }

    /// Objects that count something.
    fn counter(&self, oid: Oid, statistics: &Statistics) -> Option<u64> {
        Some(match oid {
            Oid::GEN_XMIT_OK => statistics.sent_frames,
            Oid::GEN_RCV_OK => statistics.received_frames,
            Oid::GEN_XMIT_ERROR => statistics.send_errors,
            Oid::GEN_RCV_ERROR => statistics.receive_errors,
            Oid::GEN_RCV_NO_BUFFER => statistics.no_buffer,
            Oid::GEN_BYTES_RCV => statistics.received_bytes,
            Oid::GEN_BYTES_XMIT => statistics.sent_bytes,
            Oid::GEN_RCV_DISCARDS => statistics.receive_discards,
            Oid::GEN_XMIT_DISCARDS => statistics.send_discards,
            // There is no wire that this could happen on.
            Oid::GEN_RCV_CRC_ERROR
            | Oid::GEN_TRANSMIT_QUEUE_LENGTH
            | Oid::ETHERNET_RCV_ERROR_ALIGNMENT
            | Oid::ETHERNET_XMIT_ONE_COLLISION
            | Oid::ETHERNET_XMIT_MORE_COLLISIONS => 0,
            _ => return None,
        })
    }

    /// Objects that are a number.
    fn number(&self, oid: Oid) -> Option<u32> {
        let frame = self.config.mtu.saturating_add(ETHERNET_HEADER_BYTES);
        Some(match oid {
            // Ready, and Ethernet.
            Oid::GEN_HARDWARE_STATUS
            | Oid::GEN_MEDIA_SUPPORTED
            | Oid::GEN_MEDIA_IN_USE
            | Oid::GEN_PHYSICAL_MEDIUM => 0,
            Oid::GEN_MAXIMUM_LOOKAHEAD | Oid::GEN_MAXIMUM_FRAME_SIZE => self.config.mtu,
            Oid::GEN_CURRENT_LOOKAHEAD => self.lookahead,
            Oid::GEN_MAXIMUM_TOTAL_SIZE
            | Oid::GEN_TRANSMIT_BLOCK_SIZE
            | Oid::GEN_RECEIVE_BLOCK_SIZE => frame,
            Oid::GEN_TRANSMIT_BUFFER_SPACE | Oid::GEN_RECEIVE_BUFFER_SPACE => {
                frame.saturating_add(TAG_BYTES).saturating_mul(256)
            }
            Oid::GEN_LINK_SPEED => self.config.megabits.saturating_mul(10_000),
            Oid::GEN_VENDOR_ID => NO_VENDOR,
            Oid::GEN_VENDOR_DRIVER_VERSION => 0x0001_0000,
            Oid::GEN_CURRENT_PACKET_FILTER => self.filter.0,
            Oid::GEN_MAC_OPTIONS => MAC_OPTIONS,
            Oid::GEN_MEDIA_CONNECT_STATUS => u32::from(!self.config.link_up),
            Oid::GEN_MAXIMUM_SEND_PACKETS => self.config.max_packets,
            Oid::GEN_VLAN_ID => u32::from(self.config.access_vlan.unwrap_or(0)),
            Oid::ETHERNET_MAXIMUM_LIST_SIZE => MAX_GROUPS as u32,
            // `RNDIS_802_3_MAC_OPTION_PRIORITY`.
            Oid::ETHERNET_MAC_OPTIONS => 1,
            _ => return None,
        })
    }

    /// The name and the zero that Linux needs at its end (`rndis_get_friendly_name`).
    fn name(&self, out: &mut Vec<u8>) {
        let mut length = 0;
        for c in self.config.name.chars() {
            let mut units = [0; 2];
            let units = c.encode_utf16(&mut units);
            length += 2 * units.len();
            if length > NAME_BYTES - 2 {
                break;
            }
            out.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        }
        out.extend([0; 2]);
    }

    /// A record of the revision that the guest asks for, or else that its version has.
    fn offload_record(
        &self,
        offload: &Offload,
        info: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        let revision = match ObjectHeader::parse(info) {
            Ok(header) if header.object_type == ObjectHeader::OFFLOAD => {
                OffloadRevision::from_wire(header.revision).ok_or(Status::INVALID_DATA)?
            }
            _ => OffloadRevision::of_version(self.config.version),
        };
        filled(out, MAX_OFFLOAD_BYTES, |place| {
            offload.encode(revision, place)
        })
    }

    fn scale_parameters(&self, out: &mut Vec<u8>) -> Result<(), Status> {
        let spreading = self.spreading.as_ref().ok_or(Status::INVALID_DATA)?;
        let flags = if self.spreading_off {
            ScaleFlags::DISABLE
        } else {
            ScaleFlags::NONE
        };
        let hash = if self.spreading_off {
            HashTypes::NONE
        } else {
            spreading.hash
        };
        filled(out, MAX_SCALE_PARAMETERS_BYTES, |place| {
            ScaleParameters::encode(flags, hash, &spreading.table, &spreading.key, place)
        })
    }

    fn queue(&self, number: u32) -> Option<ReceiveQueue> {
        (number < self.config.queues.into()).then_some(ReceiveQueue {
            queue: number,
            state: QueueState::RUNNING,
            processors: 0,
            receive_buffers: 0,
        })
    }

    /// Frames to the NIC's address in its VLAN go to it; the hash over the flow chooses the queue
    /// from there on.
    fn receive_filter(&self) -> ReceiveFilter {
        ReceiveFilter {
            filter: FILTER,
            queue: 0,
            address: self.mac,
            vlan: self.config.access_vlan,
        }
    }
}

/// Appends what `write` writes into a place of `length` bytes.
fn filled(
    out: &mut Vec<u8>,
    length: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, OidError>,
) -> Result<(), Status> {
    let mut place = vec![0; length];
    let written = write(&mut place).map_err(refused)?;
    place.truncate(written);
    out.append(&mut place);
    Ok(())
}
