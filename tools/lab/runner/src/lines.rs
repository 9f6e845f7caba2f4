// SPDX-License-Identifier: GPL-2.0 OR MIT
//! JSON lines over a Unix socket: what QMP and hvhost's control socket have in common.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use serde_json::Value;

/// Connects to a socket that a VMM is about to make, while `alive` finds it alive.
///
/// # Errors
///
/// When it isn't there after `limit`.
pub(crate) fn connect(
    path: &Path,
    limit: Duration,
    mut alive: impl FnMut() -> Result<()>,
) -> Result<UnixStream> {
    let end = Instant::now() + limit;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= end => {
                return Err(error).with_context(|| format!("cannot connect to {}", path.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
        alive()?;
        crate::stop::check()?;
    }
}

/// A connection on which each request carries a number that its answer repeats in `id`; what has
/// `event` in it is no answer.
pub(crate) struct Lines {
    stream: UnixStream,
    answers: Receiver<Value>,
    limit: Duration,
    last_id: u64,
}

impl Lines {
    /// Connects; the names of events go to `on_event`.
    ///
    /// # Errors
    ///
    /// When nobody listens there within `limit`, which also bounds each later answer.
    pub(crate) fn open(
        path: &Path,
        limit: Duration,
        on_event: impl Fn(String) + Send + 'static,
    ) -> Result<Self> {
        let stream = connect(path, limit, || Ok(()))?;
        let reader = BufReader::new(stream.try_clone().context("control socket")?);
        let (sender, answers) = mpsc::channel();
        // Ends with the socket, which ends with the VMM.
        thread::spawn(move || {
            for line in reader.lines() {
                let Ok(line) = line else { break };
                let Ok(value) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                if let Some(name) = value.get("event").and_then(Value::as_str) {
                    on_event(name.to_owned());
                } else if value.get("id").is_some() && sender.send(value).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            stream,
            answers,
            limit,
            last_id: 0,
        })
    }

    /// Sends a request and returns the answer with its number; `what` names the request.
    ///
    /// # Errors
    ///
    /// When it is no object, the VMM is gone, or it doesn't answer in time.
    pub(crate) fn ask(&mut self, what: &str, mut request: Value) -> Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let object = request.as_object_mut();
        object
            .with_context(|| format!("{what} is no JSON object"))?
            .insert("id".to_owned(), id.into());
        self.stream
            .write_all(format!("{request}\n").as_bytes())
            .with_context(|| format!("send {what}"))?;
        let end = Instant::now() + self.limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer = match self.answers.recv_timeout(left) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout) => bail!("no answer to {what} in time"),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the VMM ended before it answered {what}")
                }
            };
            // Any other is the answer to an earlier request, come too late.
            if answer.get("id").and_then(Value::as_u64) == Some(id) {
                return Ok(answer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::net::UnixListener;

    /// Answers one request with `answers`, in which ID stands for its number.
    fn serve(name: &str, answers: &'static [&'static str]) -> (std::path::PathBuf, UnixListener) {
        let path = std::env::temp_dir().join(format!("vmlab-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let twin = listener.try_clone().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = twin.accept().unwrap();
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            reader.read_line(&mut line).unwrap();
            let id = serde_json::from_str::<Value>(&line).unwrap()["id"].to_string();
            for answer in answers {
                let text = answer.replace("ID", &id);
                stream.write_all(format!("{text}\n").as_bytes()).unwrap();
            }
            // Open until the other side is done.
            let _ = reader.read_line(&mut line);
        });
        (path, listener)
    }

    #[test]
    fn events_late_answers_and_noise_are_told_from_the_answer() {
        let (path, _listener) = serve(
            "answer",
            &[
                r#"{"QMP": {}}"#,
                "noise",
                r#"{"event": "up"}"#,
                r#"{"id": 99, "ok": 1}"#,
                r#"{"id": ID, "ok": 2}"#,
            ],
        );
        let (sender, events) = mpsc::channel();
        let limit = Duration::from_secs(10);
        let mut lines = Lines::open(&path, limit, move |name| {
            let _ = sender.send(name);
        })
        .unwrap();
        let answer = lines.ask("x", json!({"command": "x"})).unwrap();
        assert_eq!(answer["ok"], 2);
        assert_eq!(events.recv_timeout(limit).unwrap(), "up");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn no_answer_is_an_error_in_time() {
        let (path, _listener) = serve("silence", &[]);
        let mut lines = Lines::open(&path, Duration::from_millis(50), |_| ()).unwrap();
        assert!(lines.ask("x", json!({})).is_err());
        assert!(lines.ask("x", json!([])).is_err());
        std::fs::remove_file(path).unwrap();
    }
}
