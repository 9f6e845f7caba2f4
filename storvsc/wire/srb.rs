// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SCSI request blocks (`struct vmscsi_request`).
//!
//! A guest sends one with a command, gets it back with two statuses, sense data where the command
//! was, and how much was transferred.

use crate::packet::{Layout, PacketError, HEADER_BYTES, SHORT_BODY_BYTES};
use crate::scsi::{ScsiStatus, SenseBytes};
use crate::Operation;
use core::fmt;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros};
use zerocopy_derive::*;

/// Longest command (`STORVSC_MAX_CMD_LEN`).
pub const MAX_CDB_BYTES: usize = 16;
/// Bytes that command and sense data share.
pub const SENSE_ROOM: usize = 20;

/// `struct vmscsi_request`, from `reserve` on only in the long layout.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawSrb {
    length: U16,
    srb_status: u8,
    scsi_status: u8,
    port: u8,
    path: u8,
    target: u8,
    lun: u8,
    cdb_length: u8,
    sense_length: u8,
    data_in: u8,
    reserved: u8,
    transfer_length: U32,
    /// The command on the way to the host, sense data on the way back.
    data: [u8; SENSE_ROOM],
    reserve: U16,
    queue_tag: u8,
    queue_action: u8,
    srb_flags: U32,
    timeout: U32,
    queue_sort_key: U32,
}

const _: () = assert!(size_of::<RawSrb>() == Layout::Long.srb_bytes() as usize);

impl RawSrb {
    /// Reads one; where the layout has no extension, that is zero.
    #[inline]
    fn read(body: &[u8], layout: Layout) -> Result<Self, PacketError> {
        let wanted = usize::from(layout.srb_bytes());
        let short = PacketError::Short {
            needed: layout.packet_bytes(),
            got: HEADER_BYTES.saturating_add(body.len()),
        };
        let body = body.get(..wanted).ok_or(short)?;
        // The long layout in one go; it is every command's.
        if let Ok(raw) = Self::read_from_bytes(body) {
            return Ok(raw);
        }
        let mut whole = [0; size_of::<Self>()];
        for (to, from) in whole.iter_mut().zip(body) {
            *to = *from;
        }
        Self::read_from_bytes(&whole).map_err(|_| short)
    }
}

const _: () = assert!(SHORT_BODY_BYTES == 16 + SENSE_ROOM);

/// Which unit of an adapter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address {
    /// The guest's number of the adapter; hosts don't look at it.
    pub port: u8,
    /// Bus of the adapter.
    pub path: u8,
    /// Target on the bus.
    pub target: u8,
    /// Unit of the target.
    pub lun: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path, self.target, self.lun)
    }
}

/// Which way data goes (`enum storvsc_request_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataDirection {
    /// From the guest to the unit.
    Out,
    /// From the unit to the guest.
    In,
    /// There is none, or the guest doesn't know.
    None,
}

impl DataDirection {
    /// From the field `data_in`.
    pub const fn from_wire(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Out,
            1 => Self::In,
            2 => Self::None,
            _ => return None,
        })
    }

    /// The field `data_in`.
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Out => 0,
            Self::In => 1,
            Self::None => 2,
        }
    }
}

/// Bits of a request's flags (`SRB_FLAGS_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SrbFlags(pub u32);

impl SrbFlags {
    /// The queue action of the request counts.
    pub const QUEUE_ACTION_ENABLE: Self = Self(0x2);
    /// No synchronous negotiation.
    pub const DISABLE_SYNCH_TRANSFER: Self = Self(0x8);
    /// Carry it out although the queue is frozen.
    pub const BYPASS_FROZEN_QUEUE: Self = Self(0x10);
    /// Don't fetch sense data.
    pub const DISABLE_AUTOSENSE: Self = Self(0x20);
    /// Data from the unit.
    pub const DATA_IN: Self = Self(0x40);
    /// Data to the unit.
    pub const DATA_OUT: Self = Self(0x80);
    /// Don't freeze the queue on an error.
    pub const NO_QUEUE_FREEZE: Self = Self(0x100);

    /// True when all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What 5.1 added to the request block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SrbExtension {
    /// Tag, or [`Self::UNTAGGED`].
    pub queue_tag: u8,
    /// How it may be reordered.
    pub queue_action: u8,
    /// Flags.
    pub flags: SrbFlags,
    /// Seconds the guest allows for it.
    pub timeout: u32,
    /// Where it sorts in the host's queue.
    pub queue_sort_key: u32,
}

impl SrbExtension {
    /// No tag (`SP_UNTAGGED`).
    pub const UNTAGGED: u8 = 0xff;
    /// May be reordered (`SRB_SIMPLE_TAG_REQUEST`).
    pub const SIMPLE_TAG: u8 = 0x20;
}

/// A request as the guest sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Srb {
    /// Which unit.
    pub address: Address,
    /// The command, filled with zeroes.
    pub cdb: [u8; MAX_CDB_BYTES],
    /// Bytes of the command, at most 16.
    pub cdb_length: u8,
    /// Bytes of sense data that the guest takes.
    pub sense_length: u8,
    /// Which way data goes.
    pub direction: DataDirection,
    /// Bytes of data.
    pub transfer_length: u32,
    /// From 5.1 on.
    pub extension: SrbExtension,
}

impl Srb {
    /// The bytes of the command.
    pub fn cdb(&self) -> &[u8] {
        self.cdb
            .get(..usize::from(self.cdb_length))
            .unwrap_or(&self.cdb)
    }

    pub(crate) fn parse(body: &[u8], layout: Layout) -> Result<Self, PacketError> {
        let raw = RawSrb::read(body, layout)?;
        let bad = |field, value: u8| PacketError::BadField {
            operation: Operation::EXECUTE_SRB,
            field,
            value: value.into(),
        };
        if usize::from(raw.cdb_length) > MAX_CDB_BYTES {
            return Err(bad("cdb_length", raw.cdb_length));
        }
        let direction = DataDirection::from_wire(raw.data_in).ok_or(bad("data_in", raw.data_in))?;
        let mut cdb = [0; MAX_CDB_BYTES];
        let given = raw.data.iter().take(raw.cdb_length.into());
        for (to, from) in cdb.iter_mut().zip(given) {
            *to = *from;
        }
        Ok(Self {
            address: address(&raw),
            cdb,
            cdb_length: raw.cdb_length,
            sense_length: raw.sense_length,
            direction,
            transfer_length: raw.transfer_length.get(),
            extension: SrbExtension {
                queue_tag: raw.queue_tag,
                queue_action: raw.queue_action,
                flags: SrbFlags(raw.srb_flags.get()),
                timeout: raw.timeout.get(),
                queue_sort_key: raw.queue_sort_key.get(),
            },
        })
    }

    /// Only the address, of packets whose other fields mean nothing.
    pub(crate) fn parse_address(body: &[u8], layout: Layout) -> Result<Address, PacketError> {
        RawSrb::read(body, layout).map(|raw| address(&raw))
    }

    #[inline]
    pub(crate) fn raw_address(address: Address, layout: Layout) -> RawSrb {
        RawSrb {
            length: U16::new(layout.srb_bytes()),
            port: address.port,
            path: address.path,
            target: address.target,
            lun: address.lun,
            ..RawSrb::new_zeroed()
        }
    }

    #[inline]
    pub(crate) fn to_raw(self, layout: Layout) -> RawSrb {
        let mut data = [0; SENSE_ROOM];
        for (to, from) in data.iter_mut().zip(self.cdb()) {
            *to = *from;
        }
        RawSrb {
            cdb_length: self.cdb_length.min(MAX_CDB_BYTES as u8),
            sense_length: self.sense_length,
            data_in: self.direction.to_wire(),
            transfer_length: U32::new(self.transfer_length),
            data,
            queue_tag: self.extension.queue_tag,
            queue_action: self.extension.queue_action,
            srb_flags: U32::new(self.extension.flags.0),
            timeout: U32::new(self.extension.timeout),
            queue_sort_key: U32::new(self.extension.queue_sort_key),
            ..Self::raw_address(self.address, layout)
        }
    }
}

fn address(raw: &RawSrb) -> Address {
    Address {
        port: raw.port,
        path: raw.path,
        target: raw.target,
        lun: raw.lun,
    }
}

/// How a request ended, as the port sees it: a code in the lower six bits, two flags above.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SrbStatus(pub u8);

impl SrbStatus {
    /// Never answered.
    pub const PENDING: Self = Self(0x00);
    /// It worked.
    pub const SUCCESS: Self = Self(0x01);
    /// Aborted on request.
    pub const ABORTED: Self = Self(0x02);
    /// The unit said no, see the SCSI status.
    pub const ERROR: Self = Self(0x04);
    /// The adapter doesn't understand the request.
    pub const INVALID_REQUEST: Self = Self(0x06);
    /// There is no such device.
    pub const NO_DEVICE: Self = Self(0x08);
    /// It took too long.
    pub const TIMEOUT: Self = Self(0x09);
    /// Nothing answers at that address.
    pub const SELECTION_TIMEOUT: Self = Self(0x0a);
    /// A reset ended it.
    pub const BUS_RESET: Self = Self(0x0e);
    /// More data than the guest has room for, or less than it asked for.
    pub const DATA_OVERRUN: Self = Self(0x12);
    /// There is no such path.
    pub const INVALID_PATH: Self = Self(0x1f);
    /// There is no such unit.
    pub const INVALID_LUN: Self = Self(0x20);
    /// There is no such target.
    pub const INVALID_TARGET: Self = Self(0x21);
    /// The host failed.
    pub const INTERNAL_ERROR: Self = Self(0x30);

    /// Flag: the sense data counts.
    pub const AUTOSENSE_VALID: u8 = 0x80;
    /// Flag: the unit's queue waits for a release.
    pub const QUEUE_FROZEN: u8 = 0x40;

    /// Without the flags.
    pub const fn code(self) -> Self {
        Self(self.0 & !(Self::AUTOSENSE_VALID | Self::QUEUE_FROZEN))
    }

    /// The sense data counts.
    pub const fn has_autosense(self) -> bool {
        self.0 & Self::AUTOSENSE_VALID != 0
    }

    /// With the flag that the sense data counts.
    pub const fn with_autosense(self) -> Self {
        Self(self.0 | Self::AUTOSENSE_VALID)
    }

    /// The code is [`Self::SUCCESS`].
    pub const fn is_success(self) -> bool {
        self.code().0 == Self::SUCCESS.0
    }
}

impl fmt::Debug for SrbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

impl fmt::Display for SrbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.code() {
            Self::PENDING => "pending",
            Self::SUCCESS => "success",
            Self::ABORTED => "aborted",
            Self::ERROR => "error",
            Self::INVALID_REQUEST => "invalid request",
            Self::NO_DEVICE => "no device",
            Self::TIMEOUT => "timeout",
            Self::SELECTION_TIMEOUT => "selection timeout",
            Self::BUS_RESET => "bus reset",
            Self::DATA_OVERRUN => "data overrun",
            Self::INVALID_PATH => "invalid path",
            Self::INVALID_LUN => "invalid unit",
            Self::INVALID_TARGET => "invalid target",
            Self::INTERNAL_ERROR => "internal error",
            Self(code) => return write!(f, "SRB status {code:#04x}"),
        };
        f.write_str(name)
    }
}

/// A request as the host sends it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrbCompletion {
    /// As in the request.
    pub address: Address,
    /// How it ended for the port.
    pub srb_status: SrbStatus,
    /// How it ended for the unit.
    pub scsi_status: ScsiStatus,
    /// Bytes of data that were transferred.
    pub transferred: u32,
    /// Why it failed; counts if [`SrbStatus::has_autosense`].
    pub sense: SenseBytes,
}

impl SrbCompletion {
    /// A host's length of sense data may be wrong: what doesn't fit is cut off.
    #[inline]
    pub(crate) fn parse(body: &[u8], layout: Layout) -> Result<Self, PacketError> {
        let raw = RawSrb::read(body, layout)?;
        let sense = raw
            .data
            .get(..layout.sense_bytes().min(raw.sense_length.into()));
        Ok(Self {
            address: address(&raw),
            srb_status: SrbStatus(raw.srb_status),
            scsi_status: ScsiStatus(raw.scsi_status),
            transferred: raw.transfer_length.get(),
            sense: SenseBytes::new(sense.unwrap_or_default()),
        })
    }

    pub(crate) fn to_raw(self, layout: Layout) -> RawSrb {
        let mut data = [0; SENSE_ROOM];
        let sense = self.sense.as_bytes();
        let sense = sense.get(..layout.sense_bytes()).unwrap_or(sense);
        for (to, from) in data.iter_mut().zip(sense) {
            *to = *from;
        }
        RawSrb {
            srb_status: self.srb_status.0,
            scsi_status: self.scsi_status.0,
            sense_length: sense.len() as u8,
            transfer_length: U32::new(self.transferred),
            data,
            ..Srb::raw_address(self.address, layout)
        }
    }
}
