// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Synthetic SCSI controllers as a guest sees them: through real rings, with a guest that is no
//! machine.

mod bad;
mod conversation;
mod disks;
mod faults;
mod guest;
mod hotplug;
mod ide;
mod io;
mod misdeeds;
