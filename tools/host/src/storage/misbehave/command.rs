// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The control command `misbehave`.

use std::time::Duration;

use anyhow::{bail, ensure, Context};
use serde_json::{json, Value};
use storvsc_wire::{host, ChannelProperties, NtStatus, Operation};

use super::super::controller::Controller;
use super::super::mail::{Letter, Mail};
use super::{Kind, Misdeed, Plan, ResetMode, Sort, WrongId, FOR_EVER};
use crate::control::arguments::Arguments;

/// Packets of a storm that nobody numbered.
const STORM: u64 = 1000;
/// When a completion comes again.
const LATE_MS: u64 = 200;
const MAX_LATE_MS: u64 = 3_600_000;
/// Most answers out of the blue at a time: they wait for room in memory.
const MAX_ANSWERS: u64 = 4096;
/// Bytes of the longest completion that is too short.
const MAX_SHORT: u64 = 63;

/// Carries `misbehave` out; see Documentation/hvhost-control.md.
pub(in super::super) fn carry_out(
    controller: &Controller,
    arguments: &Value,
) -> anyhow::Result<Value> {
    let arguments = Arguments(arguments);
    let kind = arguments.text("kind")?.context("`kind` is missing")?;
    let misdeeds = controller.misdeeds();
    if kind == "none" {
        let forget = arguments.truth("forget")?;
        let forgotten = misdeeds.forget();
        let held = misdeeds.held.load(std::sync::atomic::Ordering::Acquire);
        misdeeds.release(forget);
        controller.nudge_all();
        return Ok(json!({ "forgotten": forgotten, "held": held }));
    }
    let known = Kind::ALL.iter().find(|known| known.name() == kind);
    let kind = known.copied().with_context(|| {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!(
            "kind `{kind}` is unknown; there are none, {}",
            names.join(", ")
        )
    })?;
    let what = match kind {
        Kind::FlipState => return flip_state(controller, &arguments),
        Kind::BadRing => return bad_ring(controller, &arguments),
        Kind::OtherChannel => {
            ensure!(
                controller.open_channels() > 1,
                "{} has no other channel open",
                controller.name()
            );
            Misdeed::OtherChannel
        }
        Kind::Storm => {
            let channel = open_channel(controller, &arguments)?;
            Misdeed::Storm(channel, arguments.choice("packet", &Sort::ALL)?)
        }
        other => misdeed(other, &arguments)?,
    };
    let usual = match kind {
        Kind::InvalidLun | Kind::Silent | Kind::MissingSubchannels | Kind::RefusedSubchannels => {
            FOR_EVER
        }
        Kind::Storm => STORM,
        _ => 1,
    };
    let reset = reset(&arguments)?;
    let waiting = misdeeds.plan(Plan {
        what,
        lun: arguments.byte("lun")?,
        opcode: arguments.byte("opcode")?,
        left: arguments.count(usual)?,
    })?;
    match kind {
        Kind::Silent => misdeeds.set_reset(reset),
        Kind::Storm => controller.nudge_all(),
        _ => {}
    }
    Ok(json!({ "waiting": waiting }))
}

/// Those that need nothing of the controller.
fn misdeed(kind: Kind, arguments: &Arguments<'_>) -> anyhow::Result<Misdeed> {
    Ok(match kind {
        Kind::Twice => Misdeed::Twice,
        Kind::LateTwice => {
            let ms = arguments.number("ms", MAX_LATE_MS)?.unwrap_or(LATE_MS);
            Misdeed::LateTwice(Duration::from_millis(ms))
        }
        Kind::UnknownId => {
            let shapes = [
                (WrongId::All, "all"),
                (WrongId::Zero, "zero"),
                (WrongId::Max, "max"),
                (WrongId::Generation, "generation"),
                (WrongId::Beyond, "beyond"),
            ];
            let shape = arguments.choice("shape", &shapes)?;
            Misdeed::UnknownId(match arguments.number("id", u64::MAX)? {
                Some(id) => WrongId::This(id),
                None => shape.unwrap_or(WrongId::All),
            })
        }
        Kind::Short => {
            let length = arguments.number("length", MAX_SHORT)?;
            Misdeed::Short(length.map(|length| length as usize))
        }
        Kind::SenseLength => Misdeed::SenseLength(arguments.byte("length")?.unwrap_or(u8::MAX)),
        Kind::Residual => {
            let by = arguments.number("by", u32::MAX.into())?.unwrap_or(512);
            Misdeed::Residual(by as u32)
        }
        Kind::Refuse => {
            let status = status(arguments, NtStatus::UNSUCCESSFUL)?;
            ensure!(!status.is_success(), "`status` is 0, which is success");
            Misdeed::Refuse(status)
        }
        Kind::InvalidLun => Misdeed::InvalidLun,
        Kind::Silent => Misdeed::Silent,
        Kind::MissingSubchannels => Misdeed::MissingSubchannels,
        Kind::RefusedSubchannels => Misdeed::RefusedSubchannels,
        Kind::OtherChannel | Kind::Storm | Kind::FlipState | Kind::BadRing => {
            bail!("{} isn't planned like that", kind.name())
        }
    })
}

/// Answers to a packet that was answered before.
fn flip_state(controller: &Controller, arguments: &Arguments<'_>) -> anyhow::Result<Value> {
    let operations = [
        (Operation::BEGIN_INITIALIZATION, "begin"),
        (Operation::QUERY_PROTOCOL_VERSION, "version"),
        (Operation::QUERY_PROPERTIES, "properties"),
        (Operation::END_INITIALIZATION, "end"),
        (Operation::CREATE_SUB_CHANNELS, "subchannels"),
        (Operation::RESET_BUS, "reset"),
    ];
    let operation = arguments.choice("operation", &operations)?;
    let operation = operation.unwrap_or(Operation::QUERY_PROPERTIES);
    let status = status(arguments, NtStatus::SUCCESS)?;
    let count = arguments.count(1)?;
    ensure!(count <= MAX_ANSWERS, "`count` is {MAX_ANSWERS} at most");
    let (transaction, layout) = controller
        .last_asked(operation)
        .with_context(|| format!("the guest hasn't sent {operation}"))?;
    let packet = if operation == Operation::QUERY_PROPERTIES && status.is_success() {
        let absurd = ChannelProperties {
            multi_channel: true,
            max_subchannels: u16::MAX,
            max_transfer_bytes: 0,
        };
        host::complete_properties(layout, absurd)
    } else {
        host::complete(layout, status)
    };
    for _ in 0..count {
        controller.mail(0, Mail::Letter(Letter::completion(transaction, packet)));
    }
    controller.misdeeds().did(Kind::FlipState, count);
    controller.misbehaved(Kind::FlipState);
    waiting(controller)
}

/// A write index that is none.
fn bad_ring(controller: &Controller, arguments: &Arguments<'_>) -> anyhow::Result<Value> {
    let channel = open_channel(controller, arguments)?;
    let most = u32::MAX.into();
    let index = arguments.number("index", most)?.unwrap_or(most) as u32;
    controller.mail(channel, Mail::BadIndex(index));
    controller.misdeeds().did(Kind::BadRing, 1);
    controller.misbehaved(Kind::BadRing);
    waiting(controller)
}

fn waiting(controller: &Controller) -> anyhow::Result<Value> {
    Ok(json!({ "waiting": controller.misdeeds().waiting() }))
}

fn open_channel(controller: &Controller, arguments: &Arguments<'_>) -> anyhow::Result<u16> {
    let channel = arguments.number("channel", u16::MAX.into())?.unwrap_or(0) as u16;
    ensure!(
        controller.is_open(channel),
        "channel {channel} of {} isn't open",
        controller.name()
    );
    Ok(channel)
}

fn status(arguments: &Arguments<'_>, usual: NtStatus) -> anyhow::Result<NtStatus> {
    let status = arguments.number("status", u32::MAX.into())?;
    Ok(status.map_or(usual, |status| NtStatus(status as u32)))
}

fn reset(arguments: &Arguments<'_>) -> anyhow::Result<ResetMode> {
    match arguments.get("reset") {
        Some(Value::String(text)) if text == "forget" => Ok(ResetMode::Forget),
        None => Ok(ResetMode::End),
        Some(_) => match arguments.truth("reset") {
            Ok(true) => Ok(ResetMode::End),
            Ok(false) => Ok(ResetMode::Ignore),
            Err(_) => bail!("`reset`: true, false or forget is wanted"),
        },
    }
}
