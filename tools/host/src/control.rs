// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The control socket: JSON lines, one command each.
