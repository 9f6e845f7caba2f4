// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The bus: connection, offers, GPADLs, channels.

pub mod bus;
pub mod channel;
pub mod gpadl;
pub mod handle;
