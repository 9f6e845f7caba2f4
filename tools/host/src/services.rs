// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The integration services: heartbeat, shutdown, time, key-value pairs.
