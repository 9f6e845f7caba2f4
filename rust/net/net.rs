// SPDX-License-Identifier: GPL-2.0

//! Ethernet devices.
//!
//! A driver makes a [`Device`], gives its queues [`Napi`]s, and registers it with [`Registration::new`];
//! the stack then calls the driver's [`NicDriver`]. Frames to send come as [`SkBuff`]s, values that
//! can't get lost: dropping one drops the frame. Received frames are made from bytes with
//! [`Polled::receive`].
//!
//! ```text
//! stack → NicDriver::transmit(SkBuff) → ring ... → SkBuff::sent
//! interrupt → Napi::schedule → Poll::poll(Polled, budget) → Polled::receive → stack
//! ```
//!
//! A crate of its own, linked into the module that uses it.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h),
//! [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h).

mod callbacks;
mod device;
mod driver;
mod ethtool;
mod napi;
mod skb;

pub use self::{
    device::{
        with_rtnl,
        Dev,
        Device,
        Features,
        Presence,
        Registration, //
    },
    driver::{
        Filter,
        NicDriver,
        QueueStatistics,
        Statistics, //
    },
    ethtool::{
        Above,
        Channels,
        FlowKind,
        HashFields,
        Link,
        Rings,
        SpreadSize, //
    },
    napi::{
        Napi,
        Part,
        Poll,
        Polled,
        Received,
        Taken, //
    },
    skb::{
        Facts,
        Kept,
        Offload,
        Piece,
        Protocol,
        SkBuff,
        Transport, //
    },
};
