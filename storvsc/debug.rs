// SPDX-License-Identifier: GPL-2.0

//! The controller's directory in debugfs: `/sys/kernel/debug/storvsc/<instance>/`; see
//! `Documentation/ABI/debugfs-storvsc`.

use kernel::{debugfs, fmt, prelude::*, sync::Arc};
use kernel_ext::{atomic::Relaxed, rcu::RcuSlot};
use vmbus::stats::Counter;

use crate::{controller::Controller, stats::BUCKETS};

type File = Pin<KBox<debugfs::File<Arc<Controller>>>>;

/// The files, as long as this lives. Dropping it waits for those who read.
pub(crate) struct Files {
    _files: [File; 4],
}

impl Files {
    /// Makes the directory and its files.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(controller: &Arc<Controller>) -> Result<Self> {
        let dir = controller.module.debug.subdir(controller.dev.name());
        // Each of a type of its own, so no loop.
        macro_rules! file {
            ($name:literal, $show:path) => {
                KBox::pin_init(
                    dir.read_callback_file($name, controller.clone(), &|controller, f| {
                        $show(controller, f)
                    }),
                    GFP_KERNEL,
                )?
            };
        }
        // The files keep the directory.
        Ok(Self {
            _files: [
                file!(c"controller", show_controller),
                file!(c"channels", show_channels),
                file!(c"luns", show_units),
                file!(c"latency", show_latency),
            ],
        })
    }
}

fn show_controller(controller: &Controller, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let stats = &controller.stats;
    let agreement = *controller.agreement.lock();
    match agreement {
        Some(agreement) => writeln!(f, "protocol: {}", agreement.version)?,
        None => writeln!(f, "protocol: none")?,
    }
    let bytes = agreement.map_or(0, |agreement| agreement.max_transfer_bytes);
    let channels = controller.ports.iter().filter(|port| !port.is_empty());
    writeln!(f, "class: {}", controller.kind.name())?;
    writeln!(f, "state: {}", controller.state().name())?;
    writeln!(f, "host: {}", controller.host_number())?;
    writeln!(f, "channels: {}", channels.count())?;
    write!(f, "routes:")?;
    for route in controller.routes.iter() {
        write!(f, " {}", route.load(Relaxed))?;
    }
    writeln!(f)?;
    writeln!(f, "queues: {}", controller.queues)?;
    writeln!(f, "queue_depth: {}", controller.queue_depth)?;
    writeln!(f, "max_transfer_bytes: {bytes}")?;
    writeln!(f, "in_flight: {}", controller.commands.count(None))?;
    writeln!(f, "busy: {}", stats.busy)?;
    writeln!(f, "rescans: {}", stats.rescans)?;
    writeln!(f, "removals: {}", stats.removals)?;
    writeln!(f, "resets: {}", stats.resets)?;
    writeln!(f, "reconnects: {}", stats.reconnects)?;
    writeln!(f, "timeouts: {}", stats.timeouts)?;
    writeln!(f, "unsolicited: {}", stats.unsolicited)?;
    writeln!(f, "protocol_errors: {}", stats.protocol_errors)
}

fn show_channels(controller: &Controller, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "channel relid cpu submitted completed in_flight busy")?;
    for port in controller.ports.iter().filter_map(RcuSlot::get) {
        let (number, channel) = (port.number, &port.channel);
        let in_flight = controller.commands.count(Some(number)) as u64;
        let ended = controller.ended.get(usize::from(number));
        let ended = ended.map_or(0, Counter::get);
        writeln!(
            f,
            "{number} {} {} {} {ended} {in_flight} {}",
            channel.offer().relid,
            channel.target_cpu(),
            ended.saturating_add(in_flight),
            channel.stats().out_full,
        )?;
    }
    Ok(())
}

fn show_units(controller: &Controller, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "lun commands reads writes read_bytes write_bytes errors in_flight max_us"
    )?;
    for unit in controller.units.lock().iter() {
        writeln!(
            f,
            "{} {} {} {} {} {} {} {} {}",
            unit.address,
            unit.sent(),
            unit.reads(),
            unit.writes(),
            unit.read_bytes(),
            unit.write_bytes(),
            unit.errors(),
            unit.in_flight(),
            unit.max_us(),
        )?;
    }
    Ok(())
}

fn show_latency(controller: &Controller, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "lun kind")?;
    for bucket in 0..BUCKETS - 1 {
        match 16u32 << bucket {
            us if us < 1024 => write!(f, " le_{us}us")?,
            us if us < 1 << 20 => write!(f, " le_{}ms", us >> 10)?,
            us => write!(f, " le_{}s", us >> 20)?,
        }
    }
    writeln!(f, " more")?;
    for unit in controller.units.lock().iter() {
        for (kind, buckets) in unit.latency() {
            write!(f, "{} {kind}", unit.address)?;
            for count in buckets {
                write!(f, " {count}")?;
            }
            writeln!(f)?;
        }
    }
    Ok(())
}
