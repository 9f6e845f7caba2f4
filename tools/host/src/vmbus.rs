// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The bus: connection, offers, GPADLs, channels.
//!
//! One thread, the bus thread, carries out what the guest asks for; the processors' threads only
//! parse a message and queue it. It never waits for a device: a channel that is to be closed is
//! told to stop, and what depends on it (the answer to a teardown, a rescind, UNLOAD_COMPLETE)
//! follows when its thread has returned.

pub mod bus;
pub mod channel;
pub mod gpadl;
pub mod handle;

mod complaint;
mod connection;
mod control;
mod counters;
mod monitor;
mod offers;
mod open;
pub(crate) mod ring;
mod state;
mod stats;
