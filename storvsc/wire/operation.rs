// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Operations of packets, and the statuses that answer them.

use core::fmt;

/// What a packet is about (`enum vstor_packet_operation`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operation(pub u32);

impl Operation {
    /// Host: answer to a packet of the guest's.
    pub const COMPLETE_IO: Self = Self(1);
    /// Host: a unit is gone, look which.
    pub const REMOVE_DEVICE: Self = Self(2);
    /// Guest: carry out a SCSI request.
    pub const EXECUTE_SRB: Self = Self(3);
    /// Guest: abort what a unit does.
    pub const RESET_LUN: Self = Self(4);
    /// Guest: abort what the adapter does.
    pub const RESET_ADAPTER: Self = Self(5);
    /// Guest: abort what the bus does.
    pub const RESET_BUS: Self = Self(6);
    /// Guest: first packet on a device's primary channel.
    pub const BEGIN_INITIALIZATION: Self = Self(7);
    /// Guest: requests follow from here on.
    pub const END_INITIALIZATION: Self = Self(8);
    /// Guest: is this version spoken?
    pub const QUERY_PROTOCOL_VERSION: Self = Self(9);
    /// Guest: what can the adapter do?
    pub const QUERY_PROPERTIES: Self = Self(10);
    /// Host: units came or went, look which.
    pub const ENUMERATE_BUS: Self = Self(11);
    /// Guest: the adapter's world wide names; host: they changed.
    pub const FCHBA_DATA: Self = Self(12);
    /// Guest: offer sub-channels.
    pub const CREATE_SUB_CHANNELS: Self = Self(13);

    /// The operation's name, for those that have one.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::COMPLETE_IO => "COMPLETE_IO",
            Self::REMOVE_DEVICE => "REMOVE_DEVICE",
            Self::EXECUTE_SRB => "EXECUTE_SRB",
            Self::RESET_LUN => "RESET_LUN",
            Self::RESET_ADAPTER => "RESET_ADAPTER",
            Self::RESET_BUS => "RESET_BUS",
            Self::BEGIN_INITIALIZATION => "BEGIN_INITIALIZATION",
            Self::END_INITIALIZATION => "END_INITIALIZATION",
            Self::QUERY_PROTOCOL_VERSION => "QUERY_PROTOCOL_VERSION",
            Self::QUERY_PROPERTIES => "QUERY_PROPERTIES",
            Self::ENUMERATE_BUS => "ENUMERATE_BUS",
            Self::FCHBA_DATA => "FCHBA_DATA",
            Self::CREATE_SUB_CHANNELS => "CREATE_SUB_CHANNELS",
            _ => return None,
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "operation {}", self.0),
        }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a packet ended, as Windows counts: 0 is success, the topmost two bits mark an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NtStatus(pub u32);

impl NtStatus {
    /// `STATUS_SUCCESS`.
    pub const SUCCESS: Self = Self(0);
    /// `STATUS_UNSUCCESSFUL`: the request block says why.
    pub const UNSUCCESSFUL: Self = Self(0xc000_0001);
    /// `STATUS_INVALID_PARAMETER`.
    pub const INVALID_PARAMETER: Self = Self(0xc000_000d);
    /// `STATUS_INVALID_DEVICE_REQUEST`: no such operation, or not on this channel.
    pub const INVALID_DEVICE_REQUEST: Self = Self(0xc000_0010);
    /// `STATUS_REVISION_MISMATCH`: a version that isn't spoken.
    pub const REVISION_MISMATCH: Self = Self(0xc000_0059);
    /// `STATUS_INSUFFICIENT_RESOURCES`.
    pub const INSUFFICIENT_RESOURCES: Self = Self(0xc000_009a);
    /// `STATUS_INVALID_DEVICE_STATE`: not at this point of the conversation.
    pub const INVALID_DEVICE_STATE: Self = Self(0xc000_0184);

    /// It worked.
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
