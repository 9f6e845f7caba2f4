// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Time: what time it is, when the guest's driver comes and every few seconds.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{bail, Context};
use parking_lot::Mutex;
use serde_json::{json, Map, Value};
use util_wire::timesync::{self, Purpose, TimeSample};
use util_wire::{MessageKind, Version};
use vmbus_wire::guid::class;
use vmbus_wire::Guid;

use super::jobs::{self, Job, Jobs};
use super::link::Link;
use super::service::{Desk, Kind};
use crate::hypervisor::Hypervisor;

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(5);
/// How long a command waits for the guest's answer unless it says so.
const LIMIT: Duration = Duration::from_secs(10);
/// Samples that may be without an answer.
const UNANSWERED: usize = 4;

/// What the guest was told.
#[derive(Clone, Copy, Debug)]
struct Told {
    sample: TimeSample,
    /// From the sample to the guest's answer.
    took: Duration,
}

/// The time service.
pub struct TimeSync {
    hypervisor: Arc<dyn Hypervisor>,
    jobs: Jobs<Purpose, Told>,
    last: Mutex<Option<Told>>,
}

impl TimeSync {
    /// A service that takes the guest's reference time from its hypervisor.
    pub fn new(hypervisor: Arc<dyn Hypervisor>) -> Self {
        Self {
            hypervisor,
            jobs: Jobs::default(),
            last: Mutex::default(),
        }
    }

    /// What time it is; none before 1601 or without the reference time that the version wants.
    fn sample(&self, version: Version, purpose: Purpose) -> Option<TimeSample> {
        let (reference, now) = if version >= timesync::V4_0 {
            let (reference, now) = self.hypervisor.reference_time()?;
            (Some(reference), now)
        } else {
            (None, SystemTime::now())
        };
        let since_unix = now.duration_since(UNIX_EPOCH).ok()?;
        let hundreds = u64::try_from(since_unix.as_nanos() / 100).ok()?;
        Some(TimeSample {
            time: hundreds.checked_add(timesync::UNIX_EPOCH)?,
            reference,
            purpose,
        })
    }
}

/// Seconds since 1970.
fn unix_seconds(time: u64) -> f64 {
    time.saturating_sub(timesync::UNIX_EPOCH) as f64 / 1e7
}

fn told(told: &Told) -> Value {
    json!({
        "time": unix_seconds(told.sample.time),
        "reference": told.sample.reference,
        "set": told.sample.purpose == Purpose::Sync,
        "answer_seconds": told.took.as_secs_f64(),
    })
}

/// A sample on its way.
struct Asked {
    number: u8,
    sample: TimeSample,
    at: Instant,
    job: Option<Job<Purpose, Told>>,
}

impl Kind for TimeSync {
    const NAME: &'static str = "timesync";
    const CLASS: Guid = class::TIMESYNC;
    const INSTANCE: Guid = Guid::literal("2dd1ce17-079e-403c-b352-a1921ee207ee");

    fn versions(&self) -> Vec<Version> {
        let referenced = self.hypervisor.reference_time().is_some();
        let mut versions = timesync::VERSIONS.to_vec();
        versions.retain(|version| referenced || *version < timesync::V4_0);
        versions
    }

    fn run(&self, link: &mut Link<'_>) -> anyhow::Result<()> {
        let mut asked: Vec<Asked> = Vec::new();
        let mut due = Instant::now();
        // The guest may have booted with any time: the first one is to be set.
        let mut purpose = Purpose::Sync;
        loop {
            while let Some(answer) = link.receive(MessageKind::TIMESYNC)? {
                let number = answer.transaction;
                let Some(at) = asked.iter().position(|asked| asked.number == number) else {
                    bail!("a time that wasn't told is answered");
                };
                let asked = asked.remove(at);
                let told = Told {
                    sample: asked.sample,
                    took: asked.at.elapsed(),
                };
                *self.last.lock() = Some(told);
                if let Some(job) = asked.job {
                    job.answer(Ok(told));
                }
            }
            let now = Instant::now();
            let job = if asked.len() < UNANSWERED {
                self.jobs.next()
            } else {
                None
            };
            if job.is_some() || (now >= due && asked.len() < UNANSWERED) {
                let purpose_now = job.as_ref().map_or(purpose, |job| job.question);
                if let Some(sample) = self.sample(link.version(), purpose_now) {
                    let body = sample.encode(link.version());
                    let number = link.send(MessageKind::TIMESYNC, body.as_bytes())?;
                    match (number, job) {
                        (Some(number), job) => {
                            asked.push(Asked {
                                number,
                                sample,
                                at: now,
                                job,
                            });
                            purpose = Purpose::Sample;
                        }
                        (None, Some(job)) => {
                            job.answer(Err(anyhow::anyhow!("the guest takes no messages")));
                        }
                        (None, None) => {}
                    }
                } else if let Some(job) = job {
                    job.answer(Err(anyhow::anyhow!(
                        "the guest's reference time is unknown"
                    )));
                }
                due = now + PERIOD;
            } else if now >= due {
                due = now + PERIOD;
            }
            let wake = link.wait(Some(due.saturating_duration_since(now)))?;
            if wake.stop {
                return Ok(());
            }
        }
    }

    fn closed(&self) {
        self.jobs.clear();
    }

    fn stats(&self, into: &mut Map<String, Value>) {
        let last = self.last.lock().as_ref().map(told);
        into.insert("last".to_owned(), json!(last));
    }

    fn control(&self, desk: &Desk, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        match command {
            "timesync" => {
                let set = jobs::flag(arguments, "set", true)?;
                let purpose = if set { Purpose::Sync } else { Purpose::Sample };
                let limit = jobs::limit(arguments, LIMIT)?;
                let answer = self.jobs.ask(desk, purpose, limit).context("timesync")?;
                Ok(told(&answer))
            }
            _ => bail!("timesync knows no command `{command}`"),
        }
    }
}
