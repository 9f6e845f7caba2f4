// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Questions from the control socket's threads to the thread that serves a channel.

use std::collections::VecDeque;
use std::sync::mpsc::{sync_channel, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{bail, Context};
use parking_lot::Mutex;
use serde_json::Value;

use super::service::Desk;

/// Questions that may wait.
const WAITING: usize = 16;

/// A question and whom to answer.
#[derive(Debug)]
pub struct Job<Q, A> {
    /// What is asked.
    pub question: Q,
    answer: SyncSender<anyhow::Result<A>>,
    /// Alive as long as somebody waits for the answer.
    asker: Weak<()>,
}

impl<Q, A> Job<Q, A> {
    /// Answers it; nobody may be listening any more.
    pub fn answer(self, answer: anyhow::Result<A>) {
        let _ = self.answer.try_send(answer);
    }
}

/// Questions in the order they were asked.
#[derive(Debug)]
pub struct Jobs<Q, A> {
    waiting: Mutex<VecDeque<Job<Q, A>>>,
}

impl<Q, A> Default for Jobs<Q, A> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
        }
    }
}

impl<Q, A> Jobs<Q, A> {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// When there is no guest to ask, it doesn't answer in time, or it refuses.
    pub fn ask(&self, desk: &Desk, question: Q, limit: Duration) -> anyhow::Result<A> {
        if desk.agreed().is_none() {
            bail!("no driver of the guest serves this yet");
        }
        let (answer, answered) = sync_channel(1);
        let here = Arc::new(());
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= WAITING {
                bail!("too many questions wait for the guest already");
            }
            waiting.push_back(Job {
                question,
                answer,
                asker: Arc::downgrade(&here),
            });
        }
        desk.nudge();
        match answered.recv_timeout(limit) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => bail!("no answer from the guest within {limit:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the guest closed the service"),
        }
    }

    /// The next question whose answer somebody still waits for.
    pub fn next(&self) -> Option<Job<Q, A>> {
        let mut waiting = self.waiting.lock();
        while let Some(job) = waiting.pop_front() {
            if job.asker.strong_count() > 0 {
                return Some(job);
            }
        }
        None
    }

    /// Nobody will answer any more.
    pub fn clear(&self) {
        self.waiting.lock().clear();
    }
}

/// How long a command waits for the guest: its argument `timeout` in seconds.
///
/// # Errors
///
/// When it is no number from 0 to 600.
pub fn limit(arguments: &Value, default: Duration) -> anyhow::Result<Duration> {
    match arguments.get("timeout") {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_f64()
            .filter(|seconds| (0.0..=600.0).contains(seconds))
            .map(Duration::from_secs_f64)
            .with_context(|| format!("timeout {value}: 0 to 600 seconds are wanted")),
    }
}

/// A yes-or-no argument.
///
/// # Errors
///
/// When it is something else.
pub fn flag(arguments: &Value, name: &str, default: bool) -> anyhow::Result<bool> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_bool()
            .with_context(|| format!("{name} {value}: true or false is wanted")),
    }
}

/// A text argument that must be there.
///
/// # Errors
///
/// When it isn't, or is something else.
pub fn text<'a>(arguments: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    arguments
        .get(name)
        .and_then(Value::as_str)
        .with_context(|| format!("the argument `{name}`, a string, is wanted"))
}
