// SPDX-License-Identifier: GPL-2.0 OR MIT
//! hvctl: commands for a running hvhost.

fn main() {}
