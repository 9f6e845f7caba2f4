// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the control socket may ask of a controller: `add-disk`, `remove-disk`, `resize-disk`,
//! `inject`, `misbehave`.

use anyhow::{bail, ensure, Context};
use serde_json::{json, Value};

use super::controller::{Controller, News};
use crate::args::size::Size;
use crate::args::spec::DiskSpec;
use crate::control::arguments::number;

pub(super) fn carry_out(
    controller: &Controller,
    command: &str,
    arguments: &Value,
) -> anyhow::Result<Value> {
    match command {
        "add-disk" => {
            let spec = text(arguments, "spec")?
                .parse::<DiskSpec>()
                .map_err(anyhow::Error::msg)?;
            Ok(json!({ "lun": controller.add(&spec)? }))
        }
        "remove-disk" => {
            let lun = lun(arguments)?;
            let news = match arguments.get("notify").and_then(Value::as_str) {
                None | Some("enumerate") => Some(News::Enumerate),
                Some("remove") => Some(News::Remove),
                Some("none") => None,
                Some(other) => {
                    bail!("notify `{other}` is unknown; there are enumerate, remove, none")
                }
            };
            controller.remove(lun, news)?;
            Ok(json!({ "lun": lun }))
        }
        "resize-disk" => {
            let lun = lun(arguments)?;
            let bytes = arguments.get("bytes").map(size).transpose()?;
            let bytes = controller.resize(lun, bytes)?;
            Ok(json!({ "lun": lun, "bytes": bytes }))
        }
        "inject" => controller
            .lun(lun(arguments)?)?
            .injections
            .control(arguments),
        "misbehave" => super::misbehave::carry_out(controller, arguments),
        other => bail!("{} knows no command `{other}`", controller.name()),
    }
}

fn text<'a>(arguments: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    arguments
        .get(name)
        .and_then(Value::as_str)
        .with_context(|| format!("`{name}` is missing or no text"))
}

fn lun(arguments: &Value) -> anyhow::Result<u8> {
    let value = arguments.get("lun").context("`lun` is missing")?;
    Ok(number("lun", value, u8::MAX.into())? as u8)
}

/// A number of bytes, or a text such as `2G`.
fn size(value: &Value) -> anyhow::Result<u64> {
    let bytes = match value {
        Value::String(text) => text.parse::<Size>().map_err(anyhow::Error::msg)?.0,
        other => number("bytes", other, u64::MAX)?,
    };
    ensure!(bytes > 0, "`bytes` is 0");
    Ok(bytes)
}
