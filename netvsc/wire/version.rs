// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NVSP versions and what each brought.
//!
//! The guest asks for the newest version first and goes down the list until the host agrees
//! (`netvsc_connect_vsp`, `drivers/net/hyperv/netvsc.c`).

use core::fmt;

/// A version of NVSP that exists. Ordered by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Version {
    /// 0.2: buffers and RNDIS packets.
    V1 = 0x0000_0002,
    /// 3.2, Windows Server 2008 R2: MTU and capabilities, VMQ buffers, chimney.
    V2 = 0x0003_0002,
    /// 4.0, Windows Server 2012: virtual functions.
    V4 = 0x0004_0000,
    /// 5.0, Windows Server 2012 R2: sub-channels and the send indirection table.
    V5 = 0x0005_0000,
    /// 6.0: the same messages as 5.0.
    V6 = 0x0006_0000,
    /// 6.1, Windows Server 2019: longer messages, PacketDirect, receive segment coalescing.
    V6_1 = 0x0006_0001,
}

/// The version of NDIS whose objects a guest speaks (`struct nvsp_1_message_send_ndis_version`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NdisVersion {
    /// The number before the dot.
    pub major: u32,
    /// The number after the dot; 30 for NDIS 6.30.
    pub minor: u32,
}

impl NdisVersion {
    /// 6.1, what a guest of NVSP 4.0 and before says.
    pub const NDIS_6_1: Self = Self { major: 6, minor: 1 };
    /// 6.30, what a guest of NVSP 5.0 and later says.
    pub const NDIS_6_30: Self = Self {
        major: 6,
        minor: 30,
    };
}

impl Version {
    /// What a guest asks for, newest first.
    pub const OFFERED: [Self; 6] = [Self::V6_1, Self::V6, Self::V5, Self::V4, Self::V2, Self::V1];

    /// The version of a number on the wire; `None` for a number that is no version.
    pub const fn from_wire(value: u32) -> Option<Self> {
        Some(match value {
            0x0000_0002 => Self::V1,
            0x0003_0002 => Self::V2,
            0x0004_0000 => Self::V4,
            0x0005_0000 => Self::V5,
            0x0006_0000 => Self::V6,
            0x0006_0001 => Self::V6_1,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub const fn to_wire(self) -> u32 {
        self as u32
    }

    const fn at_least(self, other: Self) -> bool {
        self as u32 >= other as u32
    }

    /// Bytes of every message but the send indirection table: 28, and 40 from 6.1 on. Shorter
    /// ones are padded. (Linux pads to 40 whatever the version, so a parser takes both.)
    pub const fn message_bytes(self) -> usize {
        if self.at_least(Self::V6_1) {
            40
        } else {
            28
        }
    }

    /// The guest sends its MTU and capabilities (3.2).
    pub const fn has_ndis_config(self) -> bool {
        self.at_least(Self::V2)
    }

    /// The host may ask for receive buffers of a queue: messages 120 to 124 (3.2).
    pub const fn has_vmq(self) -> bool {
        self.at_least(Self::V2)
    }

    /// Connections can be handed to the host: messages 109 to 119, 126 and 127 (3.2).
    pub const fn has_chimney(self) -> bool {
        self.at_least(Self::V2)
    }

    /// Virtual functions come and go, and the guest switches the data path (4.0).
    pub const fn has_virtual_functions(self) -> bool {
        self.at_least(Self::V4)
    }

    /// Sub-channels and the send indirection table (5.0).
    pub const fn has_subchannels(self) -> bool {
        self.at_least(Self::V5)
    }

    /// UDP checksums can be left to the host (5.0; `rndis_filter_set_offload_params` clears the
    /// fields before).
    pub const fn has_udp_checksum(self) -> bool {
        self.at_least(Self::V5)
    }

    /// The host may send one segment in several packets: receive segment coalescing (6.1).
    pub const fn has_rsc(self) -> bool {
        self.at_least(Self::V6_1)
    }

    /// PacketDirect messages 135 and 136 (6.1).
    pub const fn has_packet_direct(self) -> bool {
        self.at_least(Self::V6_1)
    }

    /// The offset in the host's send indirection table can be trusted; see
    /// [`SendTable`](crate::nvsp::SendTable) (6.1).
    pub const fn has_right_table_offset(self) -> bool {
        self.at_least(Self::V6_1)
    }

    /// The largest receive buffer that a host takes, in bytes
    /// (`NETVSC_RECEIVE_BUFFER_SIZE`, `_LEGACY` up to 3.2).
    pub const fn max_receive_buffer_bytes(self) -> u32 {
        if self.at_least(Self::V4) {
            31 << 20
        } else {
            15 << 20
        }
    }

    /// The NDIS version that a guest names after this one was agreed.
    pub const fn ndis_version(self) -> NdisVersion {
        if self.at_least(Self::V5) {
            NdisVersion::NDIS_6_30
        } else {
            NdisVersion::NDIS_6_1
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.to_wire() >> 16, self.to_wire() & 0xffff)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
