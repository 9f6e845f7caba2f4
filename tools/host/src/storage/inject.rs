// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Failures and delays on request, to see what the guest's driver makes of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{bail, ensure, Context};
use parking_lot::Mutex;
use serde_json::Value;
use storvsc_wire::scsi::{Command, ScsiStatus, Sense, SenseKey};
use storvsc_wire::SrbStatus;

use crate::control::arguments::number;

/// What happens to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Injected {
    /// It fails with this sense.
    Sense(Sense),
    /// It fails with these statuses and no sense.
    Status(SrbStatus, ScsiStatus),
    /// It is carried out and answered so much later.
    Delay(Duration),
}

/// Which commands it happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// Those that read or change the medium.
    Medium,
    /// All.
    Any,
    /// Those with this operation code.
    Opcode(u8),
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    what: Injected,
    which: Which,
    left: u64,
}

/// Most plans of one unit.
const MAX_PLANS: usize = 64;

/// What is yet to happen at a unit, in the order it was asked for.
#[derive(Debug, Default)]
pub(super) struct Injections {
    any: AtomicBool,
    plans: Mutex<Vec<Plan>>,
}

impl Injections {
    /// What happens to this command.
    pub(super) fn take(&self, opcode: u8, command: Option<&Command>) -> Option<Injected> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut plans = self.plans.lock();
        let index = plans.iter().position(|plan| match plan.which {
            Which::Any => true,
            Which::Opcode(wanted) => opcode == wanted,
            Which::Medium => command.is_some_and(touches_medium),
        })?;
        let plan = plans.get_mut(index)?;
        let what = plan.what;
        plan.left = plan.left.saturating_sub(1);
        if plan.left == 0 {
            plans.remove(index);
            self.any.store(!plans.is_empty(), Ordering::Relaxed);
        }
        Some(what)
    }

    /// Carries out the control command `inject`: `kind` `sense` (with `key`, `asc`, `ascq`),
    /// `srb-status` (with `status`, perhaps `scsi`), `delay` (with `ms`) or `none`, which forgets
    /// all; `count` (1), and `opcode` or `any` for commands that don't touch the medium.
    ///
    /// # Errors
    ///
    /// What is missing or makes no sense.
    pub(super) fn control(&self, arguments: &Value) -> anyhow::Result<Value> {
        let kind = arguments
            .get("kind")
            .and_then(Value::as_str)
            .context("`kind` is missing: sense, srb-status, delay or none")?;
        let byte = |name: &str| -> anyhow::Result<Option<u8>> {
            arguments
                .get(name)
                .map(|value| number(name, value, u8::MAX.into()).map(|value| value as u8))
                .transpose()
        };
        let wanted = |name: &str| -> anyhow::Result<u8> {
            byte(name)?.with_context(|| format!("`{name}` is missing"))
        };
        let what = match kind {
            "none" => {
                let mut plans = self.plans.lock();
                let forgotten = plans.len();
                plans.clear();
                self.any.store(false, Ordering::Relaxed);
                return Ok(serde_json::json!({ "forgotten": forgotten }));
            }
            "sense" => Injected::Sense(Sense::new(
                SenseKey(wanted("key")?),
                wanted("asc")?,
                byte("ascq")?.unwrap_or(0),
            )),
            "srb-status" => Injected::Status(
                SrbStatus(wanted("status")?),
                ScsiStatus(byte("scsi")?.unwrap_or(0)),
            ),
            "delay" => {
                let ms = arguments.get("ms").context("`ms` is missing")?;
                Injected::Delay(Duration::from_millis(number("ms", ms, 86_400_000)?))
            }
            other => bail!("kind `{other}` is unknown; there are sense, srb-status, delay, none"),
        };
        let which = match (byte("opcode")?, arguments.get("any")) {
            (Some(opcode), _) => Which::Opcode(opcode),
            (None, Some(Value::Bool(true))) => Which::Any,
            (None, _) => Which::Medium,
        };
        let left = match arguments.get("count") {
            Some(count) => number("count", count, u64::MAX)?,
            None => 1,
        };
        ensure!(left > 0, "`count` is 0");
        let mut plans = self.plans.lock();
        ensure!(
            plans.len() < MAX_PLANS,
            "{MAX_PLANS} injections wait already"
        );
        plans.push(Plan { what, which, left });
        self.any.store(true, Ordering::Relaxed);
        Ok(serde_json::json!({ "waiting": plans.len() }))
    }
}

fn touches_medium(command: &Command) -> bool {
    matches!(
        command,
        Command::Read { .. }
            | Command::Write { .. }
            | Command::Verify { .. }
            | Command::SynchronizeCache { .. }
            | Command::Unmap { .. }
            | Command::WriteSame { .. }
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn happens_as_often_as_asked_to_what_was_asked() {
        let injections = Injections::default();
        let read = Command::parse(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]).unwrap();
        let take = |injections: &Injections| injections.take(0x28, Some(&read));
        assert_eq!(take(&injections), None);
        let sense = json!({"kind": "sense", "key": 3, "asc": "0x11", "count": 2});
        injections.control(&sense).unwrap();
        let ready = injections.take(0, Some(&Command::TestUnitReady));
        assert_eq!(ready, None, "not of the medium");
        let expected = Some(Injected::Sense(Sense::UNRECOVERED_READ_ERROR));
        assert_eq!(take(&injections), expected);
        assert_eq!(take(&injections), expected);
        assert_eq!(take(&injections), None);
        injections
            .control(&json!({"kind": "delay", "ms": 5, "opcode": 0}))
            .unwrap();
        assert_eq!(take(&injections), None);
        assert_eq!(
            injections.take(0, None),
            Some(Injected::Delay(Duration::from_millis(5)))
        );
        injections
            .control(&json!({"kind": "srb-status", "status": "0x20", "any": true}))
            .unwrap();
        injections.control(&json!({"kind": "none"})).unwrap();
        assert_eq!(injections.take(0xff, None), None);
    }

    #[test]
    fn says_what_is_missing() {
        let injections = Injections::default();
        for arguments in [
            json!({}),
            json!({"kind": "fire"}),
            json!({"kind": "sense", "key": 3}),
            json!({"kind": "sense", "key": 256, "asc": 0}),
            json!({"kind": "delay"}),
            json!({"kind": "srb-status", "status": "x"}),
            json!({"kind": "delay", "ms": 1, "count": 0}),
        ] {
            assert!(injections.control(&arguments).is_err(), "{arguments}");
        }
        let one = json!({"kind": "delay", "ms": 1});
        for _ in 0..MAX_PLANS {
            injections.control(&one).unwrap();
        }
        assert!(injections.control(&one).is_err());
    }
}
