// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What can be found out before anything is started.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{bail, Context};

use crate::args::Args;
use crate::machine::SerialConfig;

/// Least memory of a guest: a kernel of some size, its initial RAM disk and room to unpack it.
const LEAST_MEMORY: u64 = 64 << 20;
/// Most memory of a guest.
const MOST_MEMORY: u64 = 1 << 40;

/// Checks what the command line names. Nothing is kept open, nothing is created.
///
/// # Errors
///
/// The first thing that is wrong, as one sentence.
pub(super) fn check(args: &Args) -> anyhow::Result<()> {
    readable("kernel", &args.kernel)?;
    if let Some(initrd) = &args.initrd {
        readable("initial RAM disk", initrd)?;
    }
    let memory = args.mem.0;
    if !(LEAST_MEMORY..=MOST_MEMORY).contains(&memory) || memory % (1 << 20) != 0 {
        bail!("--mem {}: whole MiB from 64M to 1T are wanted", args.mem);
    }
    if args.cmdline.contains('\0') || args.cmdline.contains('\n') {
        bail!("--cmdline has a line end in it");
    }
    if args.serial2 == SerialConfig::Stdio {
        bail!("--serial2 can't be stdio: that is the console's");
    }
    let sockets = [
        args.control.as_deref(),
        socket(&args.console),
        socket(&args.serial2),
    ];
    let mut seen: Vec<&Path> = Vec::new();
    for path in sockets.into_iter().flatten() {
        if seen.contains(&path) {
            bail!("{} is to be two sockets", path.display());
        }
        seen.push(path);
    }
    Ok(())
}

fn socket(serial: &SerialConfig) -> Option<&Path> {
    match serial {
        SerialConfig::Unix { path, .. } => Some(path),
        _ => None,
    }
}

/// A file with at least a byte in it.
fn readable(what: &str, path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("{what} {shown}"))?;
    let mut byte = [0];
    let count = file
        .read(&mut byte)
        .with_context(|| format!("{what} {shown}"))?;
    if count == 0 {
        bail!("{what} {shown} is empty");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn check_words(words: &str) -> Result<(), String> {
        let words = words.split_whitespace().map(OsString::from);
        let args = Args::read(words).unwrap();
        check(&args).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_is_wrong_is_said_in_a_line() {
        let own = std::env::current_exe().unwrap();
        let own = own.display();
        let with = |rest: &str| check_words(&format!("hvhost --kernel {own} {rest}"));
        with("--mem 64M --control a --console unix:b").unwrap();
        for (words, part) in [
            ("--mem 1M", "--mem 1M"),
            ("--mem 100000001", "--mem 100000001"),
            ("--mem 2T", "--mem 2T"),
            ("--initrd /none/there", "initial RAM disk /none/there"),
            ("--initrd /", "initial RAM disk /"),
            ("--initrd /dev/null", "/dev/null is empty"),
            ("--serial2 stdio", "--serial2"),
            ("--control a --console unix:a", "two sockets"),
        ] {
            let error = with(words).unwrap_err();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
        let error = check_words("hvhost --kernel /none/there").unwrap_err();
        assert!(error.contains("kernel /none/there"), "{error}");
    }
}
