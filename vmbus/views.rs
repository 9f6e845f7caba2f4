// SPDX-License-Identifier: GPL-2.0

//! What one can see of a channel: its directory in sysfs and its file in debugfs.
//!
//! `/sys/kernel/debug/vmbus/connection` is about the bus, `/sys/kernel/debug/vmbus/<instance>/<relid>`
//! about a channel: one `key: value` a line, for people and scripts; see
//! `Documentation/ABI/debugfs-vmbus`.

use kernel::{
    debugfs, fmt,
    prelude::*,
    str::CString,
    sync::{aref::ARef, Arc},
};
use kernel_ext::{bus, sysfs::Dir};

use crate::{
    channel_core::ChannelCore,
    connection::Connection,
    device::Vmbus,
    sysfs::{self, ChannelDir},
};

/// Directories of a device; those of its channels are inside.
pub(crate) struct DeviceView {
    channels: Dir<()>,
    debug: debugfs::Dir,
}

impl DeviceView {
    /// Makes `channels` in the device's directory and `<instance>` in debugfs.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(dev: &bus::Added<Vmbus>) -> Result<Self> {
        let core = dev.payload().core();
        let name = CString::try_from_fmt(format_args!("{}", core.offer.instance))?;
        Ok(Self {
            channels: Dir::plain(dev, format_args!("channels"))?,
            debug: core.connection.debug.subdir(&name),
        })
    }

    /// Makes the directory and the file of a channel.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn channel(
        &self,
        dev: &bus::Device<Vmbus>,
        core: &Arc<ChannelCore>,
    ) -> Result<ChannelView> {
        let relid = core.offer.relid;
        let name = CString::try_from_fmt(format_args!("{relid}"))?;
        let file = KBox::pin_init(
            self.debug.read_callback_file(
                &name,
                Shown {
                    dev: dev.into(),
                    core: core.clone(),
                },
                &|shown, f| show_channel(shown, f),
            ),
            GFP_KERNEL,
        )?;
        let dir = Dir::new(
            &self.channels,
            format_args!("{relid}"),
            Some(&sysfs::CHANNEL),
            core.clone(),
        )?;
        Ok(ChannelView {
            _dir: dir,
            _file: file,
        })
    }
}

/// What a channel's file is about. The reference to the device makes a circle with the device's
/// payload, which [`Payload::hide_channels`](crate::device::Payload::hide_channels) opens.
struct Shown {
    dev: ARef<bus::Device<Vmbus>>,
    core: Arc<ChannelCore>,
}

/// Directory and file of a channel. Dropping it waits for those who read.
pub(crate) struct ChannelView {
    _dir: ChannelDir,
    _file: Pin<KBox<debugfs::File<Shown>>>,
}

/// The file about the connection.
pub(crate) type ConnectionFile = Pin<KBox<debugfs::File<Arc<Connection>>>>;

/// Makes `connection` in debugfs.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn connection_file(connection: &Arc<Connection>) -> Result<ConnectionFile> {
    KBox::pin_init(
        connection
            .debug
            .read_callback_file(c"connection", connection.clone(), &|connection, f| {
                show_connection(connection, f)
            }),
        GFP_KERNEL,
    )
}

fn show_connection(connection: &Connection, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let stats = &connection.stats;
    let mut channels = 0;
    connection.relids.for_each(|_| channels += 1);
    writeln!(f, "version: {}", connection.version())?;
    writeln!(f, "connection_id: {}", connection.connection_id())?;
    writeln!(f, "state: {}", connection.state().name())?;
    writeln!(f, "cpus: {}", connection.enabled_cpus())?;
    writeln!(f, "channels: {channels}")?;
    writeln!(f, "offers: {}", stats.offers)?;
    writeln!(f, "rescinds: {}", stats.rescinds)?;
    writeln!(f, "messages_in: {}", stats.messages_in)?;
    writeln!(f, "messages_out: {}", stats.messages_out)?;
    writeln!(f, "post_retries: {}", stats.post_retries)?;
    writeln!(f, "looks: {}", stats.looks)?;
    writeln!(f, "waiting_requests: {}", connection.control.len())?;
    writeln!(f, "protocol_errors: {}", stats.protocol_errors)?;
    writeln!(f, "stray_events: {}", stats.stray_events)?;
    writeln!(f, "gpadls_leaked: {}", stats.gpadls_leaked)
}

fn show_channel(shown: &Shown, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let core = &shown.core;
    let (offer, stats) = (&core.offer, &core.stats);
    // Busy: a driver is being bound or unbound.
    let driver = shown.dev.driver_name().unwrap_or(None);
    let driver = driver.as_deref().and_then(|name| name.to_str().ok());
    writeln!(f, "class: {}", core.class_name())?;
    writeln!(f, "class_id: {}", offer.class)?;
    writeln!(f, "instance: {}", offer.instance)?;
    writeln!(f, "relid: {}", offer.relid)?;
    writeln!(f, "subchannel: {}", offer.subchannel)?;
    writeln!(f, "state: {}", core.state())?;
    writeln!(f, "driver: {}", driver.unwrap_or("none"))?;
    writeln!(f, "target_cpu: {}", core.target_cpu())?;
    // Not while it is being closed: the driver's module may go after that.
    let _visit = core.visit.lock();
    let open = core.open.get();
    if let Some(channel) = &open {
        let rings = channel.rings();
        writeln!(f, "out_ring_bytes: {}", rings.sizes.out_bytes)?;
        writeln!(f, "in_ring_bytes: {}", rings.sizes.in_bytes)?;
        writeln!(f, "out_read: {}", rings.out_read)?;
        writeln!(f, "out_write: {}", rings.out_write)?;
        writeln!(f, "out_used: {}", rings.out_used)?;
        match &rings.input {
            Some(input) => {
                writeln!(f, "in_read: {}", input.read)?;
                writeln!(f, "in_write: {}", input.write)?;
                writeln!(f, "in_used: {}", input.used)?;
            }
            None => writeln!(f, "in_busy: 1")?,
        }
        writeln!(f, "pending: {}", channel.pending())?;
        writeln!(f, "gpadl: {:#x}", channel.gpadl_id())?;
    }
    writeln!(
        f,
        "gpadl_state: {}",
        if open.is_some() { "shared" } else { "none" }
    )?;
    writeln!(f, "packets_out: {}", stats.packets_out)?;
    writeln!(f, "packets_in: {}", stats.packets_in)?;
    writeln!(f, "bytes_out: {}", stats.bytes_out)?;
    writeln!(f, "bytes_in: {}", stats.bytes_in)?;
    writeln!(f, "signals_out: {}", stats.signals_out)?;
    writeln!(f, "interrupts_in: {}", stats.interrupts_in)?;
    writeln!(f, "out_full: {}", stats.out_full)?;
    writeln!(f, "errors: {}", stats.errors)
}
