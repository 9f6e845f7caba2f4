// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SIGTERM, SIGINT and SIGHUP end the guest.

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};

/// The signals that end the guest.
fn ours() -> SigSet {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set
}

/// Keeps the signals from every thread; to be called while there is one thread only, which all
/// others get it from.
///
/// # Errors
///
/// When the system refuses.
pub(super) fn hold() -> anyhow::Result<()> {
    ours().thread_block().context("signals")
}

/// Lets them through again: what is executed next inherits the mask.
pub(super) fn release() {
    // Fails only for a set that isn't one.
    let _ = ours().thread_unblock();
}

/// Waits for a signal on a thread of its own and calls `end` then; the second one ends hvhost at
/// once, in case the first had no effect.
///
/// # Errors
///
/// When the system refuses the thread.
pub(super) fn watch(status: i32, end: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let set = ours();
            for count in 0.. {
                match set.wait() {
                    Ok(signal) if count == 0 => {
                        tracing::warn!("{signal}: the guest is ended");
                        end();
                    }
                    Ok(_) => std::process::exit(status),
                    Err(error) => {
                        tracing::error!("signals: {error}");
                        return;
                    }
                }
            }
        })
        .context("signals")?;
    Ok(())
}
