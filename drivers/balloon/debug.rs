// SPDX-License-Identifier: GPL-2.0

//! The device's file in debugfs: one `key: value` a line.

use balloon_wire::session::State;
use kernel::{debugfs, fmt, prelude::*, sync::Arc};
use kernel_ext::mm;

use crate::device::Shared;

/// The file, as long as this lives. Dropping it waits for those who read.
pub(crate) type File = Pin<KBox<debugfs::File<Arc<Shared>>>>;

/// Makes `vmbus_balloon/<name>`. A guest has one such device, so the directory is the device's.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn file(name: &CStr, shared: Arc<Shared>) -> Result<File> {
    let dir = debugfs::Dir::new(c"vmbus_balloon");
    // The file keeps the directory.
    KBox::pin_init(
        dir.read_callback_file(name, shared, &|shared, f| show(shared, f)),
        GFP_KERNEL,
    )
}

fn show(shared: &Shared, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (version, state, reports) = {
        let session = shared.session.lock();
        (session.version(), session.state(), session.wants_reports())
    };
    let ballooned = shared.pages.lock().count();
    let stats = &shared.stats;
    match version {
        Some(version) => writeln!(f, "version: {version}")?,
        None => writeln!(f, "version: none")?,
    }
    writeln!(f, "state: {}", state.name())?;
    if let State::Failed(refusal) = state {
        writeln!(f, "reason: {refusal}")?;
    }
    writeln!(f, "ballooned_pages: {ballooned}")?;
    writeln!(f, "up_requests: {}", stats.up_requests)?;
    writeln!(f, "down_requests: {}", stats.down_requests)?;
    writeln!(f, "pressure_wanted: {}", u8::from(reports))?;
    writeln!(f, "pressure_reports: {}", stats.pressure_reports)?;
    writeln!(f, "hot_add_requests: {}", stats.hot_add_requests)?;
    writeln!(f, "hot_added_pages: {}", shared.added.pages())?;
    writeln!(f, "hot_added_online: {}", shared.added.online())?;
    writeln!(f, "hot_add_unit: {}", mm::hot_add_unit())?;
    writeln!(f, "max_pages: {}", shared.max_pages())?;
    writeln!(f, "errors: {}", stats.errors)
}
