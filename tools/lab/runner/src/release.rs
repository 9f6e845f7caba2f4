// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Releases of Linux, where scenarios depend on them.

use std::fmt;
use std::str::FromStr;

use anyhow::{bail, Result};
use serde::{Deserialize, Serialize};

/// A release of Linux: major and minor number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Release(u32, u32);

impl FromStr for Release {
    type Err = anyhow::Error;

    /// Reads `7.3`, or what `uname -r` says, like `7.3.4+deb13-cloud-amd64`.
    fn from_str(text: &str) -> Result<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.next().and_then(|digits| digits.parse().ok());
        match (number(), number()) {
            (Some(major), Some(minor)) => Ok(Self(major, minor)),
            _ => bail!("`{text}` doesn't begin with a release of Linux, like 7.3"),
        }
    }
}

impl TryFrom<String> for Release {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Release> for String {
    fn from(release: Release) -> Self {
        release.to_string()
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_compared() {
        let read = |text: &str| text.parse::<Release>();
        assert_eq!(read("7.3.4+deb13-cloud-amd64").unwrap(), Release(7, 3));
        assert_eq!(read("7.3").unwrap().to_string(), "7.3");
        assert!(read("7.10-rc1").unwrap() > read("7.9.12").unwrap());
        for odd in ["", "7", "x.3", "7.x", ".3", "99999999999.1"] {
            assert!(read(odd).is_err(), "{odd}");
        }
    }
}
