// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Protocol versions and what each brought.
//!
//! A guest asks for the newest version first and goes down the list until the host agrees.

use core::fmt;

/// A VMBus protocol version: major in the upper, minor in the lower 16 bits
/// (`VMBUS_MAKE_VERSION`). Ordered by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion(u32);

impl ProtocolVersion {
    /// 0.13, Windows Server 2008. No longer offered.
    pub const WS2008: Self = Self::new(0, 13);
    /// 1.1, Windows 7 and Server 2008 R2. No longer offered.
    pub const WIN7: Self = Self::new(1, 1);
    /// 2.4, Windows 8 and Server 2012: the oldest version offered.
    pub const WIN8: Self = Self::new(2, 4);
    /// 3.0, Windows 8.1 and Server 2012 R2.
    pub const WIN8_1: Self = Self::new(3, 0);
    /// 4.0, Windows 10 and Server 2016.
    pub const WIN10: Self = Self::new(4, 0);
    /// 4.1, Windows 10 RS3.
    pub const V4_1: Self = Self::new(4, 1);
    /// 5.0, Windows 10 RS3/RS4.
    pub const V5_0: Self = Self::new(5, 0);
    /// 5.1, Windows 10 RS4.
    pub const V5_1: Self = Self::new(5, 1);
    /// 5.2, Windows 10 RS5 and Server 2019.
    pub const V5_2: Self = Self::new(5, 2);
    /// 5.3, Windows Server 2022.
    pub const V5_3: Self = Self::new(5, 3);
    /// 6.0, the hosts after Server 2022.
    pub const V6_0: Self = Self::new(6, 0);

    /// What a guest asks for, newest first (`vmbus_versions[]`, `drivers/hv/connection.c`).
    pub const OFFERED: [Self; 9] = [
        Self::V6_0,
        Self::V5_3,
        Self::V5_2,
        Self::V5_1,
        Self::V5_0,
        Self::V4_1,
        Self::WIN10,
        Self::WIN8_1,
        Self::WIN8,
    ];

    /// A version from its two numbers.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self(((major as u32) << 16) | minor as u32)
    }

    /// A version from the number on the wire. Any value is accepted; whether it is one the guest
    /// asked for is for the caller to say.
    pub const fn from_wire(value: u32) -> Self {
        Self(value)
    }

    /// The number on the wire.
    pub const fn to_wire(self) -> u32 {
        self.0
    }

    /// The number before the dot.
    pub const fn major(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The number after the dot.
    pub const fn minor(self) -> u16 {
        self.0 as u16
    }

    const fn at_least(self, other: Self) -> bool {
        self.0 >= other.0
    }

    /// INITIATE_CONTACT goes to message connection 4 and names its interrupt source, and the
    /// version response names the connection for all later messages (5.0).
    pub const fn has_connection_id(self) -> bool {
        self.at_least(Self::V5_0)
    }

    /// INITIATE_CONTACT may name a virtual trust level (5.1; the field is reserved before).
    pub const fn has_trust_level(self) -> bool {
        self.at_least(Self::V5_1)
    }

    /// Feature flags travel in INITIATE_CONTACT and in the version response (6.0).
    pub const fn has_feature_flags(self) -> bool {
        self.at_least(Self::V6_0)
    }

    /// INITIATE_CONTACT carries the address of an interrupt page instead of interrupt source and
    /// features (before 5.0).
    pub const fn has_interrupt_page(self) -> bool {
        !self.at_least(Self::V5_0)
    }

    /// The host looks at the interrupt page when it is signalled. From 2.4 on the page is still
    /// handed over but each channel has an event of its own.
    pub const fn uses_interrupt_page(self) -> bool {
        !self.at_least(Self::WIN8)
    }

    /// A channel's interrupt can go to any CPU, chosen at open; offers carry a sub-channel index
    /// (2.4).
    pub const fn has_channel_target(self) -> bool {
        self.at_least(Self::WIN8)
    }

    /// UNLOAD is answered with UNLOAD_RESPONSE (2.4).
    pub const fn acks_unload(self) -> bool {
        self.at_least(Self::WIN8)
    }

    /// The version response may go to another CPU than 0 (3.0).
    pub const fn has_message_target(self) -> bool {
        self.at_least(Self::WIN8_1)
    }

    /// TL_CONNECT_REQUEST, the guest's way to reach a Hyper-V socket of the host (4.0).
    pub const fn has_sockets(self) -> bool {
        self.at_least(Self::WIN10)
    }

    /// MODIFY_CHANNEL moves the interrupt of an open channel (4.1).
    pub const fn has_modify_channel(self) -> bool {
        self.at_least(Self::V4_1)
    }

    /// TL_CONNECT_REQUEST is answered with TL_CONNECT_RESULT (4.1).
    pub const fn acks_socket_connect(self) -> bool {
        self.at_least(Self::V4_1)
    }

    /// MODIFY_CHANNEL is answered, so that the guest knows when the old CPU is free (5.3).
    pub const fn acks_modify_channel(self) -> bool {
        self.at_least(Self::V5_3)
    }

    /// Good enough for an isolated guest (5.2, `vmbus_connect`).
    pub const fn fit_for_isolation(self) -> bool {
        self.at_least(Self::V5_2)
    }

    /// Connection that INITIATE_CONTACT of this version goes to: 4 from 5.0 on, 1 before. What
    /// later messages use is [`VersionResponse::connection_id`] where it is present, else 1.
    ///
    /// [`VersionResponse::connection_id`]: crate::message::VersionResponse::connection_id
    pub const fn contact_connection_id(self) -> u32 {
        if self.has_connection_id() {
            MESSAGE_CONNECTION_ID_4
        } else {
            MESSAGE_CONNECTION_ID
        }
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

impl fmt::Debug for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Connection that messages go to before 5.0 (`VMBUS_MESSAGE_CONNECTION_ID`).
pub const MESSAGE_CONNECTION_ID: u32 = 1;
/// Connection that INITIATE_CONTACT goes to from 5.0 on (`VMBUS_MESSAGE_CONNECTION_ID_4`).
pub const MESSAGE_CONNECTION_ID_4: u32 = 4;
/// Connection that a guest in trust level 2 tries first (`VMBUS_MESSAGE_CONNECTION_ID_REDIRECT`).
pub const MESSAGE_CONNECTION_ID_REDIRECT: u32 = 0x80_0074;
/// Connection of a channel's event where the offer names none (`VMBUS_EVENT_CONNECTION_ID`).
pub const EVENT_CONNECTION_ID: u32 = 2;
/// Interrupt source that messages and events arrive on (`VMBUS_MESSAGE_SINT`).
pub const MESSAGE_SINT: u8 = 2;

/// What a guest of 6.0 can do, and what a host of 6.0 agrees to (`VMBUS_FEATURE_FLAG_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureFlags(u32);

impl FeatureFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Rings and external memory of channels that the paravisor offers may be encrypted.
    pub const CONFIDENTIAL_CHANNELS: Self = Self(0x10);

    /// Takes the bits of the wire as they are; unknown ones are kept.
    pub const fn from_wire(value: u32) -> Self {
        Self(value)
    }

    /// The bits of the wire.
    pub const fn to_wire(self) -> u32 {
        self.0
    }

    /// True when all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
