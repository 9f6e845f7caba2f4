// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Key-value pairs: what a daemon in the guest keeps, read and written by the host.
//!
//! The guest's kernel passes questions on to its daemon and answers none, not even the one for
//! versions, before the daemon has come.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{bail, Context};
use serde_json::{json, Map, Value};
use util_wire::kvp::{Entry, Exchange, IpInfo, Pool, Value as PairValue, MAX_BYTES, VERSIONS};
use util_wire::text::Text;
use util_wire::{MessageKind, Status, Version};
use vmbus_wire::guid::class;
use vmbus_wire::Guid;

use super::jobs::{self, Job, Jobs};
use super::link::Link;
use super::service::{Desk, Kind};

/// How long a command waits for each of the guest's answers unless it says so. The guest's kernel
/// gives its daemon 30 s.
const LIMIT: Duration = Duration::from_secs(35);
/// Pairs listed at most.
const LISTED: u32 = 4096;

/// A question: the body of its message, made and checked before it is asked.
#[derive(Debug)]
struct Question {
    body: Vec<u8>,
}

/// The guest's answer.
#[derive(Debug)]
struct Reply {
    status: Status,
    body: Vec<u8>,
}

/// The service for key-value pairs.
#[derive(Debug, Default)]
pub struct Pairs {
    jobs: Jobs<Question, Reply>,
}

impl Pairs {
    fn ask(&self, desk: &Desk, exchange: &Exchange<'_>, limit: Duration) -> anyhow::Result<Reply> {
        let mut bytes = [0; MAX_BYTES];
        let length = exchange
            .encode(&mut bytes)
            .context("keys have up to 255 characters, values up to 1023")?;
        let body = bytes.get(..length).unwrap_or_default().to_vec();
        self.jobs.ask(desk, Question { body }, limit)
    }

    /// Calls `each` for the pairs of a pool, until it has enough.
    fn enumerate(
        &self,
        desk: &Desk,
        pool: Pool,
        limit: Duration,
        mut each: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> anyhow::Result<()> {
        for index in 0..LISTED {
            let entry = Entry::default();
            let reply = self.ask(desk, &Exchange::Enumerate { pool, index, entry }, limit)?;
            match reply.status {
                Status::NO_MORE => return Ok(()),
                status if status.is_ok() => {}
                status => bail!("the guest answers: {status}"),
            }
            match Exchange::parse(&reply.body)? {
                Exchange::Enumerate { entry, .. } => {
                    if each(entry).is_break() {
                        return Ok(());
                    }
                }
                _ => bail!("the guest answers something else"),
            }
        }
        bail!("the guest has more than {LISTED} pairs")
    }

    fn list(&self, desk: &Desk, pool: Pool, limit: Duration) -> anyhow::Result<Value> {
        let mut pairs = Map::new();
        self.enumerate(desk, pool, limit, |entry| {
            pairs.insert(entry.key.to_string(), plain(entry.value));
            ControlFlow::Continue(())
        })?;
        Ok(json!({ "pool": pool.to_string(), "pairs": pairs }))
    }

    /// By going through the pool, as Windows hosts do. A Linux guest that is asked for a key answers
    /// with an empty value: its kernel doesn't tell the daemon for how many bytes there is room
    /// (`kvp_send_key` of `drivers/hv/hv_kvp.c`), so the daemon copies none, and would look for
    /// the answer four bytes too far anyway (`kvp_respond_to_host`).
    fn find(&self, desk: &Desk, pool: Pool, key: &str, limit: Duration) -> anyhow::Result<Value> {
        let mut found = None;
        self.enumerate(desk, pool, limit, |entry| {
            if entry.key == *key {
                found = Some(plain(entry.value));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        let value = found.context(NO_KEY)?;
        Ok(json!({ "value": value }))
    }

    /// By its key.
    fn get(&self, desk: &Desk, pool: Pool, key: &str, limit: Duration) -> anyhow::Result<Value> {
        let entry = Entry {
            key: Text::new(key),
            value: PairValue::default(),
        };
        let reply = self.ask(desk, &Exchange::Get { pool, entry }, limit)?;
        well(reply.status)?;
        match Exchange::parse(&reply.body)? {
            Exchange::Get { entry, .. } => Ok(json!({ "value": plain(entry.value) })),
            _ => bail!("the guest answers something else"),
        }
    }
}

/// Why there is no value.
const NO_KEY: &str = "the guest has no such key";

fn plain(value: PairValue<'_>) -> Value {
    match value {
        PairValue::Text(text) => text.to_string().into(),
        PairValue::U32(number) => number.into(),
        PairValue::U64(number) => number.into(),
    }
}

fn pool(arguments: &Value, default: Pool) -> anyhow::Result<Pool> {
    match arguments.get("pool") {
        None | Some(Value::Null) => Ok(default),
        Some(_) => {
            let name = jobs::text(arguments, "pool")?;
            Pool::from_name(name).with_context(|| {
                let known: Vec<&str> = Pool::ALL.iter().map(|(_, name)| *name).collect();
                format!("pool `{name}` is unknown; there are {}", known.join(", "))
            })
        }
    }
}

fn well(status: Status) -> anyhow::Result<()> {
    match status {
        Status::NO_MORE => bail!(NO_KEY),
        status if status.is_ok() => Ok(()),
        status => bail!("the guest answers: {status}"),
    }
}

impl Kind for Pairs {
    const NAME: &'static str = "kvp";
    const CLASS: Guid = class::KVP;
    const INSTANCE: Guid = Guid::literal("242ff919-07db-4180-9c2e-b86cb68c8c55");

    fn versions(&self) -> Vec<Version> {
        VERSIONS.to_vec()
    }

    fn run(&self, link: &mut Link<'_>) -> anyhow::Result<()> {
        let mut asked: Option<(u8, Job<Question, Reply>)> = None;
        let mut held: Option<Job<Question, Reply>> = None;
        loop {
            while let Some(answer) = link.receive(MessageKind::KVP)? {
                match asked.take() {
                    Some((number, job)) if number == answer.transaction => {
                        let reply = Reply {
                            status: answer.status,
                            body: answer.body.to_vec(),
                        };
                        job.answer(Ok(reply));
                    }
                    _ => bail!("a pair that wasn't asked for is answered"),
                }
            }
            // One at a time: the guest's kernel takes no second question.
            if asked.is_none() {
                if let Some(job) = held.take().or_else(|| self.jobs.next()) {
                    match link.send(MessageKind::KVP, &job.question.body)? {
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
        let limit = jobs::limit(arguments, LIMIT)?;
        let text = |name| jobs::text(arguments, name);
        match command {
            "kvp-list" => self.list(desk, pool(arguments, Pool::Auto)?, limit),
            "kvp-get" => {
                let pool = pool(arguments, Pool::External)?;
                if jobs::flag(arguments, "direct", false)? {
                    self.get(desk, pool, text("key")?, limit)
                } else {
                    self.find(desk, pool, text("key")?, limit)
                }
            }
            "kvp-set" => {
                let value = match arguments.get("value") {
                    Some(Value::String(text)) => PairValue::Text(Text::new(text)),
                    Some(number) => {
                        let number = number.as_u64().context("value: a string or a number")?;
                        match u32::try_from(number) {
                            Ok(number) => PairValue::U32(number),
                            Err(_) => PairValue::U64(number),
                        }
                    }
                    None => bail!("the argument `value` is wanted"),
                };
                let entry = Entry {
                    key: Text::new(text("key")?),
                    value,
                };
                let pool = pool(arguments, Pool::External)?;
                let reply = self.ask(desk, &Exchange::Set { pool, entry }, limit)?;
                well(reply.status)?;
                Ok(json!({}))
            }
            "kvp-delete" => {
                let key = Text::new(text("key")?);
                let pool = pool(arguments, Pool::External)?;
                let reply = self.ask(desk, &Exchange::Delete { pool, key }, limit)?;
                well(reply.status)?;
                Ok(json!({}))
            }
            "kvp-addresses" => {
                let info = IpInfo {
                    adapter: Text::new(text("mac")?),
                    ..IpInfo::default()
                };
                let reply = self.ask(desk, &Exchange::GetIpInfo(info), limit)?;
                well(reply.status)?;
                match Exchange::parse(&reply.body)? {
                    Exchange::GetIpInfo(info) => Ok(json!({
                        "dhcp": info.dhcp,
                        "addresses": list(info.addresses),
                        "subnets": list(info.subnets),
                        "gateways": list(info.gateways),
                        "name_servers": list(info.name_servers),
                    })),
                    _ => bail!("the guest answers something else"),
                }
            }
            _ => bail!("kvp knows no command `{command}`"),
        }
    }
}

/// Parts between semicolons.
fn list(text: Text<'_>) -> Vec<String> {
    let text = text.to_string();
    let parts = text.split(';').filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}
