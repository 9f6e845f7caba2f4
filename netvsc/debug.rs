// SPDX-License-Identifier: GPL-2.0

//! A NIC's directory in debugfs: `/sys/kernel/debug/netvsc/<instance>/`; see
//! `Documentation/ABI/debugfs-netvsc`.

use kernel::{debugfs, fmt, prelude::*, sync::Arc};
use kernel_ext::atomic::Relaxed;
use net::{Features, Napi};
use netvsc_wire::nvsp::SEND_TABLE_ENTRIES;

use crate::{
    nic::Nic,
    queue::Queue,
    session::{Division, Session},
};

type File = Pin<KBox<debugfs::File<Arc<Nic>>>>;

/// The files, as long as this lives. Dropping it waits for those who read.
pub(crate) struct Files {
    _files: [File; 2],
}

impl Files {
    /// Makes the directory and its files.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(nic: &Arc<Nic>) -> Result<Self> {
        let dir = nic.module.debug.subdir(nic.dev.name());
        // Each of a type of its own, so no loop.
        macro_rules! file {
            ($name:literal, $show:path) => {
                KBox::pin_init(
                    dir.read_callback_file($name, nic.clone(), &|nic, f| $show(nic, f)),
                    GFP_KERNEL,
                )?
            };
        }
        // The files keep the directory.
        Ok(Self {
            _files: [file!(c"nic", show_nic), file!(c"queues", show_queues)],
        })
    }
}

fn word(yes: bool) -> &'static str {
    if yes {
        "yes"
    } else {
        "no"
    }
}

fn show_nic(nic: &Nic, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let name = nic.device.name().to_str().unwrap_or("?");
    writeln!(f, "interface: {name}")?;
    match nic.session.get() {
        Some(session) => show_session(nic, &session, f)?,
        None => writeln!(f, "nvsp: none")?,
    }
    let link = nic.link_up.load(Relaxed) != 0;
    writeln!(f, "link: {}", if link { "up" } else { "down" })?;
    writeln!(f, "megabits: {}", nic.megabits.load(Relaxed))?;
    nic.stats.each(|name, value| {
        // A file that is full isn't an error of the counter's.
        let _ = writeln!(f, "{name}: {value}");
    });
    Ok(())
}

fn show_session(nic: &Nic, session: &Session, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let ndis = session.version.ndis_version();
    writeln!(f, "nvsp: {}", session.version)?;
    writeln!(f, "ndis: {}.{}", ndis.major, ndis.minor)?;
    writeln!(f, "mtu: {}", session.settings.mtu)?;
    match session.largest_frame.load(Relaxed) {
        0 => writeln!(f, "host_mtu: unknown")?,
        bytes => writeln!(f, "host_mtu: {bytes}")?,
    }
    let used = session.channels.load(Relaxed);
    writeln!(f, "channels: {used}")?;
    writeln!(f, "channels_granted: {}", session.granted())?;
    writeln!(f, "channels_wanted: {}", session.settings.channels)?;
    let (receive, send) = session.divisions();
    let mut buffer = |name: &str, division: &Division| {
        writeln!(f, "{name}_sections: {}", division.sections)?;
        writeln!(f, "{name}_section_bytes: {}", division.section_bytes)
    };
    buffer("receive", &receive)?;
    buffer("send", &send)?;
    let table = nic.spread.lock().table().len();
    writeln!(f, "rss_entries: {table}")?;
    write!(f, "send_table:")?;
    for hash in 0..SEND_TABLE_ENTRIES as u32 {
        match nic.send_spread.channel(hash, used) {
            Some(channel) => write!(f, " {channel}")?,
            None => {
                write!(f, " none")?;
                break;
            }
        }
    }
    writeln!(f)?;
    let features = nic.device.features();
    let coalesces = nic.coalesces.load(Relaxed) != 0;
    writeln!(f, "coalescing_offered: {}", word(coalesces))?;
    let on = coalesces && features.contains(Features::LARGE_RECEIVE);
    writeln!(f, "coalescing: {}", word(on))?;
    writeln!(f, "vmq: {}", word(session.has_lent()))?;
    let lent = |queue: &Arc<Napi<Queue>>| queue.lent_frames.load(Relaxed);
    writeln!(
        f,
        "vmq_lent: {}",
        session.queues.iter().map(lent).sum::<u32>()
    )?;
    // Not asked for yet.
    writeln!(f, "chimney: no")
}

fn show_queues(nic: &Nic, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "queue relid cpu in_flight")?;
    if let Some(stats) = nic.queue_stats.first() {
        stats.each(|name, _| {
            let _ = write!(f, " {name}");
        });
    }
    writeln!(f)?;
    let Some(session) = nic.session.get() else {
        return Ok(());
    };
    for queue in &session.queues {
        let Some(channel) = queue.channel.get() else {
            continue;
        };
        let (relid, cpu) = (channel.offer().relid, channel.target_cpu());
        write!(
            f,
            "{} {relid} {cpu} {}",
            queue.number,
            queue.frames.count(None)
        )?;
        queue.stats.each(|_, value| {
            let _ = write!(f, " {value}");
        });
        writeln!(f)?;
    }
    Ok(())
}
