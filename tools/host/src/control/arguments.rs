// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A command's arguments, as devices read them.

use anyhow::{bail, ensure, Context};
use serde_json::Value;

/// A command's arguments, which may be missing.
#[derive(Clone, Copy)]
pub struct Arguments<'a>(pub &'a Value);

impl Arguments<'_> {
    /// An argument that isn't missing.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A number up to `most`.
    ///
    /// # Errors
    ///
    /// When it isn't, as one sentence.
    pub fn number(&self, name: &str, most: u64) -> anyhow::Result<Option<u64>> {
        self.get(name)
            .map(|value| number(name, value, most))
            .transpose()
    }

    /// A byte.
    ///
    /// # Errors
    ///
    /// As for [`Arguments::number`].
    pub fn byte(&self, name: &str) -> anyhow::Result<Option<u8>> {
        Ok(self.number(name, u8::MAX.into())?.map(|value| value as u8))
    }

    /// `count`, which is `usual` where it is missing and never 0.
    ///
    /// # Errors
    ///
    /// As for [`Arguments::number`].
    pub fn count(&self, usual: u64) -> anyhow::Result<u64> {
        let count = self.number("count", u64::MAX)?.unwrap_or(usual);
        ensure!(count > 0, "`count` is 0");
        Ok(count)
    }

    /// A text.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn text(&self, name: &str) -> anyhow::Result<Option<&str>> {
        self.get(name)
            .map(|value| {
                value
                    .as_str()
                    .with_context(|| format!("`{name}` is no text"))
            })
            .transpose()
    }

    /// False where it is missing; hvctl sends words.
    ///
    /// # Errors
    ///
    /// When it is neither.
    pub fn truth(&self, name: &str) -> anyhow::Result<bool> {
        match self.get(name) {
            None | Some(Value::Bool(false)) => Ok(false),
            Some(Value::Bool(true)) => Ok(true),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(other) => bail!("`{name}` is {other}; true or false is wanted"),
        }
    }

    /// One of these words; none where it is missing or, if that isn't among them, `all`.
    ///
    /// # Errors
    ///
    /// When it is another word; the sentence has all of them.
    pub fn choice<T: Copy>(&self, name: &str, of: &[(T, &str)]) -> anyhow::Result<Option<T>> {
        let Some(word) = self.text(name)? else {
            return Ok(None);
        };
        let found = of.iter().find(|(_, known)| *known == word);
        match found {
            Some((value, _)) => Ok(Some(*value)),
            None if word == "all" => Ok(None),
            None => {
                let words: Vec<&str> = of.iter().map(|(_, known)| *known).collect();
                bail!("{name} `{word}` is unknown; there are {}", words.join(", "))
            }
        }
    }
}

/// A number up to `most`; hvctl sends digits, or `0x` and digits.
///
/// # Errors
///
/// When it isn't, as one sentence.
pub fn number(name: &str, value: &Value, most: u64) -> anyhow::Result<u64> {
    let number = match value {
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
        other => other.as_u64(),
    };
    number
        .filter(|number| *number <= most)
        .with_context(|| format!("`{name}` is {value}; a number up to {most} is wanted"))
}
