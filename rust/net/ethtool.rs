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
