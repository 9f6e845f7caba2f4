// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The control socket: JSON lines, one command each.
//!
//! [`protocol`] is what client and server have in common, [`server`] the socket and its clients,
//! [`commands`] what hvhost does when it is told to, [`arguments`] how devices read a command's arguments. [`client`] and [`table`] are hvctl's.

pub mod arguments;
pub mod client;
pub mod commands;
pub mod lines;
pub mod protocol;
pub mod server;
pub mod table;
