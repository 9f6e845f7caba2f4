// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a guest changes.

use netvsc_wire::oid::{
    multicast_list, word, ConfigParameter, ObjectHeader, OffloadParameters, Oid, OidError,
    PacketFilter, ScaleFlags, ScaleParameters, ValueType, NETWORK_ADDRESS,
};
use netvsc_wire::rndis::Status;
use netvsc_wire::rss::HashTypes;

use super::{Adapter, Changes, Spreading, MAX_GROUPS};

/// Bits of a packet filter that mean something on Ethernet; `NDIS_PACKET_TYPE_ALL_LOCAL` is one.
const FILTER_BITS: u32 = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x80;

/// Hash types that the data path can compute.
const HASH_TYPES: HashTypes = HashTypes::LINUX;

/// The status for a record that can't be read.
pub(super) fn refused(error: OidError) -> Status {
    match error {
        OidError::TooShort { .. } => Status::INVALID_LENGTH,
        OidError::BadField { .. } | OidError::OutOfBounds { .. } => Status::INVALID_DATA,
        OidError::NoRoom { .. } => Status::BUFFER_TOO_SHORT,
    }
}

impl Adapter {
    /// Changes an object.
    pub(super) fn set(&mut self, oid: Oid, info: &[u8]) -> Result<Changes, Status> {
        match oid {
            Oid::GEN_CURRENT_PACKET_FILTER => self.set_filter(info),
            Oid::ETHERNET_MULTICAST_LIST => self.set_groups(info),
            Oid::GEN_RNDIS_CONFIG_PARAMETER => self.set_parameter(info),
            Oid::TCP_OFFLOAD_PARAMETERS => self.set_offloads(info),
            Oid::GEN_RECEIVE_SCALE_PARAMETERS => self.set_spreading(info),
            Oid::GEN_CURRENT_LOOKAHEAD => {
                let lookahead = word(info).map_err(refused)?;
                if lookahead > self.config.mtu {
                    return Err(Status::INVALID_DATA);
                }
                self.lookahead = lookahead;
                Ok(Changes::empty())
            }
            // Ethernet is all there is.
            Oid::OFFLOAD_ENCAPSULATION => {
                ObjectHeader::parse(info).map_err(refused)?;
                Ok(Changes::empty())
            }
            // Said for the NIC's use; this one has none for it.
            Oid::GEN_PROTOCOL_OPTIONS | Oid::GEN_TRANSPORT_HEADER_OFFSET | Oid::PNP_SET_POWER => {
                word(info).map_err(refused)?;
                Ok(Changes::empty())
            }
            Oid::GEN_NETWORK_LAYER_ADDRESSES | Oid::GEN_MACHINE_NAME => Ok(Changes::empty()),
            other if self.has(other) => Err(Status::INVALID_OID),
            _ => Err(Status::NOT_SUPPORTED),
        }
    }

    fn set_filter(&mut self, info: &[u8]) -> Result<Changes, Status> {
        let filter = word(info).map_err(refused)?;
        if filter & !FILTER_BITS != 0 {
            return Err(Status::NOT_SUPPORTED);
        }
        self.filter = PacketFilter(filter);
        Ok(Changes::FILTER)
    }

    fn set_groups(&mut self, info: &[u8]) -> Result<Changes, Status> {
        let groups: Vec<_> = multicast_list(info).map_err(refused)?.collect();
        if groups.len() > MAX_GROUPS {
            return Err(Status::MULTICAST_FULL);
        }
        self.groups = groups;
        Ok(Changes::GROUPS)
    }

    fn set_parameter(&mut self, info: &[u8]) -> Result<Changes, Status> {
        let parameter = ConfigParameter::parse(info).map_err(refused)?;
        if !parameter.name.is(NETWORK_ADDRESS) {
            return Err(Status::NOT_SUPPORTED);
        }
        // As in the registry: without a value the NIC's own address is in force.
        if parameter.value.is_empty() && parameter.value_type == ValueType::STRING {
            self.mac = self.config.mac;
            return Ok(Changes::ADDRESS);
        }
        let address = parameter.address().ok_or(Status::INVALID_DATA)?;
        if address[0] & 1 != 0 || address == [0; 6] {
            return Err(Status::INVALID_DATA);
        }
        self.mac = address;
        Ok(Changes::ADDRESS)
    }

    fn set_offloads(&mut self, info: &[u8]) -> Result<Changes, Status> {
        let wanted = OffloadParameters::parse(info).map_err(refused)?;
        let connections = self
            .config
            .connections
            .map_or((false, false), |offload| (offload.ipv4, offload.ipv6));
        self.offloads = self
            .offloads
            .apply(&wanted, &self.config.offload, connections)?;
        Ok(Changes::OFFLOAD)
    }

    fn set_spreading(&mut self, info: &[u8]) -> Result<Changes, Status> {
        let wanted = ScaleParameters::parse(info).map_err(refused)?;
        if self.config.queues < 2 {
            return Err(Status::NOT_SUPPORTED);
        }
        let hash = if wanted.flags.contains(ScaleFlags::HASH_INFO_UNCHANGED) {
            self.spreading
                .as_ref()
                .map_or(HashTypes::NONE, |old| old.hash)
        } else {
            wanted.hash
        };
        // No hash is the other way to say off.
        if wanted.flags.contains(ScaleFlags::DISABLE) || hash == HashTypes::NONE {
            self.spreading_off = true;
            return Ok(Changes::SPREADING);
        }
        if !hash.contains(HashTypes::TOEPLITZ) || !HASH_TYPES.contains(hash) {
            return Err(Status::NOT_SUPPORTED);
        }
        let old = self.spreading.as_ref();
        let key = wanted.key.or_else(|| old.map(|old| old.key));
        let table = if wanted.flags.contains(ScaleFlags::TABLE_UNCHANGED) {
            old.map(|old| old.table.clone())
        } else {
            let table: Vec<_> = wanted.table.iter().collect();
            let queues = u32::from(self.config.queues);
            if table.iter().any(|&channel| channel >= queues) {
                return Err(Status::INVALID_DATA);
            }
            Some(table)
        };
        // What was never set can't stay as it is.
        let (Some(key), Some(table)) = (key, table) else {
            return Err(Status::INVALID_DATA);
        };
        self.spreading = Some(Spreading { hash, key, table });
        self.spreading_off = false;
        Ok(Changes::SPREADING)
    }
}
