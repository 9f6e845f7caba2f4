// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Ends the run when the user or the system asks: every wait of this program looks here.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{bail, Context, Result};

static STOP: AtomicBool = AtomicBool::new(false);

/// Takes SIGINT, SIGTERM and SIGHUP as the wish to stop.
///
/// # Errors
///
/// When the handler can't be installed.
pub(crate) fn install() -> Result<()> {
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed)).context("cannot handle signals")
}

/// Fails once somebody asked to stop.
///
/// # Errors
///
/// "interrupted" after one of the signals.
pub(crate) fn check() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}
