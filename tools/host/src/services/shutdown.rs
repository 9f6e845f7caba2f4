// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Shutdown: the guest is asked to end, to start again or to hibernate.

use std::time::Duration;

use anyhow::{bail, Context};
use serde_json::{json, Map, Value};
use util_wire::shutdown::{Action, Shutdown as Request, BYTES, REASON_PLANNED, VERSIONS};
use util_wire::text::Text;
use util_wire::{MessageKind, Status, Version};
use vmbus_wire::guid::class;
use vmbus_wire::Guid;

use super::jobs::{self, Job, Jobs};
use super::link::Link;
use super::service::{Desk, Kind};

/// How long a command waits for the guest's answer unless it says so.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Question {
    action: Action,
    force: bool,
    reason: u32,
    timeout: u32,
    text: String,
}

/// The shutdown service.
#[derive(Debug, Default)]
pub struct Shutdown {
    jobs: Jobs<Question, Status>,
}

impl Shutdown {
    fn ask(&self, desk: &Desk, action: Action, arguments: &Value) -> anyhow::Result<Value> {
        if let Some(agreed) = desk.agreed() {
            if agreed.service < action.since() {
                bail!(
                    "the guest speaks version {} of the service, this needs {}",
                    agreed.service,
                    action.since()
                );
            }
        }
        let number = |name: &str, default: u32| match arguments.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .with_context(|| format!("{name} {value}: a 32-bit number is wanted")),
        };
        let text = match arguments.get("text") {
            None | Some(Value::Null) => "",
            Some(_) => jobs::text(arguments, "text")?,
        };
        let question = Question {
            action,
            force: jobs::flag(arguments, "force", true)?,
            reason: number("reason", REASON_PLANNED)?,
            timeout: number("guest_timeout", 60)?,
            text: text.to_owned(),
        };
        let status = self
            .jobs
            .ask(desk, question, jobs::limit(arguments, LIMIT)?)?;
        if !status.is_ok() {
            bail!("the guest refuses: {status}");
        }
        Ok(json!({ "status": status.to_string() }))
    }
}

impl Kind for Shutdown {
    const NAME: &'static str = "shutdown";
    const CLASS: Guid = class::SHUTDOWN;
    const INSTANCE: Guid = Guid::literal("b6650ff7-33bc-4840-8048-e0676786f393");

    fn versions(&self) -> Vec<Version> {
        VERSIONS.to_vec()
    }

    fn run(&self, link: &mut Link<'_>) -> anyhow::Result<()> {
        let mut asked: Option<(u8, Job<Question, Status>)> = None;
        let mut held: Option<Job<Question, Status>> = None;
        loop {
            while let Some(answer) = link.receive(MessageKind::SHUTDOWN)? {
                match asked.take() {
                    Some((number, job)) if number == answer.transaction => {
                        job.answer(Ok(answer.status));
                    }
                    _ => bail!("a shutdown that wasn't asked for is answered"),
                }
            }
            if asked.is_none() {
                if let Some(job) = held.take().or_else(|| self.jobs.next()) {
                    let question = &job.question;
                    let request = Request {
                        action: question.action,
                        force: question.force,
                        reason: question.reason,
                        timeout: question.timeout,
                        text: Text::new(&question.text),
                    };
                    let mut body = [0; BYTES];
                    if request.encode(&mut body).is_none() {
                        job.answer(Err(anyhow::anyhow!("the text is too long")));
                        continue;
                    }
                    match link.send(MessageKind::SHUTDOWN, &body)? {
                        Some(number) => asked = Some((number, job)),
                        None => held = Some(job),
                    }
                }
            }
            if link.wait(None)?.stop {
                return Ok(());
            }
        }
    }

    fn closed(&self) {
        self.jobs.clear();
    }

    fn stats(&self, _into: &mut Map<String, Value>) {}

    fn control(&self, desk: &Desk, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        let action = match command {
            "power-off" => Action::PowerOff,
            "reboot" => Action::Restart,
            "hibernate" => Action::Hibernate,
            _ => bail!("shutdown knows no command `{command}`"),
        };
        self.ask(desk, action, arguments)
    }
}
