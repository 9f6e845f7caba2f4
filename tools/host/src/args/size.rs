// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Sizes as people write them: `4096`, `64K`, `256M`, `1G`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Letters after the number, and by how much each shifts it.
const SUFFIXES: [(&str, u32); 4] = [("K", 10), ("M", 20), ("G", 30), ("T", 40)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.trim().to_ascii_uppercase();
        let upper = upper.strip_suffix("IB").unwrap_or(&upper);
        let (digits, shift) = SUFFIXES
            .iter()
            .find_map(|(letter, shift)| Some((upper.strip_suffix(letter)?, *shift)))
            .unwrap_or((upper, 0));
        let unit = 1u64 << shift;
        // `parse` alone would take a sign.
        let number = Some(digits)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<u64>().ok());
        number
            .and_then(|number| number.checked_mul(unit))
            .map(Size)
            .ok_or_else(|| format!("`{text}` is no size; write 4096, 64K, 256M, 1G"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, shift) in SUFFIXES.iter().rev() {
            let unit = 1u64 << shift;
            if self.0 >= unit && self.0 % unit == 0 {
                return write!(f, "{}{letter}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_forms() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64k", 64 << 10),
            ("256M", 256 << 20),
            ("1G", 1 << 30),
            ("2GiB", 2 << 30),
            ("3T", 3 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "G", "1.5G", "-1", "+1", "1 G", "0x10", "99999999999T"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printed_and_read_back(bytes: u64) {
            prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }

        #[test]
        fn any_text_is_taken_or_refused(text in ".*") {
            let _ = text.parse::<Size>();
        }
    }
}
