// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Programs of the build root, run from outside of it.

use std::path::Path;
use std::process::Command;

use anyhow::{bail, Result};

/// Where Debian keeps shared libraries; the build root is always amd64.
pub(crate) const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The command that runs a program of the tree, without chroot and without privileges: through
/// the tree's own dynamic loader, unless the tree is the root already.
///
/// # Errors
///
/// When the tree has no such program.
pub(crate) fn command(root: &Path, program: &str) -> Result<Command> {
    let path = root.join(program);
    if !path.is_file() {
        bail!("there is no {}", path.display());
    }
    if root == Path::new("/") {
        return Ok(Command::new(path));
    }
    let mut command = Command::new(root.join("lib64/ld-linux-x86-64.so.2"));
    command
        .arg("--library-path")
        .arg(root.join(LIBRARIES))
        .arg(path);
    Ok(command)
}
