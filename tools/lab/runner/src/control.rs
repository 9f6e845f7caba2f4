// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a guest may say on its control line, and what it may ask its host to do.
//!
//! One line a message. The guest speaks first, always:
//!
//! | guest | runner |
//! |---|---|
//! | `hello RELEASE` | nothing |
//! | `next` | `run CASE [STAGE]` or `poweroff` |
//! | `# text` | nothing |
//! | `result pass`, `result fail WHY`, `result skip WHY` | nothing |
//! | `host COMMAND...` | `ok [text]` or `err WHY` |

use std::path::Path;

use anyhow::{bail, Context, Result};
use serde_json::json;

use crate::event::Outcome;
use crate::plan::Job;
use crate::qmp::Qmp;

/// One line of the guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// The guest's init started; kernel release.
    Hello(&'a str),
    /// The guest wants its next case.
    Next,
    /// A remark.
    Note(&'a str),
    /// The case under way ended.
    Result(Outcome),
    /// A wish to the host.
    Host(&'a str),
    /// Anything else, like what the firmware or a crash left on the line.
    Noise(&'a str),
}

/// Understands one line.
pub(crate) fn parse(line: &str) -> Line<'_> {
    let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    if let Some(text) = line.strip_prefix('#') {
        return Line::Note(text.strip_prefix(' ').unwrap_or(text));
    }
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "hello" if !rest.is_empty() => Line::Hello(rest),
        "next" if rest.is_empty() => Line::Next,
        "host" if !rest.is_empty() => Line::Host(rest),
        "result" => {
            let (kind, why) = rest.split_once(' ').unwrap_or((rest, ""));
            match kind {
                "pass" => Line::Result(Outcome::Pass),
                "fail" => Line::Result(Outcome::Fail(why.to_owned())),
                "skip" => Line::Result(Outcome::Skip(why.to_owned())),
                _ => Line::Noise(line),
            }
        }
        _ => Line::Noise(line),
    }
}

/// What the guest asked for that the runner itself, not QEMU, has to remember.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Done; the text of the answer.
    Answer(String),
    /// The guest is about to boot again and wants to go on at this stage.
    Expect(String),
}

/// Carries out `host ...`.
///
/// # Errors
///
/// What to tell the guest after `err`.
pub(crate) fn host(command: &str, qmp: &mut Qmp, work: &Path, job: &Job) -> Result<Request> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let answer = match words.as_slice() {
        ["balloon", mib] => {
            let mib: u64 = mib.parse().context("balloon wants MiB")?;
            let bytes = mib.checked_mul(1 << 20).context("too many MiB")?;
            qmp.execute("balloon", json!({ "value": bytes }))?;
            String::new()
        }
        ["balloon?"] => {
            let value = qmp.execute("query-balloon", json!({}))?;
            let actual = value.get("actual").and_then(serde_json::Value::as_u64);
            (actual.context("query-balloon without a number")? >> 20).to_string()
        }
        ["pressure?"] => {
            let value = qmp.execute("query-hv-balloon-status-report", json!({}))?;
            let number = |key| {
                value
                    .get(key)
                    .and_then(serde_json::Value::as_u64)
                    .unwrap_or(0)
            };
            format!(
                "{} {}",
                number("committed") >> 20,
                number("available") >> 20
            )
        }
        ["trace?", needle @ ..] if !needle.is_empty() => {
            count_lines(&work.join("trace.log"), &needle.join(" ")).to_string()
        }
        ["console?", needle @ ..] if !needle.is_empty() => {
            count_lines(&work.join("console.log"), &needle.join(" ")).to_string()
        }
        ["nmi"] => {
            qmp.execute("inject-nmi", json!({}))?;
            String::new()
        }
        ["reset"] => {
            qmp.execute("system_reset", json!({}))?;
            String::new()
        }
        ["expect", stage] => return Ok(Request::Expect((*stage).to_owned())),
        ["acceleration?"] => job.acceleration.clone(),
        _ => bail!("the host knows no `{command}`"),
    };
    Ok(Request::Answer(answer))
}

/// Lines of a log that contain `needle`; 0 if there is no log. The log is QEMU's or the guest
/// kernel's and may hold bytes that are no text.
fn count_lines(path: &Path, needle: &str) -> usize {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .lines()
        .filter(|line| line.contains(needle))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_protocol() {
        assert_eq!(parse("hello 7.2.12\r\n"), Line::Hello("7.2.12"));
        assert_eq!(parse("next\r"), Line::Next);
        assert_eq!(parse("# a remark"), Line::Note("a remark"));
        assert_eq!(parse("#"), Line::Note(""));
        assert_eq!(parse("host balloon 256"), Line::Host("balloon 256"));
        assert_eq!(parse("result pass"), Line::Result(Outcome::Pass));
        assert_eq!(
            parse("result fail it broke"),
            Line::Result(Outcome::Fail("it broke".to_owned()))
        );
    }

    #[test]
    fn everything_else_is_noise() {
        for text in [
            "",
            "hello",
            "next please",
            "result maybe",
            "SeaBIOS (version 1)",
            "\0\0",
        ] {
            assert!(matches!(parse(text), Line::Noise(_)), "{text:?}");
        }
    }
}
