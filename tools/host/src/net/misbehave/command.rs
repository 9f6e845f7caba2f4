// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The control command `misbehave`.

use anyhow::{bail, ensure, Context};
use serde_json::{json, Value};

use super::super::nic::Nic;
use super::{Misdeed, Sort, FOR_EVER};
use crate::control::arguments::Arguments;

/// Packets of a storm that nobody numbered.
const STORM: u64 = 1000;

/// Carries `misbehave` out; see Documentation/hvhost-control.md.
pub(in super::super) fn carry_out(nic: &Nic, arguments: &Value) -> anyhow::Result<Value> {
    let arguments = Arguments(arguments);
    let kind = arguments.text("kind")?.context("`kind` is missing")?;
    let misdeeds = &nic.misdeeds;
    if kind == "none" {
        return Ok(json!({ "forgotten": misdeeds.forget() }));
    }
    let what = match kind {
        "storm" => {
            let channel = arguments.number("channel", u16::MAX.into())?.unwrap_or(0) as u16;
            ensure!(
                nic.shared.is_open(channel),
                "channel {channel} of {} isn't open",
                nic.name()
            );
            Misdeed::Storm(channel, arguments.choice("packet", &Sort::ALL)?)
        }
        "twice" => Misdeed::Twice,
        "unknown-id" => Misdeed::UnknownId,
        "short" => Misdeed::Short,
        "other-kind" => Misdeed::OtherKind,
        "silent" => Misdeed::Silent,
        "elsewhere" => {
            ensure!(
                nic.shared.is_open(1),
                "{} has no other channel open",
                nic.name()
            );
            Misdeed::Elsewhere
        }
        "missing-subchannels" => Misdeed::MissingSubchannels,
        _ => bail!(
            "kind `{kind}` is unknown; there are none, {}",
            Misdeed::NAMES.join(", ")
        ),
    };
    let usual = match what {
        Misdeed::Storm(..) => STORM,
        Misdeed::MissingSubchannels => FOR_EVER,
        _ => 1,
    };
    let waiting = misdeeds.plan(what, arguments.count(usual)?)?;
    nic.nudge(u64::MAX);
    Ok(json!({ "waiting": waiting }))
}
