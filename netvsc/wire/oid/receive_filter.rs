// SPDX-License-Identifier: GPL-2.0 OR MIT

//! OID_RECEIVE_FILTER_*: queues, and filters that send frames to them, as VMQ has them.
//!
//! Facts: the Windows SDK's `ntddndis.h`, revision 1 of each structure (NDIS 6.20), 64-bit
//! layouts.

use super::{read, ObjectHeader, OidError, WireObjectHeader};
use crate::layout::{named_numbers, part, put, wire};
use crate::{EthernetAddress, ETHERNET_ADDRESS_BYTES};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};
use zerocopy_derive::*;

wire! {
    /// `NDIS_RECEIVE_FILTER_CAPABILITIES`.
    struct WireCapabilities {
        header: WireObjectHeader,
        flags: U32,
        filter_types: U32,
        queue_types: U32,
        queues: U32,
        queue_properties: U32,
        tests: U32,
        headers: U32,
        mac_fields: U32,
        max_mac_filters: U32,
        groups: U32,
        queues_per_group: U32,
        min_lookahead: U32,
        max_lookahead: U32,
    } = 56;

    /// `NDIS_RECEIVE_FILTER_GLOBAL_PARAMETERS`.
    struct WireGlobal {
        header: WireObjectHeader,
        flags: U32,
        filter_types: U32,
        queue_types: U32,
    } = 16;

    /// `IF_COUNTED_STRING`: a length in bytes and UTF-16.
    struct WireName { length: U16, text: [U16; 257], } = 516;

    /// `NDIS_RECEIVE_QUEUE_PARAMETERS`, and with a state for the gap `NDIS_RECEIVE_QUEUE_INFO`.
    struct WireQueue {
        header: WireObjectHeader,
        flags: U32,
        queue_type: U32,
        queue: U32,
        group: U32,
        state: U32,
        processors: U64,
        processor_group: U16,
        reserved: [U16; 3],
        receive_buffers: U32,
        msix_entry: U32,
        lookahead: U32,
        vm_name: WireName,
        queue_name: WireName,
    } = 1084;

    /// `NDIS_RECEIVE_QUEUE_INFO_ARRAY`.
    struct WireQueueArray {
        header: WireObjectHeader,
        first: U32,
        count: U32,
        element: U32,
    } = 16;

    /// `NDIS_RECEIVE_FILTER_INFO_ARRAY`.
    struct WireFilterArray {
        header: WireObjectHeader,
        queue: U32,
        first: U32,
        count: U32,
        element: U32,
    } = 20;

    /// `NDIS_RECEIVE_FILTER_INFO`.
    struct WireFilterInfo {
        header: WireObjectHeader,
        flags: U32,
        filter_type: U32,
        filter: U32,
    } = 16;

    /// `NDIS_RECEIVE_FILTER_PARAMETERS`; fields follow.
    struct WireFilter {
        header: WireObjectHeader,
        flags: U32,
        filter_type: U32,
        queue: U32,
        filter: U32,
        fields_offset: U32,
        fields: U32,
        field_bytes: U32,
        id_bits: U32,
    } = 36;

    /// `NDIS_RECEIVE_FILTER_FIELD_PARAMETERS`.
    struct WireField {
        header: WireObjectHeader,
        flags: U32,
        frame_header: U32,
        test: U32,
        field: U32,
        gap: U32,
        value: [u8; 16],
        result: [u8; 16],
    } = 56;
}

/// `NdisReceiveFilterTypeVMQueue`, `NdisReceiveQueueTypeVMQueue`.
const VM_QUEUE: u32 = 1;
/// `NdisFrameHeaderMac`.
const MAC_HEADER: u32 = 1;
/// `NdisReceiveFilterTestEqual`.
const EQUAL: u32 = 1;
/// `NdisMacHeaderFieldDestinationAddress`.
const DESTINATION: u32 = 1;
/// `NdisMacHeaderFieldVlanId`.
const VLAN_ID: u32 = 4;
/// `NDIS_RECEIVE_FILTER_FIELD_MAC_HEADER_VLAN_UNTAGGED_OR_ZERO`.
const UNTAGGED: u32 = 1;

fn header<T>() -> WireObjectHeader {
    ObjectHeader {
        object_type: ObjectHeader::DEFAULT,
        revision: 1,
        size: u16::try_from(size_of::<T>()).unwrap_or(u16::MAX),
    }
    .to_wire()
}

/// Queues and filters of a NIC: what OID_RECEIVE_FILTER_HARDWARE_CAPABILITIES,
/// _CURRENT_CAPABILITIES and _GLOBAL_PARAMETERS say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterCapabilities {
    /// Queues, the default one included.
    pub queues: u32,
    /// Filters by address and VLAN.
    pub filters: u32,
}

impl FilterCapabilities {
    /// Bytes of the record.
    pub const BYTES: usize = size_of::<WireCapabilities>();
    /// Bytes of what is in force.
    pub const GLOBAL_BYTES: usize = size_of::<WireGlobal>();

    /// Reads the record of capabilities.
    ///
    /// # Errors
    ///
    /// [`OidError`] says what was wrong.
    pub fn parse(info: &[u8]) -> Result<Self, OidError> {
        let wire: WireCapabilities = read(info)?;
        Ok(Self {
            queues: wire.queues.get(),
            filters: wire.max_mac_filters.get(),
        })
    }

    /// The record of capabilities: queues of a virtual machine, chosen by destination address
    /// and VLAN.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let wire = WireCapabilities {
            header: header::<WireCapabilities>(),
            flags: U32::ZERO,
            filter_types: U32::new(VM_QUEUE),
            queue_types: U32::new(VM_QUEUE),
            queues: U32::new(self.queues),
            queue_properties: U32::new(2), // ..._VM_QUEUE_SUPPORTED
            tests: U32::new(1),            // ..._TEST_HEADER_FIELD_EQUAL_SUPPORTED
            headers: U32::new(1),          // ..._MAC_HEADER_SUPPORTED
            mac_fields: U32::new(1 | 8),   // ..._DEST_ADDR_SUPPORTED, ..._VLAN_ID_SUPPORTED
            max_mac_filters: U32::new(self.filters),
            groups: U32::ZERO,
            queues_per_group: U32::ZERO,
            min_lookahead: U32::ZERO,
            max_lookahead: U32::ZERO,
        };
        let mut out = [0; Self::BYTES];
        let _ = put(&mut out, wire.as_bytes());
        out
    }

    /// The record of what is in force: filters and queues of a virtual machine, or nothing.
    pub fn global_bytes(enabled: bool) -> [u8; Self::GLOBAL_BYTES] {
        let types = U32::new(if enabled { VM_QUEUE } else { 0 });
        let wire = WireGlobal {
            header: header::<WireGlobal>(),
            flags: U32::ZERO,
            filter_types: types,
            queue_types: types,
        };
        let mut out = [0; Self::GLOBAL_BYTES];
        let _ = put(&mut out, wire.as_bytes());
        out
    }
}

named_numbers! {
    /// What a queue does (`NDIS_RECEIVE_QUEUE_OPERATIONAL_STATE`).
    pub struct QueueState("{}");
    /// It isn't allocated.
    UNDEFINED = 0;
    /// Frames go there.
    RUNNING = 1;
    /// It is allocated and has no filter.
    PAUSED = 2;
    /// It is about to be freed.
    DMA_STOPPED = 3;
}

/// A receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveQueue {
    /// Its number, 0 for the default one.
    pub queue: u32,
    /// What it does; only in lists of queues.
    pub state: QueueState,
    /// Processors of the first group that serve it.
    pub processors: u64,
    /// Receive buffers that it should have.
    pub receive_buffers: u32,
}

impl ReceiveQueue {
    /// Bytes of its parameters.
    pub const BYTES: usize = size_of::<WireQueue>();
    /// Bytes of one in a list, aligned.
    const ELEMENT_BYTES: usize = Self::BYTES.next_multiple_of(8);

    /// Bytes of a list of `count` queues.
    pub const fn list_bytes(count: usize) -> usize {
        size_of::<WireQueueArray>().saturating_add(count.saturating_mul(Self::ELEMENT_BYTES))
    }

    /// Reads parameters, or one of a list.
    ///
    /// # Errors
    ///
    /// [`OidError`] says what was wrong.
    pub fn parse(info: &[u8]) -> Result<Self, OidError> {
        let wire: WireQueue = read(info)?;
        if wire.queue_type.get() != VM_QUEUE {
            return Err(OidError::BadField {
                field: "QueueType",
                value: wire.queue_type.get(),
            });
        }
        Ok(Self {
            queue: wire.queue.get(),
            state: QueueState(wire.state.get()),
            processors: wire.processors.get(),
            receive_buffers: wire.receive_buffers.get(),
        })
    }

    /// The queue that a request for parameters names.
    ///
    /// # Errors
    ///
    /// [`OidError::TooShort`].
    pub fn parse_request(info: &[u8]) -> Result<u32, OidError> {
        // Up to QueueId.
        let [_, _, _, queue] = read::<[U32; 4]>(info)?;
        Ok(queue.get())
    }

    fn wire(&self, state: QueueState) -> WireQueue {
        let mut wire = WireQueue::new_zeroed();
        wire.header = header::<WireQueue>();
        wire.queue_type = U32::new(VM_QUEUE);
        wire.queue = U32::new(self.queue);
        wire.state = U32::new(state.0);
        wire.processors = U64::new(self.processors);
        wire.receive_buffers = U32::new(self.receive_buffers);
        wire
    }

    /// Writes the parameters to the start of `out` and returns their length.
    ///
    /// # Errors
    ///
    /// [`OidError::NoRoom`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, OidError> {
        let need = Self::BYTES;
        // Where a list has the state there is a gap here.
        put(out, self.wire(QueueState::UNDEFINED).as_bytes()).ok_or(OidError::NoRoom { need })?;
        Ok(need)
    }

    /// Writes a list of queues to the start of `out` and returns its length.
    ///
    /// # Errors
    ///
    /// [`OidError::NoRoom`].
    pub fn encode_list(queues: &[Self], out: &mut [u8]) -> Result<usize, OidError> {
        let need = Self::list_bytes(queues.len());
        let no_room = OidError::NoRoom { need };
        let count = u32::try_from(queues.len()).map_err(|_| no_room)?;
        let head = WireQueueArray {
            header: header::<WireQueueArray>(),
            first: U32::new(size_of::<WireQueueArray>() as u32),
            count: U32::new(count),
            element: U32::new(Self::ELEMENT_BYTES as u32),
        };
        let mut rest = put(out, head.as_bytes()).ok_or(no_room)?;
        for queue in queues {
            rest = put(rest, queue.wire(queue.state).as_bytes()).ok_or(no_room)?;
            rest = put(rest, &[0; Self::ELEMENT_BYTES - Self::BYTES]).ok_or(no_room)?;
        }
        Ok(need)
    }

    /// Reads a list of queues.
    ///
    /// # Errors
    ///
    /// [`OidError`] says what was wrong with the list; each queue is read on its own.
    pub fn parse_list(
        info: &[u8],
    ) -> Result<impl Iterator<Item = Result<Self, OidError>> + '_, OidError> {
        let head: WireQueueArray = read(info)?;
        let elements = elements(info, head.first, head.count, head.element)?;
        Ok(elements.map(Self::parse))
    }
}

/// Frames that go to a queue: those to an address in a VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveFilter {
    /// Its number; not 0.
    pub filter: u32,
    /// The queue.
    pub queue: u32,
    /// Destination address.
    pub address: EthernetAddress,
    /// The VLAN; `None` for frames without a tag, or with a tag that names none.
    pub vlan: Option<u16>,
}

impl ReceiveFilter {
    /// Bytes of its parameters.
    pub const BYTES: usize = size_of::<WireFilter>() + GAP + 2 * size_of::<WireField>();

    /// Bytes of a list of `count` filters.
    pub const fn list_bytes(count: usize) -> usize {
        let each = size_of::<WireFilterInfo>();
        size_of::<WireFilterArray>().saturating_add(count.saturating_mul(each))
    }

    /// The filter that a request for parameters names.
    ///
    /// # Errors
    ///
    /// [`OidError::TooShort`].
    pub fn parse_request(info: &[u8]) -> Result<u32, OidError> {
        // Up to FilterId.
        let [_, _, _, _, filter] = read::<[U32; 5]>(info)?;
        Ok(filter.get())
    }

    /// The queue that a request for a list names.
    ///
    /// # Errors
    ///
    /// [`OidError::TooShort`].
    pub fn parse_list_request(info: &[u8]) -> Result<u32, OidError> {
        let [_, queue] = read::<[U32; 2]>(info)?;
        Ok(queue.get())
    }

    /// Reads parameters: a test of the destination address, and one of the VLAN or none.
    ///
    /// # Errors
    ///
    /// [`OidError`] says what was wrong.
    pub fn parse(info: &[u8]) -> Result<Self, OidError> {
        let wire: WireFilter = read(info)?;
        let (mut address, mut vlan) = (None, None);
        for field in elements(info, wire.fields_offset, wire.fields, wire.field_bytes)? {
            let field: WireField = read(field)?;
            let bad = |name, value: U32| OidError::BadField {
                field: name,
                value: value.get(),
            };
            if field.frame_header.get() != MAC_HEADER {
                return Err(bad("FrameHeader", field.frame_header));
            }
            if field.test.get() != EQUAL {
                return Err(bad("ReceiveFilterTest", field.test));
            }
            match field.field.get() {
                DESTINATION => {
                    address = field.value.first_chunk::<ETHERNET_ADDRESS_BYTES>().copied();
                }
                VLAN_ID => {
                    let [low, high, ..] = field.value;
                    let id = u16::from_le_bytes([low, high]);
                    vlan = (field.flags.get() & UNTAGGED == 0).then_some(id);
                }
                _ => return Err(bad("HeaderField", field.field)),
            }
        }
        Ok(Self {
            filter: wire.filter.get(),
            queue: wire.queue.get(),
            address: address.ok_or(OidError::BadField {
                field: "FieldParametersArrayNumElements",
                value: wire.fields.get(),
            })?,
            vlan,
        })
    }

    /// The parameters.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let head = WireFilter {
            header: header::<WireFilter>(),
            flags: U32::ZERO,
            filter_type: U32::new(VM_QUEUE),
            queue: U32::new(self.queue),
            filter: U32::new(self.filter),
            fields_offset: U32::new((size_of::<WireFilter>() + GAP) as u32),
            fields: U32::new(2),
            field_bytes: U32::new(size_of::<WireField>() as u32),
            id_bits: U32::ZERO,
        };
        let mut destination = WireField::new_zeroed();
        destination.header = header::<WireField>();
        destination.frame_header = U32::new(MAC_HEADER);
        destination.test = U32::new(EQUAL);
        destination.field = U32::new(DESTINATION);
        let _ = put(&mut destination.value, &self.address);
        let mut vlan = WireField {
            field: U32::new(VLAN_ID),
            flags: U32::new(if self.vlan.is_none() { UNTAGGED } else { 0 }),
            value: [0; 16],
            ..destination
        };
        let _ = put(&mut vlan.value, &self.vlan.unwrap_or(0).to_le_bytes());

        let mut out = [0; Self::BYTES];
        let parts: [&[u8]; 4] = [
            head.as_bytes(),
            &[0; GAP],
            destination.as_bytes(),
            vlan.as_bytes(),
        ];
        let mut rest = out.as_mut_slice();
        for part in parts {
            match put(rest, part) {
                Some(more) => rest = more,
                None => break,
            }
        }
        out
    }

    /// Writes a list of the numbers of `filters`, all of the queue `queue`, to the start of `out`
    /// and returns its length.
    ///
    /// # Errors
    ///
    /// [`OidError::NoRoom`].
    pub fn encode_list(queue: u32, filters: &[Self], out: &mut [u8]) -> Result<usize, OidError> {
        let need = Self::list_bytes(filters.len());
        let no_room = OidError::NoRoom { need };
        let count = u32::try_from(filters.len()).map_err(|_| no_room)?;
        let head = WireFilterArray {
            header: header::<WireFilterArray>(),
            queue: U32::new(queue),
            first: U32::new(size_of::<WireFilterArray>() as u32),
            count: U32::new(count),
            element: U32::new(size_of::<WireFilterInfo>() as u32),
        };
        let mut rest = put(out, head.as_bytes()).ok_or(no_room)?;
        for filter in filters {
            let info = WireFilterInfo {
                header: header::<WireFilterInfo>(),
                flags: U32::ZERO,
                filter_type: U32::new(VM_QUEUE),
                filter: U32::new(filter.filter),
            };
            rest = put(rest, info.as_bytes()).ok_or(no_room)?;
        }
        Ok(need)
    }

    /// Reads the numbers of a list.
    ///
    /// # Errors
    ///
    /// [`OidError`] says what was wrong with the list.
    pub fn parse_list(info: &[u8]) -> Result<impl Iterator<Item = u32> + '_, OidError> {
        let head: WireFilterArray = read(info)?;
        let elements = elements(info, head.first, head.count, head.element)?;
        Ok(elements.filter_map(|element| {
            let (info, _) = WireFilterInfo::read_from_prefix(element).ok()?;
            Some(info.filter.get())
        }))
    }
}

/// Bytes between the parameters of a filter and its fields, which have to be aligned.
const GAP: usize = size_of::<WireFilter>().next_multiple_of(8) - size_of::<WireFilter>();

/// The elements of a list that all have `bytes` bytes.
fn elements(
    info: &[u8],
    first: U32,
    count: U32,
    bytes: U32,
) -> Result<impl Iterator<Item = &[u8]>, OidError> {
    let length = count.get().checked_mul(bytes.get());
    let list = length.and_then(|length| part(info, first.get(), length));
    // An element of no bytes would make a list without end.
    let size = usize::try_from(bytes.get()).ok().filter(|&size| size != 0);
    match (list, size) {
        (Some(list), Some(size)) => Ok(list.chunks_exact(size)),
        (Some([]), None) => Ok([].chunks_exact(1)),
        _ => Err(OidError::OutOfBounds {
            part: "list",
            offset: first.get(),
            length: length.unwrap_or(u32::MAX),
        }),
    }
}
