// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The log: lines on standard error or in a file.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Sets the log up.
///
/// # Errors
///
/// When the filter makes no sense or the file can't be written.
pub(super) fn start(filter: &str, file: Option<&Path>) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .with_context(|| format!("--log {filter}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(true)
        .with_ansi(false);
    let set = match file {
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("log file {}", path.display()))?;
            builder.with_writer(Mutex::new(file)).try_init()
        }
        None => builder.with_writer(std::io::stderr).try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("log: {error}"))
}
