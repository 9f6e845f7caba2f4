// SPDX-License-Identifier: GPL-2.0 OR MIT
//! QEMU of a given tree, and a guest's QEMU command.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::guest;
use crate::job::Job;
use crate::plan::{Scenario, Timers};
use crate::tree;

/// Hyper-V's face as KVM can show it. `kvm=off` matters: a guest that sees KVM's own leaves
/// takes KVM and ignores Hyper-V. Without hv-time every clock read is an exit.
const HYPERV_CPU: &str = "host,kvm=off,hv-relaxed,hv-vpindex,hv-synic,hv-time,hv-stimer,\
                          hv-runtime,hv-vapic";
/// The same processor on bare KVM.
const BARE_CPU: &str = "host";
/// Firmware directories QEMU would find by itself if the tree were the root.
const FIRMWARE: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// The command that runs the tree's own QEMU.
///
/// # Errors
///
/// When the tree has no QEMU.
pub(crate) fn command(root: &Path) -> Result<Command> {
    let mut command = tree::command(root, "usr/bin/qemu-system-x86_64")?;
    // Loadable parts of QEMU are looked for below the build root, too.
    command.env("QEMU_MODULE_DIR", root.join(tree::LIBRARIES).join("qemu"));
    for directory in FIRMWARE {
        command.arg("-L").arg(root.join(directory));
    }
    command.args(["-no-user-config", "-nodefaults", "-display", "none"]);
    // The kernel ends QEMU should this program be killed without a chance to clean up.
    command.args(["-run-with", "exit-with-parent=on"]);
    Ok(command)
}

/// The QEMU command of a guest, without its serial lines.
///
/// # Errors
///
/// When there is no QEMU or no image.
pub(crate) fn guest_command(job: &Job, scenario: &Scenario, work: &Path) -> Result<Command> {
    let mut command = command(&job.root)?;
    let cpu = match (scenario.hyperv, scenario.timers) {
        (false, _) => BARE_CPU.to_owned(),
        (true, Timers::Message) => HYPERV_CPU.to_owned(),
        (true, Timers::Direct) => format!("{HYPERV_CPU},hv-stimer-direct"),
    };
    let memory = match scenario.max_memory {
        Some(most) => format!("{}M,slots=4,maxmem={most}M", scenario.memory),
        None => format!("{}M", scenario.memory),
    };
    // disable_s4: hv-balloon won't balloon where ACPI offers hibernation.
    command
        .args(["-accel", "kvm", "-cpu", &cpu])
        // Threads have names by which their processor time is told apart.
        .args(["-name", "guest,debug-threads=on"])
        .args(["-M", "q35,sata=off,smbus=off,vmport=off"])
        .args(["-global", "ICH9-LPC.disable_s4=1"])
        .args(["-smp", &scenario.cpus.to_string()])
        .args(["-m", &memory])
        .arg("-kernel")
        .arg(&job.kernel)
        .arg("-initrd")
        .arg(guest::initrd(job, scenario, work)?)
        .args(["-append", &guest::command_line(job, scenario)]);
    command.args(&scenario.qemu);
    for device in &scenario.devices {
        command.args(["-device", device]);
    }
    command.current_dir(work);
    Ok(command)
}
