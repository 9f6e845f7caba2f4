// SPDX-License-Identifier: GPL-2.0

//! What `ethtool` asks for.

/// State of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its speed; `None`: unknown.
    pub megabits: Option<u32>,
}

/// Channels of a device, each with a queue each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// As many as there could be.
    pub most: u32,
    /// In use.
    pub used: u32,
}

/// Rings of a device: places for frames each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// Most places for received frames.
    pub most_receive: u32,
    /// Places there are.
    pub receive: u32,
    /// Most places for frames to send.
    pub most_send: u32,
    /// Places there are.
    pub send: u32,
}

/// Sizes of what spreads received flows over queues (receive-side scaling).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpreadSize {
    /// Entries of the table.
    pub entries: u32,
    /// Bytes of the hash key.
    pub key: u32,
}

/// Packets that are spread in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKind {
    /// IPv6; otherwise IPv4.
    pub v6: bool,
    /// What is above.
    pub above: Above,
}

/// What is above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Anything.
    Anything,
}

/// What of a packet its hash is made of: both addresses, or both addresses and both ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFields {
    /// Nothing: it isn't spread.
    Nothing,
    /// The addresses.
    Addresses,
    /// The addresses and the ports.
    AddressesAndPorts,
}
