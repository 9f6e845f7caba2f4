// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The host's side of guests' NICs: taps in a network namespace from which nothing leaves.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use nix::sched::{unshare, CloneFlags};
use nix::unistd::{getegid, geteuid};

use crate::plan::Tap;
use crate::tree;

/// Moves this program into a network namespace of its own, where only a loopback interface is.
/// Who isn't root becomes the root of a user namespace for it. Has to be called before any
/// thread is started.
///
/// # Errors
///
/// When the system doesn't allow it.
pub(crate) fn enter() -> Result<()> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        return unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace");
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .context("cannot make a user namespace with a network of its own")?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        fs::write(&path, text).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

/// Runs `ip` of the tree.
fn ip(root: &Path, words: &[&str]) -> Result<()> {
    let mut command = tree::command(root, "usr/bin/ip")?;
    let output = command.args(words).output().context("cannot start ip")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", words.join(" "), said.trim());
    }
    Ok(())
}

/// The taps of a guest; they go when this is dropped.
pub(crate) struct Taps {
    root: PathBuf,
    names: Vec<String>,
}

impl Taps {
    /// Makes them and switches them on.
    ///
    /// # Errors
    ///
    /// What `ip` said.
    pub(crate) fn make(root: &Path, taps: &[Tap]) -> Result<Self> {
        let mut made = Self {
            root: root.to_path_buf(),
            names: Vec::new(),
        };
        for tap in taps {
            let name = tap.name.as_str();
            let mut add = vec!["tuntap", "add", "dev", name, "mode", "tap"];
            if tap.multi_queue {
                add.push("multi_queue");
            }
            ip(root, &add)?;
            made.names.push(tap.name.clone());
            ip(root, &["link", "set", name, "mtu", &tap.mtu.to_string()])?;
            made.up(name, &tap.addresses)?;
            for (id, addresses) in &tap.vlans {
                let (vlan, id) = (format!("{name}.{id}"), id.to_string());
                ip(
                    root,
                    &[
                        "link", "add", "link", name, &vlan, "type", "vlan", "id", &id,
                    ],
                )?;
                made.up(&vlan, addresses)?;
            }
        }
        Ok(made)
    }

    fn up(&self, name: &str, addresses: &[String]) -> Result<()> {
        for address in addresses {
            let mut add = vec!["addr", "add", address.as_str(), "dev", name];
            if address.contains(':') {
                // Usable at once.
                add.push("nodad");
            }
            ip(&self.root, &add)?;
        }
        ip(&self.root, &["link", "set", name, "up"])
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        for name in &self.names {
            // One that can't be removed makes the next guest's fail with a clear message.
            let _ = ip(&self.root, &["link", "del", name]);
        }
    }
}
