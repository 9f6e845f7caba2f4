// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A client of QEMU's machine protocol: commands with bounded waits, events to a channel.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, Context, Result};
use serde_json::{json, Value};

/// Connects to a socket that QEMU is about to make.
///
/// # Errors
///
/// When it isn't there after `limit`.
pub(crate) fn connect(path: &Path, limit: Duration) -> Result<UnixStream> {
    let end = Instant::now() + limit;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= end => {
                return Err(error).with_context(|| format!("cannot connect to {}", path.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
        crate::stop::check()?;
    }
}

/// A connection in command mode.
pub(crate) struct Qmp {
    stream: UnixStream,
    answers: Receiver<Value>,
    limit: Duration,
    last_id: u64,
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
        let stream = connect(path, limit)?;
        let reader = BufReader::new(stream.try_clone().context("QMP socket")?);
        let (sender, answers) = mpsc::channel();
        // Ends with the socket, which ends with QEMU.
        thread::spawn(move || {
            for line in reader.lines() {
                let Ok(line) = line else { break };
                let Ok(value) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                if let Some(name) = value.get("event").and_then(Value::as_str) {
                    on_event(name.to_owned());
                } else if value.get("QMP").is_none() && sender.send(value).is_err() {
                    break;
                }
            }
        });
        let mut qmp = Self {
            stream,
            answers,
            limit,
            last_id: 0,
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
        self.last_id += 1;
        let id = self.last_id;
        let mut line = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        line.push('\n');
        self.stream
            .write_all(line.as_bytes())
            .with_context(|| format!("send {command} to QEMU"))?;
        let end = Instant::now() + self.limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer = match self.answers.recv_timeout(left) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout) => bail!("QEMU did not answer {command} in time"),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("QEMU ended before it answered {command}")
                }
            };
            // An answer to an earlier command that came too late.
            if answer.get("id").and_then(Value::as_u64) != Some(id) {
                continue;
            }
            if let Some(error) = answer.get("error") {
                let why = error
                    .get("desc")
                    .and_then(Value::as_str)
                    .unwrap_or("no reason given");
                return Err(anyhow!("{why}"));
            }
            return Ok(answer.get("return").cloned().unwrap_or(Value::Null));
        }
    }
}
