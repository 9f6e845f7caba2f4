// SPDX-License-Identifier: GPL-2.0

//! What a driver of Ethernet devices does.

use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*,
    sync::ArcBorrow, //
};

use super::{
    device::{
        Dev,
        Features, //
    },
    ethtool::{
        Channels,
        FlowKind,
        HashFields,
        Link,
        Rings,
        SpreadSize, //
    },
    skb::SkBuff, //
};

/// Which frames the stack wants besides those to the device's address and to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// All of them.
    pub promiscuous: bool,
    /// All to groups.
    pub all_multicast: bool,
    /// Those to some groups.
    pub multicast: bool,
}

/// Counters of a device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// Frames received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames received and lost here.
    pub rx_dropped: u64,
    /// Frames that made no sense.
    pub rx_errors: u64,
    /// Frames to groups.
    pub multicast: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames to send that were lost here.
    pub tx_dropped: u64,
}

/// Counters of a queue, for the stack's own interface for them (`netdev_stat_ops`).
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueStatistics {
    /// Frames received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames lost for want of memory.
    pub rx_no_memory: u64,
    /// Frames whose checksum the device had verified.
    pub rx_checksum_good: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Times that the queue was stopped.
    pub tx_stopped: u64,
    /// Times that it was woken.
    pub tx_woken: u64,
}

/// A driver of Ethernet devices; the implementing type is what it keeps for one.
///
/// What has a default need not be there: the stack is told so.
#[vtable]
pub trait NicDriver: Sized + Send + Sync + 'static {
    /// The driver's name, for `ethtool -i`.
    const NAME: &'static CStr;

    /// Begins to work. Process context, under RTNL.
    ///
    /// # Errors
    ///
    /// The device stays down.
    fn open(this: ArcBorrow<'_, Self>, dev: &Dev) -> Result;

    /// Ends working; no frame is given after it. Process context, under RTNL; takes a bounded time.
    fn stop(this: ArcBorrow<'_, Self>, dev: &Dev);

    /// Sends a frame, or drops it. Soft interrupt context; one caller at a time for each queue. With
    /// `more`, other frames of the queue follow at once, unless it is stopped.
    ///
    /// # Errors
    ///
    /// Gives the frame back, for the stack to try again; the queue is stopped then, and to be woken.
    fn transmit(&self, dev: &Dev, frame: SkBuff, more: bool) -> core::result::Result<(), SkBuff>;

    /// The queue for a flow that has none yet, by its hash; `None`, or a queue that isn't in use: the stack
    /// chooses. Soft interrupt context.
    fn choose_queue(&self, hash: u32) -> Option<u16> {
        let _ = hash;
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Counters. Any context.
    fn statistics(&self) -> Statistics;

    /// Counters of a queue; `None`: there is none of that number. Process context.
    fn queue_statistics(&self, queue: usize) -> Option<QueueStatistics>;

    /// Frames may be `mtu` bytes long from now on, without the Ethernet header. Process context, under
    /// RTNL.
    ///
    /// # Errors
    ///
    /// It stays as it was.
    fn change_mtu(this: ArcBorrow<'_, Self>, dev: &Dev, mtu: u32) -> Result;

    /// Other features shall be in use. Process context, under RTNL.
    ///
    /// # Errors
    ///
    /// Those of before stay.
    fn change_features(this: ArcBorrow<'_, Self>, dev: &Dev, features: Features) -> Result {
        let _ = (this, dev, features);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The device has another address. Process context, under RTNL.
    ///
    /// # Errors
    ///
    /// It stays as it was.
    fn change_address(this: ArcBorrow<'_, Self>, address: [u8; 6]) -> Result;

    /// The stack wants other frames. Doesn't sleep.
    fn change_filter(this: ArcBorrow<'_, Self>, filter: Filter);

    /// A queue was stopped for too long. Process or soft interrupt context.
    fn timed_out(this: ArcBorrow<'_, Self>, dev: &Dev, queue: u16);

    /// State of the link, for `ethtool`.
    fn link(&self) -> Link;

    /// Channels, for `ethtool -l`.
    fn channels(&self) -> Channels;

    /// So many channels shall be in use, for `ethtool -L`: 1 to as many as there could be. Process context,
    /// under RTNL.
    ///
    /// # Errors
    ///
    /// It stays as it was.
    fn change_channels(this: ArcBorrow<'_, Self>, dev: &Dev, count: u32) -> Result {
        let _ = (this, dev, count);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Passes the driver's own counters to `show`, each with its name, for `ethtool -S`; always the same
    /// ones in the same order.
    fn counters(&self, show: &mut dyn FnMut(kernel::fmt::Arguments<'_>, u64));

    /// Rings, for `ethtool -g`.
    fn rings(&self) -> Rings {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Rings shall have so many places each way, for `ethtool -G`: at most what [`NicDriver::rings`] says.
    /// Process context, under RTNL.
    ///
    /// # Errors
    ///
    /// They stay as they were.
    fn change_rings(this: ArcBorrow<'_, Self>, dev: &Dev, receive: u32, send: u32) -> Result {
        let _ = (this, dev, receive, send);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// How large key and table are that spread flows; 0 when there is none. Process context.
    fn spread_size(&self) -> SpreadSize {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes the table and the key in force, for `ethtool -x`. Each has as many places as
    /// [`NicDriver::spread_size`] says, or none when nobody asks.
    fn spread(&self, table: &mut [u32], key: &mut [u8]) {
        let _ = (table, key);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// What the hash of such packets is made of, for `ethtool -n`. Process context.
    fn hash_fields(&self, kind: FlowKind) -> HashFields {
        let _ = kind;
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The hash of such packets shall be made of this, for `ethtool -N`. Process context, under RTNL.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` when the device can't; it stays as it was.
    fn change_hash_fields(this: ArcBorrow<'_, Self>, kind: FlowKind, fields: HashFields) -> Result {
        let _ = (this, kind, fields);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Flows shall be spread by this table or key, for `ethtool -X`; `None`: as before. Entries of the table
    /// are receive queues. Process context, under RTNL.
    ///
    /// # Errors
    ///
    /// It stays as it was.
    fn change_spread(
        this: ArcBorrow<'_, Self>,
        dev: &Dev,
        table: Option<&[u32]>,
        key: Option<&[u8]>,
    ) -> Result {
        let _ = (this, dev, table, key);
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}
