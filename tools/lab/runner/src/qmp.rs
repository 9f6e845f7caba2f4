// SPDX-License-Identifier: GPL-2.0 OR MIT
//! QEMU's control channel.

use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, Result};
use serde_json::{json, Value};

use crate::lines::Lines;

/// A connection in command mode.
pub(crate) struct Qmp {
    lines: Lines,
}

impl Qmp {
    /// Connects, negotiates, and passes the names of later events to `on_event`.
    ///
    /// # Errors
    ///
    /// When QEMU doesn't speak within `limit`, which also bounds each later command.
    pub(crate) fn open(
        path: &Path,
        limit: Duration,
        on_event: impl Fn(String) + Send + 'static,
    ) -> Result<Self> {
        let mut qmp = Self {
            lines: Lines::open(path, limit, on_event)?,
        };
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Carries out a command and returns its result.
    ///
    /// # Errors
    ///
    /// QEMU's own words when it refuses, or that it didn't answer in time.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        let answer = self.lines.ask(command, request)?;
        if let Some(error) = answer.get("error") {
            let why = error
                .get("desc")
                .and_then(Value::as_str)
                .unwrap_or("no reason given");
            return Err(anyhow!("{why}"));
        }
        Ok(answer.get("return").cloned().unwrap_or(Value::Null))
    }
}
