// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Heartbeat: every two seconds the guest is asked whether it is alive.

use std::time::{Duration, Instant};

use anyhow::bail;
use parking_lot::Mutex;
use serde_json::{json, Map, Value};
use util_wire::heartbeat::{Heartbeat as Beat, VERSIONS};
use util_wire::{MessageKind, Version};
use vmbus_wire::guid::class;
use vmbus_wire::Guid;

use super::link::Link;
use super::service::{Desk, Kind};

/// Between two beats.
const PERIOD: Duration = Duration::from_secs(2);
/// Without an answer for that long the guest counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// Beats that may be without an answer: a guest that is stopped isn't flooded later.
const UNANSWERED: u64 = 4;

/// How the guest is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pulse {
    /// It hasn't answered yet.
    #[default]
    Unknown,
    /// It answers.
    Ok,
    /// It did and doesn't any more.
    Lost,
}

impl Pulse {
    fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Lost => "lost",
        }
    }
}

#[derive(Debug, Default)]
struct State {
    pulse: Pulse,
    seen: Option<Instant>,
    /// Number of the guest's last answer.
    sequence: u64,
    application_state: u32,
    losses: u64,
}

/// The heartbeat service.
#[derive(Debug)]
pub struct Heartbeat {
    state: Mutex<State>,
    period: Duration,
    lost_after: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::with(PERIOD, LOST_AFTER)
    }
}

impl Heartbeat {
    /// With other times than Hyper-V's: between two beats, and after which a guest is lost.
    pub fn with(period: Duration, lost_after: Duration) -> Self {
        Self {
            state: Mutex::default(),
            period,
            lost_after,
        }
    }

    fn answered(&self, desk: &Desk, beat: Beat) {
        let mut state = self.state.lock();
        state.seen = Some(Instant::now());
        state.sequence = beat.sequence;
        state.application_state = beat.application_state;
        let before = std::mem::replace(&mut state.pulse, Pulse::Ok);
        drop(state);
        if before != Pulse::Ok {
            desk.emit("heartbeat", json!({ "after": before.name() }));
        }
    }

    fn check(&self, desk: &Desk) {
        let mut state = self.state.lock();
        let silent = state.seen.map(|seen| seen.elapsed());
        if state.pulse == Pulse::Ok && silent > Some(self.lost_after) {
            state.pulse = Pulse::Lost;
            state.losses += 1;
            drop(state);
            tracing::warn!("heartbeat: the guest doesn't answer any more");
            let seconds = silent.unwrap_or_default().as_secs_f64();
            desk.emit("heartbeat-lost", json!({ "silent_seconds": seconds }));
        }
    }
}

impl Kind for Heartbeat {
    const NAME: &'static str = "heartbeat";
    const CLASS: Guid = class::HEARTBEAT;
    const INSTANCE: Guid = Guid::literal("fd149e91-82e0-4a7d-afa6-2a4166cbd7c0");

    fn versions(&self) -> Vec<Version> {
        VERSIONS.to_vec()
    }

    fn run(&self, link: &mut Link<'_>) -> anyhow::Result<()> {
        let desk = link.desk();
        let mut sequence = 0u64;
        let mut answered = 0u64;
        let mut due = Instant::now();
        loop {
            while let Some(answer) = link.receive(MessageKind::HEARTBEAT)? {
                let beat = Beat::parse(answer.body)?;
                // The guest counts each number it got one further. Beats 1, 2, 3, ... so that an
                // answer is never mistaken for a question.
                if beat.sequence <= answered || beat.sequence > sequence + 1 {
                    bail!("heartbeat {} after {sequence} was sent", beat.sequence);
                }
                answered = beat.sequence - 1;
                self.answered(desk, beat);
            }
            let now = Instant::now();
            if now >= due {
                self.check(desk);
                due = now + self.period;
                if sequence - answered < UNANSWERED {
                    let beat = Beat {
                        sequence: sequence + 1,
                        application_state: 0,
                    };
                    if link.send(MessageKind::HEARTBEAT, &beat.encode())?.is_some() {
                        sequence += 1;
                    }
                }
            }
            if link.wait(Some(due.saturating_duration_since(now)))?.stop {
                return Ok(());
            }
        }
    }

    fn closed(&self) {
        let mut state = self.state.lock();
        state.pulse = Pulse::Unknown;
        state.seen = None;
    }

    fn stats(&self, into: &mut Map<String, Value>) {
        let state = self.state.lock();
        into.insert("pulse".to_owned(), state.pulse.name().into());
        into.insert("sequence".to_owned(), state.sequence.into());
        into.insert(
            "application_state".to_owned(),
            state.application_state.into(),
        );
        into.insert("losses".to_owned(), state.losses.into());
        let seen = state.seen.map(|seen| seen.elapsed().as_secs_f64());
        into.insert("seconds_since_answer".to_owned(), json!(seen));
    }

    fn control(&self, _desk: &Desk, command: &str, _arguments: &Value) -> anyhow::Result<Value> {
        match command {
            "heartbeat" => {
                let mut map = Map::new();
                self.stats(&mut map);
                Ok(Value::Object(map))
            }
            _ => bail!("heartbeat knows no command `{command}`"),
        }
    }
}
